"""Stores projects, through Supabase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.database.schema import projects
from utils.database.shared import NO_PROJECT, new_project_values
from utils.database.supabase.rows import SupabaseMethods, column_names, encode_columns, row_decoder
from utils.database.types import normalize_user_id
from utils.errors import NotFound
from utils.models.tasks import Json
from utils.models.users import Project

_COLUMNS = column_names(projects, Project)
_decode_project = row_decoder(Project)


class ProjectMethods(SupabaseMethods):
    """Methods on projects and their counters."""

    def create_project(self, user_id: str, fields: Mapping[str, Any]) -> Project:
        """See `Database`."""
        values = new_project_values(user_id, fields)
        request = (
            self.supabase.table("projects")
            .insert(encode_columns(projects, values))
            .select(_COLUMNS)
        )
        return _decode_project(self.supabase.rows(request, idempotent=False)[0])

    def list_projects(self, user_id: str) -> list[Project]:
        """See `Database`."""
        rows = self._counted(user_id, None)
        return [_decode_project(row) for row in rows]

    def get_project(self, user_id: str, project_id: int) -> Project:
        """See `Database`."""
        return _only(self._counted(user_id, project_id))

    def update_project(self, user_id: str, project_id: int, fields: Mapping[str, Any]) -> Project:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_project": project_id,
            "changes": encode_columns(projects, fields),
        }
        return _only(self.supabase.call("backend_update_project", arguments, idempotent=True))

    def delete_project(self, user_id: str, project_id: int) -> None:
        """See `Database`."""
        request = (
            self.supabase.table("projects")
            .delete()
            .eq("id", project_id)
            .eq("user_id", normalize_user_id(user_id))
            .select("id")
        )
        if not self.supabase.rows(request, idempotent=False):
            raise NotFound(NO_PROJECT)

    def _counted(self, user_id: str, project_id: int | None) -> list[Json]:
        arguments = {"this_user": normalize_user_id(user_id), "this_project": project_id}
        rows: list[Json] = self.supabase.call("backend_list_projects", arguments, idempotent=True)
        return rows


def _only(rows: list[Json]) -> Project:
    if not rows:
        raise NotFound(NO_PROJECT)
    return _decode_project(rows[0])
