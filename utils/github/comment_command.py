"""Parses the command in a comment that starts a task: `/async-code [agent=<name>] <prompt>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMMAND = "/async-code"

# Markdown renders lines with an indent of four blanks or a tab as code, so they do not count.
_COMMAND = re.compile(
    rf"(?:[^\S\r\n]*[\r\n])* {{0,3}}{COMMAND}(?=\s|$)\s*(?:agent=(\S*)\s*)?(.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command in a comment. `agent` is not validated; both fields may be empty."""

    agent: str | None
    prompt: str


def parse_command(comment: str) -> Command | None:
    """Return the command of a comment, None if the comment does not begin with it."""
    found = _COMMAND.fullmatch(comment.replace("\0", ""))
    return Command(found[1], found[2].rstrip()) if found else None


def is_command(comment: str) -> bool:
    """Tell whether a comment begins with the command, ignoring any leading white space."""
    return parse_command(comment.replace("\0", "").lstrip()) is not None
