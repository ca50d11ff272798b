"""Implements the fake GitHub: routes, tokens, failures, and a record of the requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Event, Lock
from typing import Any

from tests.fakes.github import access, graphql, issues, pulls, render, reviews
from tests.fakes.github.state import App, Call, Pull, Refused, Repository, Request, Token

PREFIX = "/api/v3"

Answer = tuple[int, Any, dict[str, str]]

_NUMBER = r"(?P<number>\d+)"
_ROUTES: tuple[tuple[str, str, access.Needs, Callable[[Call], tuple[int, Any]]], ...] = (
    ("GET", "", None, issues.get_repository),
    ("GET", "/branches", ("contents", "read"), issues.list_branches),
    ("GET", "/branches/(?P<branch>.+)", ("contents", "read"), issues.get_branch),
    ("GET", "/rules/branches/(?P<branch>.+)", None, issues.list_rules),
    (
        "GET",
        "/commits/(?P<sha>[0-9a-f]{40})/check-runs",
        ("checks", "read"),
        issues.list_check_runs,
    ),
    (
        "GET",
        "/commits/(?P<sha>[0-9a-f]{40})/status",
        ("statuses", "read"),
        issues.get_combined_status,
    ),
    ("GET", "/git/commits/(?P<sha>[0-9a-f]{40})", ("contents", "read"), issues.get_commit),
    ("GET", "/collaborators/(?P<login>[^/]+)/permission", None, issues.get_permission),
    ("POST", "/statuses/(?P<sha>[0-9a-f]{40})", ("statuses", "write"), issues.create_status),
    ("POST", "/issues", ("issues", "write"), issues.create_issue),
    ("GET", f"/issues/{_NUMBER}", ("issues", "read"), issues.get_issue),
    ("GET", f"/issues/{_NUMBER}/comments", ("issues", "read"), issues.list_comments),
    ("POST", f"/issues/{_NUMBER}/comments", ("issues", "write"), issues.create_comment),
    ("POST", f"/issues/{_NUMBER}/labels", ("issues", "write"), issues.add_labels),
    ("GET", "/pulls", ("pull_requests", "read"), pulls.list_pulls),
    ("POST", "/pulls", ("pull_requests", "write"), pulls.create_pull),
    ("GET", f"/pulls/{_NUMBER}", ("pull_requests", "read"), pulls.get_pull),
    ("GET", f"/pulls/{_NUMBER}/commits", ("pull_requests", "read"), pulls.list_commits),
    ("GET", f"/pulls/{_NUMBER}/comments", ("pull_requests", "read"), reviews.list_comments),
    ("POST", f"/pulls/{_NUMBER}/comments", ("pull_requests", "write"), reviews.create_comment),
    (
        "POST",
        f"/pulls/{_NUMBER}/comments/(?P<comment>\\d+)/replies",
        ("pull_requests", "write"),
        reviews.reply,
    ),
    ("GET", f"/pulls/{_NUMBER}/reviews", ("pull_requests", "read"), reviews.list_reviews),
    ("POST", f"/pulls/{_NUMBER}/reviews", ("pull_requests", "write"), reviews.create_review),
    ("PATCH", f"/pulls/{_NUMBER}", ("pull_requests", "write"), pulls.update_pull),
    ("PUT", f"/pulls/{_NUMBER}/merge", ("contents", "write"), pulls.merge_pull),
    (
        "POST",
        f"/pulls/{_NUMBER}/requested_reviewers",
        ("pull_requests", "write"),
        pulls.request_reviews,
    ),
)
_REPOSITORY = re.compile(r"/(?:repos/(?P<name>[^/]+/[^/]+)|repositories/(?P<id>\d+))(?P<rest>/.*)?")


class FakeGitHub:
    """The state that tests prepare and inspect. `url` serves git too when `git_port` is set.

    `failing` maps a pattern, searched for in "METHOD /path", to the name of a failure and how
    often it happens; see `failures`. `moved_to_api` is the API that the former names of
    repositories lead to, where that is not this one.
    """

    def __init__(self) -> None:
        self.port = 0
        self.git_port: int | None = None
        self.tokens: dict[str, Token] = {}
        self.apps: dict[str, App] = {}
        self.repositories: dict[str, Repository] = {}
        self.moved: dict[str, str] = {}
        self.moved_to_api: str | None = None
        self.requests: list[Request] = []
        self.failing: dict[str, tuple[str, int]] = {}
        self.page_size: int | None = None
        self.released = Event()
        self._ids = count(101)
        self._lock = Lock()

    @property
    def host(self) -> str:
        """The host of repositories that follows from `GITHUB_API_URL`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of repositories: `<url>/team/demo.git`."""
        return f"http://{self.host}"

    @property
    def api_url(self) -> str:
        """The value for `GITHUB_API_URL`."""
        return self.url + PREFIX

    def add_repository(self, full_name: str, bare: Path, **facts: Any) -> Repository:
        """Add a bare repository."""
        found = Repository(next(self._ids), full_name, bare, **facts)
        self.repositories[full_name] = found
        self.moved.pop(full_name, None)
        return found

    def add_token(self, text: str, login: str, **facts: Any) -> Token:
        """Add a token of a user."""
        self.tokens[text] = token = Token(login, **facts)
        return token

    def move(self, full_name: str, new_name: str) -> None:
        """Rename a repository; the old name redirects to the new one, and access is kept."""
        found = self.repositories.pop(full_name)
        found.full_name = new_name
        self.repositories[new_name] = found
        self.moved[full_name] = new_name
        for app in self.apps.values():
            if full_name in app.installations:
                app.installations[new_name] = app.installations.pop(full_name)
        for token in self.tokens.values():
            if full_name in token.repositories:
                token.repositories = token.repositories - {full_name} | {new_name}

    def fail(self, name: str, on: str = "", times: int = 1_000_000) -> None:
        """Answer requests that match the pattern with a failure."""
        self.failing[on] = (name, times)

    def paths(self) -> list[str]:
        """Return the requests as "METHOD /path"."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def pulls(self, full_name: str) -> list[Pull]:
        """Return the pull requests of a repository, newest first."""
        return self.repositories[full_name].pulls

    def failure(self, request: Request) -> str | None:
        """Return the failure for a request, None without one, and count it."""
        with self._lock:
            for pattern, (name, times) in self.failing.items():
                if times > 0 and re.search(pattern, f"{request.method} {request.path}"):
                    self.failing[pattern] = (name, times - 1)
                    return name
        return None

    def answer(self, request: Request, header: str) -> Answer:
        """Carry out a request; return status, body and headers. Raise `Refused`."""
        if re.search(r"^/app(?:/|$)|/installation$", request.path):
            return self._as_app(request, header)
        caller = self._caller(request)
        with self._lock:  # two pull requests for one branch at once are one
            if request.path == "/user":
                return self._user(caller)
            if (request.method, request.path) == ("GET", "/user/repos"):
                return self._repositories(caller)
            if (request.method, request.path) == ("POST", graphql.PATH):
                return graphql.answer(request, caller, self.repositories.values())
            return self._of_repository(request, caller)

    def _caller(self, request: Request) -> Token | None:
        if request.token is None:
            return None
        if request.token not in self.tokens:
            raise Refused(401, "Bad credentials")
        return self.tokens[request.token]

    def _user(self, caller: Token | None) -> Answer:
        if caller is None:
            raise Refused(401, "Requires authentication")
        if caller.installation:
            raise Refused(403, "Resource not accessible by integration")
        headers = _scope_headers(caller, "")
        if caller.expires:
            headers["GitHub-Authentication-Token-Expiration"] = caller.expires
        user = render.user(self.api_url, caller.login)
        return 200, {**user, "name": caller.login.title(), "email": None}, headers

    def _repositories(self, caller: Token | None) -> Answer:
        self._user(caller)
        assert caller is not None
        found = [one for one in self.repositories.values() if caller.login in one.roles]
        return 200, [render.repository(self.api_url, one, caller) for one in found], {}

    def _of_repository(self, request: Request, caller: Token | None) -> Answer:
        match = _REPOSITORY.fullmatch(request.path)
        if match is None:
            raise Refused(404, "Not Found")
        rest = match["rest"] or ""
        try:
            found = self._find(match["name"], match["id"], request, rest)
        except Refused as refused:
            refused.headers |= _scope_headers(caller, "repo")
            raise
        for method, pattern, needs, handler in _ROUTES:
            names = re.fullmatch(pattern, rest)
            if method == request.method and names:
                headers = _scope_headers(caller, access.accepted_scopes(found, needs))
                call = Call(self.api_url, request, names.groupdict(), caller, found)
                try:
                    access.check_access(found, caller, call.of_its_kind(needs))
                    status, body = handler(call)
                except Refused as refused:
                    refused.headers |= headers
                    raise
                if isinstance(body, list) and request.method == "GET":
                    body = self._paged(call, body, headers)
                return status, body, headers
        raise Refused(404, "Not Found")

    def _paged(self, call: Call, body: list[Any], headers: dict[str, str]) -> list[Any]:
        query = call.request.query
        if self.page_size:
            query = {**query, "per_page": str(self.page_size)}
        page = int(query.get("page", "1"))
        size = int(query.get("per_page", "30"))
        if len(body) > page * size:
            others = "".join(f"&{k}={v}" for k, v in call.request.query.items() if k != "page")
            url = f"{self.api_url}{call.request.path}?page={page + 1}{others}"
            headers["Link"] = f'<{url}>; rel="next"'
        return body[(page - 1) * size : page * size]

    def _find(
        self, name: str | None, number: str | None, request: Request, rest: str
    ) -> Repository:
        if number:
            by_id = (one for one in self.repositories.values() if one.id == int(number))
            if found := next(by_id, None):
                return found
        elif name in self.moved:
            moved = self.repositories[self.moved[name]]
            raise Refused(
                301 if request.method == "GET" else 307,
                "Moved Permanently",
                Location=f"{self.moved_to_api or self.api_url}/repositories/{moved.id}{rest}",
            )
        elif name in self.repositories:
            return self.repositories[name]
        raise Refused(404, "Not Found")

    def _as_app(self, request: Request, header: str) -> Answer:
        app = access.check_app(self.apps, header)
        if match := _REPOSITORY.fullmatch(request.path):
            found = self._find(match["name"], match["id"], request, match["rest"] or "")
            installation = app.installations.get(found.full_name)
            if installation is None or match["rest"] != "/installation":
                raise Refused(404, "Not Found")
            return 200, {"id": installation, "app_id": 1, "permissions": app.permissions}, {}
        if request.path == "/app":
            return 200, access.app_facts(app), {}
        number = int(request.path.split("/")[3])
        text, token, answer = access.installation_token(
            app, number, request.body or {}, self.repositories
        )
        self.tokens[text] = token
        return 201, answer, {}


def _scope_headers(caller: Token | None, accepted: str) -> dict[str, str]:
    if caller is None or caller.scopes is None:
        return {}
    return {"X-OAuth-Scopes": ", ".join(caller.scopes), "X-Accepted-OAuth-Scopes": accepted}
