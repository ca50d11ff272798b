"""Serves the OpenAPI document and a page to browse it, without access to other hosts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, request, send_from_directory

from utils.api.endpoint import json_response
from utils.api.openapi import build_openapi
from utils.errors import NotFound
from utils.models.tasks import Json

blueprint = Blueprint("api_docs", __name__)

_ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"})
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Coding agents over HTTP: API reference</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "docs/openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
});
"""
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'"
)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI document."""
    return json_response(_document())


@blueprint.get("/docs")
def docs() -> Response:
    """Return a page to browse and try the endpoints."""
    if request.path.endswith("/"):
        # All links of the page are relative, so that they work under every prefix.
        return Response(status=308, headers={"Location": "../docs"})
    headers = {"Content-Security-Policy": _POLICY}
    return Response(_PAGE, content_type="text/html; charset=utf-8", headers=headers)


@blueprint.get("/docs/start.js")
def start() -> Response:
    """Return the script that renders the page."""
    return Response(_START, content_type="text/javascript; charset=utf-8")


@blueprint.get("/docs/openapi.json")
def openapi_for_page() -> Response:
    """Return the document as OpenAPI 3.0, because the packaged page cannot read 3.1."""
    return json_response({**_as_openapi_30(_document()), "openapi": "3.0.3"})


@blueprint.get("/docs/<name>")
def asset(name: str) -> Response:
    """Return a file of the package that the page comes from."""
    if name not in _ASSETS:
        raise NotFound("This file does not exist.")
    return send_from_directory(_assets_folder(), name, max_age=86_400)


def _document() -> Json:
    cached = current_app.extensions.get("openapi")
    if cached is None:
        cached = current_app.extensions["openapi"] = build_openapi(current_app)
    return dict(cached)


@cache
def _assets_folder() -> Path:
    from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

    return Path(swagger_ui_path)


def _as_openapi_30(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_openapi_30(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {key: _as_openapi_30(item) for key, item in value.items()}
    if "const" in fields:
        fields["enum"] = [fields.pop("const")]
    options = fields.get("anyOf", [])
    if {"type": "null"} in options:
        fields["anyOf"] = [option for option in options if option != {"type": "null"}]
        fields["nullable"] = True
    if isinstance(fields.get("type"), list):
        del fields["type"]
    return fields
