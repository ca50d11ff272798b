"""Opens GitHub clients for callers of the API, with their own token or the server's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import request
from pydantic import SecretStr

from utils.api.endpoint import TOKEN_HEADER, Services
from utils.api.schemas.github import OWN_STATUS
from utils.credentials.github_resolver import ChosenToken, TokenSource
from utils.errors import Forbidden, InvalidInput
from utils.git.repository_url import find_github_name
from utils.github.app import Purpose
from utils.github.client import GitHub
from utils.github.errors import RepositoryMoved
from utils.models.tasks import Task, TaskSummary
from utils.models.users import Project

MAX_TASKS_SEARCHED = 500
"""Number of newest tasks of a caller that are searched for a repository or a pull request."""


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
    """Provide a GitHub client for a repository, with the best token that the caller may use.

    The order is: the token of the request, the stored token of the caller, the server's token. The
    server's token is used only if `GITHUB_TOKEN_USERS` and `GITHUB_TOKEN_REPOSITORIES` allow it and
    the caller has a project or a task in the repository. With `own_pull`, it is used only if the
    pull request with this number belongs to a task of the caller. With `own_status`, it is used for
    the commit status with this context. An App's token has only the permissions of the purpose.
    Without any token the client is anonymous.

    Raises the errors of `GitHubTokenResolver`, `Forbidden` (`status_not_own`) for a context that
    the server's token may not set, and `Unavailable` (`github_busy`) while too many requests wait
    for GitHub. A `RepositoryMoved` raised in the block gets the new name of the repository.
    """
    tokens = services.github_tokens
    address = services.settings.github_clone_url(full_name)
    chosen = tokens.user_token(user_id, address, token_of_request())
    with services.github_limiter.slot():
        if chosen.source is TokenSource.NONE and (
            own_status or _may_use_server_token(services, user_id, full_name, own_pull)
        ):
            chosen = tokens.server_token(user_id, full_name, purpose)
            _refuse_foreign_context(chosen, own_status)
        with tokens.open_client(chosen, full_name) as github, _with_new_name(github):
            yield github


@contextmanager
def own_github(services: Services, user_id: str) -> Iterator[GitHub]:
    """Provide a GitHub client with the token of the request, or the stored one of the caller.

    The server's token is never used, because it may see repositories that the caller may not.
    Raises `InvalidInput` (`github_token_needed`) without a token, and `Unavailable`
    (`github_busy`).
    """
    address = services.settings.github_clone_url("owner/name")
    chosen = services.github_tokens.user_token(user_id, address, token_of_request())
    if chosen.source is TokenSource.NONE:
        raise InvalidInput(
            "A GitHub token of your own is required. Send it in the header X-GitHub-Token, or "
            "store one with PUT /users/me.",
            "github_token_needed",
        )
    with (
        services.github_limiter.slot(),
        services.github_tokens.open_client(chosen, "") as github,
    ):
        yield github


def token_of_request(in_body: SecretStr | None = None) -> SecretStr | None:
    """Return the GitHub token of the current request: from its body, else from its header."""
    in_header = request.headers.get(TOKEN_HEADER)
    return in_body or (SecretStr(in_header) if in_header else None)


@contextmanager
def _with_new_name(github: GitHub) -> Iterator[None]:
    try:
        yield
    except RepositoryMoved as moved:
        raise RepositoryMoved(moved.repository_id, github.resolve_moved(moved)) from None


def find_project(
    services: Services, user_id: str, full_name: str, *, is_active: bool = False
) -> Project | None:
    """Return a user's project for a repository; with `is_active`, only an active one."""
    projects = (
        project
        for project in services.database.list_projects(user_id)
        if _is_same_repository(services, full_name, project.repo_url)
        and (project.is_active or not is_active)
    )
    return next(projects, None)


def clone_token(
    services: Services, user_id: str, full_name: str, repo_url: str
) -> SecretStr | None:
    """Return the server's token to clone a repository, None if the user has a token."""
    tokens = services.github_tokens
    # A user's own token is read when the task starts. The App's may expire while the task waits.
    if tokens.user_token(user_id, repo_url, None).token:
        return None
    token = tokens.server_token(user_id, full_name, Purpose.CLONE).token
    return None if token is None else SecretStr(token)


def comment_task_token(services: Services, task: Task) -> SecretStr | None:
    """Return the server's token for the next turn of a task that a comment on GitHub started.

    None for other tasks. The turn may have to clone, and the token of the first one is deleted.
    Raises the errors of GitHub's API.
    """
    settings = services.settings
    place = (task.execution_metadata or {}).get("asked_in")
    is_ours = settings.webhook_tasks and task.user_id == str(settings.webhook_user_id)
    if not is_ours or not isinstance(place, dict):
        return None
    full_name = str(place.get("repository"))
    # A user can write to their rows; only their projects are places for the server's token.
    if not _is_same_repository(services, full_name, task.repo_url):
        return None
    if find_project(services, task.user_id, full_name, is_active=True) is None:
        return None
    with services.github_limiter.slot():
        return clone_token(services, task.user_id, full_name, task.repo_url)


def _may_use_server_token(
    services: Services, user_id: str, full_name: str, own_pull: int | None
) -> bool:
    if not services.github_tokens.may_use_server_token(user_id, full_name):
        return False
    tasks: tuple[TaskSummary, ...] = services.database.list_tasks(
        user_id, limit=MAX_TASKS_SEARCHED
    ).tasks
    if own_pull is not None:
        # The whole URL is compared: another repository may have the name of one that has moved.
        url = f"{services.settings.github_clone_url(full_name)}/pull/{own_pull}".lower()
        return any((task.pr_url or "").lower() == url for task in tasks)
    inside = any(_is_same_repository(services, full_name, task.repo_url) for task in tasks)
    return inside or find_project(services, user_id, full_name) is not None


def _refuse_foreign_context(chosen: ChosenToken, status: str | None) -> None:
    # Branch protection trusts a status by its context: the server's token must not satisfy checks
    # of other programs.
    if chosen.source is TokenSource.NONE or status is None or status == OWN_STATUS:
        return
    if not status.startswith(f"{OWN_STATUS}/"):
        raise Forbidden(
            f"The server's token sets only the contexts {OWN_STATUS} and {OWN_STATUS}/<name>. Send "
            f"one of these, or send your own token in the header {TOKEN_HEADER}.",
            "status_not_own",
        )


def _is_same_repository(services: Services, full_name: str, repo_url: str) -> bool:
    # Front ends also write rows, with any spelling of the URL.
    found = find_github_name(repo_url, services.settings.github_host)
    return found is not None and found.lower() == full_name.lower()
