"""Ends a request to GitHub at one moment and one size, however the answer comes.

The timeouts of sockets are for each part of an answer, so that a byte now and then would hold a
request for as long as somebody likes. Here connecting, the head, the body and what is asked once
more share one time.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from socket import socket
from typing import Any, Self

import requests
from github.Requester import HTTPRequestsConnectionClass, Requester
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ProtocolError

MAX_ANSWER_BYTES = 32 * 2**20
"""Of one answer, as it is sent and as it unpacks; 100 pull requests with the longest texts fit."""

_LEAST_SECONDS = 0.001
_ACCEPTED = 202
_CONNECTION_CLASS = "_Requester__connectionClass"


def limit_requests(requester: Requester) -> None:
    """Have the timeout of a client of PyGithub's be for a whole request.

    What takes longer, or is larger, raises a `requests.RequestException`.
    """
    # PyGithub takes classes for all clients at once only, and then connects for each request anew.
    made: Callable[..., HTTPRequestsConnectionClass] = getattr(requester, _CONNECTION_CLASS)

    def limited(*arguments: Any, **options: Any) -> HTTPRequestsConnectionClass:
        connection = made(*arguments, **options)
        adapter = _Adapter(max_retries=connection.retry)
        connection.session.mount(f"{connection.protocol}://", adapter)
        return connection

    setattr(requester, _CONNECTION_CLASS, limited)


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        _have_limits(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        _have_limits(manager)
        return manager

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        options["timeout"] = _TimeLeft(time.monotonic() + options["timeout"])
        response = super().send(*arguments, **options)
        if response.status_code == _ACCEPTED and response.request.method == "GET":
            # PyGithub would ask again for as long as that is the answer.
            response.close()
            raise requests.ConnectionError("the answer is not ready")
        return response

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        response = super().build_response(req, resp)
        response.raw = _Body(resp)
        return response


class _TimeLeft(Timeout):
    """What is left until a moment; urllib3 copies it each time that it sends a request."""

    def __init__(self, ends_at: float) -> None:
        super().__init__(total=max(ends_at - time.monotonic(), _LEAST_SECONDS))
        self._ends_at = ends_at

    def clone(self) -> Self:
        return type(self)(self._ends_at)


class _Answer(HTTPResponse):
    def __init__(self, sock: socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        # The socket's timeout is what is left for the answer, here where it begins.
        self.fp = io.BufferedReader(_Reader(self.fp.detach(), sock))


class _Reader(io.RawIOBase):
    """Reads one answer from a socket until its time is over."""

    def __init__(self, raw: io.RawIOBase, connection: socket) -> None:
        self._raw = raw
        self._socket = connection
        self._ends_at = time.monotonic() + (connection.gettimeout() or 0)
        self._bytes_left = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the answer takes too long")
        if self._bytes_left <= 0:
            raise OSError("the answer is too large")
        self._socket.settimeout(seconds)
        count: int | None = self._raw.readinto(buffer)
        self._bytes_left -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Body:
    """The body of an answer, which may unpack to no more than its limit."""

    def __init__(self, raw: BaseHTTPResponse) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        left = MAX_ANSWER_BYTES
        for piece in self._raw.stream(*arguments, **options):
            left -= len(piece)
            if left < 0:
                self._raw.close()
                raise ProtocolError("the answer unpacks to too much")
            yield piece


class _Connection(HTTPConnection):
    response_class = _Answer


class _SecureConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _have_limits(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
