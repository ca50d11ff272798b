"""All explained error codes, in the sections of `docs/errors.md`."""

from __future__ import annotations

from utils.api.error_codes.entry import ErrorEntry
from utils.api.error_codes.github import GITHUB_ERRORS
from utils.api.error_codes.http import HTTP_ERRORS
from utils.api.error_codes.pull_requests import PULL_REQUEST_ERRORS
from utils.api.error_codes.sandboxes import SANDBOX_ERRORS
from utils.api.error_codes.tasks import TASK_ERRORS

PAGE = "docs/errors.md"
"""The page of all codes, relative to openapi.json; a server serves it at the same place."""

SECTIONS = (
    ("Tasks", "`error_code` of a task. Changes made until the failure are kept.", TASK_ERRORS),
    (
        "Pull requests",
        "Answers of `POST /create-pr/{task_id}`, which you may call again at any time. It also "
        "gives those under [GitHub](#github).",
        PULL_REQUEST_ERRORS,
    ),
    (
        "GitHub",
        "Answers of `POST /create-pr/{task_id}`, `POST /validate-token` and `/github/...`.",
        GITHUB_ERRORS,
    ),
    ("Sandboxes", "Answers of `/v1/sandboxes/...`.", SANDBOX_ERRORS),
    ("All other endpoints", "Answers of the HTTP API.", HTTP_ERRORS),
)


def _by_status() -> dict[tuple[str, int], ErrorEntry]:
    found: dict[tuple[str, int], ErrorEntry] = {}
    for _, _, entries in SECTIONS:
        for entry in entries:
            if entry.status is not None:
                found.setdefault((entry.code, entry.status), entry)
    return found


ANSWERS = _by_status()
"""The codes of answers, explained, by code and HTTP status."""

ANCHORED = {code: entry for (code, _), entry in reversed(ANSWERS.items())}
"""The entry of each code to which links lead, the first one where a code has several."""


def statuses_of(code: str) -> list[int]:
    """Return the HTTP statuses of answers with a code. Raises `KeyError` for an unknown code."""
    statuses = [status for known, status in ANSWERS if known == code]
    if not statuses:
        raise KeyError(f"{code} is not explained: add it to utils.api.error_codes")
    return statuses
