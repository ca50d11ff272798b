"""Parses the output of programs that print one JSON object a line. Any content is accepted."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

from utils.models.tasks import Json

MAX_NUMBER = 2**53
"""Larger numbers are not exact in the clients' JSON."""

MAX_READABLE_DEPTH = 6

MAX_DEPTH = 100
"""Deeper objects count as plain text; Python's own limit depends on the depth of the caller."""

Events = list[tuple[str, Json]]


class JsonLineReader(ABC):
    """Base of the readers of such programs; see `StreamReader`."""

    def __init__(self) -> None:
        self.summary: str | None = None
        self.finished = False
        self.details: Json = {}
        self._has_unparsed_line = False
        """True when a line began like an object and could not be parsed."""

    def read_line(self, stream: str, line: str) -> Events:
        """See `StreamReader`. Texts stay whole, so that the caller can redact before it cuts."""
        entry = parse_object(line) if stream == "stdout" else None
        self._has_unparsed_line |= stream == "stdout" and entry is None and line.startswith("{")
        events = self._read(entry) if entry else None
        return [("output", {"stream": stream, "text": line})] if events is None else events

    @abstractmethod
    def _read(self, entry: Json) -> Events | None:
        """Return the events of an object, or None to report its line as plain output."""


def parse_object(line: str) -> Json | None:
    """Return the JSON object in a line, None when there is none. Never raises."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    deep = line.count("{") + line.count("[") > MAX_DEPTH and _depth(value) > MAX_DEPTH
    return value if isinstance(value, dict) and not deep else None


def text(value: object) -> str:
    """Return the value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def integer(value: object) -> int | None:
    """Return the value if it is an exact integer, else None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -MAX_NUMBER < value < MAX_NUMBER else None


def number(value: object) -> int:
    """Return the value if it is a non-negative integer, else 0."""
    return max(integer(value) or 0, 0)


def amount(value: object) -> float | None:
    """Return the value if it is an amount of money, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < MAX_NUMBER and math.isfinite(value) else None


def child(value: object, key: str) -> Json:
    """Return the object below a key, or an empty one."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def children(value: object, key: str) -> list[Json]:
    """Return the objects of the list below a key."""
    found = value.get(key) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def readable(value: object) -> str:
    """Return any JSON value as text for people.

    Strings stay as they are: JSON's escapes would hide a secret in them from the redactor.
    """
    return "\n".join(_lines(value, MAX_READABLE_DEPTH))


def _lines(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth == 0:
        yield "..."
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{key}: " + "\n".join(_lines(item, depth - 1))
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item, depth - 1)
    elif value is not None:
        yield _scalar(value)


def _scalar(value: object) -> str:
    try:
        return json.dumps(value)
    except ValueError:
        return "..."  # more digits than Python converts


def _refuse(constant: str) -> None:
    # Python's reader takes NaN and Infinity, which databases do not.
    raise ValueError(constant)


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        nested = [item for item in level if isinstance(item, dict | list)]
        parts = (item.values() if isinstance(item, dict) else item for item in nested)
        level = [part for some in parts for part in some]
        depth += bool(nested)
    return depth
