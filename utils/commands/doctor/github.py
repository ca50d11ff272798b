"""Checks GitHub for `./run.sh doctor`: its address, the server's token, the server's App.

No request is sent unless a setting for GitHub is set, and then one for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, urlsplit

from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.config.groups.github import GITHUB_API_URL
from utils.config.settings import Settings
from utils.errors import AppError, NotFound, RepositoryNotAllowed
from utils.git.repository_url import parse_repository_url
from utils.github.app import (
    AppInfo,
    Purpose,
    fetch_app_info,
    lacking_permissions,
    required_permissions,
)
from utils.github.client import GitHub
from utils.github.errors import NOT_GITHUB, RepositoryMoved
from utils.github.models import GitHubUser

TIMEOUT_SECONDS = 5
SOON = timedelta(days=7)

_REST = "/api/v3"
_HTTPS_PORT = 443
_PUSH = frozenset({"repo", "public_repo"})


def check_github(settings: Settings) -> Iterator[Finding]:
    """Check that tasks can use repositories on GitHub, and the server's identity there."""
    has_address = settings.github_api_url != GITHUB_API_URL
    if not (has_address or settings.github_token or settings.github_app_id):
        return
    address = _check_address(settings.github_api_url)
    if address is not None:
        yield address
        if address.level == "problem":
            return
    yield from _check_clones(settings)
    yield from _check_users(settings)
    if settings.github_token is not None:
        yield from _check_token(settings, settings.github_token.get_secret_value())
    if settings.github_app_id is not None:
        yield from _check_app(settings)
    elif settings.github_token is None:
        yield _check_answer(settings)


def _check_address(api_url: str) -> Finding | None:
    """Return the finding for a wrong address. Only those of GitHub's own hosts are certain."""
    parts = urlsplit(api_url.lower())
    host = parts.hostname or ""
    if f".{host}".endswith(".github.com"):
        right = GITHUB_API_URL
    elif host.endswith(".ghe.com"):
        right = f"https://api.{host.removeprefix('api.')}"
    else:
        return _check_unknown_address(parts)
    # The settings take https only for these hosts.
    given = parts._replace(netloc=host) if parts.port == _HTTPS_PORT else parts
    if given.geturl() == right:
        return None
    return problem("GitHub: GITHUB_API_URL is not the address of its API", f"Set it to {right}")


def _check_unknown_address(parts: SplitResult) -> Finding | None:
    # Some proxies in front of GitHub have a name of their own for the API.
    has_own_name = (parts.hostname or "").startswith("api.") and not parts.path
    if has_own_name or parts.path.endswith(_REST):
        return None
    return warning(
        "GitHub: GITHUB_API_URL may not be the address of its API",
        f"That of GitHub Enterprise Server is {parts.scheme}://{parts.netloc}{_REST}; for a proxy "
        "in front of GitHub it may be right.",
    )


def _check_clones(settings: Settings) -> Iterator[Finding]:
    host = settings.github_host
    try:
        parse_repository_url(
            settings.github_clone_url("owner/name"),
            allowed_hosts=settings.allowed_git_hosts,
            allow_local=settings.local_repos_allowed,
        )
    except RepositoryNotAllowed as error:
        hosts = ",".join((*settings.allowed_git_hosts, host))
        is_known = host in settings.allowed_git_hosts or "*" in settings.allowed_git_hosts
        advice = error.message if is_known else f"Set ALLOWED_GIT_HOSTS={hosts}"
        yield problem(f"GitHub: no task can be started in a repository on {host}", advice)


def _check_users(settings: Settings) -> Iterator[Finding]:
    """Report a production server whose own credentials no user may use."""
    has_credentials = settings.github_token or settings.github_app_id
    is_listed = settings.github_token_users or settings.github_token_repositories
    if settings.is_production and has_credentials and not is_listed:
        if settings.webhook_user_id is None:
            yield warning(
                "GitHub: nobody may use the server's own credentials",
                "Set GITHUB_TOKEN_USERS or GITHUB_TOKEN_REPOSITORIES, or let users send or store "
                "tokens of their own.",
            )
        else:
            yield ok("GitHub: only WEBHOOK_USER_ID may use the server's own credentials")


def _check_token(settings: Settings, token: str) -> Iterator[Finding]:
    try:
        user = _user(settings, token)
    except AppError as error:
        yield _explain_token_error(settings, error)
        return
    yield _check_scopes(user)
    ends_at = user.token_expires_at
    if ends_at is not None and ends_at - datetime.now(UTC) < SOON:
        yield warning(f"GitHub: GITHUB_TOKEN expires on {ends_at:%Y-%m-%d}", "Replace it before.")


def _explain_token_error(settings: Settings, error: AppError) -> Finding:
    if error.code == "github_token_refused":
        return problem(
            f"GitHub: {settings.github_host} does not accept GITHUB_TOKEN: it is wrong, has "
            "expired or was revoked",
            f"Create a new one at {settings.github_clone_url('settings/tokens')}, or remove the "
            "setting: with this token even public repositories cannot be cloned.",
        )
    if error.code == "github_token_scope":
        return warning(
            "GitHub: GITHUB_TOKEN does not belong to a user: it is a token of an App, which "
            "expires after an hour",
            "Set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY instead.",
        )
    return _failed(settings, error)


def _user(settings: Settings, token: str | None) -> GitHubUser:
    with GitHub(settings.github_api_url, token, timeout_seconds=TIMEOUT_SECONDS) as github:
        return github.user()


def _check_scopes(user: GitHubUser) -> Finding:
    owner = f"GitHub: GITHUB_TOKEN belongs to {user.login}"
    if user.scopes is None:
        return ok(
            owner,
            "GitHub does not report the permissions of a token without scopes. It needs Contents "
            "and Pull requests, each with read and write.",
        )
    lacking = _lacking_scopes(user.scopes)
    return warning(f"{owner} and {lacking}", "Add the scope repo.") if lacking else ok(owner)


def _lacking_scopes(scopes: tuple[str, ...]) -> str | None:
    if _PUSH.isdisjoint(scopes):
        return f"cannot push: its scopes are {', '.join(scopes) or 'none'}"
    return None if "repo" in scopes else "can push to public repositories only"


def _check_app(settings: Settings) -> Iterator[Finding]:
    try:
        app = fetch_app_info(settings, TIMEOUT_SECONDS)
    except AppError as error:
        if error.code == "github_app_refused" or isinstance(error, NotFound):
            yield problem(
                f"GitHub: {settings.github_host} does not know the App with this key",
                "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY must belong together, and the clock of "
                "this machine must be right.",
            )
        else:
            yield _failed(settings, error)
        return
    yield from _check_app_facts(app)


def _check_app_facts(app: AppInfo) -> Iterator[Finding]:
    title = f"GitHub: the App is {app.name}"
    lacking = lacking_permissions(required_permissions(), app.permissions)
    if app.installations == 0:
        yield warning(f"{title}; it is not installed anywhere", "Install it in your repositories.")
    elif not lacking:
        yield ok(title)
    if not lacking:
        return
    listed = ", ".join(f"{name}: {level}" for name, level in lacking.items())
    cannot_push = not lacking.keys().isdisjoint(Purpose.PUSH.permissions)
    finding = problem if cannot_push else warning
    yield finding(
        f"{title}; it lacks permissions: {listed}",
        "Without them it cannot create pull requests. Add them in the App's settings on GitHub "
        "(Permissions & events), then accept the change in its installation."
        if cannot_push
        else "docs/github.md explains each of them. Add the ones you need in the App's settings on "
        "GitHub (Permissions & events), then accept the change in its installation.",
    )


def _check_answer(settings: Settings) -> Finding:
    try:
        _user(settings, None)
    except AppError as error:
        if error.code != "github_token_needed":
            return _failed(settings, error)
    return ok(f"GitHub: the API of {settings.github_host} answers")


def _failed(settings: Settings, error: AppError) -> Finding:
    if error.message == NOT_GITHUB or isinstance(error, NotFound | RepositoryMoved):
        return problem(
            f"GitHub: the server at {settings.github_api_url} is not its REST API",
            "Check GITHUB_API_URL. A proxy or a sign-in page may answer in its place.",
        )
    if error.code == "github_unavailable":
        return warning(
            f"GitHub: {settings.github_api_url} does not answer",
            "Check GITHUB_API_URL, the network, the firewall and HTTPS_PROXY.",
        )
    return warning(f"GitHub: {error.message}")
