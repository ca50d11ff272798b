"""Hands requests on to a Supabase project, as long as it is told nothing else."""

from __future__ import annotations

from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

HOP_HEADERS = {"connection", "transfer-encoding", "content-encoding", "content-length", "host"}
TIMED_OUT = b'{"code": "57014", "message": "canceling statement", "details": null, "hint": null}'


class FaultyProxy:
    """Loses answers, refuses requests, or is cut off. Use it in a `with` statement.

    `lost` and `refused` say how often, by path; `most_bytes` is the largest body that is handed
    on; while `is_cut` nothing is answered.
    """

    def __init__(self, url: str) -> None:
        self.lost: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.most_bytes = 10**9
        self.is_cut = False
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(url))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> FaultyProxy:
        Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self, url: str) -> type[BaseHTTPRequestHandler]:
        proxy, client = self, httpx.Client(timeout=30)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _hand_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.partition("?")[0]
                if proxy.is_cut:
                    self.close_connection = True
                elif proxy.refused[path] > 0:
                    proxy.refused[path] -= 1
                    self._answer(503, b"", {})
                elif len(body) > proxy.most_bytes:
                    self._answer(500, TIMED_OUT, {"Content-Type": "application/json"})
                else:
                    self._forward(path, body)

            do_GET = do_POST = do_PATCH = do_DELETE = _hand_on  # noqa: N815

            def _forward(self, path: str, body: bytes) -> None:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
                answer = client.request(
                    self.command, url + self.path, content=body, headers=headers
                )
                if proxy.lost[path] > 0:
                    proxy.lost[path] -= 1
                    self.close_connection = True
                else:
                    kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_HEADERS}
                    self._answer(answer.status_code, answer.content, kept)

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
