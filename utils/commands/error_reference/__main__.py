"""Writes `docs/errors.md`: `python -m utils.commands.error_reference`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from utils.commands.command_line import CommandParser, ends_with_message
from utils.commands.error_reference.entry import ErrorEntry
from utils.commands.error_reference.github import GITHUB_ERRORS
from utils.commands.error_reference.http import HTTP_ERRORS
from utils.commands.error_reference.pull_requests import PULL_REQUEST_ERRORS
from utils.commands.error_reference.tasks import TASK_ERRORS

ERRORS_FILE = Path(__file__).resolve().parents[3] / "docs" / "errors.md"

_HEADING = """\
# Error codes

<!-- Written by: python -m utils.commands.error_reference -->

An error answer is `{"error": "<text for people>", "code": "<snake_case>"}` with the HTTP status
shown below. The text says what to do; the code does not change between releases. Every answer has
an `X-Request-ID` header, and the server's log lines of that request have the same `request_id`.

A task that fails has `error`, `error_code` and `error_stage`: the text, the code, and the stage
(`queued`, `cloning`, `agent` or `capturing`) in which it failed.

"""
_SECTIONS = (
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
    ("All other endpoints", "Answers of the HTTP API.", HTTP_ERRORS),
)


def error_reference() -> str:
    """Return the text of `docs/errors.md`."""
    sections = (f"## {title}\n\n{text}\n\n{_table(rows)}" for title, text, rows in _SECTIONS)
    return _HEADING + "\n".join(sections)


def _table(entries: Sequence[ErrorEntry]) -> str:
    has_status = any(entry.status is not None for entry in entries)
    status_heading, status_line = ("| HTTP ", "|---") if has_status else ("", "")
    rows = [
        f"| `{entry.code}` {f'| {entry.status} ' if has_status else ''}"
        f"| {entry.happened} | {entry.remedy} |\n"
        for entry in entries
    ]
    heading = f"| Code {status_heading}| What happened | What to do |\n"
    return heading + f"|---{status_line}|---|---|\n" + "".join(rows)


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Write the file."""
    CommandParser("utils.commands.error_reference", "Write docs/errors.md.").parse_args(arguments)
    ERRORS_FILE.write_text(error_reference(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
