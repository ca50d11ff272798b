"""Handles request ids, logs, metrics, errors, CORS and the /api prefix of every request."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from flask import Flask, Response, g, request
from flask_cors import CORS
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, IntegerConverter

from utils.api.conditional import MATCH_HEADER
from utils.api.endpoint import (
    KEY_HEADER,
    LAST_EVENT_HEADER,
    NO_ENDPOINT,
    TOKEN_HEADER,
    Services,
    declaration_of,
    json_response,
)
from utils.api.requests import ID_DIGITS
from utils.config.addresses import LOOPBACK_HOSTS
from utils.config.origins import origin_pattern
from utils.config.settings import Settings
from utils.errors import AppError, CommandTimedOut, InvalidInput, Unauthenticated, Unavailable
from utils.streams.waiting import HeldBack

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask.typing import AfterRequestCallable

log = structlog.get_logger()

REQUEST_ID_HEADER = "X-Request-ID"

EXPOSED_HEADERS = ("ETag", "Retry-After", REQUEST_ID_HEADER, "Content-Disposition")
"""Headers of responses that scripts of pages on other origins may read."""

RETRY_AFTER_SECONDS = 3
"""Default Retry-After of responses with status 503."""

REFUSAL_KEY = "async_code.refusal"
"""Key of the error in the environ of a request that the web server refuses."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_HTTP_ERRORS = {
    400: ("bad_request", "The request is malformed."),
    404: ("not_found", NO_ENDPOINT),
    405: (
        "method_not_allowed",
        "This endpoint does not support the method. The Allow header lists the supported ones.",
    ),
    408: (
        "request_timeout",
        "The request did not arrive in time, so the server closed the connection. Send it again.",
    ),
    413: (
        "body_too_large",
        "The body is larger than MAX_BODY_BYTES allows. Send less, and send text as UTF-8 instead "
        "of \\u escapes, which take more bytes.",
    ),
    414: (
        "url_too_long",
        "The URL is longer than 8,000 characters. Send long values in the body of a request.",
    ),
    415: ("unsupported_media_type", "Send the body as JSON, with Content-Type: application/json."),
    417: ("expectation_failed", "Remove the Expect header, or send Expect: 100-continue."),
    431: (
        "headers_too_large",
        "The headers are too large: 40 kB is the limit for one, 64 kB for all. Remove cookies and "
        "other headers that this server does not need.",
    ),
    501: (
        "not_implemented",
        "Send the body with Content-Length, or with Transfer-Encoding: chunked and nothing else.",
    ),
    503: ("unavailable", "The server has too much to do at the moment. Send the request again."),
}


_PROTECTION = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
)

# The headers, beside the method, that flask-cors reads.
_CORS_INPUT = frozenset({"HTTP_ORIGIN", "HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK"})


class ApiPrefix:
    """Serves `/api/x` as `/x`, so that every path exists with and without the prefix."""

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Move a leading `/api` from PATH_INFO to SCRIPT_NAME."""
        path = environ.get("PATH_INFO", "")
        if path.startswith("/api/") or path == "/api":
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + "/api"
            environ["PATH_INFO"] = path[4:] or "/"
        return self._wsgi_app(environ, start_response)


class IdConverter(IntegerConverter):
    """Matches the id of a row in a path; other numbers match no route."""

    regex = f"[1-9][0-9]{{0,{ID_DIGITS - 1}}}"


class NameConverter(BaseConverter):
    """Matches the name of an owner or a repository on GitHub."""

    regex = "[A-Za-z0-9._-]{1,100}"


class VariableConverter(BaseConverter):
    """Matches the name of a variable; the endpoint refuses a name that no variable may have."""

    regex = "[^/]{1,200}"


def install_hooks(app: Flask, services: Services) -> None:
    """Install the middleware of this module in an application."""
    app.before_request(_start_request)
    if _is_open_to_all(services.settings) and services.settings.listen_host in LOOPBACK_HOSTS:
        app.before_request(_refuse_foreign_host)
    app.after_request(_RequestLog(app, services))
    app.after_request(_protect)
    app.register_error_handler(AppError, _answer_app_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_unexpected)
    _allow_origins(app, services.settings)
    app.wsgi_app = ApiPrefix(app.wsgi_app)  # type: ignore[method-assign]


def _is_open_to_all(settings: Settings) -> bool:
    return settings.trusts_user_id or settings.test_users_enabled


def _allow_origins(app: Flask, settings: Settings) -> None:
    CORS(
        app,
        origins=[origin_pattern(origin) for origin in settings.cors_origins],
        allow_headers=[
            "Content-Type",
            "Authorization",
            "X-User-ID",
            TOKEN_HEADER,
            KEY_HEADER,
            LAST_EVENT_HEADER,
            MATCH_HEADER,
            REQUEST_ID_HEADER,
        ],
        expose_headers=EXPOSED_HEADERS,
        methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        supports_credentials=False,
        max_age=600,
    )
    functions = app.after_request_funcs[None]
    functions[-1] = _CachedCors(functions[-1])


class _CachedCors:
    """Caches the headers that flask-cors adds to responses to requests without an Origin."""

    def __init__(self, evaluate: AfterRequestCallable[Response]) -> None:
        self._evaluate = evaluate
        self._cached_headers: list[tuple[str, str]] | None = None

    def __call__(self, response: Response) -> Response | Awaitable[Response]:
        environ = request.environ
        if (
            environ["REQUEST_METHOD"] == "OPTIONS"
            or not environ.keys().isdisjoint(_CORS_INPUT)
            or any(name == "Access-Control-Allow-Origin" for name, _ in response.headers)
        ):
            return self._evaluate(response)
        if self._cached_headers is None:
            blank = Response()
            blank.headers.clear()
            self._evaluate(blank)
            self._cached_headers = list(blank.headers)
        for name, value in self._cached_headers:
            response.headers.add(name, value)
        return response


def _start_request() -> None:
    g.started = time.perf_counter()
    environ = request.environ
    given = environ.get("HTTP_X_REQUEST_ID", "")
    g.request_id = request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    if REFUSAL_KEY in environ:
        raise environ[REFUSAL_KEY]


def _refuse_foreign_host() -> None:
    # DNS rebinding: a foreign web page can point its own name at 127.0.0.1 and call a server that
    # trusts bare user ids or creates test users. The Host header still has the page's name.
    host = request.environ.get("HTTP_HOST", "")
    name = host.rpartition("]")[0].removeprefix("[") or host.partition(":")[0]
    if name.lower() not in LOOPBACK_HOSTS:
        raise InvalidInput(
            "This server runs without real sign-in, so it accepts requests only for localhost, "
            "127.0.0.1 and [::1]. Use one of these in the URL.",
            "host_not_allowed",
        )


def _protect(response: Response) -> Response:
    """Keep browsers from guessing types, showing a response in a frame, and storing it."""
    headers = response.headers
    given = {name.lower() for name, _ in headers}
    for name, value in _PROTECTION:
        if name.lower() not in given:
            headers.add(name, value)
    return response


class _RequestLog:
    """Adds the request id to a response, counts it and logs it; polls are logged at DEBUG."""

    def __init__(self, app: Flask, services: Services) -> None:
        self._metrics = services.metrics
        self._tells_polls = services.settings.log_level == "DEBUG"
        self._polled = {
            name
            for name, view in app.view_functions.items()
            if (declared := declaration_of(view)) is not None and declared.polled
        }

    def __call__(self, response: Response) -> Response:
        if isinstance(response.response, HeldBack):
            return response  # the application is called again
        response.headers[REQUEST_ID_HEADER] = g.request_id
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
        seconds = time.perf_counter() - g.started
        # Metrics keep every label forever, and an unmatched request may have any method and path.
        rule, sent_method = request.url_rule, request.method
        method, route = (sent_method, rule.rule) if rule else ("any", "unmatched")
        self._metrics.request_answered(method, route, response.status_code, seconds)
        is_poll = rule is not None and rule.endpoint in self._polled
        if is_poll and not self._tells_polls:
            return response  # the logger would work for 3 % of a poll to write nothing
        write = log.debug if is_poll else log.info
        write(
            "request answered",
            action="http.request",
            method=sent_method,
            route=route,
            status=response.status_code,
            milliseconds=round(seconds * 1000, 1),
        )
        return response


def _answer_app_error(error: AppError) -> Response:
    if isinstance(error, Unavailable):
        # During an outage every poll ends here, so one line has to be enough.
        log.warning("request refused", action="http.refused", code=error.code, reason=error.message)
        log.debug("the error in full", action="http.refused", exc_info=error)
    elif error.http_status >= 500 and not isinstance(error, CommandTimedOut):  # noqa: PLR2004
        log.error("request failed", action="http.failed", code=error.code, exc_info=error)
    answer = {"error": error.message, "code": error.code, **error.details}
    response = json_response(answer, error.http_status)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _answer_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    code, text = _HTTP_ERRORS.get(status, (error.name.lower().replace(" ", "_"), f"{error.name}."))
    response = json_response({"error": text, "code": code}, status)
    allowed = error.get_response().headers.get("Allow")
    if allowed:
        response.headers["Allow"] = allowed
    return response


def _answer_unexpected(error: Exception) -> Response:
    log.error("unexpected error", action="http.failed", exc_info=error)
    return json_response(
        {
            "error": "Internal error. Report this request id to whoever runs the server: "
            f"{g.request_id}",
            "code": "internal_error",
        },
        500,
    )
