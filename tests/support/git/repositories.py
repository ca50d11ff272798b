"""Creates git repositories, and serves them with a git server that can hang."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from utils.git.environment import git_environment

HANG_SECONDS = 60


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    """Run git without user configuration; return its stripped output."""
    environment = {**git_environment("file"), "PATH": os.environ["PATH"]}
    command = ["git", "-C", str(folder), *arguments]
    result = subprocess.run(command, env=environment, input=stdin, capture_output=True, check=False)
    assert result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout.decode().strip()


def make_repository(folder: Path, files: int = 20, large_bytes: int = 0) -> Path:
    """Create a repository with one commit; with `large_bytes` it contains `large.bin`."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number in range(files):
        (folder / f"file-{number:02}.txt").write_text(f"This is file {number}.\n" * 20)
    if large_bytes:
        (folder / "large.bin").write_bytes(os.urandom(large_bytes))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "First")
    return folder


class GitServer:
    """Serves a repository over plain HTTP; requests wait until `gate` is set.

    With a `token` it refuses requests without that token.
    """

    @property
    def credentials(self) -> str | None:
        """The expected Authorization header."""
        if self.token is None:
            return None
        pair = f"x-access-token:{self.token}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/team/repository.git"
        self.token: str | None = None
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, git_server: list[GitServer], **more: Any) -> None:
        self._git_server = git_server
        super().__init__(*arguments, **more)

    def do_GET(self) -> None:
        server = self._git_server[0]
        if not server.gate.is_set():
            server.waiting.release()
            server.gate.wait(HANG_SECONDS)
        if server.credentials not in (None, self.headers["Authorization"]):
            self.send_response(HTTPStatus.UNAUTHORIZED)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        try:
            super().do_GET()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Log nothing."""


@contextmanager
def serve_repository(repository: Path, folder: Path) -> Iterator[GitServer]:
    """Serve a copy of a repository; requests wait until the server's gate is set."""
    bare = folder / "team" / "repository.git"
    git(repository, "clone", "--quiet", "--bare", ".", str(bare))
    git(bare, "update-server-info")
    servers: list[GitServer] = []
    handler = partial(_Handler, directory=str(folder), git_server=servers)
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    servers.append(GitServer(http_server.server_port))
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    try:
        yield servers[0]
    finally:
        servers[0].gate.set()
        http_server.shutdown()
        thread.join()
        http_server.server_close()
