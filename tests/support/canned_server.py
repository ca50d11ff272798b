"""A server whose answers a test writes down beforehand."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from tests.support.loopback import LoopbackServer


class Answer(NamedTuple):
    """One answer; None instead of it closes the connection without a word."""

    status: int
    body: bytes
    kind: str = "application/json"


def json_response(status: int, value: Any) -> Answer:
    return Answer(status, json.dumps(value).encode())


class AnsweringServer(LoopbackServer):
    """Gives the answers in `answers` one after the other."""

    def __init__(self, *answers: Answer | None) -> None:
        super().__init__(self._handler())
        self._answers = list(answers)
        self.requests = 0

    def _next(self) -> Answer | None:
        self.requests += 1
        return self._answers.pop(0)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answering = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = answering._next()
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_DELETE = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler
