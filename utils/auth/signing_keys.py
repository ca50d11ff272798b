"""Fetches and caches the public keys of a Supabase project (JWKS)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from threading import Lock, Thread
from typing import Any

import structlog
from jwt import PyJWK, PyJWKClient, PyJWTError

from utils.errors import Unavailable

log = structlog.get_logger(__name__)

# HS256 is excluded: a public key must never be used as a shared secret.
ALGORITHMS = frozenset({"ES256", "RS256", "EdDSA"})

UNREADABLE = (
    PyJWTError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors of keys and tokens that are not what they should be.

The library expects every field to have the right type, and nothing in a token is certain before its
signature has been verified.
"""

LIFE_SECONDS = 600.0
"""Age at which cached keys must be fetched again before they are used."""

FRESH_SECONDS = 300.0
"""Age at which cached keys are fetched again in the background."""

PAUSE_SECONDS = 5.0
"""Minimum time between two fetches."""

FETCH_TIMEOUT_SECONDS = 5.0

FAILURE_MEMORY_SECONDS = 60.0
"""Time after a failed fetch during which requests do not wait for another one."""

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class _CachedKeys:
    """Cached keys of the last successful fetch, and the time and result of the last fetch."""

    keys: Mapping[str, PyJWK] = field(default_factory=dict)
    keys_at: float = _NEVER
    tried_at: float = _NEVER
    failed: bool = False


class SigningKeys:
    """Finds the key of a token. Safe to call from any thread; runs one fetch at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._cached = _CachedKeys()
        self._fetch: Future[None] = Future()
        self._fetch.set_result(None)
        self._lock = Lock()

    def find(self, key_id: str) -> PyJWK | None:
        """Return the key with this id, or None when the project has no such key.

        A cached key is used while the project does not respond. Raises `Unavailable` when the key
        is not cached and the project does not respond.
        """
        cached = self._cached
        key = cached.keys.get(key_id)
        if key is not None and _age(cached.keys_at) < FRESH_SECONDS:
            return key
        fetch = self._fetch_unless_recent()
        if key is not None and _age(cached.keys_at) < LIFE_SECONDS:
            return key
        # No request waits after a failure: many tokens could block all server threads.
        if not cached.failed or _age(cached.tried_at) > FAILURE_MEMORY_SECONDS:
            self._wait(fetch)
        cached = self._cached
        if key_id not in cached.keys and cached.failed:
            raise Unavailable(
                "Supabase's signing keys cannot be fetched, so this token cannot be verified now; "
                "try again.",
                "sign_in_unavailable",
                retry_after_seconds=int(PAUSE_SECONDS),
            )
        return cached.keys.get(key_id)

    def _fetch_unless_recent(self) -> Future[None]:
        """Return the running or last fetch; start a new one if the last is old enough."""
        with self._lock:
            if self._fetch.done() and _age(self._cached.tried_at) >= PAUSE_SECONDS:
                self._fetch = Future()
                run = Thread(target=self._run, args=(self._fetch,), name="signing-keys")
                run.daemon = True
                run.start()
            return self._fetch

    def _wait(self, fetch: Future[None]) -> None:
        wait([fetch], FETCH_TIMEOUT_SECONDS)
        with self._lock:
            if not fetch.done():
                self._cached = replace(self._cached, tried_at=time.time(), failed=True)

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
            self._cached = (
                replace(self._cached, tried_at=now, failed=True)
                if keys is None
                else _CachedKeys(keys, now, now)
            )
            fetch.set_result(None)


def fetch_keys(url: str) -> Mapping[str, PyJWK]:
    """Fetch the keys that verify tokens, by key id. Raises `Unavailable`."""
    # Only its fetch is used. Its cache would drop the keys while the project is unavailable and
    # would send a request for each unknown key.
    client = PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT_SECONDS)
    try:
        return dict(_usable(client.fetch_data()))
    except (OSError, *UNREADABLE) as error:
        raise Unavailable(f"The public keys cannot be fetched: {error}") from error


def _age(moment: float) -> float:
    # The absolute value keeps cached keys from looking fresh after the clock was set back.
    return abs(time.time() - moment)


def _usable(key_set: Mapping[str, Any]) -> Iterator[tuple[str, PyJWK]]:
    """Yield the keys that verify tokens, with their ids. Raises `ValueError` for a bad key set."""
    described = key_set.get("keys")
    if not isinstance(described, list):
        raise ValueError("the response is not a JSON Web Key Set")  # noqa: TRY004 - as json.load does
    for one in described:
        try:
            key = PyJWK.from_dict(one)
            is_signing = key.algorithm_name in ALGORITHMS and key.public_key_use in ("sig", None)
        except UNREADABLE:  # an unsupported kind of key, or no key at all
            continue
        if is_signing and isinstance(key.key_id, str):
            yield key.key_id, key
