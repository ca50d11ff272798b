"""Stores and sums up what tasks have used, in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, distinct, func, select, true

from utils.database.schema import projects, usage_records
from utils.database.shared import AMOUNTS
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.progress import lock_running
from utils.database.sql.tables.tasks import require_task
from utils.database.sql.tables.usage_rows import store_usage
from utils.database.types import Number, UserId
from utils.models.usage import (
    NO_TASK_ID,
    Spending,
    SpendingQuery,
    Usage,
    UsageQuery,
    UsageRecord,
    UsageSum,
)

_columns = usage_records.c
_KEYS = {
    "day": _columns.day,
    "project": _columns.project_id,
    "agent": _columns.agent,
    "task": func.nullif(_columns.task_id, NO_TASK_ID),
    "user": _columns.user_id,
}
_sums = [func.sum(_columns[name]).label(name) for name in AMOUNTS]
_cost = _columns.sandbox_micro_usd + _columns.model_micro_usd


def _cost_of(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(case((condition, _cost), else_=0)), 0)


_this_task = _columns.task_id == bindparam("this_task", type_=Number)
_this_month = _columns.day >= bindparam("first_of_month")
_this_project = bindparam("this_project", type_=Number)
_settings = (
    select(projects.c.settings)
    .where(projects.c.id == _this_project, projects.c.user_id == bindparam("this_user"))
    .scalar_subquery()
)
_spending = select(
    _cost_of(_this_task).label("task"),
    _cost_of(_columns.day == bindparam("this_day")).label("day"),
    _cost_of(_this_month).label("month"),
    _cost_of(_this_month & (_columns.project_id == _this_project)).label("project_month"),
    _settings.label("project_settings"),
).where(
    _columns.user_id == bindparam("this_user", type_=UserId),
    _this_month | _this_task,
    ~(_this_task & (_columns.run == bindparam("but_run"))),
)


class UsageMethods(SqlMethods):
    """Methods for usage."""

    @writing
    def record_usage(self, connection: Connection, record: UsageRecord) -> bool:
        """See `Database`."""
        is_running = lock_running(connection, self.server, record.task_id)
        if is_running:
            store_usage(connection, record)
        return is_running

    @writing
    def add_usage(self, connection: Connection, user_id: str, record: UsageRecord) -> None:
        """See `Database`."""
        require_task(connection, user_id, record.task_id)
        store_usage(connection, record)

    @reading
    def sum_usage(self, connection: Connection, user_id: str, query: UsageQuery) -> list[UsageSum]:
        """See `Database`."""
        return _sum(connection, query, _columns.user_id == user_id)

    @reading
    def sum_all_usage(self, connection: Connection, query: UsageQuery) -> list[UsageSum]:
        """See `Database`."""
        return _sum(connection, query, true())

    @reading
    def read_spending(self, connection: Connection, user_id: str, query: SpendingQuery) -> Spending:
        """See `Database`."""
        parameters = {
            "this_user": user_id,
            "this_task": query.task_id or 0,
            "this_project": query.project_id,
            "this_day": query.day,
            "first_of_month": query.first_of_month,
            "but_run": query.but_run or "",
        }
        row = connection.execute(_spending, parameters).one()
        sums = {name: int(row._mapping[name]) for name in ("task", "day", "month", "project_month")}
        return Spending(**sums, project_settings=row.project_settings or {})


def _sum(connection: Connection, query: UsageQuery, wanted: ColumnElement[bool]) -> list[UsageSum]:
    key = _KEYS[query.group_by]
    statement = (
        select(key, func.count(distinct(_KEYS["task"])), *_sums)
        .where(
            wanted,
            _columns.day >= query.first_day.isoformat(),
            _columns.day <= query.last_day.isoformat(),
        )
        .group_by(key)
        .order_by(key.desc().nulls_last())
        .limit(query.limit)
    )
    return [
        UsageSum(None if name is None else str(name), tasks, Usage(*(int(sum_) for sum_ in sums)))
        for name, tasks, *sums in connection.execute(statement)
    ]
