"""Builds, sends and retries requests to a Supabase project."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, cast

import httpx
import stamina
from postgrest import APIResponse, SyncRequestBuilder
from supabase import ClientOptions, create_client

from utils.config.settings import Settings
from utils.database.failures import FailureRecord
from utils.database.supabase.errors import (
    RequestRefused,
    is_retryable,
    raise_for_refusal,
    translating,
)
from utils.database.supabase.functions import Functions, proxy_for
from utils.database.types import DOCUMENT_UNREADABLE
from utils.errors import DatabaseUnavailable, RowUnreadable
from utils.models.tasks import Json

ANSWER_SECONDS = 10
CONNECT_SECONDS = 5
IDLE_SECONDS = 30

LOOP_THREADS = 8
"""The number of threads that use the gateway besides those that answer HTTP requests."""

MAX_RETRIES = 2
PAUSE_SECONDS = 0.2

_retrying = stamina.RetryingCaller(
    attempts=MAX_RETRIES, timeout=None, wait_initial=PAUSE_SECONDS, wait_jitter=PAUSE_SECONDS
)


_READS = re.compile(r"backend_(?:(?:find|get|list)_\w+|count_tasks|revision)|engine_sandboxes")


Send = Callable[[], Any]
"""Sends a request and returns the parsed answer."""


class Request(Protocol):
    """Declares what all request builders of the client have."""

    request: Any

    def execute(self) -> APIResponse:
        """Send the request."""


class Supabase:
    """Sends requests with the service role key, which bypasses row-level security.

    Safe to use from any thread: each request has its own builder, and the addresses and headers
    that builders share are only read.
    """

    def __init__(self, url: str, key: str, threads: int) -> None:
        self.failures = FailureRecord()
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        transport = httpx.HTTPTransport(
            proxy=proxy_for(url),
            limits=httpx.Limits(
                max_connections=2 * threads,
                max_keepalive_connections=threads,
                keepalive_expiry=IDLE_SECONDS,
            ),
        )
        self._http = httpx.Client(
            transport=transport, timeout=timeout, event_hooks={"response": [raise_for_refusal]}
        )
        # The retries of the client wait for whole seconds and do not cover function calls.
        options = ClientOptions(
            httpx_client=self._http,
            auto_refresh_token=False,
            persist_session=False,
            postgrest_client_retry=False,
        )
        self._rest = create_client(url, key, options).postgrest
        address = str(self._rest.base_url).rstrip("/")
        self._functions = Functions(transport, address, self._rest.headers, timeout)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def table(self, name: str) -> SyncRequestBuilder:
        """Return a request builder for a table."""
        return self._rest.table(name)

    def rows(self, request: Request, *, idempotent: bool) -> list[Json]:
        """Send a request for a table and return the rows."""
        is_write = request.request.http_method != "GET"
        send = partial(_rows, request)
        return cast("list[Json]", self._send(send, idempotent=idempotent, is_write=is_write))

    def call(self, function: str, arguments: Mapping[str, Any], *, idempotent: bool) -> Any:
        """Call a database function and return its value, which is never text."""
        send = partial(self._functions.call, function, arguments)
        return self._send(send, idempotent=idempotent, is_write=not only_reads(function))

    def revision(self) -> str | None:
        """Return the revision of the project's tables.

        Raises `ConfigurationError` when the URL, the key or the project is wrong.
        """
        send = partial(self._functions.call, "backend_revision", {})
        revision: str | None = self._translated(send, idempotent=True, at_start=True)["revision"]
        return revision

    def _send(self, send: Send, *, idempotent: bool, is_write: bool) -> Any:
        try:
            answer = self._translated(send, idempotent=idempotent)
        except DatabaseUnavailable as error:
            self.failures.record(error.message, is_write=is_write)
            raise
        if is_write:
            self.failures.record_write()
        return answer

    def _translated(self, send: Send, *, idempotent: bool, at_start: bool = False) -> Any:
        with translating(at_start=at_start):
            try:
                return _answer(send)
            except (httpx.HTTPError, RequestRefused) as error:
                if not is_retryable(error, idempotent=idempotent):
                    raise
            # Usually an idle connection that was closed; the next one is new.
            return _retrying(partial(is_retryable, idempotent=idempotent), _answer, send)


def only_reads(function: str) -> bool:
    """Tell whether a function of the database changes nothing, from its name."""
    return _READS.fullmatch(function) is not None


def connect(settings: Settings) -> Supabase:
    """Return a client of the configured project; it opens connections on demand."""
    url, key = settings.supabase_url, settings.supabase_service_role_key
    if url is None or key is None:
        raise ValueError("no Supabase project is configured")
    return Supabase(url, key.get_secret_value(), settings.request_threads + LOOP_THREADS)


def _answer(send: Send) -> Any:
    try:
        return send()
    except json.JSONDecodeError:
        raise RequestRefused(200) from None
    except UnicodeEncodeError:
        raise
    except (ValueError, RecursionError):
        raise RowUnreadable(DOCUMENT_UNREADABLE) from None


def _rows(request: Request) -> Any:
    data = request.execute().data
    # The client returns a body that it cannot parse as text.
    if isinstance(data, str):
        json.loads(data)
        raise RequestRefused(200)
    return data
