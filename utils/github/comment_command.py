"""The command in a comment that starts a task: `/async-code [agent=<name>] <prompt>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMAND = "/async-code"

# Markdown shows a line that is indented by four blanks, or a tab, as code.
_COMMAND = re.compile(
    rf"(?:[^\S\r\n]*[\r\n])* {{0,3}}{COMMAND}(?=\s|$)\s*(?:agent=(\S*)\s*)?(.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command in a comment. `agent` is as written; both fields may be empty."""

    agent: str | None
    prompt: str


def read_command(comment: str) -> Command | None:
    """Return what a comment asks for, None for one that does not begin with the command."""
    found = _COMMAND.fullmatch(comment.replace("\0", ""))
    return Command(found[1], found[2].rstrip()) if found else None


def is_command(comment: str) -> bool:
    """Return True when a comment could start a task if its leading text were removed."""
    return read_command(comment.replace("\0", "").lstrip()) is not None
