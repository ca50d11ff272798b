"""Serves a deterministic model on loopback for the unmodified agent programs.

    with serve_model() as model:
        os.environ |= {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "any"}

It speaks the Anthropic Messages API and the OpenAI Responses API, both streamed, and does what the
lines of the prompt say; see `script`. `python -m tests.fakes.models.server --port 8100` serves
until it is interrupted and prints a line per request.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import urlsplit

from tests.fakes.models import anthropic as model_anthropic
from tests.fakes.models import openai as model_openai

Json = dict[str, Any]

HANG_SECONDS = 120


class Speaker(Protocol):
    """The API of one provider; each has a module."""

    def answer(self, request: Json) -> Json:
        """Return the answer to a request."""

    def events(self, answer: Json, /) -> Iterator[tuple[str, Json]]:
        """Return the stream events of an answer."""

    def error(self, status: int, message: str) -> Json:
        """Return the body of an error."""

    def user_text(self, request: Json) -> str:
        """Return the text of the user's messages."""


_SPEAKERS: dict[str, Speaker] = {"/v1/messages": model_anthropic, "/v1/responses": model_openai}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request for an answer; header names are in lower case."""

    path: str
    headers: dict[str, str] = field(repr=False)
    body: Json = field(repr=False)

    @property
    def key(self) -> str | None:
        """The key of the request."""
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        return self.headers.get("x-api-key") or bearer or None

    @property
    def user_text(self) -> str:
        """The text of the user's messages."""
        return _SPEAKERS[self.path].user_text(self.body)


@dataclass(slots=True)
class Model:
    """The settings of the server and the requests it received."""

    url: str = ""
    key: str | None = None
    """The only accepted key; None accepts any."""
    fault: int | None = None
    """The HTTP status of refused requests."""
    faults_left: int | None = None
    """The number of requests still to refuse; None refuses all."""
    hanging: bool = False
    """True when answers stop after their first event."""
    requests: list[ModelRequest] = field(default_factory=list)
    """The requests for an answer, in their order."""
    others: list[str] = field(default_factory=list)
    """All other requests, as `METHOD /path`."""
    released: threading.Event = field(default_factory=threading.Event)

    def refuse(self, status: int, times: int | None = None) -> None:
        """Refuse the next requests, or all of them."""
        self.fault, self.faults_left = status, times

    def status_for(self, request: ModelRequest) -> int:
        """Return the status of the answer to a request."""
        if self.key is not None and request.key != self.key:
            return 401
        if self.fault is None or self.faults_left == 0:
            return 200
        if self.faults_left is not None:
            self.faults_left -= 1
        return self.fault


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._refuse_unknown()

    def do_HEAD(self) -> None:
        self._refuse_unknown()

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/v1/messages/count_tokens":
            self._note()
            self._send(200, {"input_tokens": model_anthropic.INPUT_TOKENS})
        elif path in _SPEAKERS:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(ModelRequest(path, headers, json.loads(content)))
        else:
            self._refuse_unknown()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        if self.server.verbose:
            key = self.headers.get("Authorization") or self.headers.get("X-Api-Key")
            sys.stderr.write(f"{format % arguments}, key {key}\n")

    def _answer(self, request: ModelRequest) -> None:
        model, speaker = self.server.model, _SPEAKERS[request.path]
        model.requests.append(request)
        status = model.status_for(request)
        if status != 200:
            self._send(status, speaker.error(status, "The fake model refuses this request."))
            return
        answer = speaker.answer(request.body)
        if request.body.get("stream"):
            self._stream(speaker.events(answer))
        else:
            self._send(200, answer)

    def _stream(self, events: Iterator[tuple[str, Any]]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for kind, data in events:
            self.wfile.write(f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()
            if self.server.model.hanging:
                self.server.model.released.wait(HANG_SECONDS)
                return

    def _send(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse_unknown(self) -> None:
        self._note()
        self.close_connection = True
        # 426 has a client that tries a WebSocket first go on without one at once.
        self.send_response(426 if "Upgrade" in self.headers else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self) -> None:
        self.server.model.others.append(f"{self.command} {urlsplit(self.path).path}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, *, verbose: bool) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.verbose = verbose
        self.model = Model(f"http://127.0.0.1:{self.server_port}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print an error, except that of a client that disconnected while it was answered."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serve_model(port: int = 0, *, verbose: bool = False) -> Iterator[Model]:
    """Serve until the block ends."""
    server = _Server(port, verbose=verbose)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.model
    finally:
        server.model.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8100)
    with serve_model(parser.parse_args().port, verbose=True) as model:
        sys.stderr.write(f"serving on {model.url}\n")
        threading.Event().wait()


if __name__ == "__main__":
    main()
