"""Finds the JSON objects in a text that holds other things too, in linear time.

Programs, their plugins and terminals put warnings, colours, byte order marks and line ends around
the objects. JSON has no raw control characters, so those are never part of an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from utils.models.tasks import Json

MAX_DEPTH = 400
"""Deeper objects are not read; Python's own limit depends on the depth of the caller."""

MAX_CONTAINERS = 400_000
"""Objects with more lists and objects are not read, because each needs far more memory."""

MAX_OPEN_CHARACTERS = 4_000_000
"""An object over several lines is not read above this length."""

EXCERPT_CHARACTERS = 1_000
"""Length to which a text is cut that could not be read."""

KEPT_CHARACTERS = 32_768
"""Kept of an object that is too long, for an excerpt without parts of secrets."""

PROBE_CHARACTERS = 512

# The beginning of an object with a name in it, or cut before its first name.
_BEGINNING = re.compile(r'\{[ \t\r\n]*(?:"|\Z)')
_NAME = re.compile(r'\{[ \t\r\n]*"')
_BLANKS = re.compile(r"\s*\Z")
_TERMINAL_CODES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours and movements of the cursor
    r"|\x1b\][^\x07\x1b\n]{0,1000}(?:\x07|\x1b\\)"  # titles of windows
    r"|\x1b[()*+][0-9A-Z]|\x1b[=>78cDEHMNOZ]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
_IN_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKETS = re.compile(r'["{}\[\]]')

# Each attempt costs what it reads and a fixed part, and the library counts the lines before the
# error. The sum has a limit, so that texts made of beginnings take linear time.
_ATTEMPT_COST = 256
_BUDGET_PER_CHARACTER = 8
_LEAST_BUDGET = 65_536


class Attempt(NamedTuple):
    """The result of reading an object that begins at `start`.

    `entry` is None when there is none. `is_open` is true when the text ends inside the object.
    """

    start: int
    end: int
    entry: Json | None
    is_open: bool = False


def without_terminal_codes(line: str) -> str:
    """Return a line without the codes and characters that only a terminal understands."""
    return _TERMINAL_CODES.sub("", line)


def begins_object(text: str) -> bool:
    """Tell whether a text looks like an object from its beginning on."""
    return _NAME.match(text.lstrip("\ufeff \t\r\n")) is not None


def holds_object(text: str) -> bool:
    """Tell whether an object seems to begin anywhere in a text."""
    return _NAME.search(text) is not None


def find_objects(text: str) -> Iterator[Attempt]:
    """Yield the outermost objects of a text, and each place where one begins and does not end."""
    budget = _BUDGET_PER_CHARACTER * len(text) + _LEAST_BUDGET
    position = 0
    while budget > 0 and (found := _BEGINNING.search(text, position)):
        attempt = read_object(text, found.start())
        budget -= _ATTEMPT_COST + attempt.end - attempt.start + attempt.end // 8
        if attempt.entry is not None or attempt.is_open:
            yield attempt
        position = attempt.start + 1 if attempt.entry is None else attempt.end


def read_object(text: str, start: int) -> Attempt:
    """Read the object that begins at `start`. Never raises."""
    if len(text) - start > MAX_CONTAINERS and _containers(text, start) > MAX_CONTAINERS:
        return Attempt(start, len(text), None)
    try:
        value, end = _decode(text, start)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string"):
            return Attempt(start, len(text), None, is_open=True)
        is_open = _BLANKS.match(text, error.pos) is not None
        return Attempt(start, max(error.pos, start), None, is_open)
    except RecursionError:
        return Attempt(start, len(text), None)
    is_deep = _containers(text, start, end) > MAX_DEPTH and _depth(value) > MAX_DEPTH
    return Attempt(start, end, value if isinstance(value, dict) and not is_deep else None)


class OpenObject:
    """An object of which more lines are to come.

    Above `MAX_OPEN_CHARACTERS` only the beginning is kept, and the end is still recognised.
    """

    def __init__(self, text: str) -> None:
        self.length = 0
        self._parts: list[str] = []
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self._next_probe = 0
        self.add(text)
        # Strings rarely continue on the next line; most often the program was interrupted.
        self._is_cut_in_string = self._in_string

    @property
    def text(self) -> str:
        """All of the text, or its beginning when it is too long."""
        return "".join(self._parts)

    @property
    def is_too_long(self) -> bool:
        """True when the text is longer than the limit."""
        return self.length > MAX_OPEN_CHARACTERS

    def add(self, text: str) -> str | None:
        """Add text; return what follows the end of the object, None when it does not end here."""
        end = self._find_end(text)
        self.length += len(text) if end is None else end
        self._parts.append(text if end is None else text[:end])
        if self.is_too_long:
            self._parts = [self.text[:KEPT_CHARACTERS]]
        return None if end is None else text[end:]

    def without_last(self) -> OpenObject:
        """Return the object without the text that was added last."""
        if not self.is_too_long:
            self.length -= len(self._parts.pop())
        return self

    def is_broken(self) -> bool:
        """Tell whether no further line could complete the object.

        It is only examined when its length has doubled, so that all examinations take linear time.
        """
        if self.is_too_long or PROBE_CHARACTERS < self.length < self._next_probe:
            return False
        self._next_probe = 2 * self.length
        return not read_object(self.text, 0).is_open

    def broken_lines(self) -> tuple[str, str]:
        """Return the lines up to the error, and the lines after them."""
        text = self.text
        if self.is_too_long or _containers(text, 0) > MAX_CONTAINERS:
            return text, ""
        end = len(text)
        try:
            _decode(text, 0)
        except json.JSONDecodeError as error:
            end = error.pos
        except RecursionError:
            pass
        first_line = text.find("\n") + 1 or len(text)
        last_line = 0 if self._is_cut_in_string else text.rfind("\n", 0, end) + 1
        cut = max(first_line, last_line)
        return text[:cut], text[cut:]

    def _find_end(self, text: str) -> int | None:
        position, self._is_escaped = int(self._is_escaped), False
        while True:
            if self._in_string:
                closing = _IN_STRING.match(text, position)
                if closing is None:
                    backslashes = len(text) - max(len(text.rstrip("\\")), position)
                    self._is_escaped = backslashes % 2 == 1
                    return None
                position, self._in_string = closing.end(), False
            found = _BRACKETS.search(text, position)
            if found is None:
                return None
            position = found.end()
            if found[0] == '"':
                self._in_string = True
                continue
            self._depth += 1 if found[0] in "{[" else -1
            if self._depth == 0:
                return position


def _integer(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # more digits than Python converts
        return None


# NaN and Infinity are not stored, because databases do not take them. Raw line ends in strings are
# accepted.
_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
_SLOW_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _: None, parse_int=_integer)


def _decode(text: str, start: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _SLOW_DECODER.raw_decode(text, start)


def _containers(text: str, start: int, end: int | None = None) -> int:
    return text.count("{", start, end) + text.count("[", start, end)


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        nested = [item for item in level if isinstance(item, dict | list)]
        parts = (item.values() if isinstance(item, dict) else item for item in nested)
        level = [part for some in parts for part in some]
        depth += bool(nested)
    return depth
