"""Runs a smart-HTTP git server on loopback: `git http-backend` behind a small CGI server."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.backends import GIT_ENVIRONMENT, Repository, git

HANG_SECONDS = 60


class GitServer:
    """Serves the bare repositories of a folder as `http://127.0.0.1:PORT/team/NAME.git`.

    A repository with an entry in `tokens` requires that token as the password. Requests for
    `hanging` ones get no response; `redirects` send a name to another server; `refusals` answer
    a push with a status and a text; `old_protocol` ones speak version 0 of git's protocol;
    `moved` ones redirect to another name on this server; `breaking` tells how many answers with
    objects are cut in the middle;
    `before_push` is called once, when a push has begun and has not read the branches yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens: dict[str, str] = {}
        self.hanging: set[str] = set()
        self.redirects: dict[str, str] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.old_protocol: set[str] = set()
        self.moved: dict[str, str] = {}
        self.breaking: dict[str, int] = {}
        self.before_push: dict[str, Callable[[], object]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent_bytes = 0
        self.sent_objects = 0
        self.released = threading.Event()
        self.port = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/team/{name}.git"

    def publish(self, repository: Repository, name: str, token: str | None = None) -> str:
        """Serve a bare copy of a repository; return its URL."""
        bare = self.bare(name)
        bare.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(bare, ignore_errors=True)
        git(repository.folder, "clone", "--quiet", "--mirror", ".", str(bare))
        if token:
            self.tokens[name] = token
        return self.url(name)

    def push(self, repository: Repository, name: str) -> None:
        """Update a published repository from its origin."""
        git(repository.folder, "push", "--quiet", "--mirror", str(self.bare(name)))

    def bare(self, name: str) -> Path:
        return self.folder / "team" / f"{name}.git"

    def bytes_of(self, action: Any) -> int:
        """Run an action; return the number of bytes sent meanwhile."""
        before = self.sent_bytes
        action()
        return self.sent_bytes - before


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Log nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, body: bytes) -> None:
        served = self.server.served
        name = self.path.split("/")[2].split(".git")[0]
        sent = self.headers.get("Authorization")
        served.requests.append((self.command, self.path, sent))
        if name in served.hanging:
            served.released.wait(HANG_SECONDS)
        elif name in served.redirects:
            self.send_response(302)
            self.send_header("Location", served.redirects[name] + self.path)
            self.end_headers()
        elif name in served.moved:
            self.send_response(301)
            self.send_header("Location", self.path.replace(name, served.moved[name], 1))
            self.end_headers()
        elif name in served.tokens and _password(sent) != served.tokens[name]:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
        elif name in served.refusals and "git-receive-pack" in self.path:
            status, text = served.refusals[name]
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(text.encode())
        else:
            if self.path.endswith("service=git-receive-pack"):
                served.before_push.pop(name, lambda: None)()
            self._run_git(name, body)

    def _run_git(self, name: str, body: bytes) -> None:
        parts = urlsplit(self.path)
        protocol = self.headers.get("Git-Protocol") or ""
        environment = {
            **GIT_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.server.served.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": "" if name in self.server.served.old_protocol else protocol,
            # Requests are authenticated before they arrive here.
            "REMOTE_USER": "tester",
            "CONTENT_LENGTH": str(len(body)),
        }
        command = ["git", "http-backend"]
        answer = subprocess.run(
            command, input=body, env=environment, capture_output=True, check=False
        ).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "POST" and self.server.served.breaking.get(name) and b"PACK" in content:
            self.server.served.breaking[name] -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.server.served.sent_bytes += len(content)
        self.server.served.sent_objects += _objects_in(content)
        self.wfile.write(content)


def _objects_in(answer: bytes) -> int:
    # The header of a pack holds the number of objects; it starts a packet of channel 1.
    packs = re.finditer(rb"\x01?PACK\0\0\0\x02(.{4})", answer, re.DOTALL)
    return sum(int.from_bytes(pack[1], "big") for pack in packs)


def _password(header: str | None) -> str:
    return base64.b64decode((header or "").removeprefix("Basic ")).decode().partition(":")[2]


class _Server(ThreadingHTTPServer):
    def __init__(self, served: GitServer) -> None:
        self.served = served
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect before they have the whole response."""


@contextmanager
def serve_git(folder: Path) -> Iterator[GitServer]:
    """Run a git server for a folder until the block ends."""
    served = GitServer(folder)
    server = _Server(served)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        served.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
