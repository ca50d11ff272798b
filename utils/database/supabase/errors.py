"""Translates error responses of a Supabase project to errors of this application.

Messages of PostgREST are never passed on, because they may quote values of a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from postgrest import APIError

from utils.database.shared import (
    NO_ANSWER,
    NO_ROW,
    NOT_UNICODE,
    PROJECT_EXISTS,
    ROW_EXISTS,
    USER_GONE,
    VALUE_DOES_NOT_FIT,
)
from utils.database.types import TOO_LARGE_FOR_ROW
from utils.error_rules import Rule, first_match
from utils.errors import (
    AppError,
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    Unauthenticated,
)

NO_WRITES = (
    "The database is read-only at the moment. Supabase switches to read-only when its disk is full."
)
KEY_REFUSED = (
    "Supabase rejects SUPABASE_SERVICE_ROLE_KEY. Use the service_role key or a secret key of this "
    "project from Project Settings > API Keys."
)
NOT_MIGRATED = (
    "The Supabase project lacks tables or functions of this version. Run ./run.sh migrate with "
    "DATABASE_URL, or paste supabase.sql into its SQL editor."
)
NOT_A_PROJECT = "SUPABASE_URL does not answer like a Supabase project. Check the address."

_CODE = re.compile(r"[A-Z0-9]{5}|PGRST[A-Z0-9]{3}")
_CONSTRAINT = re.compile(r'constraint "(\w+)"')


class RequestRefused(Exception):
    """An error response, or one that is not JSON.

    `status` is the HTTP status. `code` is a SQLSTATE or a code of PostgREST, empty when a proxy
    before PostgREST answered. `constraint` names the violated constraint.
    """

    def __init__(self, status: int, code: str = "", constraint: str = "") -> None:
        super().__init__(f"status {status}, code {code or 'none'}")
        self.status = status
        self.code = code
        self.constraint = constraint


@dataclass(frozen=True, slots=True)
class Translation:
    """The error for a refused request; while the server starts, `at_start` is raised instead."""

    kind: type[AppError]
    message: str
    at_start: type[AppError] | None = None


# The first rule that matches decides. `None` marks a bug of this application. Patterns are searched
# for in the name of the constraint.
REFUSAL_RULES: tuple[Rule[RequestRefused, Translation | None], ...] = (
    Rule(Translation(Conflict, PROJECT_EXISTS), codes=("23505",), pattern="^projects"),
    Rule(Translation(Conflict, ROW_EXISTS), codes=("23505",)),
    Rule(Translation(Unauthenticated, USER_GONE), codes=("23503",)),
    Rule(Translation(InvalidInput, TOO_LARGE_FOR_ROW), codes=("23514",)),
    Rule(Translation(NotFound, NO_ROW), codes=("22003",)),
    Rule(Translation(InvalidInput, VALUE_DOES_NOT_FIT), codes=("22",)),
    Rule(
        Translation(InvalidInput, "The request is larger than Supabase accepts. Send less."),
        statuses=(413,),
    ),
    Rule(
        Translation(DatabaseUnavailable, NOT_MIGRATED, ConfigurationError),
        codes=("PGRST202", "PGRST205", "42P01", "42883"),
    ),
    Rule(
        Translation(DatabaseUnavailable, KEY_REFUSED, ConfigurationError),
        codes=("PGRST300", "PGRST301", "PGRST302", "PGRST303", "42501"),
    ),
    Rule(Translation(DatabaseUnavailable, KEY_REFUSED, ConfigurationError), statuses=(401, 403)),
    Rule(Translation(DatabaseUnavailable, NO_WRITES), codes=("25006",)),
    Rule(
        Translation(DatabaseUnavailable, NO_ANSWER),
        codes=("08", "40", "53", "55P03", "57", "58", "XX"),
    ),
    Rule(Translation(DatabaseUnavailable, NO_ANSWER), statuses=(408, 425, 429)),
    Rule(None, statuses=range(400, 500), codes=("PGRST", *"0123456789FHP")),
    Rule(
        Translation(DatabaseUnavailable, NOT_A_PROJECT, ConfigurationError),
        statuses=range(200, 500),
    ),
    Rule(Translation(DatabaseUnavailable, NO_ANSWER)),
)

# SQLSTATEs of transactions that were rolled back (serialization failure, deadlock).
ROLLED_BACK = frozenset({"40001", "40P01"})
TEMPORARY_STATUSES = frozenset({502, 503, 504})


@contextmanager
def translating(*, at_start: bool = False) -> Iterator[None]:
    """Raise the translated error in place of the client's."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
        raise translate(error) from error
    except (RequestRefused, APIError, UnicodeEncodeError) as error:
        # These errors contain values of the row, so the chain is cut.
        raise translate(error, at_start=at_start) from None


def translate(error: Exception, *, at_start: bool = False) -> Exception:
    """Return the translation of a client error; a `RuntimeError` for a bug of this application."""
    if isinstance(error, UnicodeEncodeError):
        return InvalidInput(NOT_UNICODE)
    if not isinstance(error, RequestRefused):
        return DatabaseUnavailable(NO_ANSWER)
    found = first_match(
        REFUSAL_RULES, error, status=error.status, code=error.code, text=error.constraint
    )
    if found is None:
        return RuntimeError(f"Supabase rejected a request of this server: {error}")
    kind = found.at_start if at_start and found.at_start else found.kind
    return kind(found.message)


def is_retryable(error: Exception, *, idempotent: bool) -> bool:
    """Tell whether a failed request may be sent again at once.

    A request that did not arrive or was rolled back may always be retried. One that may have been
    executed may be retried only when it is idempotent. Timeouts are not retried.
    """
    if isinstance(error, httpx.ConnectError):
        return True
    if isinstance(error, RequestRefused):
        return error.code in ROLLED_BACK or (idempotent and error.status in TEMPORARY_STATUSES)
    return idempotent and isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def raise_for_refusal(response: httpx.Response) -> None:
    """Raise `RequestRefused` for an error response or one that is not JSON."""
    if response.is_success and _may_be_json(response):
        return
    response.read()
    raise _refusal(response)


def _may_be_json(response: httpx.Response) -> bool:
    kind: str = response.headers.get("content-type", "application/json")
    return kind.startswith("application/json")


def _refusal(response: httpx.Response) -> RequestRefused:
    try:
        body = response.json()
    except ValueError:
        body = None
    fields = body if isinstance(body, dict) else {}
    code = _CODE.fullmatch(str(fields.get("code")))
    constraint = _CONSTRAINT.search(str(fields.get("message")))
    return RequestRefused(
        response.status_code,
        code.group() if code else "",
        constraint.group(1) if constraint else "",
    )
