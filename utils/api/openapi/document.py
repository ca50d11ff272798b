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

from utils.api.endpoint import (
    KEY_HEADER,
    LAST_EVENT_HEADER,
    TICKET_PARAMETER,
    TOKEN_HEADER,
    Endpoint,
    declaration_of,
)
from utils.api.error_codes.table import PAGE
from utils.api.openapi.conditional import ETAG_HEADER, MATCH_PARAMETER, UNCHANGED
from utils.api.openapi.error_responses import ErrorResponses
from utils.api.openapi.examples import compose_example, field_text
from utils.api.openapi.fields import PARAMETERS
from utils.api.requests import EXAMPLE_REPOSITORY, MAX_ID
from utils.api.responses import ErrorAnswer, Success
from utils.config.version import VERSION
from utils.models.tasks import Json
from utils.streams.server_sent import MEDIA_TYPE

_REFERENCE = "#/components/schemas/{model}"
_PATH_TYPES = {
    "id": {"type": "integer", "minimum": 1, "maximum": MAX_ID},
    "uuid": {"type": "string", "format": "uuid"},
    "name": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,100}$"},
    "path": {"type": "string", "pattern": "^[^/].*$"},
    "variable": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,99}$"},
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


_STREAM = (
    "Server-sent events, with `Accept: text/event-stream`: lines `id`, `event` and `data` (one "
    "line of JSON) and an empty line for each event, and a comment at least every 10 seconds."
)
_TICKET_PARAMETER: Json = {
    "name": TICKET_PARAMETER,
    "in": "query",
    "required": False,
    "schema": {"type": "string", "maxLength": 100},
    "description": "A ticket from `POST /events/ticket`, for clients that can send no header. "
    "It is valid once, and stands for your credentials.",
}
_LAST_EVENT_PARAMETER: Json = {
    "name": LAST_EVENT_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    "description": "The `id` of the last event that you have, in place of `after`.",
}


TAGS = {
    "tasks": "Start a task, follow it, read its result. Begin here: `POST /start-task`, then "
    "`GET /task-status/{task_id}`.",
    "events": "Follow your tasks without polling, with server-sent events.",
    "turns": "Go on with the agent of a task: each message that it gets makes a turn.",
    "projects": "A project gives a repository a name and groups its tasks.",
    "project_secrets": "Secrets that the sandboxes of a project get.",
    "task_groups": "Compare agents and attempts at the same prompt, and choose one.",
    "schedules": "Start tasks at set times.",
    "sandboxes": "Open sandboxes of your own: run commands and work with files in them.",
    "sandbox_git": "Work with git in your sandboxes: clone, commit, push, open pull requests.",
    "templates": "See from which templates sandboxes can start.",
    "pull_requests": "Open a pull request with the result of a task.",
    "auth": "Sign in. An API key needs none of this.",
    "keys": "Your API keys.",
    "users": "Your profile, and the secrets stored for your tasks.",
    "github": "Repositories, pull requests and issues on GitHub.",
    "usage": "What your tasks have used and cost.",
    "admin": "For the users of `ADMIN_USER_IDS`: the tasks and the usage of all users.",
    "health": "For operators: health, metrics, the list of endpoints.",
    "webhooks": "For GitHub: deliveries of webhooks.",
    "test_users": "For development only: users that expire.",
}
"""The groups of operations, in the order in which a new user needs them."""


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
    schemas, errors = _Schemas(), ErrorResponses()
    schemas.named(ErrorAnswer)
    paths = _paths(app, schemas, errors)
    _describe_fields(schemas.components)
    _add_examples(paths, schemas.components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Coding agents over HTTP",
            "version": VERSION,
            "description": "Runs coding agents on a fresh clone of your repository in a sandbox "
            "and stores the diff, the patch, the commit and the log. Every path exists with and "
            "without the prefix /api.\n\nTo try an operation, choose **Authorize** and put an API "
            "key (`ac_...`) into the field **bearer**: `./run.sh add-user <name>` on the server "
            "prints one. On a development server your user id as **user_id** is enough. The page "
            "forgets it with its tab.\n\nEvery error is `{error, code}`; "
            f"[all codes]({PAGE}) are explained.",
        },
        "servers": [{"url": "/api"}, {"url": "/"}],
        "security": [{"bearer": []}, {"user_id": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY_SCHEMES,
            "responses": dict(sorted(errors.components.items())),
            "schemas": dict(sorted(schemas.components.items())),
        },
    }


def _paths(app: Flask, schemas: _Schemas, errors: ErrorResponses) -> dict[str, Json]:
    paths: dict[str, Json] = {}
    for rule in sorted(app.url_map.iter_rules(), key=_place):
        view = app.view_functions[rule.endpoint]
        declared = declaration_of(view)
        if declared is None:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = _operation(rule, declared, cleandoc(view.__doc__ or ""), schemas, errors)
            paths.setdefault(path, {})[method.lower()] = operation
    return paths


def _place(rule: Rule) -> int:
    # Sorting is stable: within a group the order is that of the source.
    group = rule.endpoint.rpartition(".")[0]
    return list(TAGS).index(group) if group in TAGS else len(TAGS)


def _operation(
    rule: Rule, declared: Endpoint, text: str, schemas: _Schemas, errors: ErrorResponses
) -> Json:
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
            *([_TICKET_PARAMETER] if declared.stream else []),
            *([_LAST_EVENT_PARAMETER] if declared.stream and rule.arguments else []),
            *([MATCH_PARAMETER] if declared.conditional else []),
        ],
        "responses": {
            **_successes(declared, name, schemas),
            **errors.of(
                declared,
                arguments=rule.arguments,
                is_reading="GET" in (rule.methods or ()),
            ),
        },
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
    if declared.raw_body:
        operation["requestBody"] = _RAW_BODY
    return operation


_RAW_BODY: Json = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}

_UPLOAD: Json = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "description": "The export of the old backend: an object of tasks by id, "
                        "an array of tasks, or either of them under the key tasks.",
                    }
                },
            }
        },
        "application/json": {
            "schema": {"type": ["object", "array"]},
            "example": {
                "tasks": [{"id": 7, "prompt": "Add tests", "repo_url": EXAMPLE_REPOSITORY}]
            },
        },
    },
}


def _path_parameters(rule: Rule) -> Iterable[Json]:
    for kind, name in re.findall(r"<(\w+):(\w+)>", rule.rule):
        text = PARAMETERS[name]
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": text.description,
            "schema": _PATH_TYPES[kind],
            "example": text.example,
        }


def _query_parameters(query: type[BaseModel] | None, schemas: _Schemas) -> Iterable[Json]:
    if query is None:
        return
    form = schemas.of(query, "validation")
    for name, described in form["properties"].items():
        # A query parameter cannot be null: clients omit it instead.
        options = described.pop("anyOf", [{}])
        schema = next(option for option in options if option != {"type": "null"}) | described
        if schema.get("default", 0) is None:
            del schema["default"]
        yield {
            "name": name,
            "in": "query",
            "required": name in form.get("required", ()),
            "description": schema.pop("description", ""),
            **({"example": schema.pop("example")} if "example" in schema else {}),
            "schema": schema,
        }


def _successes(declared: Endpoint, name: str, schemas: _Schemas) -> Json:
    if declared.response is None:
        content: Json = {declared.media_type: {"schema": {"type": "string"}}}
    else:
        title = "".join(part.capitalize() for part in name.split("_")) + "Answer"
        answer = TypedDict(title, {"status": Success, **declared.response})  # type: ignore[misc]
        content = {"application/json": {"schema": schemas.named(answer)}}
    if declared.stream or declared.output_stream:
        content[MEDIA_TYPE] = {"schema": {"type": "string", "description": _STREAM}}
    status = str(declared.status)
    if not declared.conditional:
        return {status: {"description": "Success.", "content": content}}
    success = {"description": "Success.", "headers": ETAG_HEADER, "content": content}
    return {status: success, "304": UNCHANGED}


def _describe_fields(components: Json) -> None:
    for model, schema in components.items():
        for name, described in schema.get("properties", {}).items():
            if described.get("const") == "success":
                described["description"] = "Always `success`; an error has no such field."
            elif "description" not in described and (text := field_text(model, name)):
                described["description"] = text.description


def _add_examples(paths: dict[str, Json], components: Json) -> None:
    for operation in (one for operations in paths.values() for one in operations.values()):
        for response in operation["responses"].values():
            answer = response.get("content", {}).get("application/json")
            if answer:
                answer["example"] = compose_example(answer["schema"], components)


def format_openapi(document: Json) -> str:
    """Return the text of openapi.json, without the final newline."""
    return json.dumps(document, indent=2, ensure_ascii=False)
