"""Serves the page: browsers get it where other clients get JSON, and its files under /assets.

`/`, `/projects`, `/schedules`, `/usage` and `/tasks/<id>` are endpoints too. The Accept header
decides: a browser that goes to an address prefers HTML, its scripts and all other clients do not.
Under `/api` all is JSON.
"""

from __future__ import annotations

import html
import json
import re
from functools import cache

from flask import Blueprint, Flask, Response, current_app, request

from utils.agents.registry import AGENTS, DEFAULT_AGENT
from utils.api.endpoint import Services
from utils.api.requests import EXAMPLE_USER_ID, ID_DIGITS
from utils.config.version import VERSION
from utils.errors import NotFound
from utils.models.tasks import Json
from utils.web.files import PageFiles
from utils.web.policy import content_policy

blueprint = Blueprint("page", __name__)

_PLACES = re.compile(
    rf"/(?:(?:tasks|groups)/[1-9][0-9]{{0,{ID_DIGITS - 1}}}|projects|schedules|usage|settings)?/?"
)
_YEAR_SECONDS = 31_536_000


class Page:
    """Answers browsers with the page, before a view answers with JSON."""

    def __init__(self, services: Services) -> None:
        self.files = _page_files()
        config = html.escape(json.dumps(_page_config(services)))
        self._index = self.files.index(config)
        supabase_url = services.settings.supabase_url
        self._policy = content_policy(supabase_url if _supabase_key(services) else None)

    def answer(self) -> Response | None:
        """Return the page if a browser goes to one of its places; None leaves it to the views."""
        if not _is_place() or not _prefers_html():
            return None
        response = Response(self._index, content_type="text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response


@cache
def _page_files() -> PageFiles:
    return PageFiles()


def install_page(app: Flask, services: Services) -> None:
    """Let an application answer browsers with the page."""
    page = app.extensions["page"] = Page(services)
    app.before_request(page.answer)
    app.after_request(_mark_as_varying)


@blueprint.get("/assets/<digest>/<path:name>")
def asset(digest: str, name: str) -> Response:
    """Return a file of the page. Browsers keep it, because its address changes with the files."""
    page: Page = current_app.extensions["page"]
    file = page.files.find(name) if digest == page.files.digest else None
    if file is None:
        raise NotFound("This file belongs to another version of the page. Reload the page.")
    response = Response(file.content, content_type=file.content_type)
    if request.accept_encodings["gzip"]:
        response.set_data(file.compressed)
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Cache-Control"] = f"public, max-age={_YEAR_SECONDS}, immutable"
    response.vary.add("Accept-Encoding")
    return response


def _is_place() -> bool:
    path = request.environ["PATH_INFO"]
    is_api = request.environ.get("SCRIPT_NAME", "").endswith("/api")
    return not is_api and _PLACES.fullmatch(path) is not None


def _prefers_html() -> bool:
    if request.method not in {"GET", "HEAD"} or "html" not in request.environ.get(
        "HTTP_ACCEPT", ""
    ):
        return False
    accepted = request.accept_mimetypes
    return accepted["text/html"] > accepted["application/json"]


def _mark_as_varying(response: Response) -> Response:
    """Tell caches that the address has two answers."""
    if _is_place():
        response.vary.add("Accept")
    return response


def _page_config(services: Services) -> Json:
    """Return what the page's scripts have to know before anybody has signed in."""
    settings = services.settings
    key = _supabase_key(services)
    return {
        "version": VERSION,
        "developer": EXAMPLE_USER_ID if settings.trusts_user_id else None,
        "supabase": {"url": settings.supabase_url, "key": key} if key else None,
        "agents": _agents(services),
        "defaultAgent": DEFAULT_AGENT,
    }


def _supabase_key(services: Services) -> str | None:
    """Return the publishable key with which the page signs users in; None where it cannot."""
    settings = services.settings
    if settings.supabase_url is None or settings.supabase_anon_key is None:
        return None
    return settings.supabase_anon_key.get_secret_value()


def _agents(services: Services) -> list[Json]:
    titles = {agent.name: agent.program.title for agent in AGENTS if agent.program}
    return [
        {
            "name": status.name,
            "title": titles.get(status.name, "Scripted agent"),
            "usable": status.usable,
            "simulated": status.simulated,
            "reason": status.reason,
            "models": services.dispatcher.agents.models(status.name),
        }
        for status in services.dispatcher.agent_statuses()
    ]
