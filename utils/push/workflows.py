"""Workflows run on GitHub with a repository's secrets, so changes to them have to be asked for."""

from __future__ import annotations

import re

from utils.errors import Conflict

FOLDER = ".github"

# A link in place of one of these folders brings workflows along as well.
_PATH = re.compile(r"\.github(?:/workflows(?:/.*)?)?", re.DOTALL)


def is_workflow(path: str) -> bool:
    """Return True when a change of this path changes workflows. Case matters on GitHub."""
    return _PATH.fullmatch(path) is not None


def workflow_changes() -> Conflict:
    """Return the error for changes to workflows that nobody has asked for."""
    return Conflict(
        "The task changed files under .github/workflows, which run on GitHub with the repository's "
        "secrets. Read the diff, and send allow_workflow_changes: true if they are meant.",
        "workflow_changes",
    )
