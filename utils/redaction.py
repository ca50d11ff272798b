"""The redactor: knows every live secret and removes it from what leaves the process as text."""

from __future__ import annotations

import base64
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

# A shorter value would turn ordinary words into "[redacted]" without protecting anything.
MINIMUM_SECRET_CHARACTERS = 6


class Redactor:
    """Replaces live secrets, also URL-encoded or inside base64, by `[redacted]`.

    Safe to use from several threads. A secret is live while some `hold` of it is open. One with a
    parent also replaces what is live there.
    """

    def __init__(self, parent: Redactor | None = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._pattern: re.Pattern[str] | None = None

    def child(self) -> Redactor:
        """Return a redactor that also knows secrets of its own, which stay unknown here."""
        return Redactor(self)

    @contextmanager
    def hold(self, *secrets: str | None) -> Iterator[None]:
        """Keep the given secrets out of all text for the length of the block."""
        values = [value for value in secrets if value and len(value) >= MINIMUM_SECRET_CHARACTERS]
        self._change(values, +1)
        try:
            yield
        finally:
            self._change(values, -1)

    def add(self, *secrets: str) -> None:
        """Keep secrets out of all text until the process ends."""
        long_enough = [value for value in secrets if len(value) >= MINIMUM_SECRET_CHARACTERS]
        self._change(long_enough, +1)

    def redact(self, text: str) -> str:
        """Return the text without live secrets. Text without any comes back unchanged."""
        pattern = self._pattern
        text = pattern.sub(REDACTED, text) if pattern else text
        return self._parent.redact(text) if self._parent else text

    def redact_values(self, value: Any) -> Any:
        """Return a JSON value without live secrets in its texts; keys stay as they are."""
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
            self._pattern = _compile(self._held)


def _compile(secrets: Counter[str]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in _forms(secret)}
    if not forms:
        return None
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(re.escape(form) for form in longest_first))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    # A secret inside a longer base64 text starts at one of three bit positions; the characters
    # that depend only on the secret are the same whatever surrounds it.
    raw = secret.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        first = (0, 2, 3)[offset]
        last = len(encoded) if (offset + len(raw)) % 3 == 0 else len(encoded) - 1
        core = encoded[first:last]
        if len(core) >= MINIMUM_SECRET_CHARACTERS:
            yield core
            yield core.replace("+", "-").replace("/", "_")
