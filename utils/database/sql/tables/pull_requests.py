"""Stores the pull requests of tasks and reads their further repositories, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, or_, select, update

from utils.database.automation_schema import automatic_pulls
from utils.database.rows import REPOSITORY_COLUMNS, STATUS_COLUMNS, now, task_from_row
from utils.database.schema import task_repositories, tasks
from utils.database.shared import NO_REPOSITORY
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.database.sql.tables.archive import missing_task
from utils.database.sql.tables.tasks import require_task
from utils.errors import NotFound
from utils.models.automatic_pulls import AutomaticPull
from utils.models.repositories import TaskRepository
from utils.models.tasks import Task, TaskStatus

_pulls = automatic_pulls.c

_of_task = task_repositories.c.task_id == bindparam("repository_task_id")
_with_texts = select(*REPOSITORY_COLUMNS).where(_of_task).order_by(task_repositories.c.position)
_without_texts = _with_texts.with_only_columns(
    *(column for column in REPOSITORY_COLUMNS if column.name not in {"git_diff", "git_patch"})
)


class PullRequestMethods(SqlMethods):
    """Methods on the pull requests of tasks."""

    @writing
    def set_pull_request(
        self, connection: Connection, user_id: str, task_id: int, fields: Mapping[str, Any]
    ) -> Task:
        """See `Database`."""
        own = (tasks.c.id == task_id) & (tasks.c.user_id == user_id)
        values = {**fields, "updated_at": now()}
        statement = update(tasks).where(own).values(values).returning(*STATUS_COLUMNS)
        row = connection.execute(statement).first()
        if row is None:
            raise missing_task(connection, user_id, task_id)
        return task_from_row(row)

    @reading
    def list_pull_request_tasks(self, connection: Connection, pr_url: str) -> list[Task]:
        """See `Database`."""
        statement = select(*STATUS_COLUMNS).where(tasks.c.pr_url == pr_url).order_by(tasks.c.id)
        return [task_from_row(row) for row in connection.execute(statement)]

    @reading
    def list_branch_tasks(
        self, connection: Connection, pr_branch: str, pr_number: int
    ) -> list[Task]:
        """See `Database`."""
        these = (tasks.c.pr_branch == pr_branch) & (tasks.c.pr_number == pr_number)
        found = select(*STATUS_COLUMNS).where(these).order_by(tasks.c.id)
        return [task_from_row(row) for row in connection.execute(found)]

    @writing
    def claim_automatic_pull(self, connection: Connection, until: datetime) -> AutomaticPull | None:
        """See `Database`."""
        first = (
            select(_pulls.task_id)
            .join(tasks, tasks.c.id == _pulls.task_id)
            .where(
                tasks.c.status == TaskStatus.COMPLETED,
                or_(_pulls.due_at <= now(), _pulls.server == self.server),
            )
            .order_by(_pulls.due_at)
            .limit(1)
            .with_for_update(of=automatic_pulls, skip_locked=True)
        )
        claim = update(automatic_pulls).where(_pulls.task_id == first.scalar_subquery())
        values = {"server": self.server, "due_at": until, "tries": _pulls.tries + 1}
        columns = (_pulls[name] for name in AutomaticPull.__dataclass_fields__)
        row = connection.execute(claim.values(values).returning(*columns)).first()
        return AutomaticPull(**row._mapping) if row else None

    @writing
    def end_automatic_pull(
        self, connection: Connection, pull: AutomaticPull, again_at: datetime | None = None
    ) -> bool:
        """See `Database`."""
        this_one = (
            (_pulls.task_id == pull.task_id)
            & (_pulls.server == self.server)
            & (_pulls.due_at == pull.due_at)
        )
        if again_at is None:
            ended = connection.execute(delete(automatic_pulls).where(this_one))
        else:
            later = {"due_at": again_at, "server": None}
            ended = connection.execute(update(automatic_pulls).where(this_one).values(later))
        return ended.rowcount > 0


class RepositoryMethods(SqlMethods):
    """Methods on the further repositories of tasks."""

    @reading
    def list_repositories(
        self, connection: Connection, user_id: str, task_id: int, *, with_texts: bool = False
    ) -> list[TaskRepository]:
        """See `Database`."""
        require_task(connection, user_id, task_id)
        statement = _with_texts if with_texts else _without_texts
        rows = connection.execute(statement, {"repository_task_id": task_id})
        return [TaskRepository(**row._mapping) for row in rows]

    @writing
    def set_repository_pull_request(
        self,
        connection: Connection,
        user_id: str,
        task_id: int,
        position: int,
        fields: Mapping[str, Any],
    ) -> Task:
        """See `Database`."""
        own = (tasks.c.id == task_id) & (tasks.c.user_id == user_id)
        touched = update(tasks).where(own).values(updated_at=now()).returning(*STATUS_COLUMNS)
        row = connection.execute(touched).first()
        if row is None:
            raise missing_task(connection, user_id, task_id)
        its = (task_repositories.c.task_id == task_id) & (task_repositories.c.position == position)
        stored = update(task_repositories).where(its).values({**fields, "position": position})
        if connection.execute(stored).rowcount == 0:
            raise NotFound(NO_REPOSITORY)
        return task_from_row(row)

    @writing
    def set_repository_pull_states(
        self, connection: Connection, pr_url: str, pr_branch: str | None, state: str
    ) -> int:
        """See `Database`."""
        these = task_repositories.c.pr_url == pr_url
        if pr_branch is not None:
            these &= task_repositories.c.pr_branch == pr_branch
        stored = update(task_repositories).where(these).values(pr_state=state)
        return connection.execute(stored).rowcount
