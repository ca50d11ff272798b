"""Stores the states of pull requests with their tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from utils.api.endpoint import Services
from utils.api.github_operations import store_pull_request_state
from utils.errors import AppError, NotFound
from utils.git.repository_url import find_github_name
from utils.github.app import Purpose
from utils.github.client import GitHub
from utils.models.tasks import Task
from utils.webhooks.delivery import (
    ALREADY_PROCESSED,
    TIMEOUT_SECONDS,
    Delivery,
    PullRequestEvent,
    read_event,
)


def handle_pull_request(services: Services, delivery: Delivery) -> str | None:
    """Store the state of a pull request with its tasks; return the result, None if ignored.

    The delivery is marked as processed last: after a failure it is safe to store the state again.
    """
    event = read_event(PullRequestEvent, delivery)
    if event.action not in {"closed", "reopened"}:
        return None
    pull = event.pull_request
    if services.database.has_delivery(delivery.id):
        return ALREADY_PROCESSED
    tasks, announced = _tasks(services, event), "merged" if pull.merged else pull.state
    # Those in which a task over several repositories has opened it beside its first one.
    further = services.database.set_repository_pull_states(pull.html_url, pull.head.ref, announced)
    if not tasks and not further:
        return "This pull request belongs to no task."
    state = _state(services, event)
    store_pull_request_state(services.database, pull.html_url, state, tasks)
    if not services.database.record_delivery(delivery.id):
        return ALREADY_PROCESSED
    return f"The pull request is {state}; tasks updated: {len(tasks) + further}."


def _state(services: Services, event: PullRequestEvent) -> str:
    """Return the current state from GitHub, or that of the delivery if GitHub does not answer.

    Deliveries arrive in any order, and old ones can be sent again.
    """
    pull, full_name = event.pull_request, event.repository.full_name
    if pull.merged:  # the final state
        return "merged"
    try:
        with _servers_github(services, full_name, Purpose.READ_PULLS) as github:
            now = github.pull(full_name, pull.number)
    except AppError:
        return pull.state
    # Right after a change GitHub's API may still return the old state.
    is_older = now.updated_at and pull.updated_at and now.updated_at < pull.updated_at
    if is_older or now.url.lower() != pull.html_url.lower():
        return pull.state
    return now.outcome


def _tasks(services: Services, event: PullRequestEvent) -> list[Task]:
    pull = event.pull_request
    there = services.database.list_pull_request_tasks(pull.html_url)
    # After a repository was renamed, a new one may have its old name and the same numbers.
    return [task for task in there if task.pr_branch in {None, pull.head.ref}] or _moved_tasks(
        services, event
    )


def _moved_tasks(services: Services, event: PullRequestEvent) -> list[Task]:
    """Return the tasks whose pull request had another address before its repository moved.

    Any repository may have a pull request with this number, branch and commit, and its deliveries
    may be signed. So GitHub is asked whether the repository of the task has moved here.
    """
    pull, full_name = event.pull_request, event.repository.full_name
    tasks = services.database.list_branch_tasks(pull.head.ref, pull.number)
    if not tasks:
        return []
    host = services.settings.github_host
    with _servers_github(services, full_name, Purpose.READ_METADATA) as github:
        return [task for task in tasks if _is_in(github, host, task, full_name)]


@contextmanager
def _servers_github(services: Services, full_name: str, purpose: Purpose) -> Iterator[GitHub]:
    """Provide a client with the server's token for a repository, anonymous without one."""
    tokens = services.github_tokens
    with services.github_limiter.slot():
        chosen = tokens.server_token(None, full_name, purpose)
        with tokens.open_client(chosen, full_name, TIMEOUT_SECONDS) as github:
            yield github


def _is_in(github: GitHub, host: str, task: Task, full_name: str) -> bool:
    former = find_github_name(task.repo_url, host)
    try:
        present = github.repository(former).full_name if former else ""
    except NotFound:
        return False
    return present.lower() == full_name.lower()
