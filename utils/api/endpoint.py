"""What every endpoint shares: its caller, its validated input, its answer.

A view is declared with `@endpoint(...)`, which says what it takes and what it answers with; the
same declaration validates requests and is read by `utils/api/openapi.py`. Rejected input is never
repeated in an answer, because it may hold tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from flask import Response, current_app, request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from database import Database
from utils.auth.tokens import Tokens
from utils.config.settings import Settings
from utils.credentials.github_resolver import GitHubTokenResolver
from utils.credentials.vault import Vault
from utils.dispatcher.dispatcher import Dispatcher
from utils.errors import AppError, InvalidInput
from utils.models.tasks import Json
from utils.pull_requests.service import PullRequests
from utils.telemetry import Metrics

TOKEN_HEADER = "X-GitHub-Token"  # noqa: S105
"""Where a request carries the caller's token for GitHub."""

# pydantic's own words for these never hold any of the input.
_HARMLESS_RULES = frozenset(
    {
        "bool_type",
        "dict_type",
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


@dataclass(frozen=True, slots=True)
class Services:
    """What views work with; built in main.py, one per application."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    metrics: Metrics
    tokens: Tokens
    vault: Vault
    pull_requests: PullRequests
    user_tokens: GitHubTokenResolver
    identify: Callable[[], str]
    forget_users: Callable[[], None]
    stop: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The declaration of a view, for validation and for the OpenAPI document.

    `answer` names the fields next to `status`; None is for views that do not answer with JSON.
    `errors` are the statuses that neither the path, nor the input, nor signing in explains.
    With `github` the caller's token for GitHub may come along, and GitHub may refuse what is asked.
    `needs_body` refuses a request without a body, which browsers let any page send, although each
    field may be left out.
    """

    answer: Mapping[str, Any] | None
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    errors: tuple[int, ...] = ()
    public: bool = False
    polled: bool = False
    upload: bool = False
    github: bool = False
    needs_body: bool = False
    media_type: str = "application/json"

    @property
    def requires_body(self) -> bool:
        """Whether a request without a body is refused."""
        fields = self.body.model_fields.values() if self.body else ()
        return self.needs_body or any(field.is_required() for field in fields)


class NotJson(AppError):
    """The body is not sent as JSON."""

    http_status = 415
    default_code = "unsupported_media_type"


def endpoint(
    answer: Mapping[str, Any] | None = None, **declaration: Any
) -> Callable[[Callable[..., Json | Response]], Callable[..., Response]]:
    """Declare a view; the keywords are the fields of `Endpoint`.

    The view is called with the services, then by keyword: `user_id` unless it is public, `query`
    and `body` when declared, and the variables of its path. A dictionary it returns becomes a
    JSON object with `"status": "success"`.
    """
    declared = Endpoint(answer, **declaration)

    def decorate(view: Callable[..., Json | Response]) -> Callable[..., Response]:
        @wraps(view)
        def run(**arguments: Any) -> Response:
            services: Services = current_app.extensions["services"]
            if not declared.public:
                arguments["user_id"] = services.identify()
            if declared.query is not None:
                arguments["query"] = _validated(declared.query, request.args.to_dict())
            if declared.body is not None:
                arguments["body"] = _validated(declared.body, _read_json_body(declared))
            result = view(services, **arguments)
            return result if isinstance(result, Response) else success(result, declared.status)

        run.declared = declared  # type: ignore[attr-defined]
        return run

    return decorate


def declaration_of(view: Callable[..., Any] | None) -> Endpoint | None:
    """Return what `@endpoint` declared for a view, None for a view without it."""
    return getattr(view, "declared", None)


def success(fields: Json, status: int = 200) -> Response:
    """Answer with a JSON object that says it went well."""
    return json_answer({"status": "success", **fields}, status)


def json_answer(fields: Json, status: int = 200) -> Response:
    """Answer with a JSON object; times become ISO 8601 with a zone."""
    body = to_json(fields, inf_nan_mode="null")
    return Response(body, status, content_type="application/json")


def _read_json_body(declared: Endpoint) -> Json:
    # A JSON object sent as application/json, or nothing where nothing is required.
    raw = request.get_data(cache=False)
    if not raw and not request.mimetype and not declared.needs_body:
        if declared.requires_body:
            raise InvalidInput("The request needs a JSON object as its body.", "invalid_json")
        return {}
    if request.mimetype != "application/json":
        raise NotJson("Send the body as JSON, with Content-Type: application/json.")
    try:
        payload = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput("The body is not valid JSON in UTF-8.", "invalid_json") from error
    if not isinstance(payload, dict):
        raise InvalidInput("The body is valid JSON but not an object.")
    return payload


def _validated(model: type[BaseModel], values: Json) -> BaseModel:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise InvalidInput(_explain(model, details[0])) from None


def _explain(model: type[BaseModel], details: ErrorDetails) -> str:
    name = details["loc"][0] if details["loc"] else None
    if details["type"] == "extra_forbidden" or name not in model.model_fields:
        known = ", ".join(sorted(model.model_fields))
        return f"There is a field that is not known here. Known fields: {known}."
    if details["type"] == "missing":
        return f"{name}: is required."
    if details["type"] == "value_error":
        return f"{name}: {details['ctx']['error']}."
    if details["type"] in _HARMLESS_RULES:
        return f"{name}: {details['msg']}."
    return f"{name}: is not valid."
