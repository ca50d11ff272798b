"""Stores projects and their secrets, through Supabase."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from utils.database.rows import columns_of, json_object
from utils.database.schema import project_secrets, projects
from utils.database.shared import (
    MAX_PROJECT_SECRETS,
    NO_PROJECT,
    NO_SECRET,
    new_project_values,
    too_many_secrets,
)
from utils.database.supabase.rows import SupabaseMethods, column_names, encode_columns, row_decoder
from utils.database.types import normalize_user_id
from utils.errors import NotFound
from utils.models.environments import ProjectSecret
from utils.models.tasks import Json
from utils.models.users import Project

_COLUMNS = column_names(projects, Project)
_decode_project = row_decoder(Project)
_decode_secret = row_decoder(ProjectSecret)


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

    def get_project_settings(self, user_id: str, project_id: int) -> Json:
        """See `Database`."""
        request = (
            self.supabase.table("projects")
            .select("settings")
            .eq("id", project_id)
            .eq("user_id", normalize_user_id(user_id))
        )
        rows = self.supabase.rows(request, idempotent=True)
        if not rows:
            raise NotFound(NO_PROJECT)
        return json_object(rows[0]["settings"])

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

    def record_push(self, repo_urls: Collection[str], commit: str) -> int:
        """See `Database`."""
        arguments = {"repo_urls": list(repo_urls), "this_commit": commit}
        marked: int = self.supabase.call("backend_record_push", arguments, idempotent=True)
        return marked

    def _counted(self, user_id: str, project_id: int | None) -> list[Json]:
        arguments = {"this_user": normalize_user_id(user_id), "this_project": project_id}
        rows: list[Json] = self.supabase.call("backend_list_projects", arguments, idempotent=True)
        return rows


class ProjectSecretMethods(SupabaseMethods):
    """Methods on the secrets of projects."""

    def put_project_secret(self, user_id: str, secret: ProjectSecret) -> None:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "added": encode_columns(project_secrets, columns_of(secret)),
            "maximum": MAX_PROJECT_SECRETS,
        }
        is_stored = self.supabase.call("backend_put_project_secret", arguments, idempotent=True)
        if is_stored is None:
            raise too_many_secrets()
        if not is_stored:
            raise NotFound(NO_PROJECT)

    def list_project_secrets(self, user_id: str, project_id: int) -> list[ProjectSecret]:
        """See `Database`."""
        arguments = {"this_user": normalize_user_id(user_id), "this_project": project_id}
        rows = self.supabase.call("backend_list_project_secrets", arguments, idempotent=True)
        if rows is None:
            raise NotFound(NO_PROJECT)
        return [_decode_secret(row) for row in rows]

    def delete_project_secret(self, user_id: str, project_id: int, name: str) -> None:
        """See `Database`."""
        arguments = {
            "this_user": normalize_user_id(user_id),
            "this_project": project_id,
            "this_name": name,
        }
        if not self.supabase.call("backend_delete_project_secret", arguments, idempotent=False):
            raise NotFound(NO_SECRET)

    def reseal_project_secret(self, seen: ProjectSecret, sealed: str) -> bool:
        """See `Database`."""
        arguments = {
            "this_project": seen.project_id,
            "this_name": seen.name,
            "seen": seen.sealed,
            "resealed": sealed,
        }
        return bool(
            self.supabase.call("backend_reseal_project_secret", arguments, idempotent=False)
        )

    def list_secret_projects(self, after: int = 0, *, limit: int = 200) -> list[tuple[int, str]]:
        """See `Database`."""
        arguments = {"above": after, "page_size": limit}
        rows = self.supabase.call("backend_list_secret_projects", arguments, idempotent=True)
        return [(project_id, user_id) for project_id, user_id in rows]


def _only(rows: list[Json]) -> Project:
    if not rows:
        raise NotFound(NO_PROJECT)
    return _decode_project(rows[0])
