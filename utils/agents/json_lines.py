"""Parses the output of programs that print one JSON object a line. Any content is accepted."""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

from utils.agents.json_objects import (
    EXCERPT_CHARACTERS,
    OpenObject,
    begins_object,
    find_objects,
    holds_object,
    read_object,
    without_terminal_codes,
)
from utils.agents.spec import UNREADABLE, LineReader
from utils.models.tasks import Json

MAX_NUMBER = 2**53
"""Larger numbers are not exact in the clients' JSON."""

MAX_READABLE_DEPTH = 6

MAX_REREADS = 5
"""Limit for how often one line is read again because an object before it was broken."""

MAX_REREAD_CHARACTERS = 65_536

MAX_BROKEN = 500
"""After so many broken objects in one run, only objects on one line are read."""

# They separate the objects of a list.
_SEPARATORS = re.compile(r"[\s,\[\]\ufeff\u200b]*")

Events = list[tuple[str, Json]]


class JsonLineReader(LineReader, ABC):
    """Base of the readers of such programs; see `StreamReader`.

    An object counts wherever it stands: before or after other text, beside another object, or over
    several lines. `_read` recognises it; everything else is kept as text. A broken object is one
    event, marked with `UNREADABLE`.
    """

    def __init__(self) -> None:
        self.summary: str | None = None
        self.finished = False
        self.details: Json = {}
        self._has_unparsed_line = False
        """True when something that began like an object could not be read."""
        self._last_text = ""
        """The last line that was not JSON. Some programs print the reason of their end there."""
        self._open: OpenObject | None = None
        self._rereads = 0
        self._broken = 0

    def read_line(self, stream: str, line: str) -> Events:
        """See `StreamReader`. Texts stay whole, so that the caller can redact before it cuts."""
        if stream != "stdout":
            return [_output(stream, line)]
        before, self._open = self._open, None
        if before is None:
            return self._read_objects(line, may_open=self._broken < MAX_BROKEN)[0]
        return self._continue(before, line)

    def read_long_line(self, stream: str, characters: int, condensed: str) -> Events:
        """See `StreamReader`. A result counts; of everything else only the length is told."""
        self._has_unparsed_line = True
        events = [*super().read_long_line(stream, characters, condensed)]
        if stream == "stdout" and "{" in condensed:
            for attempt in find_objects(without_terminal_codes(condensed)):
                if attempt.entry is not None and self._is_result(attempt.entry):
                    events += self._read(attempt.entry) or []
        return events

    def end(self) -> Events:
        """See `StreamReader`."""
        events: Events = []
        while self._open and self._rereads < MAX_REREADS:
            opened, self._open = self._open, None
            self._rereads += 1
            events += self._give_up(opened)
        if self._open:
            events.append(self._unreadable(self._open.text, self._open.length))
        self._open, self._rereads = None, 0
        return events

    @abstractmethod
    def _read(self, entry: Json) -> Events | None:
        """Return the events of an object, or None to report its line as plain output."""

    @abstractmethod
    def _is_result(self, entry: Json) -> bool:
        """Tell whether an object is a part of the result, whatever its length."""

    def _read_objects(self, line: str, *, may_open: bool = True) -> tuple[Events, bool]:
        """Return the events of a line, and whether it has an object that `_read` knows."""
        if "{" not in line:
            return [self._text(line)], False
        clean = without_terminal_codes(line)
        events: Events = []
        position, open_at, is_known, is_other = 0, None, False, False
        for attempt in find_objects(clean):
            if attempt.entry is None:
                open_at = attempt.start if open_at is None else open_at
                continue
            found = self._read(attempt.entry)
            if found is None:
                is_other = True
                continue
            events += [*self._between(clean[position : attempt.start]), *found]
            position, open_at, is_known = attempt.end, None, True
        if open_at is not None and may_open:
            self._open = OpenObject(clean[open_at:])
            text = clean[position:open_at]
            blank = _SEPARATORS.fullmatch(text)
            return (events if blank else [*events, self._text(text)]), is_known
        if is_known:
            return [*events, *self._between(clean[position:])], True
        is_broken = begins_object(clean) and not is_other
        return [self._unreadable(line) if is_broken else self._text(line)], False

    def _continue(self, opened: OpenObject, line: str) -> Events:
        rest = opened.add(without_terminal_codes(line))
        if rest is not None:
            return [*self._read_complete(opened, rest), *self._read_rest(rest)]
        if "}" in line:
            events, is_known = self._read_objects(line)
            if is_known:
                # The object before was cut, for example because its process was killed.
                after, self._open = self._open, None
                given_up = self._give_up(opened.without_last(), may_open=False)
                self._open = after
                return [*given_up, *events]
        self._open = None
        if opened.is_broken():
            return self._give_up(opened)
        self._open = opened
        return []

    def _read_complete(self, opened: OpenObject, rest: str) -> Events:
        entry = None if opened.is_too_long else read_object(opened.text, 0).entry
        if entry is None:
            return self._give_up(opened)
        known = self._read(entry)
        end = "\n" if _SEPARATORS.fullmatch(rest) else ""
        return [self._text(opened.text + end)] if known is None else known

    def _read_rest(self, rest: str) -> Events:
        return [] if _SEPARATORS.fullmatch(rest) else self.read_line("stdout", rest)

    def _give_up(self, opened: OpenObject, *, may_open: bool = True) -> Events:
        """Return the events of an object that is not one, and of the lines after its error."""
        self._broken += 1
        broken, rest = opened.broken_lines()
        length = opened.length if opened.is_too_long else len(broken)
        events = [self._unreadable(broken, length) if begins_object(broken) else self._text(broken)]
        may_open = may_open and self._rereads < MAX_REREADS and len(rest) <= MAX_REREAD_CHARACTERS
        self._rereads += 1
        for line in _lines_of(rest):
            if may_open:
                events += self.read_line("stdout", line)
            else:
                events += self._read_objects(line, may_open=False)[0]
        self._rereads -= 1
        return events

    def _between(self, text: str) -> Events:
        """Return the event of a text beside objects; none for what separates them."""
        if _SEPARATORS.fullmatch(text):
            return []
        whole = f"{text.strip()}\n"
        if begins_object(whole) or (len(whole) > EXCERPT_CHARACTERS and holds_object(whole)):
            return [self._unreadable(whole)]
        return [self._text(whole)]

    def _text(self, line: str) -> tuple[str, Json]:
        self._last_text = line.strip() or self._last_text
        return _output("stdout", line)

    def _unreadable(self, text: str, length: int | None = None) -> tuple[str, Json]:
        self._has_unparsed_line = True
        kind, data = _output("stdout", text)
        return kind, {**data, UNREADABLE: len(text) if length is None else length}


def _output(stream: str, line: str) -> tuple[str, Json]:
    return "output", {"stream": stream, "text": line}


def _lines_of(text: str) -> list[str]:
    *complete, last = text.split("\n")
    return [f"{line}\n" for line in complete] + ([last] if last else [])


def tool_end(name: str, call: str, output: str, *, failed: bool) -> Json:
    """Return the data of the event with which a call of a tool ends; see docs/events.md."""
    data: Json = {"name": name, "id": call, "output": output}
    data |= {"ok": not failed, "characters": len(output)}
    return data | ({"failed": True} if failed else {})


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
