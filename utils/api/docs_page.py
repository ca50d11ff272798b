"""Serves the OpenAPI document and a page to browse it, without access to other hosts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, request, send_from_directory

from utils.api.endpoint import json_response
from utils.api.error_codes.page import error_page
from utils.api.error_codes.table import PAGE
from utils.api.openapi.document import build_openapi
from utils.errors import NotFound
from utils.models.tasks import Json

blueprint = Blueprint("api_docs", __name__)

_ICON = "favicon-32x32.png"
_ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", _ICON})
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Coding agents over HTTP: API reference</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/{_ICON}">
<style>
#hint {{ background: #fff3cd; font: 16px sans-serif; margin: 0; padding: 1em; position: sticky;
  top: 0; z-index: 9; }}
</style>
</head>
<body>
<p id="hint" role="status" hidden>The server does not know you (401). Choose <b>Authorize</b> and
put an API key (<code>ac_...</code>) into the field <b>bearer</b>, without the word Bearer.
<code>./run.sh add-user &lt;name&gt;</code> on the server prints a key; the
<code>access_token</code> of <code>POST /auth/token</code> works too.</p>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# The browser keeps what was put into Authorize for this tab only; the page's own option would keep
# it until somebody deletes it.
_START = """const KEPT = "async-code-authorized";

function keep(system) {
  sessionStorage.setItem(KEPT, JSON.stringify(system.authSelectors.authorized()));
}

function thenKeep(action, system) {
  return (...values) => {
    const result = action(...values);
    keep(system);
    return result;
  };
}

function showHint(response) {
  const isOwn = response.url.startsWith(location.origin);
  document.getElementById("hint").hidden = !isOwn || response.status !== 401;
  return response;
}

const ui = SwaggerUIBundle({
  url: "docs/openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  defaultModelsExpandDepth: 0,
  responseInterceptor: showHint,
  plugins: [
    () => ({ statePlugins: { auth: { wrapActions: { authorize: thenKeep, logout: thenKeep } } } }),
  ],
  onComplete: () => {
    const kept = sessionStorage.getItem(KEPT);
    if (kept) ui.authActions.authorize(JSON.parse(kept));
  },
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


@blueprint.get(f"/{PAGE}")
def errors() -> Response:
    """Return the explained error codes, to which the document leads."""
    headers = {"Content-Security-Policy": _POLICY}
    return Response(error_page(), content_type="text/html; charset=utf-8", headers=headers)


@blueprint.get("/favicon.ico")
def icon() -> Response:
    """Return the icon that browsers ask for beside answers that are no pages."""
    return asset(_ICON)


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
    if isinstance(fields.get("examples"), list):
        fields["example"] = fields.pop("examples")[0]
    options = fields.get("anyOf", [])
    if {"type": "null"} in options:
        fields["anyOf"] = [option for option in options if option != {"type": "null"}]
        fields["nullable"] = True
    if isinstance(fields.get("type"), list):
        del fields["type"]
    return fields
