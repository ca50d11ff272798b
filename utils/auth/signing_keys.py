"""The public keys of a Supabase project, fetched rarely and remembered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from threading import Lock, Thread
from typing import Any

import structlog
from jwt import PyJWK, PyJWKClient, PyJWKClientError, PyJWTError

from utils.errors import Unavailable

log = structlog.get_logger(__name__)

# Never HS256: a public key must not be taken for a shared secret.
ALGORITHMS = frozenset({"ES256", "RS256", "EdDSA"})

LIFE_SECONDS = 600.0
"""Age at which the keys are asked for again before one is believed."""

FRESH_SECONDS = 300.0
"""Age from which the keys are asked for beside a request, which does not wait."""

PAUSE_SECONDS = 5.0
"""Least time between two fetches, whatever tokens come."""

FETCH_TIMEOUT_SECONDS = 5.0

FAILURE_MEMORY_SECONDS = 60.0
"""Time after a failed fetch in which requests do not wait for the next one."""

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys of the last successful fetch, and the outcome of the last one."""

    keys: Mapping[str, PyJWK] = field(default_factory=dict)
    keys_at: float = _NEVER
    tried_at: float = _NEVER
    failed: bool = False


class SigningKeys:
    """Finds the key of a token. Safe to call from any thread; there is one fetch at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known = _Known()
        self._fetch: Future[None] = Future()
        self._fetch.set_result(None)
        self._lock = Lock()

    def find(self, key_id: str) -> PyJWK | None:
        """Return the key with this id, None when the project has no such key.

        A key that is known is believed while the project does not answer. Raises `Unavailable` when
        only the project could tell.
        """
        known = self._known
        key = known.keys.get(key_id)
        if key is not None and _age(known.keys_at) < FRESH_SECONDS:
            return key
        fetch = self._fetch_unless_recent()
        if key is not None and _age(known.keys_at) < LIFE_SECONDS:
            return key
        # After a failure nobody waits: a crowd of tokens would hold all threads of the server.
        if not known.failed or _age(known.tried_at) > FAILURE_MEMORY_SECONDS:
            self._wait(fetch)
        known = self._known
        if key_id not in known.keys and known.failed:
            raise Unavailable(
                "Supabase's signing keys cannot be fetched, so this token cannot be verified yet; "
                "try again.",
                "sign_in_unavailable",
                retry_after_seconds=int(PAUSE_SECONDS),
            )
        return known.keys.get(key_id)

    def _fetch_unless_recent(self) -> Future[None]:
        """Return the fetch under way or the last one; begin one if that is long enough ago."""
        with self._lock:
            if self._fetch.done() and _age(self._known.tried_at) >= PAUSE_SECONDS:
                self._fetch = Future()
                run = Thread(target=self._run, args=(self._fetch,), name="signing-keys")
                run.daemon = True
                run.start()
            return self._fetch

    def _wait(self, fetch: Future[None]) -> None:
        wait([fetch], FETCH_TIMEOUT_SECONDS)
        with self._lock:
            if not fetch.done():
                self._known = replace(self._known, tried_at=time.time(), failed=True)

    def _run(self, fetch: Future[None]) -> None:
        try:
            keys = fetch_keys(self._url)
        except Unavailable as error:
            log.warning(
                "signing keys not fetched", action="signing_keys.fetch_failed", reason=error.message
            )
            self._finish(fetch, None)
        else:
            self._finish(fetch, keys)

    def _finish(self, fetch: Future[None], keys: Mapping[str, PyJWK] | None) -> None:
        now = time.time()
        with self._lock:
            self._known = (
                replace(self._known, tried_at=now, failed=True)
                if keys is None
                else _Known(keys, now, now)
            )
            fetch.set_result(None)


def fetch_keys(url: str) -> Mapping[str, PyJWK]:
    """Return the keys at an address that verify tokens, by their ids. Raises `Unavailable`."""
    # Only its fetch is used. Its own cache would forget the keys while the project is away, and
    # would ask again for each unknown key while it does not answer.
    client = PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT_SECONDS)
    try:
        return dict(_usable(client.fetch_data()))
    except (PyJWKClientError, ValueError, OSError) as error:
        raise Unavailable(f"The public keys cannot be fetched: {error}") from error


def _age(moment: float) -> float:
    # A clock that was set back must not make what is known look new for long.
    return abs(time.time() - moment)


def _usable(key_set: Mapping[str, Any]) -> Iterator[tuple[str, PyJWK]]:
    """Yield the keys that verify tokens, by their ids. Raises `ValueError` for what is no set."""
    described = key_set.get("keys")
    if not isinstance(described, list):
        raise ValueError("the answer is no JSON Web Key Set")  # noqa: TRY004 - as json.load does
    for one in described:
        try:
            key = PyJWK.from_dict(one)
        except (PyJWTError, AttributeError):  # another kind of key, or no object
            continue
        usable = key.algorithm_name in ALGORITHMS and key.public_key_use in {"sig", None}
        if usable and isinstance(key.key_id, str):
            yield key.key_id, key
