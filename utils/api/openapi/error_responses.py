"""Describes the errors of operations: their codes by HTTP status, with links to explanations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from utils.api.endpoint import Endpoint
from utils.api.error_codes.shared import (
    ALWAYS,
    BODY,
    CALLER,
    GITHUB,
    REPEATABLE,
    SCOPE,
    UPLOAD,
)
from utils.api.error_codes.table import ANSWERS, PAGE, statuses_of
from utils.models.tasks import Json

ERROR = "ErrorAnswer"
"""The name of the schema of all error answers."""

_STATUSES = {
    400: "The request is not valid.",
    401: "You are not signed in, or your token is not valid. Send an API key (`ac_...`), which "
    "`./run.sh add-user <name>` and `POST /keys` make, or the `access_token` of `POST "
    "/auth/token`. In this page choose **Authorize** and put it into the field **bearer**, without "
    "the word Bearer.",
    402: "A budget is spent. The message says when it is free again, and so does Retry-After.",
    403: "You are not allowed to do this.",
    404: "It does not exist, or it belongs to another user.",
    405: "The endpoint does not support this method.",
    409: "The current state does not allow this. The code says why.",
    410: "It existed, and is no longer here.",
    413: "The body is larger than the server allows.",
    415: "Send the body as JSON, with Content-Type: application/json.",
    429: "Too many requests of this kind, or too many queued tasks. Try again after Retry-After "
    "seconds.",
    500: "Internal error. Report the request id to whoever runs the server.",
    503: "The database, Supabase or GitHub is unavailable. Try again after Retry-After seconds.",
    504: "It took too long.",
}


_SHOWN = {400: "invalid_request", 401: "token_missing", 503: "database_unavailable"}
"""The codes of the examples; the first code of an operation by default."""


class ErrorResponses:
    """Collects the error responses of all operations; equal ones are stored once."""

    def __init__(self) -> None:
        self.components: Json = {}
        self._names: dict[tuple[int, tuple[str, ...]], str] = {}

    def of(self, declared: Endpoint, *, arguments: Collection[str], is_reading: bool) -> Json:
        """Return references to the error responses of an operation, by status."""
        codes = error_codes(declared, arguments=arguments, is_reading=is_reading)
        return {
            str(status): {"$ref": f"#/components/responses/{self._name(status, codes[status])}"}
            for status in sorted(codes)
        }

    def _name(self, status: int, codes: tuple[str, ...]) -> str:
        name = self._names.get((status, codes))
        if name is None:
            number = 1 + sum(known == status for known, _ in self._names)
            name = f"Error{status}" if number == 1 else f"Error{status}_{number}"
            self._names[status, codes] = name
            self.components[name] = _response(status, codes)
        return name


def error_codes(
    declared: Endpoint, *, arguments: Collection[str], is_reading: bool
) -> Mapping[int, tuple[str, ...]]:
    """Return the sorted codes that an operation may answer with, by HTTP status.

    `arguments` are the variables of its path.
    """
    found: dict[int, set[str]] = {}
    for code in _codes(declared, arguments=arguments, is_reading=is_reading):
        for status in statuses_of(code):
            found.setdefault(status, set()).add(code)
    return {status: tuple(sorted(codes)) for status, codes in found.items()}


def _codes(declared: Endpoint, *, arguments: Collection[str], is_reading: bool) -> Iterable[str]:
    yield from (*ALWAYS, *declared.errors)
    if not declared.public:
        yield from CALLER
        # The scope of an API key may not be enough.
        if declared.scope or declared.admin or not is_reading:
            yield from SCOPE
    if arguments or declared.admin:
        yield "not_found"
    if "task_id" in arguments:
        yield "task_archived"
    if declared.body is not None:
        yield from BODY
    if declared.upload:
        yield from UPLOAD
    if declared.github:
        yield from GITHUB
    if declared.idempotent:
        yield from REPEATABLE


def _response(status: int, codes: tuple[str, ...]) -> Json:
    lines = [f"- [`{code}`]({PAGE}#{code}): {ANSWERS[code, status].happened}" for code in codes]
    schema = {
        "allOf": [
            {"$ref": f"#/components/schemas/{ERROR}"},
            {"type": "object", "properties": {"code": {"type": "string", "enum": list(codes)}}},
        ]
    }
    shown = _SHOWN[status] if _SHOWN.get(status) in codes else codes[0]
    example = {"error": ANSWERS[shown, status].happened.replace("`", ""), "code": shown}
    return {
        "description": "\n".join([_STATUSES[status], "", *lines]),
        "content": {"application/json": {"schema": schema, "example": example}},
    }
