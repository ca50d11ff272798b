"""Declares endpoints: authenticates the caller, validates the input, builds the response.

A view is declared with `@endpoint(...)`, which names the models of its input and its response.
The declaration validates requests, and `utils/api/openapi` documents it. Error messages never
repeat rejected input, because it may contain tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, wraps
from typing import Any, TypeVar

from flask import Response, current_app, g, request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from database import Database
from utils.api.requests import Query
from utils.auth.api_keys import ApiKeys
from utils.auth.rate_limits import RateLimits
from utils.auth.tokens import Tokens
from utils.config.settings import Settings
from utils.credentials.github_resolver import GitHubTokenResolver
from utils.credentials.vault import Vault
from utils.dispatcher.dispatcher import Dispatcher
from utils.errors import AppError, DatabaseUnavailable, InvalidInput
from utils.github.concurrency import ConcurrencyLimiter
from utils.models.tasks import Json
from utils.models.users import Scope
from utils.pull_requests.automatic import AutomaticPullRequests
from utils.pull_requests.service import PullRequests
from utils.sandbox_service.service import SandboxService
from utils.sandboxes.protocol import SandboxProvider
from utils.sandboxes.templates.catalogue import TemplateCatalogue
from utils.streams.reading import StreamContext
from utils.streams.tickets import StreamTickets
from utils.telemetry import Metrics
from utils.usage.budgets import Budgets

KEY_HEADER = "Idempotency-Key"
"""Request header that names a request, so that it is carried out once when it is repeated."""

TOKEN_HEADER = "X-GitHub-Token"  # noqa: S105
"""Request header for the caller's GitHub token."""

LAST_EVENT_HEADER = "Last-Event-ID"
"""Request header with the number of the last event of a stream that the client has."""

NO_ENDPOINT = "This endpoint does not exist. GET / lists all endpoints."
"""The message of the answer to requests for other paths."""

TICKET_PARAMETER = "ticket"
"""Query parameter that stands for the credentials of a stream."""

# Errors whose message from pydantic never contains any of the input.
_SAFE_ERROR_TYPES = frozenset(
    {
        "bool_type",
        "dict_type",
        "enum",
        "greater_than_equal",
        "int_type",
        "less_than_equal",
        "list_type",
        "literal_error",
        "string_too_long",
        "string_too_short",
        "string_type",
    }
)


_REQUEST_KEY = re.compile(r"[\x21-\x7e]{1,255}")

# Other names of fields, which resemble another field more or none at all.
_MEANT = {
    "agent": "model",
    "instructions": "prompt",
    "offset": "cursor",
    "page": "cursor",
    "query": "q",
    "search": "q",
    "task": "prompt",
    "text": "content",
}
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,29}")


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Services:
    """Holds the services that views use. main.py builds one for each application."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    provider: SandboxProvider
    templates: TemplateCatalogue
    metrics: Metrics
    tokens: Tokens
    api_keys: ApiKeys
    vault: Vault
    pull_requests: PullRequests
    automatic_pull_requests: AutomaticPullRequests
    github_tokens: GitHubTokenResolver
    github_limiter: ConcurrencyLimiter
    rate_limits: RateLimits
    streams: StreamContext
    stream_tickets: StreamTickets
    sandboxes: SandboxService
    identify: Callable[[Scope | None], str]
    identify_admin: Callable[[], str]
    budgets: Budgets
    clear_user_cache: Callable[[], None]
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The declaration of a view, used for validation and for the OpenAPI document.

    `response` names the fields beside `status`; it is None for views that do not return JSON.
    `errors` are error codes beyond those of the path, the input and authentication.
    With `github` the request may carry a GitHub token, and GitHub may refuse the operation.
    `scope` is what an API key needs, by default read for GET and run for other methods.
    With `idempotent` the view carries out a request with an Idempotency-Key once.
    `needs_body` refuses requests without a body even if all fields are optional: browsers let
    any page send such requests across origins. With `stream` the view can answer with server-sent
    events, and a ticket may stand for the caller; with `output_stream` it can answer so, and no
    ticket may. With `raw_body` the body is the content of a file. With `admin` the endpoint exists
    only for the users of ADMIN_USER_IDS, with the scope admin.
    """

    response: Mapping[str, Any] | None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    errors: tuple[str, ...] = ()
    public: bool = False
    polled: bool = False
    upload: bool = False
    raw_body: bool = False
    output_stream: bool = False
    github: bool = False
    needs_body: bool = False
    scope: Scope | None = None
    idempotent: bool = False
    media_type: str = "application/json"
    stream: bool = False
    admin: bool = False
    conditional: bool = False

    @property
    def requires_body(self) -> bool:
        """True when requests without a body are refused."""
        fields = self.body.model_fields.values() if self.body else ()
        return self.needs_body or any(field.is_required() for field in fields)


class NotJson(AppError):
    """The request body is not declared as JSON."""

    http_status = 415
    default_code = "unsupported_media_type"


def endpoint(
    response: Mapping[str, Any] | None = None, **declaration: Any
) -> Callable[[Callable[..., Json | Response]], Callable[..., Response]]:
    """Declare a view; the keywords are the fields of `Endpoint`.

    The view receives the services, and by keyword: `user_id` unless it is public, `query` and
    `body` if declared, and the variables of its path. If it returns a dictionary, the response is
    a JSON object with `"status": "success"`.
    """
    declared = Endpoint(response, **declaration)

    def decorate(view: Callable[..., Json | Response]) -> Callable[..., Response]:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            services: Services = current_app.extensions["services"]
            if not declared.public:
                arguments["user_id"] = _user_of_request(services, declared)
            if declared.query is not None:
                arguments["query"] = validated(declared.query, _query_of_request(declared))
            elif not declared.public and _query_of_request(declared):
                raise InvalidInput("This endpoint takes no query parameters. Remove them.")
            if declared.body is not None:
                body = _read_json_body(declared)
                if declared.idempotent and KEY_HEADER in request.headers:
                    _note_body(body)
                arguments["body"] = validated(declared.body, body)
            result = view(services, **arguments)
            return result if isinstance(result, Response) else success(result, declared.status)

        run.declared = declared  # type: ignore[attr-defined]
        return run

    return decorate


def declaration_of(view: Callable[..., Any] | None) -> Endpoint | None:
    """Return the declaration of a view, None for a view without `@endpoint`."""
    return getattr(view, "declared", None)


def request_key() -> str | None:
    """Return the Idempotency-Key of the current request, if any. Raises `InvalidInput`."""
    key = request.headers.get(KEY_HEADER)
    if key is not None and not _REQUEST_KEY.fullmatch(key):
        raise InvalidInput(
            f"{KEY_HEADER}: must be 1 to 255 printable ASCII characters without spaces."
        )
    return key


def answer_once(database: Database, user_id: str, carry_out: Callable[[], Json]) -> Json:
    """Return the stored answer to the current request, or carry it out and store its answer.

    Raises `Conflict` for a key that is in use or belongs to another request.
    """
    key = request_key()
    if key is None:
        return carry_out()
    stored = database.begin_request(user_id, key, g.fingerprint)
    if stored is not None:
        return stored
    try:
        answer = carry_out()
    except DatabaseUnavailable:
        # The answer may be stored although the response of the database was lost.
        raise
    except AppError:
        database.release_request(user_id, key)
        raise
    database.store_answer(user_id, key, answer)
    return answer


def success(fields: Json, status: int = 200) -> Response:
    """Return a JSON response with `"status": "success"`."""
    return json_response({"status": "success", **fields}, status)


def json_response(fields: Json, status: int = 200) -> Response:
    """Return a JSON response; times become ISO 8601 with a time zone."""
    body = to_json(fields, inf_nan_mode="null")
    return Response(body, status, content_type="application/json")


def _note_body(body: Json) -> None:
    """Remember what the current request asks for, before secrets in it are hidden."""
    asked = json.dumps([request.method, request.path, body], sort_keys=True)
    g.fingerprint = hashlib.sha256(asked.encode()).hexdigest()


def _user_of_request(services: Services, declared: Endpoint) -> str:
    ticket = request.args.get(TICKET_PARAMETER) if declared.stream else None
    if declared.admin:
        return services.identify_admin()
    if ticket is None:
        return services.identify(declared.scope)
    return services.stream_tickets.redeem(ticket)


def _query_of_request(declared: Endpoint) -> Json:
    # Programs add `_` with a changing value to get around caches.
    if not request.environ.get("QUERY_STRING"):
        return {}
    left_out = {"_", TICKET_PARAMETER} if declared.stream else {"_"}
    return {name: value for name, value in request.args.items() if name not in left_out}


def _read_json_body(declared: Endpoint) -> Json:
    # The body is a JSON object sent as application/json; it may be empty if no field is required.
    raw = request.get_data(cache=False)
    if not raw and not request.mimetype and not declared.needs_body:
        if declared.requires_body:
            raise InvalidInput("Send a JSON object as the request body.", "invalid_json")
        return {}
    if request.mimetype != "application/json":
        raise NotJson("Send the body as JSON, with Content-Type: application/json.")
    try:
        payload = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(
            "The body is not valid JSON. Send a JSON object in UTF-8.", "invalid_json"
        ) from error
    if not isinstance(payload, dict):
        raise InvalidInput("The body must be a JSON object.")
    return payload


def validated(model: type[Model], values: Json) -> Model:
    """Return the model of some input. Raises `InvalidInput`, which never repeats the input."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        # An unknown field explains a missing one.
        unknown = (one for one in details if one["type"] == "extra_forbidden")
        raise InvalidInput(_explain(model, next(unknown, details[0]))) from None


def _explain(model: type[BaseModel], details: ErrorDetails) -> str:
    name = details["loc"][0] if details["loc"] else None
    known = {field.alias or field_name for field_name, field in model.model_fields.items()}
    if details["type"] == "extra_forbidden" or name not in known:
        kind = "query parameter" if issubclass(model, Query) else "field"
        is_extra = details["type"] == "extra_forbidden"
        *path, unknown = (str(part) for part in (details["loc"] if is_extra else (name,)))
        subject = ".".join(path) or "The request"
        return _explain_unknown(subject, kind, unknown, _allowed_fields(model, tuple(path)))
    if details["type"] == "missing":
        return f"{'.'.join(map(str, details['loc']))}: is required."
    if details["type"] == "value_error":
        return f"{name}: {details['ctx']['error']}."
    if details["type"] in _SAFE_ERROR_TYPES:
        return f"{name}: {details['msg']}."
    return f"{name}: is not valid."


@cache
def _allowed_fields(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """Return the fields of a model, or of the object that a path of its fields leads to."""
    schema = model.model_json_schema()
    found = schema
    for name in path:
        named = found.get("properties", {})
        found = _object_of(schema, named[name] if name in named else found["items"])
    return sorted(found["properties"])


def _object_of(schema: Json, found: Json) -> Json:
    """Return what a part of a schema stands for: what it refers to, or what else may be null."""
    if "anyOf" in found:
        return _object_of(schema, next(one for one in found["anyOf"] if one.get("type") != "null"))
    if "$ref" in found:
        return _object_of(schema, schema["$defs"][found["$ref"].rpartition("/")[2]])
    return found


def _explain_unknown(subject: str, kind: str, name: str, allowed: list[str]) -> str:
    # A name that resembles no field may be a secret in the wrong place.
    plain = {_plain(field): field for field in allowed}
    nearest = get_close_matches(_plain(name), plain, n=1) if _FIELD_NAME.fullmatch(name) else []
    meant = _MEANT.get(_plain(name))
    if meant not in allowed:
        meant = plain[nearest[0]] if nearest else None
    which = f" {name}. Did you mean {meant}?" if meant else "."
    return f"{subject} has an unknown {kind}{which} Allowed {kind}s: {', '.join(allowed)}."


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
