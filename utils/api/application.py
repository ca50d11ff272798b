"""The Flask application, without what no endpoint of this server uses.

Sessions, functions at the end of a request, and asynchronous views cost each request as much as
SQLite needs to read a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask
from flask.sessions import NullSession, SessionInterface

if TYPE_CHECKING:
    from flask.wrappers import Request, Response

_NO_SESSION = NullSession()


class _NoSessions(SessionInterface):
    """Gives all requests the same session, in which nothing can be stored."""

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002
        return _NO_SESSION

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        pass


class Application(Flask):
    """A Flask application whose views are synchronous, and which sends no signals of its ends."""

    session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is: no view is a coroutine function."""
        return func

    def do_teardown_request(self, exc: BaseException | None = None) -> None:
        """Do nothing: no function is registered for the end of a request."""

    def do_teardown_appcontext(self, exc: BaseException | None = None) -> None:
        """Do nothing: no function is registered for the end of a request."""
