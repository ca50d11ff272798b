"""Forwards requests to a Supabase project and injects faults on demand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
from werkzeug import Request, Response

from tests.support.loopback import LoopbackServer, drop_connection

HOP_HEADERS = {"connection", "transfer-encoding", "content-encoding", "content-length", "host"}
TIMED_OUT = b'{"code": "57014", "message": "canceling statement", "details": null, "hint": null}'


class FaultyProxy(LoopbackServer):
    """Forwards requests; loses responses, refuses requests or is disconnected on demand.

    `lost` and `refused` count the faults to inject, by path; `most_bytes` limits the body of a
    forwarded request; while `is_cut` is true nothing is answered.
    """

    def __init__(self, url: str) -> None:
        super().__init__(self._forward)
        self.target = url
        self.client = httpx.Client(timeout=30)
        self.lost: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.most_bytes = 10**9
        self.is_cut = False

    def stop(self) -> None:
        """Stop the server and close the connections to the project."""
        super().stop()
        self.client.close()

    def _forward(self, request: Request) -> Response:
        path, body = request.path, request.get_data()
        if self.is_cut:
            return drop_connection(request)
        if self.refused[path] > 0:
            self.refused[path] -= 1
            return Response(status=503)
        if len(body) > self.most_bytes:
            return Response(TIMED_OUT, 500, content_type="application/json")
        target = self.target + request.environ["REQUEST_URI"]
        answer = self.client.request(
            request.method, target, content=body, headers=_kept(request.headers)
        )
        if self.lost[path] > 0:
            self.lost[path] -= 1
            return drop_connection(request)
        return Response(answer.content, answer.status_code, _kept(answer.headers))


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP_HEADERS}
