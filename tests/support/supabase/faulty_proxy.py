"""Forwards requests to a Supabase project and injects faults on demand.

Built on http.server: pytest-httpserver closes each connection after one answer, and the faults here
also hit connections that are kept alive.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

import httpx

HOP_HEADERS = {"connection", "transfer-encoding", "content-encoding", "content-length", "host"}
TIMED_OUT = b'{"code": "57014", "message": "canceling statement", "details": null, "hint": null}'
MOST_HELD_SECONDS = 60
JSON = {"Content-Type": "application/json"}


class FaultyProxy:
    """Forwards requests; loses responses, refuses requests or is disconnected on demand.

    `lost` and `refused` count the faults to inject, by path; `most_bytes` limits the body of a
    forwarded request; while `is_cut` is true nothing is answered. The next response to a path in
    `held` waits for its event.
    """

    def __init__(self, url: str) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.target = url
        self.client = httpx.Client(timeout=30)
        self.lost: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.held: dict[str, threading.Event] = {}
        self.most_bytes = 10**9
        self.is_cut = False
        self._changed = threading.Condition()
        self._forwarded = 0
        self._is_closed = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        with self._changed:
            self._is_closed = True
            # They use the client.
            self._changed.wait_for(lambda: self._forwarded == 0)
        self.client.close()

    @contextmanager
    def forwarding(self) -> Iterator[bool]:
        """Keep the client open until the block ends; yield False when it is closed already."""
        with self._changed:
            is_open = not self._is_closed
            self._forwarded += is_open
        try:
            yield is_open
        finally:
            with self._changed:
                self._forwarded -= is_open
                self._changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FaultyProxy, *arguments: Any) -> None:
        self._proxy = proxy
        super().__init__(*arguments)

    def _hand_on(self) -> None:
        proxy, path = self._proxy, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if proxy.is_cut:
            self.close_connection = True
        elif proxy.refused[path] > 0:
            proxy.refused[path] -= 1
            self._answer(503, b"", {})
        elif len(body) > proxy.most_bytes:
            self._answer(500, TIMED_OUT, JSON)
        else:
            self._forward(path, body)

    do_GET = do_POST = do_PATCH = do_DELETE = _hand_on  # noqa: N815

    def _forward(self, path: str, body: bytes) -> None:
        proxy = self._proxy
        held = proxy.held.pop(path, None)
        with proxy.forwarding() as is_open:
            if not is_open:
                self.close_connection = True
                return
            answer = proxy.client.request(
                self.command, proxy.target + self.path, content=body, headers=_kept(self.headers)
            )
        if held:
            held.wait(MOST_HELD_SECONDS)
        if proxy.lost[path] > 0:
            proxy.lost[path] -= 1
            self.close_connection = True
        else:
            self._answer(answer.status_code, answer.content, _kept(answer.headers))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_HEADERS}
