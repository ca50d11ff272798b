"""Builds the OpenAPI document from the declarations of `@endpoint`.

The first line of a view's docstring becomes the summary, the rest the description.
`python main.py openapi > openapi.json` updates the committed copy; a test compares them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from inspect import cleandoc
from typing import Any

from flask import Flask
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict
from werkzeug.routing import Rule

from utils.api.endpoint import KEY_HEADER, TOKEN_HEADER, Endpoint, declaration_of
from utils.api.requests import MAX_ID
from utils.api.responses import ErrorAnswer, Success
from utils.config.version import VERSION
from utils.models.tasks import Json

_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request is not valid.",
    401: "You are not signed in, or your token is not valid. The message says what to send.",
    403: "You are not allowed to do this.",
    404: "It does not exist, or it belongs to another user.",
    405: "The endpoint does not support this method.",
    409: "The current state does not allow this. The code says why.",
    413: "The body is larger than the server allows.",
    415: "Send the body as JSON, with Content-Type: application/json.",
    429: "Too many requests of this kind, or too many queued tasks. Try again after Retry-After "
    "seconds.",
    500: "Internal error. Report the request id to whoever runs the server.",
    503: "The database, Supabase or GitHub is unavailable. Try again after Retry-After seconds.",
}
_PATH_TYPES = {
    "id": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
    "uuid": {"type": "string", "format": "uuid"},
    "name": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}$"},
}
_BEARER = (
    "An API key (ac_...), which ./run.sh add-user and POST /keys make, or an access token from "
    "POST /auth/token or of Supabase. An API key with the scope read may send GET requests only; "
    "run may send all requests except those that need admin; admin may send all."
)
_SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "ac_..., or JWT",
        "description": _BEARER,
    },
    "user_id": {
        "type": "apiKey",
        "in": "header",
        "name": "X-User-ID",
        "description": "Your user id. Accepted in trust mode only.",
    },
}
_TOKEN_PARAMETER: Json = {
    "name": TOKEN_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Your GitHub token. If omitted, the server uses the token in your profile.",
}


_KEY_PARAMETER: Json = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "A name of yours for this request, such as a UUID. Within 24 hours the same "
    "request with the same key is carried out once and gets the same answer.",
}


class _Untitled(GenerateJsonSchema):
    """Omits titles, which only repeat the names of fields."""

    def field_title_should_be_set(self, _schema: Any) -> bool:
        return False


class _Schemas:
    """Collects the named schemas that operations refer to."""

    def __init__(self) -> None:
        self.components: Json = {}

    def of(self, described: Any, mode: Any = "serialization") -> Json:
        """Return the schema of a model; move the schemas it refers to into the components."""
        schema = TypeAdapter(described).json_schema(
            ref_template=_REFERENCE, mode=mode, schema_generator=_Untitled
        )
        self.components |= schema.pop("$defs", {})
        return schema

    def named(self, described: Any, mode: Any = "serialization") -> Json:
        """Add a model to the components and return a reference to it."""
        self.components[described.__name__] = self.of(described, mode)
        return {"$ref": _REFERENCE.format(model=described.__name__)}


def build_openapi(app: Flask) -> Json:
    """Return the OpenAPI document of all declared endpoints of an application."""
    schemas = _Schemas()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Coding agents over HTTP",
            "version": VERSION,
            "description": "Runs coding agents on a fresh clone of your repository in a sandbox "
            "and stores the diff, the patch, the commit and the log. Every path exists with and "
            "without the prefix /api.",
        },
        "servers": [{"url": "/api"}, {"url": "/"}],
        "security": [{"bearer": []}, {"user_id": []}],
        "paths": _paths(app, schemas),
        "components": {
            "securitySchemes": _SECURITY_SCHEMES,
            "responses": {f"Error{status}": _error(status, schemas) for status in _ERRORS},
            "schemas": dict(sorted(schemas.components.items())),
        },
    }


def _paths(app: Flask, schemas: _Schemas) -> dict[str, Json]:
    paths: dict[str, Json] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        declared = declaration_of(view)
        if declared is None:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(rule, declared, cleandoc(view.__doc__ or ""), schemas)
            paths.setdefault(path, {})[method.lower()] = operation
    return paths


def _operation(rule: Rule, declared: Endpoint, text: str, schemas: _Schemas) -> Json:
    group, _, name = rule.endpoint.rpartition(".")
    summary, _, details = text.partition("\n")
    operation: Json = {
        "operationId": name,
        "tags": [group],
        "summary": summary,
        **({"description": " ".join(details.split())} if details else {}),
        "parameters": [
            *_path_parameters(rule),
            *_query_parameters(declared.query, schemas),
            *([_TOKEN_PARAMETER] if declared.github else []),
            *([_KEY_PARAMETER] if declared.idempotent else []),
        ],
        "responses": _responses(rule, declared, name, schemas),
    }
    if declared.public:
        operation["security"] = []
    if declared.body is not None:
        operation["requestBody"] = {
            "required": declared.requires_body,
            "content": {"application/json": {"schema": schemas.named(declared.body, "validation")}},
        }
    if declared.upload:
        operation["requestBody"] = _UPLOAD
    return operation


_UPLOAD: Json = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "contentMediaType": "application/json"}},
            }
        },
        "application/json": {"schema": {"type": ["object", "array"]}},
    },
}


def _path_parameters(rule: Rule) -> Iterable[Json]:
    for kind, name in re.findall(r"<(\w+):(\w+)>", rule.rule):
        yield {"name": name, "in": "path", "required": True, "schema": _PATH_TYPES[kind]}


def _query_parameters(query: type[BaseModel] | None, schemas: _Schemas) -> Iterable[Json]:
    if query is None:
        return
    for name, described in schemas.of(query, "validation")["properties"].items():
        # A query parameter cannot be null: clients omit it instead.
        options = described.pop("anyOf", [{}])
        schema = described | next(option for option in options if option != {"type": "null"})
        if schema.get("default", 0) is None:
            del schema["default"]
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def _responses(rule: Rule, declared: Endpoint, name: str, schemas: _Schemas) -> Json:
    if declared.response is None:
        content: Json = {declared.media_type: {"schema": {"type": "string"}}}
    else:
        title = "".join(part.capitalize() for part in name.split("_")) + "Answer"
        answer = TypedDict(title, {"status": Success, **declared.response})  # type: ignore[misc]
        content = {"application/json": {"schema": schemas.named(answer)}}
    return {
        str(declared.status): {"description": "Success.", "content": content},
        **{
            str(status): {"$ref": f"#/components/responses/Error{status}"}
            for status in sorted(_error_statuses(rule, declared))
        },
    }


def _error(status: int, schemas: _Schemas) -> Json:
    content = {"application/json": {"schema": schemas.named(ErrorAnswer)}}
    return {"description": _ERRORS[status], "content": content}


def _error_statuses(rule: Rule, declared: Endpoint) -> set[int]:
    statuses = {400, 405, 500, 503, *declared.errors}
    if not declared.public:
        statuses.add(401)
        # The scope of an API key may not be enough.
        if declared.scope or not {"GET"} & (rule.methods or set()):
            statuses.add(403)
    if rule.arguments:
        statuses.add(404)
    if declared.body is not None:
        statuses |= {413, 415}
    if declared.upload:
        statuses.add(413)
    if declared.github:
        statuses |= {403, 404, 409}
    return statuses


def format_openapi(document: Json) -> str:
    """Return the text of openapi.json, without the final newline."""
    return json.dumps(document, indent=2, ensure_ascii=False)
