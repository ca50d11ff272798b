"""Calls the WSGI application with a request and returns its answer."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

import structlog
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.test import create_environ

from utils.api.middleware import REFUSAL_KEY
from utils.server.answers import Answer
from utils.server.request_reader import Request
from utils.streams.waiting import MAY_WAIT_KEY, HeldBack

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

log = structlog.get_logger(__name__)

Address = tuple[str, int]


class WsgiBridge:
    """Answers requests with a WSGI application, in the thread of the caller."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def answer(
        self, request: Request, client: Address, server: Address, *, may_wait: bool = True
    ) -> Answer:
        """Return the answer of the application.

        A body with `__aiter__` is returned as it is: the server reads it on its event loop.
        With `may_wait` the answer may be held back.
        """
        try:
            environ = _environ(request, client, server)
            if may_wait:
                environ[MAY_WAIT_KEY] = True
            return self._call(environ)
        except Exception:  # the application answers its own errors
            log.exception("the application failed", action="http.failed")
            return self.refuse(InternalServerError(), None, client)

    def refuse(self, refusal: HTTPException, origin: str | None, client: Address) -> Answer:
        """Return the answer to a request that is refused before a view can.

        The application makes it, so it has the form and the CORS headers of all other errors.
        """
        environ = create_environ("*", headers={"Origin": origin} if origin else {})
        environ["REMOTE_ADDR"] = client[0]
        environ[REFUSAL_KEY] = refusal
        try:
            return self._call(environ)
        except Exception:
            log.exception("the application failed", action="http.failed")
            return Answer("500 INTERNAL SERVER ERROR", (), b"")

    def _call(self, environ: WSGIEnvironment) -> Answer:
        status, headers = "", [("", "")]

        def start_response(
            new_status: str, new_headers: list[tuple[str, str]], _error: object = None, /
        ) -> Callable[[bytes], object]:
            nonlocal status, headers
            status, headers = new_status, new_headers
            return _no_write

        body: Any = self._app(environ, start_response)
        if isinstance(body, (AsyncIterable, HeldBack)):
            return Answer(status, headers, body)
        try:
            return Answer(status, headers, b"".join(body))
        finally:
            if hasattr(body, "close"):
                body.close()


def _no_write(_data: bytes) -> object:
    raise NotImplementedError("The application returns its body; it does not write it.")


def _environ(request: Request, client: Address, server: Address) -> WSGIEnvironment:
    target = request.target.decode("latin-1").partition("#")[0]
    if target.startswith(("http:", "https:")):
        parts = urlsplit(target)
        path, query = parts.path or "/", parts.query
    else:
        path, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers:
        _add_header(environ, name.decode("latin-1"), value.decode("latin-1"))
    if request.body or "CONTENT_LENGTH" in environ:
        environ["CONTENT_LENGTH"] = str(len(request.body))
    return environ


def _add_header(environ: dict[str, Any], name: str, value: str) -> None:
    # `X_User_ID` would become the same key as `X-User-ID`, past a proxy that removes the latter.
    if "_" in name:
        return
    key = name.upper().replace("-", "_")
    if key == "TRANSFER_ENCODING":  # the body is whole
        return
    if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
        key = f"HTTP_{key}"
    separator = "; " if key == "HTTP_COOKIE" else ","
    environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value
