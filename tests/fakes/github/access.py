"""Authenticates and authorizes requests in the order and in the words of GitHub."""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from tests.fakes.github import failures
from tests.fakes.github.state import ROLES, App, Json, Refused, Repository, Token

INSTALLATION_SECONDS = 3600

_GIT = re.compile(
    r"/(?P<name>[^/]+/[^/?]+?)(?:\.git)?/(?:info/refs\?service=)?git-(?P<service>upload|receive)-pack"
)

Needs = tuple[str, str] | None
"""A permission such as `("pull_requests", "write")`; None requires to see the repository only."""


def accepted_scopes(found: Repository, needs: Needs) -> str:
    """Return the scopes of which a classic token needs one."""
    if found.private:
        return "repo"
    if needs is None or needs[1] == "read":
        return ""
    return "repo:status, repo" if needs[0] == "statuses" else "public_repo, repo"


def check_access(found: Repository, caller: Token | None, needs: Needs) -> None:
    """Raise `Refused` with GitHub's answer when the caller lacks access."""
    writes = needs is not None and needs[1] == "write"
    if caller is None:
        if found.private:
            raise Refused(404, "Not Found")
        if writes:
            raise Refused(401, "Requires authentication")
        return
    role = "write" if caller.installation else found.role(caller.login)
    accepted = accepted_scopes(found, needs).split(", ")
    if caller.scopes is not None and accepted != [""] and not {*accepted} & {*caller.scopes}:
        raise Refused(404, "Not Found")
    if role == "none" or (
        found.private and caller.scopes is None and found.full_name not in caller.repositories
    ):
        raise Refused(404, "Not Found")
    if caller.scopes is None:
        _check_permissions(found, caller, needs)
    if found.archived and writes:
        raise Refused(403, "Repository was archived so is read-only.")
    if writes and ROLES.index(role) < ROLES.index("write"):
        raise Refused(403, "Must have push access to the repository.")


def _check_permissions(found: Repository, caller: Token, needs: Needs) -> None:
    if needs is None or (needs[1] == "read" and not found.private and not caller.installation):
        return
    name, level = needs
    enough = {"read": {"read", "write"}, "write": {"write"}}[level]
    if found.full_name in caller.repositories and caller.permissions.get(name) in enough:
        return
    who = "integration" if caller.installation else "personal access token"
    raise Refused(
        403,
        f"Resource not accessible by {who}",
        X_Accepted_GitHub_Permissions=f"{name}={level}",
    )


def check_git(
    repositories: Mapping[str, Repository], tokens: Mapping[str, Token], header: str, target: str
) -> None:
    """Raise `Refused` without a token for a private repository, or beyond an App's permissions.

    What else may be cloned and pushed over git is up to the git server.
    """
    match = _GIT.fullmatch(target)
    found = repositories.get(match["name"]) if match else None
    if match is None or found is None:
        return
    if found.private and not header:
        raise Refused(401, "Repository not found.", WWW_Authenticate='Basic realm="GitHub"')
    credentials = base64.b64decode(header.removeprefix("Basic ")).decode()
    caller = tokens.get(credentials.partition(":")[2])
    if caller is None or not caller.installation:
        return
    enough = {"upload": {"read", "write"}, "receive": {"write"}}[match["service"]]
    may = caller.permissions.get("contents") in enough
    if match["name"] not in caller.repositories or not may:
        raise Refused(403, "Write access to repository not granted.")


def check_app(apps: dict[str, App], header: str) -> App:
    """Return the App that signed a token."""
    token = header.partition(" ")[2]
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        app = apps[str(claims["iss"])]
        jwt.decode(token, app.public_key, algorithms=["RS256"], options={"require": ["exp", "iat"]})
    except (jwt.PyJWTError, KeyError):
        raise Refused(401, "A JSON web token could not be decoded") from None
    if claims["exp"] - time.time() > 600:
        raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
    return app


def app_facts(app: App) -> Json:
    """Return an App as GitHub describes it to the App itself."""
    return {
        "id": 1,
        "slug": "our-app",
        "name": "Our App",
        "permissions": app.permissions,
        "installations_count": len({*app.installations.values()}),
    }


def _chosen(
    app: App, installation: int, body: Json, repositories: dict[str, Repository]
) -> set[str]:
    """Return the names of a token's repositories; the App must be installed in each."""
    installed = {
        name: found
        for name, found in repositories.items()
        if app.installations.get(name) == installation
    }
    short_names = {name.partition("/")[2]: name for name in installed}
    numbers = {found.id: name for name, found in installed.items()}
    try:
        chosen = {short_names[name] for name in body.get("repositories", ())}
        chosen |= {numbers[number] for number in body.get("repository_ids", ())}
    except KeyError:
        raise Refused(
            422,
            "There is at least one repository that does not exist or is not accessible to the "
            "parent installation.",
        ) from None
    return chosen or {*installed}


def installation_token(
    app: App, installation: int, body: Json, repositories: dict[str, Repository]
) -> tuple[str, Token, Json]:
    """Return a new token of an installation, its permissions, and the answer with both."""
    if installation not in app.installations.values():
        raise Refused(404, "Not Found")
    chosen = _chosen(app, installation, body, repositories)
    permissions: dict[str, str] = body.get("permissions") or app.permissions
    if any(
        app.permissions.get(name) not in {level, "write", "admin"}
        for name, level in permissions.items()
    ):
        raise failures.refusal("app_permissions")
    text = f"ghs_{secrets.token_hex(18)}"
    token = Token("app[bot]", None, permissions, frozenset(chosen), installation)
    end = datetime.now(UTC) + timedelta(seconds=INSTALLATION_SECONDS)
    answer: dict[str, Any] = {
        "token": text,
        "expires_at": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "permissions": permissions,
        "repositories": [{"id": repositories[name].id, "full_name": name} for name in chosen],
    }
    return text, token, answer
