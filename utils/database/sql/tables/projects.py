"""Stores projects, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, insert, select, update

from utils.database.rows import PROJECTS, now
from utils.database.schema import projects
from utils.database.shared import NO_PROJECT, new_project_values
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.errors import NotFound
from utils.models.users import Project

_project_id = select(projects.c.id).where(
    projects.c.id == bindparam("project_id"), projects.c.user_id == bindparam("user_id")
)
_locked_project_id = _project_id.with_for_update(read=True, key_share=True)


class ProjectMethods(SqlMethods):
    """Methods on projects and their counters."""

    @writing
    def create_project(
        self, connection: Connection, user_id: str, fields: Mapping[str, Any]
    ) -> Project:
        """See `Database`."""
        values = new_project_values(user_id, fields)
        added = connection.execute(insert(projects).values(values).returning(projects.c.id))
        return _project(connection, user_id, added.scalar_one())

    @reading
    def list_projects(self, connection: Connection, user_id: str) -> list[Project]:
        """See `Database`."""
        rows = connection.execute(PROJECTS.where(projects.c.user_id == user_id))
        return [Project(**row._mapping) for row in rows]

    @reading
    def get_project(self, connection: Connection, user_id: str, project_id: int) -> Project:
        """See `Database`."""
        return _project(connection, user_id, project_id)

    @writing
    def update_project(
        self, connection: Connection, user_id: str, project_id: int, fields: Mapping[str, Any]
    ) -> Project:
        """See `Database`."""
        values = {**fields, "updated_at": now()}
        this_one = _is(user_id, project_id)
        connection.execute(update(projects).where(this_one).values(values))
        return _project(connection, user_id, project_id)

    @writing
    def delete_project(self, connection: Connection, user_id: str, project_id: int) -> None:
        """See `Database`."""
        this_one = _is(user_id, project_id)
        if connection.execute(delete(projects).where(this_one)).rowcount == 0:
            raise NotFound(NO_PROJECT)


def require_project(connection: Connection, user_id: str, project_id: int) -> None:
    """Raise `NotFound` unless the project is the user's."""
    _require(connection, _project_id, user_id, project_id)


def lock_project(connection: Connection, user_id: str, project_id: int) -> None:
    """Check as `require_project` does and lock the project against deletion."""
    _require(connection, _locked_project_id, user_id, project_id)


def _require(connection: Connection, statement: Select[int], user_id: str, project_id: int) -> None:
    parameters = {"project_id": project_id, "user_id": user_id}
    if connection.execute(statement, parameters).first() is None:
        raise NotFound(NO_PROJECT)


def _is(user_id: str, project_id: int) -> ColumnElement[bool]:
    return (projects.c.id == project_id) & (projects.c.user_id == user_id)


def _project(connection: Connection, user_id: str, project_id: int) -> Project:
    row = connection.execute(PROJECTS.where(_is(user_id, project_id))).first()
    if row is None:
        raise NotFound(NO_PROJECT)
    return Project(**row._mapping)
