"""Schemas of groups of tasks, and the table that compares the tasks of a group.

Every number of the table is computed from the rows of the tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypedDict

from utils.api.requests import Body, Cursor, Limit, Query, RowId, example
from utils.api.responses import Status, Time
from utils.models.task_groups import TaskGroup, TaskGroupSummary
from utils.models.tasks import ACTIVE_STATUSES, Json, Task

ORDER_RULE = (
    "Completed tasks with a passed check come first, then the smaller diff (lines added and "
    "removed), then the lower cost, then the older task; tasks that changed nothing come after "
    "them, and tasks that failed or were cancelled come last."
)

GroupStatus = Literal["running", "ended"]


class GroupTaskRow(TypedDict):
    """A task of a group, with the numbers to compare it by. What is not known is null."""

    task_id: int
    agent: str
    agent_model: str | None
    attempt: int | None
    status: Status
    seconds: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    files: int | None
    additions: int | None
    deletions: int | None
    check_exit_code: int | None
    check_output: str | None
    tree: str | None
    same_tree_as: list[int]
    rank: int | None
    error: str | None


class GroupSummaryRow(TypedDict):
    """A group in a list. `prompt` is cut at 200 characters."""

    id: int
    prompt: str
    repo_url: str
    branch: str
    project_id: int | None
    status: GroupStatus
    chosen_task_id: int | None
    task_count: int
    completed_tasks: int
    active_tasks: int
    created_at: Time


class GroupRow(TypedDict):
    """A group of tasks with the same prompt, side by side."""

    id: int
    prompt: str
    repo_url: str
    branch: str
    check_command: str | None
    project_id: int | None
    status: GroupStatus
    chosen_task_id: int | None
    order_rule: str
    created_at: Time
    tasks: list[GroupTaskRow]


class GroupListQuery(Query):
    """Selects a page of groups."""

    limit: Limit = 100
    cursor: Cursor = None


class ChosenTask(Body):
    """The task of a group to go on with."""

    model_config = example(task_id=3)

    task_id: RowId


def group_summary_row(group: TaskGroupSummary) -> GroupSummaryRow:
    """Return the row of a group in a list."""
    is_cut = group.prompt_characters > len(group.prompt_preview)
    return {
        "id": group.id,
        "prompt": f"{group.prompt_preview}..." if is_cut else group.prompt_preview,
        "repo_url": group.repo_url,
        "branch": group.branch,
        "project_id": group.project_id,
        "status": "running" if group.active_tasks else "ended",
        "chosen_task_id": group.chosen_task_id,
        "task_count": group.task_count,
        "completed_tasks": group.completed_tasks,
        "active_tasks": group.active_tasks,
        "created_at": group.created_at,
    }


def group_row(group: TaskGroup, now: datetime) -> GroupRow:
    """Return the row of a group with its table."""
    is_running = any(task.is_active for task in group.tasks)
    return {
        "id": group.id,
        "prompt": group.prompt,
        "repo_url": group.repo_url,
        "branch": group.branch,
        "check_command": group.check_command,
        "project_id": group.project_id,
        "status": "running" if is_running else "ended",
        "chosen_task_id": group.chosen_task_id,
        "order_rule": ORDER_RULE,
        "created_at": group.created_at,
        "tasks": compare(group.tasks, now),
    }


def compare(tasks: Sequence[Task], now: datetime) -> list[GroupTaskRow]:
    """Return the table of tasks in their given order; `rank` is the place by `ORDER_RULE`, from 1.

    Tasks that have not ended have no rank.
    """
    rows = [_row(task, now) for task in tasks]
    for row in rows:
        others = (other for other in rows if other is not row)
        row["same_tree_as"] = [
            other["task_id"] for other in others if row["tree"] and other["tree"] == row["tree"]
        ]
    ended = [row for row in rows if row["status"] not in ACTIVE_STATUSES]
    for rank, row in enumerate(sorted(ended, key=_place), start=1):
        row["rank"] = rank
    return rows


def _row(task: Task, now: datetime) -> GroupTaskRow:
    known: Json = task.execution_metadata or {}
    usage, check = _object(known, "usage"), _object(known, "check")
    return {
        "task_id": task.id,
        "agent": task.agent,
        "agent_model": task.agent_model,
        "attempt": known.get("group_attempt"),
        "status": task.status.value,
        "seconds": _seconds(task, now),
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cost_usd": known.get("cost_usd"),
        "files": known.get("files_changed"),
        "additions": known.get("additions"),
        "deletions": known.get("deletions"),
        "check_exit_code": check.get("exit_code"),
        "check_output": check.get("output"),
        "tree": known.get("tree_hash"),
        "same_tree_as": [],
        "rank": None,
        "error": task.error,
    }


def _object(known: Json, name: str) -> dict[str, Any]:
    value = known.get(name)
    return value if isinstance(value, dict) else {}


def _seconds(task: Task, now: datetime) -> float | None:
    """Return the time from the start of a task to its end, or up to now."""
    if task.started_at is None:
        return None
    seconds = ((task.completed_at or now) - task.started_at).total_seconds()
    return round(max(seconds, 0.0), 3)


def _place(row: GroupTaskRow) -> tuple[float, ...]:
    """Return what `ORDER_RULE` sorts by; what is not known comes after what is."""
    lines = (row["additions"] or 0) + (row["deletions"] or 0)
    cost = row["cost_usd"]
    return (
        row["status"] != "completed",
        not row["files"],
        row["check_exit_code"] != 0,
        lines,
        math.inf if cost is None else cost,
        row["task_id"],
    )
