"""Project endpoints. A project gives a repository a name and groups its tasks."""

from __future__ import annotations

from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.requests import NewProject, ProjectChange, ProjectTasksQuery
from utils.api.responses import ProjectRow, TaskRow
from utils.api.serializers import project_row, task_row
from utils.environments.schema import read_environment
from utils.git.repository_url import parse_repository_url
from utils.models.tasks import Json

blueprint = Blueprint("projects", __name__, url_prefix="/projects")

WRITE_ERRORS = (
    "conflict",
    "repository_not_allowed",
    "templates_unavailable",
    "unknown_template",
)


@blueprint.get("")
@endpoint({"projects": list[ProjectRow]})
def list_projects(services: Services, user_id: str) -> Json:
    """List your projects with their task counts, newest first."""
    return {"projects": [project_row(row) for row in services.database.list_projects(user_id)]}


@blueprint.post("")
@endpoint({"project": ProjectRow}, body=NewProject, errors=WRITE_ERRORS)
def create_project(services: Services, user_id: str, body: NewProject) -> Json:
    """Create a project. You can have one project for each repository."""
    settings = body.settings or {}
    _check_template(services, settings)
    fields = {
        "name": body.name,
        "description": body.description,
        "settings": settings,
        **_repository_columns(services, body.repo_url),
    }
    return {"project": project_row(services.database.create_project(user_id, fields))}


@blueprint.get("/<id:project_id>")
@endpoint({"project": ProjectRow})
def get_project(services: Services, user_id: str, project_id: int) -> Json:
    """Return a project with its task counts."""
    return {"project": project_row(services.database.get_project(user_id, project_id))}


@blueprint.put("/<id:project_id>")
@endpoint({"project": ProjectRow}, body=ProjectChange, errors=WRITE_ERRORS)
def update_project(services: Services, user_id: str, project_id: int, body: ProjectChange) -> Json:
    """Change a project. Fields you omit stay as they are.

    Fields that only the server sets are ignored, so you can send back a whole project.
    """
    fields = body.columns
    if "repo_url" in fields:
        fields |= _repository_columns(services, fields["repo_url"])
    _check_template(services, fields.get("settings") or {})
    project = services.database.update_project(user_id, project_id, fields)
    return {"project": project_row(project)}


def _check_template(services: Services, settings: Json) -> None:
    template = read_environment(settings).template
    if template is not None:
        services.templates.resolve(template)


@blueprint.delete("/<id:project_id>")
@endpoint({"message": str})
def delete_project(services: Services, user_id: str, project_id: int) -> Json:
    """Delete a project and its tasks. Queued and running tasks are cancelled first."""
    services.dispatcher.cancel_active_tasks(user_id, project_id)
    services.database.delete_project(user_id, project_id)
    return {"message": "The project and its tasks were deleted."}


@blueprint.get("/<id:project_id>/tasks")
@endpoint({"tasks": list[TaskRow], "next_cursor": int | None}, query=ProjectTasksQuery)
def list_project_tasks(
    services: Services, user_id: str, project_id: int, query: ProjectTasksQuery
) -> Json:
    """List the tasks of a project, newest first, without diffs and patches.

    To read the next page, send `next_cursor` as `cursor`.
    """
    tasks = services.database.list_project_tasks(
        user_id, project_id, limit=query.limit, cursor=query.cursor
    )
    next_cursor = tasks[-1].id if len(tasks) == query.limit else None
    return {"tasks": [task_row(task) for task in tasks], "next_cursor": next_cursor}


def _repository_columns(services: Services, repo_url: str) -> Json:
    repository = parse_repository_url(
        repo_url,
        allowed_hosts=services.settings.allowed_git_hosts,
        allow_local=services.settings.local_repos_allowed,
    )
    return {
        "repo_url": repository.url,
        "repo_owner": repository.owner,
        "repo_name": repository.name,
    }
