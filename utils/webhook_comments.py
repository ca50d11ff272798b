"""Starts a task for a comment `/async-code <prompt>` by somebody who may push, and answers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import BoundedSemaphore

import structlog
from pydantic import SecretStr

from utils.agents import AGENT_NAMES
from utils.api import Services
from utils.caller_github import forgetting_refused, has_project, servers_token
from utils.errors import AppError, InvalidInput, NotFound, QueueFull, Unavailable
from utils.github import WRITERS, GitHub
from utils.repository_url import parse_repository_url, validate_branch
from utils.webhook_command import COMMAND, Command, read_command
from utils.webhook_delivery import CommentEvent, Delivery, read_event

SEEN = "It was seen before."
NO_PROJECT = "WEBHOOK_USER_ID has no project in this repository; comments start tasks only there."

# GitHub waits ten seconds for an answer. What takes longer is done all the same.
_TIMEOUT_SECONDS = 4
# Slow answers of GitHub's must leave threads for everybody else.
_PLACES = BoundedSemaphore(3)
_PLACE_SECONDS = 3

_DEFAULT_AGENT = "claude"
_USAGE = f"Write `{COMMAND} <what to do>`, or `{COMMAND} agent=<name> <what to do>` with one of: "

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Order:
    """A task to start."""

    prompt: str
    agent: str
    repo_url: str
    branch: str
    token: SecretStr | None = field(repr=False)


def follow_comment(services: Services, delivery: Delivery) -> str | None:
    """Start a task if the comment asks for one and its author may push; return what was done.

    None when it asks for nothing. Comments of programs, ours too, never do. Raises what GitHub's
    API ends with; nothing was done then, and the delivery may be sent again.
    """
    event = read_event(CommentEvent, delivery)
    author = event.comment.user
    command = read_command(event.comment.body or "")
    if event.action != "created" or command is None or author is None or author.is_bot:
        return None
    if not services.settings.webhook_tasks:
        return "Comments start no tasks here: WEBHOOK_TASKS is not true."
    if not _PLACES.acquire(timeout=_PLACE_SECONDS):
        raise Unavailable("Too many comments at once; send this one again.", "github_busy")
    try:
        return _follow(services, delivery, event, command, author.login)
    finally:
        _PLACES.release()


def _follow(
    services: Services, delivery: Delivery, event: CommentEvent, command: Command, login: str
) -> str:
    full_name = event.repository.full_name
    repo_url = _clonable(services, full_name)
    user_id = str(services.settings.webhook_user_id)
    # Anybody may push to a repository of their own, and install an App that is public there.
    if not has_project(services, user_id, full_name):
        log.warning(
            "comment in a repository without a project",
            action="webhook.no_project",
            repository=full_name,
        )
        return NO_PROJECT
    chosen = servers_token(services, full_name)
    if chosen.token is None:
        return "The GitHub App is not installed in this repository."
    with (
        forgetting_refused(services, full_name, chosen),
        GitHub(
            services.settings.github_api_url, chosen.token, timeout_seconds=_TIMEOUT_SECONDS
        ) as github,
    ):
        if not _may_push(github, full_name, login):
            return "Its author may not push to the repository."
        order: _Order | InvalidInput
        try:
            order = _order(github, event, command, repo_url, SecretStr(chosen.token))
        except InvalidInput as error:
            order = error
        user_id = services.database.ensure_user(user_id).id
        # An App's webhook and a repository's own both deliver the same comment.
        ids = (delivery.id, f"comment-{event.comment.id}")
        if not all(services.database.take_delivery(one) for one in ids):
            return SEEN
        text = _refused(order) if isinstance(order, AppError) else _start(services, user_id, order)
        _answer(github, full_name, event.issue.number, text)
    return text


def _clonable(services: Services, full_name: str) -> str:
    settings = services.settings
    return parse_repository_url(
        settings.address_on_github(full_name),
        allowed_hosts=settings.allowed_git_hosts,
        allow_local=settings.local_repos_allowed,
    ).url


def _may_push(github: GitHub, full_name: str, login: str) -> bool:
    # What the delivery says of the author's association with the repository is no permission.
    try:
        return github.permission(full_name, login) in WRITERS
    except (InvalidInput, NotFound):
        return False


def _order(
    github: GitHub, event: CommentEvent, command: Command, repo_url: str, token: SecretStr
) -> _Order:
    agent = _DEFAULT_AGENT if command.agent is None else command.agent
    if agent not in AGENT_NAMES:
        raise InvalidInput(f"There is no such agent. {_USAGE}{', '.join(AGENT_NAMES)}.")
    if not command.prompt:
        raise InvalidInput(f"The prompt is missing. {_USAGE}{', '.join(AGENT_NAMES)}.")
    found = github.repository(event.repository.full_name)
    branch = found.default_branch
    if event.issue.pull_request:
        pull = github.pull(found.full_name, event.issue.number)
        if (pull.head_repository or "").lower() != found.full_name.lower():
            raise InvalidInput("The branch of this pull request is in a fork; forks do not work.")
        branch = pull.head
    private = token if found.is_private else None
    return _Order(command.prompt, agent, repo_url, validate_branch(branch), private)


def _start(services: Services, user_id: str, order: _Order) -> str:
    try:
        task = services.dispatcher.start_task(
            user_id,
            prompt=order.prompt,
            repo_url=order.repo_url,
            branch=order.branch,
            agent=order.agent,
            agent_model=None,
            project_id=None,
            git_token=order.token,
        )
    except (InvalidInput, QueueFull) as error:
        return _refused(error)
    log.info("comment started a task", action="webhook.task_started", task_id=task.id)
    link = services.settings.link_to_task(task.id)
    return f"[Task {task.id}]({link}) is queued." if link else f"Task {task.id} is queued."


def _refused(error: AppError) -> str:
    return f"No task was started. {error.message}"


def _answer(github: GitHub, full_name: str, number: int, text: str) -> None:
    try:
        github.comment(full_name, number, text)
    except AppError as error:
        # What was done stays done; to fail would have the delivery sent again in vain.
        log.warning("comment not answered", action="webhook.not_answered", code=error.code)
