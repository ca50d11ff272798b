"""Notes with tasks what became of their pull requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from utils.api.endpoint import Services
from utils.api.github_operations import note_state
from utils.errors import AppError, NotFound
from utils.git.repository_url import find_github_name
from utils.github.app import Purpose
from utils.github.client import GitHub
from utils.models.tasks import Task
from utils.webhooks.delivery import SEEN, TIMEOUT_SECONDS, Delivery, PullRequestEvent, read_event


def follow_pull(services: Services, delivery: Delivery) -> str | None:
    """Note the state of a pull request with its tasks; return what was done, None for nothing.

    The delivery is taken last: to note the same once more, after a failure, changes nothing.
    """
    event = read_event(PullRequestEvent, delivery)
    if event.action not in {"closed", "reopened"}:
        return None
    pull = event.pull_request
    tasks = _tasks(services, event)
    if not tasks:
        return "It is no task's pull request."
    if services.database.has_delivery(delivery.id):
        return SEEN
    state = _state(services, event)
    note_state(services.database, pull.html_url, state, tasks)
    if not services.database.take_delivery(delivery.id):
        return SEEN
    return f"The pull request is {state}; tasks of it: {len(tasks)}."


def _state(services: Services, event: PullRequestEvent) -> str:
    """Return what the pull request is now, or was at the delivery where GitHub does not tell.

    Deliveries come in any order, and anybody with access to the webhook has old ones sent again.
    """
    pull, full_name = event.pull_request, event.repository.full_name
    if pull.merged:  # nothing comes after that
        return "merged"
    try:
        with _servers_github(services, full_name, Purpose.READ_PULLS) as github:
            now = github.pull(full_name, pull.number)
    except AppError:
        return pull.state
    # Right after a change GitHub's API may still answer with what was before it.
    is_older = now.updated_at and pull.updated_at and now.updated_at < pull.updated_at
    if is_older or now.url.lower() != pull.html_url.lower():
        return pull.state
    return now.outcome


def _tasks(services: Services, event: PullRequestEvent) -> list[Task]:
    pull = event.pull_request
    there = services.database.tasks_of_pull_request(pull.html_url)
    # Once a repository has another name, a new one may have the old, and count anew.
    return [task for task in there if task.pr_branch in {None, pull.head.ref}] or _moved_tasks(
        services, event
    )


def _moved_tasks(services: Services, event: PullRequestEvent) -> list[Task]:
    """Return the tasks whose pull request had another address before its repository moved.

    Anybody may have a pull request with this number and branch, and the very commit, in a
    repository of theirs, and deliveries from there may be signed. Only GitHub knows what has moved.
    """
    pull, full_name = event.pull_request, event.repository.full_name
    tasks = services.database.tasks_of_branch(pull.head.ref, pull.number)
    if not tasks:
        return []
    host = services.settings.github_host
    with _servers_github(services, full_name, Purpose.READ_METADATA) as github:
        return [task for task in tasks if _is_in(github, host, task, full_name)]


@contextmanager
def _servers_github(services: Services, full_name: str, purpose: Purpose) -> Iterator[GitHub]:
    """Speak to GitHub with the server's token for a repository, or as nobody without one."""
    tokens = services.user_tokens
    with services.github_limiter.slot():
        chosen = tokens.servers(full_name, purpose)
        with tokens.speaking(chosen, full_name, TIMEOUT_SECONDS) as github:
            yield github


def _is_in(github: GitHub, host: str, task: Task, full_name: str) -> bool:
    former = find_github_name(task.repo_url, host)
    try:
        present = github.repository(former).full_name if former else ""
    except NotFound:
        return False
    return present.lower() == full_name.lower()
