"""Starts tasks for comments `/async-code <prompt>` by users who may push, and answers them."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from pydantic import SecretStr

from utils.agents.registry import AGENT_NAMES, DEFAULT_AGENT
from utils.api.endpoint import Services
from utils.api.github_access import clone_token, find_project
from utils.errors import AppError, BudgetExceeded, Conflict, InvalidInput, NotFound, QueueFull
from utils.git.repository_url import parse_repository_url, validate_branch
from utils.github.app import Purpose
from utils.github.client import WRITERS, GitHub
from utils.github.comment_command import COMMAND, Command, parse_command
from utils.models.tasks import NewTask
from utils.webhooks.delivery import (
    ALREADY_PROCESSED,
    TIMEOUT_SECONDS,
    CommentEvent,
    Delivery,
    read_event,
)
from utils.webhooks.end_comments import asked_in

NO_PROJECT = (
    "WEBHOOK_USER_ID has no active project in this repository; comments start tasks only there."
)

# GitHub does not repeat failed deliveries, so wait for a slot.
_SLOT_SECONDS = 3.0

_USAGE = f"Write `{COMMAND} <what to do>`, or `{COMMAND} agent=<name> <what to do>` with one of: "

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    """The agent and the branch of a new task; `commit` is the last one of a pull request."""

    agent: str
    branch: str
    is_private: bool
    commit: str | None


def handle_comment(services: Services, delivery: Delivery) -> str | None:
    """Start a task if the comment has the command and its author may push; return the result.

    None when it has no command. Comments of bots, including this server's own, and those of Apps
    on behalf of a user are ignored. Raises the errors of GitHub's API and the database; then the
    delivery may be sent again.
    """
    event = read_event(CommentEvent, delivery)
    author = event.comment.user
    command = parse_command(event.comment.body or "")
    if event.action != "created" or command is None or author is None or author.is_bot:
        return None
    if event.comment.performed_via_github_app is not None:
        return None
    if not services.settings.webhook_tasks:
        return "Comments do not start tasks on this server, because WEBHOOK_TASKS is not true."
    with services.github_limiter.slot(wait_seconds=_SLOT_SECONDS):
        return _handle(services, event, command, author.login)


def _handle(services: Services, event: CommentEvent, command: Command, login: str) -> str:
    full_name = event.repository.full_name
    repo_url = _clonable(services, full_name)
    # Anybody may push to their own repository and install a public App there.
    project = find_project(services, _user_id(services), full_name, is_active=True)
    if project is None:
        log.warning(
            "comment in a repository without a project",
            action="webhook.no_project",
            repository=full_name,
        )
        return NO_PROJECT
    if services.database.has_delivery(_name(event)):
        return ALREADY_PROCESSED
    is_pull = event.issue.pull_request is not None
    purpose = Purpose.CHANGE_PULLS if is_pull else Purpose.CHANGE_ISSUES
    chosen = services.github_tokens.server_token(_user_id(services), full_name, purpose)
    if chosen.token is None:
        return "The GitHub App is not installed in this repository."
    with services.github_tokens.open_client(chosen, full_name, TIMEOUT_SECONDS) as github:
        if not _may_push(github, full_name, login):
            return "The author of the comment may not push to the repository."
        try:
            work = _work(services, github, event, command)
            token = (
                clone_token(services, _user_id(services), full_name, repo_url)
                if work.is_private
                else None
            )
            new = _new_task(event, command, work, repo_url, project.id)
            text = _start(services, new, token)
        except (BudgetExceeded, InvalidInput, QueueFull) as error:
            text = _refuse(services, event, error)
        if text is None:
            return ALREADY_PROCESSED
        _answer(github, full_name, event.issue.number, text)
    return text


def _new_task(
    event: CommentEvent, command: Command, work: _Work, repo_url: str, project_id: int
) -> NewTask:
    place = asked_in(event.repository.full_name, event.issue.number, work.commit)
    return NewTask(
        command.prompt,
        repo_url,
        work.branch,
        work.agent,
        project_id,
        delivery=_name(event),
        asked_in=place,
    )


def _clonable(services: Services, full_name: str) -> str:
    settings = services.settings
    return parse_repository_url(
        settings.github_clone_url(full_name),
        allowed_hosts=settings.allowed_git_hosts,
        allow_local=settings.local_repos_allowed,
    ).url


def _may_push(github: GitHub, full_name: str, login: str) -> bool:
    # The author's association in the delivery is not a permission.
    try:
        return github.permission(full_name, login) in WRITERS
    except (InvalidInput, NotFound):
        return False


def _work(services: Services, github: GitHub, event: CommentEvent, command: Command) -> _Work:
    """Return the work that a comment asks for. Raise `InvalidInput` if it is not possible."""
    agent = DEFAULT_AGENT if command.agent is None else command.agent
    if agent not in AGENT_NAMES:
        raise InvalidInput(f"Unknown agent. {_USAGE}{', '.join(AGENT_NAMES)}.")
    if not command.prompt:
        raise InvalidInput(f"The prompt is missing. {_USAGE}{', '.join(AGENT_NAMES)}.")
    found = github.repository(event.repository.full_name)
    branch, commit = found.default_branch, None
    if event.issue.pull_request is not None:
        pull = github.pull(found.full_name, event.issue.number)
        if (pull.head_repository or "").lower() != found.full_name.lower():
            raise InvalidInput(
                "The branch of this pull request is in a fork. Tasks cannot run on forks."
            )
        if pull.is_merged:
            raise InvalidInput(
                "This pull request is merged. Write the comment on an issue or on an open pull "
                "request."
            )
        branch, commit = pull.head, pull.head_sha
        if _is_gone(services, found.full_name, branch):
            raise InvalidInput(
                "The branch of this pull request no longer exists. Restore it on GitHub, and write "
                "the comment again."
            )
    return _Work(agent, validate_branch(branch), found.is_private, commit)


def _is_gone(services: Services, full_name: str, branch: str) -> bool:
    """Tell whether a branch does not exist; False when GitHub does not say."""
    tokens = services.github_tokens
    try:
        # The App's token for comments may not read branches.
        chosen = tokens.server_token(_user_id(services), full_name, Purpose.CLONE)
        with tokens.open_client(chosen, full_name, TIMEOUT_SECONDS) as github:
            return github.branch_sha(full_name, branch) is None
    except AppError:
        return False


def _start(services: Services, new: NewTask, token: SecretStr | None) -> str | None:
    """Start a task; return None if the comment has one already."""
    try:
        task = services.dispatcher.start_task(_user_id(services), new, token)
    except Conflict:
        return None
    log.info("comment started a task", action="webhook.task_started", task_id=task.id)
    link = services.settings.task_url(task.id)
    return f"[Task {task.id}]({link}) is queued." if link else f"Task {task.id} is queued."


def _refuse(services: Services, event: CommentEvent, error: AppError) -> str | None:
    is_new = services.database.record_delivery(_name(event))
    return f"No task was started. {error.message}" if is_new else None


def _user_id(services: Services) -> str:
    return str(services.settings.webhook_user_id)


def _name(event: CommentEvent) -> str:
    # An App's webhook and a repository's webhook deliver the same comment with different ids.
    return f"comment-{event.comment.id}"


def _answer(github: GitHub, full_name: str, number: int, text: str) -> None:
    try:
        github.comment(full_name, number, text)
    except AppError as error:
        # The task is started; an error would only cause a repeated delivery.
        log.warning("comment not answered", action="webhook.not_answered", code=error.code)
