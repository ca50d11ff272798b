"""Stores projects and their secrets, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from utils.database.rows import PROJECTS, columns_of, json_object, now
from utils.database.schema import project_secrets, projects
from utils.database.shared import (
    MAX_PROJECT_SECRETS,
    NO_PROJECT,
    NO_SECRET,
    new_project_values,
    too_many_secrets,
)
from utils.database.sql.engine import SqlMethods, reading, writing
from utils.errors import NotFound
from utils.models.environments import ProjectSecret
from utils.models.tasks import Json
from utils.models.users import Project

_secrets = project_secrets.c
_project_id = select(projects.c.id).where(
    projects.c.id == bindparam("project_id"), projects.c.user_id == bindparam("user_id")
)
_settings = _project_id.with_only_columns(projects.c.settings)
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

    @reading
    def get_project_settings(self, connection: Connection, user_id: str, project_id: int) -> Json:
        """See `Database`."""
        parameters = {"project_id": project_id, "user_id": user_id}
        row = connection.execute(_settings, parameters).first()
        if row is None:
            raise NotFound(NO_PROJECT)
        return json_object(row.settings)

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

    @writing
    def record_push(self, connection: Connection, repo_urls: Collection[str], commit: str) -> int:
        """See `Database`."""
        address = func.lower(func.rtrim(projects.c.repo_url, "/"))
        marked = update(projects).where(address.in_(repo_urls)).values(pushed_commit=commit)
        return connection.execute(marked).rowcount


class ProjectSecretMethods(SqlMethods):
    """Methods on the secrets of projects."""

    @writing
    def put_project_secret(
        self, connection: Connection, user_id: str, secret: ProjectSecret
    ) -> None:
        """See `Database`."""
        own = projects.c.id == secret.project_id, projects.c.user_id == user_id
        locked = select(projects.c.id).with_for_update(key_share=True).where(*own)
        if connection.execute(locked).first() is None:
            raise NotFound(NO_PROJECT)
        same_project = _secrets.project_id == secret.project_id
        this_one = same_project, _secrets.name == secret.name
        connection.execute(delete(project_secrets).where(*this_one))
        count = select(func.count()).select_from(project_secrets).where(same_project)
        if connection.execute(count).scalar_one() >= MAX_PROJECT_SECRETS:
            raise too_many_secrets()
        connection.execute(insert(project_secrets), columns_of(secret))

    @reading
    def list_project_secrets(
        self, connection: Connection, user_id: str, project_id: int
    ) -> list[ProjectSecret]:
        """See `Database`."""
        require_project(connection, user_id, project_id)
        own = select(project_secrets).where(_secrets.project_id == project_id)
        rows = connection.execute(own.order_by(_secrets.name))
        return [ProjectSecret(**row._mapping) for row in rows]

    @writing
    def delete_project_secret(
        self, connection: Connection, user_id: str, project_id: int, name: str
    ) -> None:
        """See `Database`."""
        require_project(connection, user_id, project_id)
        this_one = _secrets.project_id == project_id, _secrets.name == name
        if connection.execute(delete(project_secrets).where(*this_one)).rowcount == 0:
            raise NotFound(NO_SECRET)

    @writing
    def reseal_project_secret(
        self, connection: Connection, seen: ProjectSecret, sealed: str
    ) -> bool:
        """See `Database`."""
        this_one = _secrets.project_id == seen.project_id, _secrets.name == seen.name
        same = update(project_secrets).where(*this_one, _secrets.sealed == seen.sealed)
        return connection.execute(same.values(sealed=sealed)).rowcount > 0

    @reading
    def list_secret_projects(
        self, connection: Connection, after: int = 0, *, limit: int = 200
    ) -> list[tuple[int, str]]:
        """See `Database`."""
        has_any = select(_secrets.name).where(_secrets.project_id == projects.c.id).exists()
        page = select(projects.c.id, projects.c.user_id).where(projects.c.id > after, has_any)
        rows = connection.execute(page.order_by(projects.c.id).limit(limit))
        return [(row.id, row.user_id) for row in rows]


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
