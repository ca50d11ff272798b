"""Writes `docs/errors.md`: `python -m utils.commands.error_reference`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from utils.api.error_codes.entry import ErrorEntry
from utils.api.error_codes.table import ANCHORED, PAGE, SECTIONS
from utils.commands.command_line import CommandParser, ends_with_message

ERRORS_FILE = Path(__file__).resolve().parents[2] / PAGE

_HEADING = """\
# Error codes

<!-- Written by: python -m utils.commands.error_reference -->

An error answer is `{"error": "<text for people>", "code": "<snake_case>"}` with the HTTP status
shown below. The text says what to do; the code does not change between releases. Every answer has
an `X-Request-ID` header, and the server's log lines of that request have the same `request_id`.

A task that fails has `error`, `error_code` and `error_stage`: the text, the code, and the stage
(`queued`, `cloning`, `setup`, `agent`, `capturing` or `checking`) in which it failed.

"""


def error_reference() -> str:
    """Return the text of `docs/errors.md`."""
    sections = (f"## {title}\n\n{text}\n\n{_table(rows)}" for title, text, rows in SECTIONS)
    return _HEADING + "\n".join(sections)


def _table(entries: Sequence[ErrorEntry]) -> str:
    has_status = any(entry.status is not None for entry in entries)
    status_heading, status_line = ("| HTTP ", "|---") if has_status else ("", "")
    rows = [
        f"| {_anchor(entry)}`{entry.code}` {f'| {entry.status} ' if has_status else ''}"
        f"| {entry.happened} | {entry.remedy} |\n"
        for entry in entries
    ]
    heading = f"| Code {status_heading}| What happened | What to do |\n"
    return heading + f"|---{status_line}|---|---|\n" + "".join(rows)


def _anchor(entry: ErrorEntry) -> str:
    # The OpenAPI document leads to the codes of answers.
    return f'<a id="{entry.code}"></a>' if ANCHORED.get(entry.code) is entry else ""


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Write the file."""
    CommandParser("utils.commands.error_reference", "Write docs/errors.md.").parse_args(arguments)
    ERRORS_FILE.write_text(error_reference(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
