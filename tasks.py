"""Task endpoints: start, watch and cancel tasks, read their results, choose where they begin."""

from __future__ import annotations

from functools import partial
from typing import NotRequired

from flask import Blueprint, Response

from utils.api.conditional import Poll, status_etag, task_etag
from utils.api.endpoint import Services, answer_once, endpoint, request_key, success
from utils.api.github_access import token_of_request
from utils.api.legacy_import import read_legacy_tasks, read_upload
from utils.api.requests import (
    BranchesQuery,
    EventsQuery,
    RepositoryQuery,
    TaskListQuery,
)
from utils.api.responses import EventRow, FullTaskRow, TaskStatusRow, TaskSummaryRow
from utils.api.schemas.polls import PollQuery, with_newer_messages
from utils.api.schemas.tasks import StartTask
from utils.api.serializers import (
    event_row,
    task_status_row,
    task_summary_row,
)
from utils.api.task_repositories import (
    full_row_of,
    repositories_of,
    repository_named,
)
from utils.api.task_starts import allowed_repository, start_tasks, wanted_tasks
from utils.config.settings import has_proxy, inherited_environment, proxies_with_password
from utils.credentials.profiles import open_request_token
from utils.database.shared import request_answer
from utils.errors import NotFound
from utils.git.host_commands import Remote
from utils.git.hosts import HostRules
from utils.git.remote_branches import list_branches
from utils.models.tasks import TERMINAL_STATUSES, Json, TaskFilter, TaskStatus
from utils.streams.responses import last_event_id, stream_response, wants_stream
from utils.streams.task_stream import TaskStream

blueprint = Blueprint("tasks", __name__)

PATCH_TYPE = "text/plain; charset=utf-8"
START_ERRORS = (
    "budget_exceeded",
    "invalid_branch",
    "repository_not_allowed",
    "stored_secret_unreadable",
    "unknown_model",
    "group_too_large",
    "github_token_needed",
    "repository_not_on_github",
    "not_found",
    "queue_full",
)
NEWER_MESSAGES = {"messages_from": NotRequired[int], "next_since": NotRequired[str]}
STREAM_ERRORS = ("ticket_invalid", "too_many_streams")
IMPORT_ERRORS = ("too_many_tasks", "not_found", "imports_running", "rate_limited")


@blueprint.post("/start-task")
@endpoint(
    {
        "message": str,
        "task_id": int,
        "task_ids": NotRequired[list[int]],
        "group_id": NotRequired[int],
    },
    body=StartTask,
    errors=START_ERRORS,
    idempotent=True,
)
def start_task(services: Services, user_id: str, body: StartTask) -> Json:
    """Queue a task: an agent follows the prompt in a fresh clone of the repository.

    With `repositories` it works in several, which are cloned side by side.

    Returns the task's id at once; poll /task-status/{task_id} for its progress. With several
    `agents` or `attempts` it queues a group of tasks, all or none; poll /task-groups/{group_id}.
    Returns 429 if the queue is full, or too many of your tasks wait, and 402 if a budget is spent.
    """
    group = wanted_tasks(services.settings, body, request_key())
    token = open_request_token(services.vault, user_id, body.github_token)

    def start() -> Json:
        return request_answer(start_tasks(services, user_id, group, token, wish=body.auto_pr))

    count = len(group)
    message = f"{count} tasks are queued." if count > 1 else "The task is queued."
    return {"message": message} | answer_once(services.database, user_id, start)


@blueprint.get("/task-status/<id:task_id>")
@endpoint({"task": TaskStatusRow, **NEWER_MESSAGES}, query=PollQuery, polled=True, conditional=True)
def get_task_status(services: Services, user_id: str, task_id: int, query: PollQuery) -> Response:
    """Return the progress of a task.

    The call is cheap: you can poll it every two seconds. Send the `ETag` of the last answer as
    `If-None-Match`, and the answer is 304 without a body while nothing has changed. With `wait` it
    comes when something has changed: the client hears of it at once with few requests. Fields
    without a value are omitted, never null.
    """
    dispatcher, database = services.dispatcher, services.database
    etag_of = partial(status_etag, dispatcher, task_id)
    poll = Poll(services, user_id, task_id, query.wait, etag_of)
    same = poll.unchanged()
    if same is not None:
        return same
    stage = dispatcher.stage(task_id)
    task = database.get_task_status(user_id, task_id)
    is_ended = task.status in TERMINAL_STATUSES
    if is_ended:
        # It may have ended since its stage was read.
        stage = None
    # A queued task moves on without a change of its row.
    waits = task.status is TaskStatus.PENDING
    position = dispatcher.queue_position(task_id) if waits else None
    reason = dispatcher.waiting_reason if waits else None
    repositories = repositories_of(database, task)
    fields: Json = {"task": task_status_row(task, position, stage, reason, repositories)}
    if query.since is not None:
        is_cut = task.conversation_cut
        whole = database.get_conversation(user_id, task_id) if is_cut else task.chat_messages
        fields = with_newer_messages(fields["task"], whole, query.since)
    known_reason = reason if position else None
    etag = task_etag(task_id, task.updated_at, stage, position, known_reason)
    response = success(fields)
    # A task that waits for another server moves on without a mark that this one knows.
    if not waits or position is not None:
        response.set_etag(etag, weak=True)
    return poll.answer(response, etag, is_ended=is_ended)


@blueprint.get("/tasks/<id:task_id>")
@endpoint({"task": FullTaskRow, **NEWER_MESSAGES}, query=PollQuery, conditional=True)
def get_task(services: Services, user_id: str, task_id: int, query: PollQuery) -> Response:
    """Return a task with all its fields, including the diff and the patch.

    With `If-None-Match` the answer is 304 while nothing has changed. `wait` lets it wait for a
    change, as in `GET /task-status/{task_id}`.
    """
    poll = Poll(services, user_id, task_id, query.wait, partial(task_etag, task_id))
    same = poll.unchanged()
    if same is not None:
        return same
    row = full_row_of(services.database, user_id, task_id)
    fields: Json = {"task": row}
    if query.since is not None:
        fields = with_newer_messages(row, row["chat_messages"], query.since)
    response = success(fields)
    etag = task_etag(task_id, row["updated_at"])
    response.set_etag(etag, weak=True)
    return poll.answer(response, etag, is_ended=row["status"] in TERMINAL_STATUSES)


@blueprint.get("/git-diff/<id:task_id>")
@endpoint({"git_diff": str}, query=RepositoryQuery)
def get_git_diff(services: Services, user_id: str, task_id: int, query: RepositoryQuery) -> Json:
    """Return the diff of a task, or an empty string if there is none."""
    if query.repository is None:
        return {"git_diff": services.database.get_git_diff(user_id, task_id)}
    found = repository_named(services.database, user_id, task_id, query.repository)
    return {"git_diff": found.git_diff or ""}


@blueprint.get("/tasks/<id:task_id>/patch")
@endpoint(media_type="text/plain", query=RepositoryQuery, errors=("no_patch",))
def get_patch(services: Services, user_id: str, task_id: int, query: RepositoryQuery) -> Response:
    """Return the patch of a task in mailbox format, ready for `git am`."""
    found = repository_named(services.database, user_id, task_id, query.repository)
    if found.git_patch is None:
        raise NotFound("This task has no patch.", "no_patch")
    part = f"-{found.name}" if found.position else ""
    disposition = f'attachment; filename="task-{task_id}{part}.patch"'
    return Response(
        found.git_patch, content_type=PATCH_TYPE, headers={"Content-Disposition": disposition}
    )


@blueprint.get("/tasks/<id:task_id>/events")
@endpoint(
    {"events": list[EventRow], "next_after": int},
    query=EventsQuery,
    polled=True,
    stream=True,
    errors=STREAM_ERRORS,
)
def list_events(
    services: Services, user_id: str, task_id: int, query: EventsQuery
) -> Json | Response:
    """List the events of a task, oldest first, or stream them.

    To follow a task, send `Accept: text/event-stream`: the answer holds all events, then each new
    one, and ends with an event `end`. `Last-Event-ID` or `after` resumes a stream. Without the
    header, send `next_after` as `after` in the next request.
    """
    after = last_event_id(default=query.after)
    if wants_stream():
        services.streams.check_room()
        services.database.get_task_status(user_id, task_id)
        stream = TaskStream(services.streams, user_id, task_id, after, event_row)
        return stream_response(stream.chunks)
    events = services.database.list_events(user_id, task_id, after=after, limit=query.limit)
    next_after = events[-1].sequence if events else after
    return {"events": [event_row(event) for event in events], "next_after": next_after}


@blueprint.get("/tasks")
@endpoint(
    {"tasks": dict[str, TaskSummaryRow], "total_tasks": int, "next_cursor": int | None},
    query=TaskListQuery,
    errors=("repository_not_allowed",),
)
def list_tasks(services: Services, user_id: str, query: TaskListQuery) -> Json:
    """List your tasks by id, newest first; the parameters select some of them.

    To read the next page, send `next_cursor` as `cursor`.
    """
    wanted, repo_url = query.repo_url, None
    if wanted is not None:
        repo_url = allowed_repository(services.settings, wanted).url
    page = services.database.list_tasks(
        user_id,
        project_id=query.project_id,
        wanted=TaskFilter(query.status, query.agent, repo_url, query.q or None),
        limit=query.limit,
        cursor=query.cursor,
    )
    return {
        "tasks": {str(task.id): task_summary_row(task) for task in page.tasks},
        "total_tasks": page.total,
        "next_cursor": page.next_cursor,
    }


@blueprint.post("/tasks/<id:task_id>/cancel")
@endpoint({"task": TaskStatusRow}, errors=("task_already_ended", "task_not_here"))
def cancel_task(services: Services, user_id: str, task_id: int) -> Json:
    """Cancel a task. Returns once all of its processes have exited.

    Partial results are kept. If the processes need too long, the response still says `running`
    and the task ends later.
    """
    return {"task": task_status_row(services.dispatcher.cancel_task(user_id, task_id))}


@blueprint.delete("/tasks/<id:task_id>")
@endpoint({"message": str}, errors=("task_active",))
def delete_task(services: Services, user_id: str, task_id: int) -> Json:
    """Delete a task with its diff, patch and log. A queued or running task is cancelled first."""
    services.dispatcher.delete_task(user_id, task_id)
    return {"message": "The task was deleted."}


@blueprint.get("/branches")
@endpoint(
    {"branches": list[str], "default_branch": str | None},
    query=BranchesQuery,
    github=True,
    errors=("repository_not_allowed", "repo_unreachable"),
)
def get_branches(services: Services, user_id: str, query: BranchesQuery) -> Json:
    """List the branches of a repository on any host that tasks may clone from, at most 1,000.

    It takes the credentials that a task would have: the token of the request, else your stored one
    for repositories on GitHub. The default branch comes first; it is null if HEAD names none.
    """
    settings = services.settings
    url = allowed_repository(settings, query.repo_url).url
    token = services.github_tokens.user_token(user_id, url, token_of_request()).token
    remote = Remote(url, token, inherited_environment() | proxies_with_password())
    rules = HostRules(settings.allowed_git_hosts, settings.local_repos_allowed)
    with services.github_limiter.slot():
        found = list_branches(remote, rules, behind_proxy=has_proxy())
    return {"branches": found.names, "default_branch": found.default}


@blueprint.post("/migrate-legacy-tasks")
@endpoint({"migrated": int, "message": str}, upload=True, errors=IMPORT_ERRORS)
def migrate_legacy_tasks(services: Services, user_id: str) -> Json:
    """Import the tasks of the old backend. Tasks that you imported before are skipped.

    Upload the export as the form field `file` or as a JSON body.
    """
    services.rate_limits.check_import(user_id)
    rows = read_legacy_tasks(read_upload(services.settings.max_import_bytes))
    migrated = services.database.import_tasks(user_id, rows)
    return {"migrated": migrated, "message": f"Imported {migrated} of {len(rows)} tasks."}
