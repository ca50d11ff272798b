"""Builds webhook events about pull requests."""

from __future__ import annotations

from typing import Any

from tests.support.github.names import NAME


def ended(
    action: str,
    url: str,
    *,
    number: int = 7,
    branch: str = "async-code/task-1",
    full_name: str = NAME,
    merged: bool = False,
) -> dict[str, Any]:
    """Return the event of a pull request that was closed or reopened."""
    return {
        "action": action,
        "number": number,
        "pull_request": {
            "html_url": url,
            "number": number,
            "state": "open" if action == "reopened" else "closed",
            "merged": merged,
            "head": {"ref": branch, "sha": "c0ffee"},
        },
        "repository": {"id": 1, "full_name": full_name},
        "sender": {"login": "x"},
    }
