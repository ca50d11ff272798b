"""Endpoints of administrators: the tasks, the sandboxes and the usage of all users."""

from __future__ import annotations

from typing import Annotated

import structlog
from flask import Blueprint, Response
from pydantic import Field

from endpoints.sandboxes import STATE
from endpoints.usage import REPORT
from utils.api.endpoint import Services, endpoint
from utils.api.pages import cut_page
from utils.api.responses import TaskStatusRow
from utils.api.schemas.administration import (
    ActiveTaskQuery,
    ActiveTaskRow,
    OwnedSandboxRow,
    WorkerRow,
    active_task_row,
    owned_sandbox_row,
    worker_row,
)
from utils.api.schemas.usage import AllUsageQuery, usage_report, whole
from utils.api.serializers import task_status_row
from utils.errors import NotFound
from utils.models.tasks import Json

blueprint = Blueprint("admin", __name__, url_prefix="/admin")

log = structlog.get_logger(__name__)


@blueprint.get("/usage")
@endpoint(REPORT, query=AllUsageQuery, admin=True)
def get_all_usage(services: Services, user_id: str, query: AllUsageQuery) -> Json:  # noqa: ARG001
    """Report what the tasks of all users have used and cost, by user, day, project, agent or task.

    It is the report of GET /usage over all users.
    """
    chosen, database = query.chosen(), services.database
    sums = database.sum_all_usage(chosen)
    return usage_report(chosen, sums, database.sum_all_usage(whole(chosen)))


@blueprint.get("/tasks")
@endpoint(
    {"tasks": list[ActiveTaskRow], "next_cursor": int | None}, query=ActiveTaskQuery, admin=True
)
def list_active_tasks(services: Services, user_id: str, query: ActiveTaskQuery) -> Json:  # noqa: ARG001
    """List the tasks of all users that are queued or run, newest first, without their prompts.

    To read the next page, send `next_cursor` as `cursor`.
    """
    found = services.database.list_active_tasks(limit=query.limit + 1, cursor=query.cursor)
    page, next_cursor = cut_page(found, query.limit)
    return {"tasks": [active_task_row(task) for task in page], "next_cursor": next_cursor}


@blueprint.get("/workers")
@endpoint({"workers": list[WorkerRow]}, admin=True)
def list_workers(services: Services, user_id: str) -> Json:  # noqa: ARG001
    """List the workers that the task engine of the database gives tasks to, by name.

    Only those that were seen lately are listed; none without the task engine.
    """
    return {"workers": [worker_row(one) for one in services.dispatcher.workers()]}


@blueprint.post("/workers/<name:worker>/drain")
@endpoint({"name": str, "is_draining": bool}, admin=True)
def drain_worker(services: Services, user_id: str, worker: str) -> Json:
    """Let a worker take no more tasks, so that it can be stopped when it runs none.

    It knows within seconds. Tasks that it has not begun go to other workers. It takes tasks again
    after POST /admin/workers/{worker}/resume, or when it was stopped and is started again.
    """
    _set_draining(services, worker, is_draining=True)
    log.info(
        "worker drained by administrator",
        action="admin.worker_drained",
        user_id=user_id,
        worker=worker,
    )
    return {"name": worker, "is_draining": True}


@blueprint.post("/workers/<name:worker>/resume")
@endpoint({"name": str, "is_draining": bool}, admin=True)
def resume_worker(services: Services, user_id: str, worker: str) -> Json:
    """Let a drained worker take tasks again."""
    _set_draining(services, worker, is_draining=False)
    log.info(
        "worker resumed by administrator",
        action="admin.worker_resumed",
        user_id=user_id,
        worker=worker,
    )
    return {"name": worker, "is_draining": False}


def _set_draining(services: Services, worker: str, *, is_draining: bool) -> None:
    if not services.dispatcher.drain_worker(worker, is_draining=is_draining):
        raise NotFound("There is no such worker. GET /admin/workers lists them.")


@blueprint.get("/sandboxes")
@endpoint(
    {
        "sandboxes": Annotated[
            list[OwnedSandboxRow], Field(description="The sandboxes of all users, newest first.")
        ],
        "next_cursor": int | None,
    },
    query=ActiveTaskQuery,
    admin=True,
)
def list_live_sandboxes(services: Services, user_id: str, query: ActiveTaskQuery) -> Json:  # noqa: ARG001
    """List the sandboxes of all users that have not ended, also those of tasks, newest first.

    To read the next page, send `next_cursor` as `cursor`.
    """
    found = services.database.list_live_sandbox_page(limit=query.limit + 1, cursor=query.cursor)
    page, next_cursor = cut_page(found, query.limit)
    return {"sandboxes": [owned_sandbox_row(one) for one in page], "next_cursor": next_cursor}


@blueprint.delete("/sandboxes/<id:sandbox_id>")
@endpoint(media_type="text/plain", status=204, admin=True, errors=STATE)
def end_any_sandbox(services: Services, user_id: str, sandbox_id: int) -> Response:
    """End a sandbox of any user, as DELETE /v1/sandboxes/{sandbox_id} does for its owner.

    The sandbox of a task ends with its task, which you can cancel.
    """
    owner = services.database.get_sandbox_owner(sandbox_id)
    services.sandboxes.destroy(owner, sandbox_id)
    log.info(
        "sandbox ended by administrator",
        action="admin.sandbox_ended",
        user_id=user_id,
        sandbox=sandbox_id,
    )
    return Response(status=204, mimetype="text/plain")


@blueprint.post("/tasks/<id:task_id>/cancel")
@endpoint({"task": TaskStatusRow}, admin=True, errors=("task_already_ended", "task_not_here"))
def cancel_any_task(services: Services, user_id: str, task_id: int) -> Json:
    """Cancel a task of any user, as POST /tasks/{task_id}/cancel does for its owner."""
    owner = services.database.get_task_owner(task_id)
    task = services.dispatcher.cancel_task(owner, task_id)
    log.info(
        "task cancelled by administrator",
        action="admin.cancelled",
        user_id=user_id,
        task_id=task_id,
    )
    return {"task": task_status_row(task)}
