"""Serves the fake GitHub on loopback like an Enterprise host: the API, and git over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.github import access, failures, graphql
from tests.fakes.github.service import PREFIX, FakeGitHub
from tests.fakes.github.state import Refused, Request

HANG_SECONDS = 60


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Print nothing."""

    def _handle(self) -> None:
        github = self.server.github
        sent = self._body()
        if not self.path.startswith(PREFIX + "/") and self.path != graphql.PATH:
            self._forward(sent)
            return
        header = self.headers.get("Authorization") or ""
        parts = urlsplit(self.path.removeprefix(PREFIX))
        request = Request(
            self.command,
            unquote(parts.path),
            dict(parse_qsl(parts.query)),
            json.loads(sent) if sent else None,
            header.partition(" ")[2] or None,
        )
        github.requests.append(request)
        name = github.failure(request)
        if name in failures.DOWN:
            self._break(name)
            return
        try:
            if name not in {None, failures.LOST}:
                raise failures.refusal(name)
            status, body, headers = github.answer(request, header)
        except Refused as refused:
            status, body, headers = refused.status, refused.body, refused.headers
        if name == failures.LOST:
            self._break(name)
            return
        self._send(status, json.dumps(body).encode(), {"X-GitHub-Request-Id": "F00D", **headers})

    do_GET = do_POST = do_PUT = do_PATCH = _handle  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _break(self, name: str) -> None:
        if name in failures.BODIES:
            self._send(200, failures.BODIES[name], {})
            return
        if name == "hang":
            self.server.github.released.wait(HANG_SECONDS)
        elif name == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _forward(self, body: bytes) -> None:
        port = self.server.github.git_port
        if port is None:
            self._send(404, b"", {})
            return
        try:
            header = self.headers.get("Authorization") or ""
            github = self.server.github
            access.check_git(github.repositories, github.tokens, header, self.path)
        except Refused as refused:
            self._send(refused.status, str(refused).encode(), refused.headers)
            return
        skipped = {"host", "transfer-encoding", "content-length", "connection"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in skipped}
        git = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_SECONDS)
        git.request(self.command, self.path, body or None, headers)
        answer = git.getresponse()
        content = answer.read()
        skipped |= {"server", "date"}
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in skipped}
        self._send(answer.status, content, kept)
        git.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, github: FakeGitHub) -> None:
        self.github = github
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect while they are answered."""


@contextmanager
def serve_github() -> Iterator[FakeGitHub]:
    """Serve until the block ends."""
    github = FakeGitHub()
    server = _Server(github)
    github.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield github
    finally:
        github.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
