"""Makes a copy of the project that has a third agent, by changes in four places."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support.source_files import ROOT

PARROT = ROOT / "tests" / "fakes" / "agents"
"""The folder of the agent's own file and of its program."""

SETTINGS = """
    parrot_api_key: SecretStr | None = Field(None, description="Key for the agent `parrot`.")
    parrot_models: ModelList = Field(("green", "grey"), description="Models of `parrot`.")
"""
# The folders that hold no source: repositories, environments, caches, data.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".*cache*", ".hypothesis", "__pycache__", "data"
)


def copy_with_parrot(folder: Path) -> Path:
    """Copy the project to a new folder and add the agent `parrot`; return the folder."""
    shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)
    shutil.copy(PARROT / "parrot.py", folder / "utils/agents/parrot.py")
    _change(
        folder / "utils/agents/registry.py",
        (r"^from utils\.agents\.scripted", r"from utils.agents.parrot import PARROT\n\g<0>"),
        (r"^    SCRIPTED,\n", r"    PARROT,\n\g<0>"),
    )
    _change(
        folder / "utils/config/groups/cloud.py", (r"^    agent_idle_seconds", rf"{SETTINGS}\g<0>")
    )
    _change(
        folder / "e2b.Dockerfile",
        (r"^ARG .*", r"ARG PARROT_VERSION=3.1.4\n\g<0>"),
        (r"npm install --global", r'\g<0> "@aviary/parrot@$PARROT_VERSION"'),
        (r"^RUN (?=bash -l -c)", r"""\g<0>bash -l -c 'parrot --version' && """),
    )
    return folder


def _change(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
        assert count == 1, f"{path.name} has no {pattern}"
    path.write_text(text, encoding="utf-8")
