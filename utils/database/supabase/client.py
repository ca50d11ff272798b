"""The one client of a Supabase project: how a request is built, sent, and sent again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol, cast

import httpx
import stamina
from postgrest import APIResponse, SyncRequestBuilder
from supabase import ClientOptions, create_client

from utils.config.settings import Settings
from utils.database.supabase.errors import (
    RequestRefused,
    is_retryable,
    raise_for_refusal,
    translating,
)
from utils.database.types import DOCUMENT_UNREADABLE
from utils.errors import RowUnreadable
from utils.models.tasks import Json

ANSWER_SECONDS = 10
CONNECT_SECONDS = 5
IDLE_SECONDS = 30

LOOP_THREADS = 8
"""Threads that use the gateway beside those that answer HTTP requests."""

MORE_TRIES = 2
PAUSE_SECONDS = 0.2

_more_tries = stamina.RetryingCaller(
    attempts=MORE_TRIES, timeout=None, wait_initial=PAUSE_SECONDS, wait_jitter=PAUSE_SECONDS
)


class Request(Protocol):
    """Common protocol of the client's query builders."""

    def execute(self) -> APIResponse:
        """Send it."""


class Supabase:
    """Sends requests with the key that row-level security does not hold for.

    Safe to use from any thread: a builder belongs to one request, and what they share, addresses
    and headers, is only read.
    """

    def __init__(self, url: str, key: str, threads: int) -> None:
        self._http = httpx.Client(
            http2=False,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(
                max_connections=2 * threads,
                max_keepalive_connections=threads,
                keepalive_expiry=IDLE_SECONDS,
            ),
            event_hooks={"response": [raise_for_refusal]},
        )
        # The client's own retries wait for whole seconds, and know nothing of functions.
        options = ClientOptions(
            httpx_client=self._http,
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
        )
        self._rest = create_client(url, key, options).postgrest

    def close(self) -> None:
        """Give back every connection."""
        self._http.close()

    def table(self, name: str) -> SyncRequestBuilder:
        """Begin a request about one table."""
        return self._rest.table(name)

    def rows(self, request: Request, *, idempotent: bool) -> list[Json]:
        """Send a request about a table and return its rows."""
        return cast("list[Json]", self._send(request, idempotent=idempotent))

    def call(self, function: str, arguments: Mapping[str, Any], *, idempotent: bool) -> Any:
        """Call a function of the database and return its value, which is never text."""
        request = self._rest.rpc(function, dict(arguments))
        return self._send(request, idempotent=idempotent)

    def revision(self) -> str | None:
        """Return the revision of the project's tables.

        Raises `ConfigurationError` when the address, the key or the project is a wrong one.
        """
        request = self._rest.rpc("backend_revision", {})
        revision: str | None = self._send(request, idempotent=True, at_start=True)["revision"]
        return revision

    def _send(self, request: Request, *, idempotent: bool, at_start: bool = False) -> Any:
        with translating(at_start=at_start):
            try:
                return _answer(request)
            except (httpx.HTTPError, RequestRefused) as error:
                if not is_retryable(error, idempotent=idempotent):
                    raise
            # Most often a connection that was closed while nobody used it: the next one is new.
            return _more_tries(partial(is_retryable, idempotent=idempotent), _answer, request)


def connect(settings: Settings) -> Supabase:
    """Return the client of the configured project; it opens connections when they are needed."""
    url, key = settings.supabase_url, settings.supabase_service_role_key
    if url is None or key is None:
        raise ValueError("no Supabase project is configured")
    return Supabase(url, key.get_secret_value(), settings.request_threads + LOOP_THREADS)


def _answer(request: Request) -> Any:
    try:
        data = request.execute().data
        # The client hands on as text what it cannot read.
        if isinstance(data, str):
            json.loads(data)
            raise RequestRefused(200)
    except json.JSONDecodeError:
        raise RequestRefused(200) from None
    except UnicodeEncodeError:
        raise
    except (ValueError, RecursionError):
        raise RowUnreadable(DOCUMENT_UNREADABLE) from None
    return data
