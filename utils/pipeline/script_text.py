"""Reads the shell scripts of the pipeline.

They are passed to a sandbox as text with each command: an agent could change files of the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_FOLDER = Path(__file__).with_name("scripts")
# What is sourced is in the text, and the user may have a variable `scripts`.
_LEFT_OUT = re.compile(r"^(?:[ \t]*#.*|scripts=.*)\n", re.MULTILINE)
_SOURCED = re.compile(r'^\. "\$scripts/([a-z_]+\.sh)"$', re.MULTILINE)


def script_command(name: str) -> Sequence[str]:
    """Return the command that runs a script; its own arguments follow."""
    return ("sh", "-c", script(name), name)


def script(name: str) -> str:
    """Return the text of a script, with the scripts that it sources in their places.

    Without comments: the text is sent with each command.
    """
    text = _LEFT_OUT.sub("", (_FOLDER / name).read_text())
    return _SOURCED.sub(lambda match: script(match[1]), text)
