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
    """A row of the table: a response that meets all given conditions becomes `answer`.

    Without `answer` the response is a bug of this application. While the server starts, `at_start`
    is raised instead. A code matches when it starts with one of `codes`.
    """

    answer: type[AppError] | None
    message: str = ""
    statuses: frozenset[int] = frozenset()
    codes: tuple[str, ...] = ()
    constraint: str = ""
    at_start: type[AppError] | None = None


# The first row that matches applies.
TRANSLATIONS = (
    Translation(
        Conflict,
        PROJECT_EXISTS,
        codes=("23505",),
        constraint="projects",
    ),
    Translation(Conflict, ROW_EXISTS, codes=("23505",)),
    Translation(Unauthenticated, USER_GONE, codes=("23503",)),
    Translation(InvalidInput, TOO_LARGE_FOR_ROW, codes=("23514",)),
    Translation(NotFound, NO_ROW, codes=("22003",)),
    Translation(InvalidInput, VALUE_DOES_NOT_FIT, codes=("22",)),
    Translation(
        InvalidInput, "This is more than Supabase takes at once.", statuses=frozenset({413})
    ),
    Translation(
        DatabaseUnavailable,
        NOT_MIGRATED,
        codes=("PGRST202", "PGRST205", "42P01", "42883"),
        at_start=ConfigurationError,
    ),
    Translation(
        DatabaseUnavailable,
        KEY_REFUSED,
        codes=("PGRST300", "PGRST301", "PGRST302", "PGRST303", "42501"),
        at_start=ConfigurationError,
    ),
    Translation(
        DatabaseUnavailable,
        KEY_REFUSED,
        statuses=frozenset({401, 403}),
        at_start=ConfigurationError,
    ),
    Translation(DatabaseUnavailable, NO_WRITES, codes=("25006",)),
    Translation(
        DatabaseUnavailable, NO_ANSWER, codes=("08", "40", "53", "55P03", "57", "58", "XX")
    ),
    Translation(DatabaseUnavailable, NO_ANSWER, statuses=frozenset({408, 425, 429})),
    Translation(None, statuses=frozenset(range(400, 500)), codes=("PGRST", *"0123456789FHP")),
    Translation(
        DatabaseUnavailable,
        NOT_A_PROJECT,
        statuses=frozenset(range(200, 500)),
        at_start=ConfigurationError,
    ),
    Translation(DatabaseUnavailable, NO_ANSWER),
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
    line = next(line for line in TRANSLATIONS if _fits(line, error))
    answer = line.at_start if at_start and line.at_start else line.answer
    if answer is None:
        return RuntimeError(f"Supabase rejected a request of this server: {error}")
    return answer(line.message)


def _fits(line: Translation, error: RequestRefused) -> bool:
    return (
        (not line.statuses or error.status in line.statuses)
        and (not line.codes or error.code.startswith(line.codes))
        and error.constraint.startswith(line.constraint)
    )


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
    told = body if isinstance(body, dict) else {}
    code = _CODE.fullmatch(str(told.get("code")))
    constraint = _CONSTRAINT.search(str(told.get("message")))
    return RequestRefused(
        response.status_code,
        code.group() if code else "",
        constraint.group(1) if constraint else "",
    )
