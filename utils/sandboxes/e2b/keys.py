"""Sends requests to E2B with one of the account's keys, and with the next when one is refused.

So a key is replaced without a stop: the server runs with both, and the old one is then revoked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
from e2b.exceptions import AuthenticationException

from utils.sandboxes.protocol import KeyState

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class KeyRing:
    """The keys of one E2B team. All requests use the same one until E2B refuses it.

    Only for requests to the control plane: those to a sandbox have a token of the sandbox.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._in_use = 0
        self._refused_at: dict[int, datetime] = {}

    @property
    def first(self) -> str:
        """The key that is tried first."""
        return self._keys[0]

    def states(self) -> list[KeyState]:
        """Return what is known of each key, without the key."""
        return [
            KeyState(place + 1, place == self._in_use, self._refused_at.get(place))
            for place in range(len(self._keys))
        ]

    async def call(
        self, request: Callable[..., Awaitable[Result]], *arguments: Any, **options: Any
    ) -> Result:
        """Call a method of the SDK with the key in use, and with each other one that it needs.

        Raises what the method raises; `AuthenticationException` when E2B refuses every key.
        """
        count = len(self._keys)
        # A key that was refused before is tried as well: E2B may accept it again.
        order = [(self._in_use + step) % count for step in range(count)]
        for place in order:
            try:
                result = await request(*arguments, api_key=self._keys[place], **options)
            except AuthenticationException:
                self._mark_refused(place)
                if place == order[-1]:
                    raise
            else:
                self._mark_accepted(place)
                return result
        raise AssertionError("the last key returns or raises")

    def _mark_refused(self, place: int) -> None:
        if place in self._refused_at:
            return
        self._refused_at[place] = datetime.now(UTC)
        log.warning(
            "E2B refuses a key", action="e2b.key_refused", position=place + 1, of=len(self._keys)
        )

    def _mark_accepted(self, place: int) -> None:
        # Requests that began before a refusal end after it, with the key that is refused now.
        if place == self._in_use and place not in self._refused_at:
            return
        self._in_use = place
        if self._refused_at.pop(place, None):
            log.info("E2B accepts a key again", action="e2b.key_accepted", position=place + 1)
