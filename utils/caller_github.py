"""GitHub as a caller may use it: with the most personal token, and seldom with the server's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import request
from pydantic import SecretStr

from utils.api import TOKEN_HEADER, Services
from utils.api_github import OWN_STATUS
from utils.errors import Forbidden
from utils.github import GitHub
from utils.github_tokens import ChosenToken, TokenSource, choose_token
from utils.models import TaskSummary
from utils.profiles import given_token

LOOKED_THROUGH = 500
"""So many of a caller's newest tasks may make a repository theirs."""


@contextmanager
def caller_github(
    services: Services,
    user_id: str,
    full_name: str,
    *,
    own_pull: int | None = None,
    own_status: str | None = None,
) -> Iterator[GitHub]:
    """Speak to GitHub about a repository with the token of the current request's caller.

    That is the one of the request, else the one that the caller has stored. The server's own
    stands in where the caller has a project or a task in the repository, and with `own_pull` only
    where the pull request with this number is that of a task of theirs. With `own_status` it is
    for the status of this name, of a task of theirs. Otherwise nobody asks, who sees what is
    public. Raises `InvalidInput` for what can be no token, `Forbidden` (`status_not_own`) where
    the server would speak in another's name, `Unavailable` (`github_busy`) while too many requests
    wait for GitHub.
    """
    chosen = _callers_token(services, user_id)
    with services.pull_requests.places.taken():
        if chosen.source is TokenSource.NONE and (
            own_status or _is_theirs(services, user_id, full_name, own_pull)
        ):
            chosen = servers_token(services, full_name)
            _refuse_anothers_name(chosen, own_status)
        with (
            forgetting_refused(services, full_name, chosen),
            GitHub(services.settings.github_api_url, chosen.token) as github,
        ):
            yield github


def servers_token(services: Services, full_name: str) -> ChosenToken:
    """Return the GitHub App's token for a repository, else the deployment's, else none."""
    app = services.github_app
    deployment = services.settings.github_token
    return choose_token(full_name, app_token=app.token if app else None, deployment=deployment)


@contextmanager
def forgetting_refused(services: Services, full_name: str, chosen: ChosenToken) -> Iterator[None]:
    """Have the App ask for a new token next time when GitHub refuses this one in the block."""
    try:
        yield
    except Forbidden as error:
        from_app = services.github_app if chosen.source is TokenSource.APP else None
        if from_app and error.code == "github_token_refused":
            from_app.forget(full_name)
        raise


def has_project(services: Services, user_id: str, full_name: str) -> bool:
    """Return whether a user has a project in a repository."""
    address = _address(services, full_name)
    projects = services.database.list_projects(user_id)
    return any(_is_at(address, project.repo_url) for project in projects)


def _callers_token(services: Services, user_id: str) -> ChosenToken:
    given = _opened(services, user_id, request.headers.get(TOKEN_HEADER))
    # One that is not needed need not be readable either.
    stored = None if given else services.database.get_profile(user_id).github_token
    return choose_token("", request=given, stored=_opened(services, user_id, stored))


def _opened(services: Services, user_id: str, text: str | None) -> SecretStr | None:
    return given_token(services.vault, user_id, SecretStr(text)) if text else None


def _is_theirs(services: Services, user_id: str, full_name: str, own_pull: int | None) -> bool:
    if services.github_app is None and services.settings.github_token is None:
        return False
    address = _address(services, full_name)
    tasks: tuple[TaskSummary, ...] = services.database.list_tasks(
        user_id, limit=LOOKED_THROUGH
    ).tasks
    inside = [task for task in tasks if _is_at(address, task.repo_url)]
    if own_pull is not None:
        return any(task.pr_number == own_pull for task in inside)
    return bool(inside) or has_project(services, user_id, full_name)


def _refuse_anothers_name(chosen: ChosenToken, status: str | None) -> None:
    # Rules for merging trust a status by its name: nobody may pass a check with the server's token.
    if chosen.source is TokenSource.NONE or status is None or status == OWN_STATUS:
        return
    if not status.startswith(f"{OWN_STATUS}/"):
        raise Forbidden(
            f"With the server's token a status is called {OWN_STATUS} or {OWN_STATUS}/<name>. Send "
            f"such a context, or a token of yours as {TOKEN_HEADER}.",
            "status_not_own",
        )


def _address(services: Services, full_name: str) -> str:
    return services.settings.address_on_github(full_name).lower()


def _is_at(address: str, repo_url: str) -> bool:
    return repo_url.lower().removesuffix(".git") == address
