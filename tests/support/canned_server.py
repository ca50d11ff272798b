"""Gives answers that a test writes down beforehand, over pytest-httpserver."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.support.loopback import ANY_PATH, drop_connection


class Answer(NamedTuple):
    """One answer."""

    status: int
    body: bytes
    kind: str = "application/json"


def json_response(status: int, value: Any) -> Answer:
    """Return an answer with a JSON body."""
    return Answer(status, json.dumps(value).encode())


class CannedServer:
    """Gives each request the next answer; None closes the connection without one."""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self.url = server.url_for("").rstrip("/")
        self.requests = 0

    def set_answers(self, *answers: Answer | None) -> None:
        """Replace the answers, and count requests from 0. A request too many gets status 500."""
        self._server.clear()
        self.requests = 0
        for answer in answers:
            handler = self._server.expect_ordered_request(ANY_PATH)
            handler.respond_with_handler(partial(self._respond, answer))

    def _respond(self, answer: Answer | None, request: Request) -> Response:
        self.requests += 1
        if answer is None:
            return drop_connection(request)
        return Response(answer.body, answer.status, content_type=answer.kind)
