"""Runs small HTTP servers on free ports of this machine, over pytest-httpserver."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

ANY_PATH = re.compile(".*")
_POLL_SECONDS = 0.01

# One line for each request, written by threads that no test waits for.
logging.getLogger("werkzeug").setLevel(logging.WARNING)


class LoopbackServer(HTTPServer):
    """Answers all requests with one function, in its own threads, until its `with` block ends."""

    def __init__(self, respond: Callable[[Request], Response]) -> None:
        super().__init__("127.0.0.1", threaded=True)
        self.expect_request(ANY_PATH).respond_with_handler(respond)

    @property
    def url(self) -> str:
        """The address of the running server, without a slash at the end."""
        return self.url_for("").rstrip("/")

    def thread_target(self) -> None:
        """Serve until `stop`, which takes up to half a second with the pause of the library."""
        assert self.server is not None
        self.server.serve_forever(_POLL_SECONDS)


def drop_connection(request: Request) -> Response:
    """Close a request's connection; the returned response cannot be sent any more."""
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return Response()
