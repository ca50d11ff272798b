"""Performs operations on GitHub for a caller, and stores their results with tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from database import Database
from utils.api.endpoint import Services
from utils.api.github_access import caller_github
from utils.api.schemas.github import PullChange, PullMerge, TaskStatusReport
from utils.errors import AppError, Conflict, NotFound
from utils.git.repository_url import github_full_name
from utils.github.app import Purpose
from utils.github.client import GitHub
from utils.github.errors import RepositoryMoved
from utils.github.models import CommitState, GitHubPull, MergeMethod
from utils.models.tasks import Json, Task


def update_pull(
    services: Services, user_id: str, full_name: str, number: int, change: PullChange
) -> GitHubPull:
    """Change the given fields of a pull request, and return it."""
    purpose = Purpose.CHANGE_PULLS if change.draft is None else Purpose.PUSH
    with caller_github(services, user_id, full_name, purpose, own_pull=number) as github:
        pull = github.update_pull(full_name, number, **change.model_dump(exclude_none=True))
    if change.state:
        store_pull_request_state(services.database, pull.url, pull.outcome)
    return pull


def merge_pull(
    services: Services, user_id: str, full_name: str, number: int, how: PullMerge
) -> str | None:
    """Merge a pull request; return the merge commit, None if it was merged already."""
    with caller_github(services, user_id, full_name, Purpose.PUSH, own_pull=number) as github:
        pull = github.pull(full_name, number)
        merge_commit = None
        if not pull.is_merged:
            method = MergeMethod(how.method)
            with _naming_what_is_missing(github, full_name, number):
                merge_commit = github.merge_pull(
                    full_name, number, method=method, expected_head=how.sha
                )
    store_pull_request_state(services.database, pull.url, "merged")
    return merge_commit


@contextmanager
def _naming_what_is_missing(github: GitHub, full_name: str, number: int) -> Iterator[None]:
    """Add to the refusal of a merge what it lacks, as far as the token may read it."""
    try:
        yield
    except Conflict as error:
        missing: tuple[str, ...] = ()
        if error.code in {"branch_protected", "not_mergeable"}:
            with suppress(AppError):
                missing = github.merge_state(full_name, number).missing
        if not missing:
            raise
        raise Conflict(f"{error.message} Missing: {'; '.join(missing)}.", error.code) from error


def report_status(services: Services, user_id: str, task_id: int, report: TaskStatusReport) -> Json:
    """Set a commit status on the last commit that a task pushed, with a link to the task."""
    task = services.database.get_task_status(user_id, task_id)
    full_name = github_full_name(task.repo_url, services.settings.github_host)
    if task.pr_commit is None:
        raise Conflict(
            "Nothing of this task was pushed yet: create its pull request first.", "not_pushed"
        )
    link = services.settings.task_url(task_id)
    with caller_github(
        services, user_id, full_name, Purpose.SET_STATUS, own_status=report.context
    ) as github:
        set_commit_status(
            github,
            full_name,
            task.pr_commit,
            CommitState(report.state),
            context=report.context,
            description=report.description,
            target_url=link,
        )
    return {"commit": task.pr_commit, "link": link}


def set_commit_status(
    github: GitHub,
    full_name: str,
    sha: str,
    state: CommitState,
    *,
    context: str,
    description: str,
    target_url: str | None,
) -> None:
    """Set a commit status, also where the repository was renamed since."""
    set_status = partial(
        github.set_commit_status,
        sha=sha,
        state=state,
        context=context,
        description=description,
        target_url=target_url,
    )
    try:
        set_status(full_name)
    except RepositoryMoved as moved:  # the task still has the old URL
        set_status(github.resolve_moved(moved))


def store_pull_request_state(
    database: Database, pr_url: str, state: str, tasks: list[Task] | None = None
) -> None:
    """Store the address and the state (open, closed, merged) of a pull request with its tasks."""
    for task in database.list_pull_request_tasks(pr_url) if tasks is None else tasks:
        with suppress(NotFound):  # deleted meanwhile
            database.set_pull_request(task.user_id, task.id, {"pr_state": state, "pr_url": pr_url})
    database.set_repository_pull_states(pr_url, None, state)
