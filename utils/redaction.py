"""Removes live secrets from every text that leaves the process."""

from __future__ import annotations

import base64
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

API_KEY = re.compile(r"ac_[0-9A-Fa-f]{20,}")
"""An API key of this server, or the better part of one. Redacted whosever it is."""

# Shorter values would redact ordinary words without protecting anything.
MINIMUM_SECRET_CHARACTERS = 6


class Redactor:
    """Replaces live secrets, also URL-encoded or inside base64, by `[redacted]`.

    Safe to use from several threads. A secret is live while a `hold` with it is open. A redactor
    with a parent also replaces the parent's live secrets.
    """

    def __init__(self, parent: Redactor | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._forms_of: dict[str, frozenset[str]] = {}
        # Replaced as a whole and never mutated, so that `redact` needs no lock.
        self._forms: tuple[str, ...] = ()

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
        # Not a regular expression: compiling one of many long secrets takes seconds.
        if found := [form for form in self._forms if form in text]:
            text = _without(found, text)
        if self._parent:
            return self._parent.redact(text)
        return API_KEY.sub(REDACTED, text) if "ac_" in text else text

    def redact_values(self, value: Any) -> Any:
        """Return a JSON value with live secrets replaced in its texts, but not in keys."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {key: self.redact_values(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.redact_values(item) for item in value]
        return value

    def _change(self, secrets: list[str], step: int) -> None:
        with self._lock:
            for secret in secrets:
                self._held[secret] += step
            self._held = +self._held
            known = self._forms_of
            self._forms_of = {
                secret: known.get(secret) or frozenset(_forms(secret)) for secret in self._held
            }
            self._forms = tuple(frozenset().union(*self._forms_of.values()))


_current: ContextVar[Redactor | None] = ContextVar("current_redactor", default=None)


def current_redactor() -> Redactor | None:
    """Return the redactor of the current task, which also replaces secrets of its user."""
    return _current.get()


def _without(forms: list[str], text: str) -> str:
    """Return the text with all occurrences replaced; overlapping ones are merged."""
    pieces, end = [], 0
    for start, stop in _merged(sorted(span for form in forms for span in _spans(form, text))):
        pieces += [text[end:start], REDACTED]
        end = stop
    return "".join([*pieces, text[end:]])


def _spans(form: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        stop = start + len(form)
        yield start, stop
        start = text.find(form, stop)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in spans:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    # A secret inside a longer base64 text starts at one of three bit positions. The characters that
    # depend only on the secret are the same in every context.
    raw = secret.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        first = (0, 2, 3)[offset]
        last = len(encoded) if (offset + len(raw)) % 3 == 0 else len(encoded) - 1
        core = encoded[first:last]
        if len(core) >= MINIMUM_SECRET_CHARACTERS:
            yield core
            yield core.replace("+", "-").replace("/", "_")
