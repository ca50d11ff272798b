"""GitHub as a caller may use it: with the most personal token, and seldom with the server's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import request
from pydantic import SecretStr

from utils.api.endpoint import TOKEN_HEADER, Services
from utils.api.github_schemas import OWN_STATUS
from utils.credentials.github_resolver import ChosenToken, TokenSource
from utils.errors import Forbidden
from utils.git.repository_url import find_github_name
from utils.github.app import Purpose
from utils.github.client import GitHub
from utils.github.errors import RepositoryMoved
from utils.models.tasks import TaskSummary
from utils.models.users import Project

MAX_TASKS_SEARCHED = 500
"""So many of a caller's newest tasks may make a repository theirs."""


@contextmanager
def caller_github(
    services: Services,
    user_id: str,
    full_name: str,
    purpose: Purpose,
    *,
    own_pull: int | None = None,
    own_status: str | None = None,
) -> Iterator[GitHub]:
    """Speak to GitHub about a repository with the token of the current request's caller.

    That is the one of the request, else the one that the caller has stored. The server's own, an
    App's for no more than the purpose, stands in where the caller has a project or a task in the
    repository, and with `own_pull` only where the pull request with this number is that of a task
    of theirs. With `own_status` it is for the status of this name, of a task of theirs. Otherwise
    nobody asks, who sees what is public. Raises what `GitHubTokenResolver` raises, `Forbidden`
    (`status_not_own`) where the server would speak in another's name, `Unavailable`
    (`github_busy`) while too many requests wait for GitHub. A `RepositoryMoved` that leaves the
    block says what the repository is called now.
    """
    tokens = services.user_tokens
    address = services.settings.github_clone_url(full_name)
    chosen = tokens.user_token(user_id, address, token_of_request())
    with services.github_limiter.slot():
        if chosen.source is TokenSource.NONE and (
            own_status or _is_theirs(services, user_id, full_name, own_pull)
        ):
            chosen = tokens.server_token(full_name, purpose)
            _refuse_anothers_name(chosen, own_status)
        with tokens.open_client(chosen, full_name) as github, _naming_moved(github):
            yield github


def token_of_request(in_body: SecretStr | None = None) -> SecretStr | None:
    """Return the token for GitHub in the current request: of its body, else of its header."""
    in_header = request.headers.get(TOKEN_HEADER)
    return in_body or (SecretStr(in_header) if in_header else None)


@contextmanager
def _naming_moved(github: GitHub) -> Iterator[None]:
    try:
        yield
    except RepositoryMoved as moved:
        raise RepositoryMoved(moved.repository_id, github.resolve_moved(moved)) from None


def find_project(
    services: Services, user_id: str, full_name: str, *, is_active: bool = False
) -> Project | None:
    """Return a user's project in a repository, with `is_active` only one that is active."""
    projects = (
        project
        for project in services.database.list_projects(user_id)
        if _is_in(services, full_name, project.repo_url) and (project.is_active or not is_active)
    )
    return next(projects, None)


def _is_theirs(services: Services, user_id: str, full_name: str, own_pull: int | None) -> bool:
    if not services.user_tokens.has_server_token:
        return False
    tasks: tuple[TaskSummary, ...] = services.database.list_tasks(
        user_id, limit=MAX_TASKS_SEARCHED
    ).tasks
    if own_pull is not None:
        # The address of a task stays; once its repository has moved, another may be there.
        url = f"{services.settings.github_clone_url(full_name)}/pull/{own_pull}".lower()
        return any((task.pr_url or "").lower() == url for task in tasks)
    inside = any(_is_in(services, full_name, task.repo_url) for task in tasks)
    return inside or find_project(services, user_id, full_name) is not None


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


def _is_in(services: Services, full_name: str, repo_url: str) -> bool:
    # Rows may be written past this server, with any spelling of an address.
    found = find_github_name(repo_url, services.settings.github_host)
    return found is not None and found.lower() == full_name.lower()
