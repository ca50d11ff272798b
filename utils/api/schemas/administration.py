"""Schemas of what administrators see of all users."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from utils.api.requests import Cursor, Limit, Query
from utils.api.responses import Status, Time
from utils.api.schemas.sandboxes import SandboxRow, sandbox_row
from utils.models.engine import Worker
from utils.models.sandboxes import StoredSandbox
from utils.models.tasks import ActiveTask


class ActiveTaskRow(TypedDict):
    """A task that is queued or runs. Prompts are for their users alone."""

    id: int
    user_id: str
    project_id: int | None
    status: Status
    stage: str | None
    agent: str
    repo_url: str
    server: str | None
    sandbox_id: str | None
    created_at: Time
    started_at: Time | None


class OwnedSandboxRow(SandboxRow):
    """A sandbox of any user."""

    user_id: Annotated[str, Field(description="The user that it belongs to.")]


class WorkerRow(TypedDict):
    """A process that takes tasks from the task engine, as it described itself last."""

    name: str
    version: str
    places: int
    running: int
    waiting_reason: str | None
    started_at: Time
    seen_at: Time
    is_draining: bool


class ActiveTaskQuery(Query):
    """Selects a page of active tasks, or of sandboxes."""

    limit: Limit = 100
    cursor: Cursor = None


def active_task_row(task: ActiveTask) -> ActiveTaskRow:
    """Return the row of a task."""
    return {
        "id": task.id,
        "user_id": task.user_id,
        "project_id": task.project_id,
        "status": task.status.value,
        "stage": task.stage,
        "agent": task.agent,
        "repo_url": task.repo_url,
        "server": task.server,
        "sandbox_id": task.container_id,
        "created_at": task.created_at,
        "started_at": task.started_at,
    }


def worker_row(worker: Worker) -> WorkerRow:
    """Return the row of a worker."""
    return {
        "name": worker.name,
        "version": worker.version,
        "places": worker.places,
        "running": worker.running,
        "waiting_reason": worker.waiting_reason,
        "started_at": worker.started_at,
        "seen_at": worker.seen_at,
        "is_draining": worker.is_draining,
    }


def owned_sandbox_row(sandbox: StoredSandbox) -> OwnedSandboxRow:
    """Return the row of a sandbox with its user."""
    return {**sandbox_row(sandbox), "user_id": sandbox.user_id}
