"""Serves repositories over smart HTTP with `git http-backend`, in its own process.

The first part of a path is ignored, so that a repository can have any number of URLs.
"""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

_CHUNK = 65_536


class GitServer(AbstractContextManager["GitServer"]):
    """Runs the server process. Use it in a `with` statement."""

    def __init__(self, repositories: Path) -> None:
        self._repositories = repositories

    def __enter__(self) -> GitServer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.git_server", self._repositories],
            cwd=Path(__file__).resolve().parent.parent,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the benchmark, which stops this process.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def url(self, alias: str, repository: Path) -> str:
        """Return the URL of a repository under an alias."""
        return f"http://127.0.0.1:{self.port}/{alias}/{repository.name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = _CHUNK

    def do_GET(self) -> None:
        """Run http-backend and send its output."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with subprocess.Popen(
            ["git", "http-backend"],
            env=self._variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as backend:
            assert backend.stdin is not None
            assert backend.stdout is not None
            backend.stdin.write(body)
            backend.stdin.close()
            self._send_head(backend.stdout)
            while chunk := os.read(backend.stdout.fileno(), _CHUNK):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _variables(self) -> dict[str, str]:
        url = urlsplit(self.path)
        headers = self.headers
        return {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": sys.argv[1],
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
            "PATH_INFO": "/" + url.path.split("/", 2)[2],
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "CONTENT_LENGTH": headers.get("Content-Length", ""),
            "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
        }

    def _send_head(self, output: IO[bytes]) -> None:
        # Read byte by byte: the caller reads the body after the head from the same pipe.
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            head += os.read(output.fileno(), 1)
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()


def main() -> None:
    """Print the port and serve until the process is terminated."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
