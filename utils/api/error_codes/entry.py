"""One explained error code."""

from __future__ import annotations

from typing import NamedTuple


class ErrorEntry(NamedTuple):
    """An error code, what happened, and what to do; both texts are Markdown.

    `status` is the HTTP status of the answer, None for codes that are stored with a task.
    """

    code: str
    status: int | None
    happened: str
    remedy: str
