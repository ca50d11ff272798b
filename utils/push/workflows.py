"""Detects changes to workflows, which run on GitHub with the repository's secrets."""

from __future__ import annotations

import re

from utils.errors import Conflict

FOLDER = ".github"

# A link in place of one of these folders can add workflows, too.
_PATH = re.compile(r"\.github(?:/workflows(?:/.*)?)?", re.DOTALL)


def is_workflow(path: str) -> bool:
    """Tell whether a change of this path changes workflows; GitHub requires this exact case."""
    return _PATH.fullmatch(path) is not None


def workflow_changes() -> Conflict:
    """Return the error for changes to workflows without the caller's consent."""
    return Conflict(
        "The task changed files under .github/workflows, which run on GitHub with the repository's "
        "secrets. Review the diff. If the changes are intended, send allow_workflow_changes: true.",
        "workflow_changes",
    )
