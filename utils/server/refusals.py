"""Answers requests that the web server refuses before a view can: too large, too slow, malformed.

The application makes the answer, so it has the form and the CORS headers of all other errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.util import http_date  # type: ignore[import-untyped]
from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    HTTPException,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)
from werkzeug.exceptions import NotImplemented as UnknownCoding
from werkzeug.test import create_environ
from werkzeug.wrappers import Response

from utils.api.middleware import REFUSAL_KEY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_OWN_FAULTS: tuple[type[Exception], ...] = (
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
)
_REFUSALS: dict[type[Exception], type[HTTPException]] = {
    errors.LimitRequestLine: RequestURITooLarge,
    errors.LimitRequestHeaders: RequestHeaderFieldsTooLarge,
    errors.UnsupportedTransferCoding: UnknownCoding,
    errors.ExpectationFailed: ExpectationFailed,
    errors.ParseException: BadRequest,
}


def refusal_of(error: Exception) -> Exception:
    """Return the HTTP error for an error of gunicorn's parser; other errors unchanged."""
    if isinstance(error, _OWN_FAULTS):
        return error
    for kind, refusal in _REFUSALS.items():
        if isinstance(error, kind):
            return refusal()
    return error


def refused(app: WSGIApplication, refusal: Exception, origin: str | None, client: Any) -> bytes:
    """Return the whole response to a refused request; the connection is closed after it."""
    environ = create_environ("*", headers={"Origin": origin} if origin else {})
    environ["REMOTE_ADDR"] = client[0] if isinstance(client, tuple) else ""
    environ[REFUSAL_KEY] = refusal
    response = Response.from_app(app, environ, buffered=True)
    fields = [*response.headers, ("Date", http_date()), ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    whole: bytes = f"HTTP/1.1 {response.status}\r\n{head}\r\n".encode("latin-1") + response.data
    return whole
