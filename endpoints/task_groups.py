"""Endpoints of groups: compare tasks with the same prompt, go on with one of them."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.pages import cut_page
from utils.api.schemas.comparison import (
    ChosenTask,
    GroupListQuery,
    GroupRow,
    GroupSummaryRow,
    group_row,
    group_summary_row,
)
from utils.models.tasks import Json

blueprint = Blueprint("task_groups", __name__, url_prefix="/task-groups")


@blueprint.get("")
@endpoint(
    {"groups": list[GroupSummaryRow], "next_cursor": int | None},
    query=GroupListQuery,
)
def list_task_groups(services: Services, user_id: str, query: GroupListQuery) -> Json:
    """List your groups of tasks, newest first.

    To read the next page, send `next_cursor` as `cursor`.
    """
    found = services.database.list_task_groups(user_id, limit=query.limit + 1, cursor=query.cursor)
    page, next_cursor = cut_page(found, query.limit)
    return {"groups": [group_summary_row(group) for group in page], "next_cursor": next_cursor}


@blueprint.get("/<id:group_id>")
@endpoint({"group": GroupRow}, polled=True)
def get_task_group(services: Services, user_id: str, group_id: int) -> Json:
    """Return a group with its tasks side by side: time, tokens, costs, changes and check.

    `rank` orders the tasks that have ended; `order_rule` says how.
    """
    return _group(services, user_id, group_id)


@blueprint.post("/<id:group_id>/choose")
@endpoint({"group": GroupRow}, body=ChosenTask)
def choose_task(services: Services, user_id: str, group_id: int, body: ChosenTask) -> Json:
    """Choose a task of a group. The tasks of the others that have not ended are cancelled.

    A pull request can be created from the chosen task only. You may choose another one later.
    """
    services.database.choose_task(user_id, group_id, body.task_id)
    _cancel(services, user_id, group_id, but=body.task_id)
    return _group(services, user_id, group_id)


@blueprint.post("/<id:group_id>/cancel")
@endpoint({"group": GroupRow})
def cancel_task_group(services: Services, user_id: str, group_id: int) -> Json:
    """Cancel all tasks of a group that have not ended. Returns once their processes have exited.

    Partial results are kept. A task that needs too long is still `running` in the response and
    ends later.
    """
    _cancel(services, user_id, group_id)
    return _group(services, user_id, group_id)


def _cancel(services: Services, user_id: str, group_id: int, but: int | None = None) -> None:
    group = services.database.get_task_group(user_id, group_id)
    dropped = [task for task in group.tasks if task.id != but]
    services.dispatcher.drop_tasks(user_id, dropped)


def _group(services: Services, user_id: str, group_id: int) -> Json:
    group = services.database.get_task_group(user_id, group_id)
    return {"group": group_row(group, datetime.now(UTC))}
