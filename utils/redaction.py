"""Removes live secrets from every text that leaves the process."""

from __future__ import annotations

import base64
import json
import re
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

API_KEY = re.compile(r"ac_[0-9A-Fa-f]{20,}")
"""An API key of this server, or the better part of one. Redacted whosever it is."""

# Shorter values would redact ordinary words without protecting anything.
MINIMUM_SECRET_CHARACTERS = 6

WRAPPED_CHARACTERS = 28
"""Length of the parts by which a long encoded secret is found when it is broken into lines.

The programs that break lines keep 60 characters or more, which hold a whole part in any position.
"""

WRAPPED_PARTS = 8
"""Parts of each encoded secret; they cover the keys of all common providers."""

# A password such as `postgres` is in many files that do not contain it as a password.
_ORDINARY = re.compile(r"[A-Za-z]{1,15}|[0-9]{1,15}|.{1,7}")

FEW_BEGINNINGS = 64
"""With more, one pass over the text is faster than a search for each."""

DENSE_TEXT = 1_000
"""A text may have this many beginnings of secrets, and one more for each 16 characters."""


class Redactor:
    """Replaces live secrets by `[redacted]`, also encoded ones; see `_forms`.

    Safe to use from several threads. A secret is live while a `hold` with it is open. A redactor
    with a parent also replaces the parent's live secrets. The work is linear in the text, whatever
    the secrets are: users choose some of them.
    """

    def __init__(self, parent: Redactor | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._forms_of: dict[str, frozenset[str]] = {}
        self._forms_from: dict[str, Counter[str]] = {}
        # Replaced as a whole and never mutated, so that `redact` needs no lock.
        self._groups: Mapping[str, _Group] = {}

    def child(self) -> Redactor:
        """Return a redactor with additional secrets of its own, which this one does not replace."""
        return Redactor(self)

    @contextmanager
    def hold(self, *secrets: str | None) -> Iterator[None]:
        """Redact the given secrets for the duration of the block.

        In the block of a child, and in tasks and threads started there, `current_redactor` returns
        the child.
        """
        values = [value for value in secrets if value and len(value) >= MINIMUM_SECRET_CHARACTERS]
        self._change(values, +1)
        before = _current.set(self) if self._parent else None
        try:
            yield
        finally:
            if before:
                _current.reset(before)
            self._change(values, -1)

    def add(self, *secrets: str) -> None:
        """Redact secrets until the process ends."""
        long_enough = [value for value in secrets if len(value) >= MINIMUM_SECRET_CHARACTERS]
        self._change(long_enough, +1)

    def redact(self, text: str) -> str:
        """Return the text with live secrets replaced."""
        most = DENSE_TEXT + len(text) // 16
        if spans := list(_spans(self._groups, text, most)):
            text = _without(spans, text)
        if self._parent:
            return self._parent.redact(text)
        return API_KEY.sub(REDACTED, text) if "ac_" in text else text

    def finds_in(self, text: str) -> bool:
        """Tell whether the text has a live secret that is no ordinary word or number."""
        spans = _spans(self._groups, text, len(text))
        has_own = any(not _ORDINARY.fullmatch(text, start, end) for start, end in spans)
        return has_own or (self._parent is not None and self._parent.finds_in(text))

    def redact_values(self, value: Any) -> Any:
        """Return a JSON value with live secrets replaced in its texts, but not in keys."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {key: self.redact_values(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.redact_values(item) for item in value]
        return value

    def _change(self, secrets: Iterable[str], step: int) -> None:
        with self._lock:
            changed: set[str] = set()
            for secret in secrets:
                self._held[secret] += step
                if secret not in self._forms_of:
                    self._forms_of[secret] = frozenset(_forms(secret))
                    changed |= self._count(self._forms_of[secret], +1)
                elif not self._held[secret]:
                    del self._held[secret]
                    changed |= self._count(self._forms_of.pop(secret), -1)
            groups = dict(self._groups)
            for beginning in changed:
                if forms := +self._forms_from[beginning]:
                    groups[beginning] = _Group(forms)
                else:
                    del self._forms_from[beginning]
                    groups.pop(beginning, None)
            self._groups = groups

    def _count(self, forms: Iterable[str], step: int) -> set[str]:
        beginnings = set()
        for form in forms:
            beginning = form[:MINIMUM_SECRET_CHARACTERS]
            self._forms_from.setdefault(beginning, Counter())[form] += step
            beginnings.add(beginning)
        return beginnings


_current: ContextVar[Redactor | None] = ContextVar("current_redactor", default=None)


def current_redactor() -> Redactor | None:
    """Return the redactor of the current task, which also replaces secrets of its user."""
    return _current.get()


class _Group:
    """All forms with the same beginning."""

    def __init__(self, forms: Iterable[str]) -> None:
        self._forms = sorted(forms)
        self._longest = max(map(len, self._forms))
        # For each form the forms that it begins with, the shortest first, and itself.
        self._nested: list[tuple[str, ...]] = []
        outer: tuple[str, ...] = ()
        for form in self._forms:
            outer = (*(one for one in outer if form.startswith(one)), form)
            self._nested.append(outer)

    def length_at(self, text: str, start: int) -> int:
        """Return the length of the longest form at a position of the text, 0 for none."""
        window = text[start : start + self._longest]
        # The last form that is not behind the window in order begins with every form that the
        # window begins with.
        index = bisect_right(self._forms, window)
        if not index:
            return 0
        nested = self._nested[index - 1]
        low, high = 0, len(nested)
        while low < high:
            middle = (low + high) // 2
            if window.startswith(nested[middle]):
                low = middle + 1
            else:
                high = middle
        return len(nested[low - 1]) if low else 0


def _spans(groups: Mapping[str, _Group], text: str, most: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of forms in the text, by start; they may overlap.

    After `most` beginnings of forms all the rest is one span.
    """
    starts = _beginnings(groups, text)
    for start in starts[:most]:
        beginning = text[start : start + MINIMUM_SECRET_CHARACTERS]
        if length := groups[beginning].length_at(text, start):
            yield start, start + length
    if len(starts) > most:
        # Nobody reads such a text, and searching it takes long.
        yield starts[most], len(text)


def _beginnings(groups: Mapping[str, _Group], text: str) -> list[int]:
    """Return the positions in the text where a form may start."""
    size = MINIMUM_SECRET_CHARACTERS
    if len(groups) <= FEW_BEGINNINGS:
        found = [beginning for beginning in groups if beginning in text]
        if len(found) <= 1:
            return list(chain.from_iterable(_positions(beginning, text) for beginning in found))
        known = frozenset(found)
    else:
        known = frozenset(groups)
    return [i for i in range(len(text) - size + 1) if text[i : i + size] in known]


def _positions(part: str, text: str) -> Iterator[int]:
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + 1)


def _without(spans: Iterable[tuple[int, int]], text: str) -> str:
    """Return the text with the spans replaced; overlapping ones are merged."""
    pieces, end = [], 0
    for start, stop in _merged(spans):
        pieces += [text[end:start], REDACTED]
        end = stop
    return "".join([*pieces, text[end:]])


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, in a URL, in JSON, in hexadecimal and inside base64."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    raw = secret.encode("utf-8", "surrogatepass")
    yield from _with_parts(raw.hex())
    yield from _with_parts(raw.hex().upper())
    # A secret inside a longer base64 text starts at one of three bit positions. The characters that
    # depend only on the secret are the same in every context.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        first = (0, 2, 3)[offset]
        last = len(encoded) if (offset + len(raw)) % 3 == 0 else len(encoded) - 1
        core = encoded[first:last]
        if len(core) >= MINIMUM_SECRET_CHARACTERS:
            yield from _with_parts(core)
            yield from _with_parts(core.replace("+", "-").replace("/", "_"))


def _with_parts(encoded: str) -> list[str]:
    if len(encoded) < 2 * WRAPPED_CHARACTERS:
        return [encoded]
    end = min(len(encoded), WRAPPED_PARTS * WRAPPED_CHARACTERS) - WRAPPED_CHARACTERS + 1
    starts = range(0, end, WRAPPED_CHARACTERS)
    return [encoded, *(encoded[start : start + WRAPPED_CHARACTERS] for start in starts)]
