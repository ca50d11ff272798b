"""Endpoints of sandboxes: open them, run commands and work with files in them, end them."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response, request
from pydantic import Field

from utils.api.endpoint import Services, endpoint
from utils.api.pages import cut_page
from utils.api.sandbox_repositories import wanted_repository
from utils.api.schemas.sandboxes import (
    EXECUTED,
    ExecuteBody,
    ExtendBody,
    FileRow,
    FilesQuery,
    NewSandboxBody,
    OperationRow,
    OperationsQuery,
    SandboxListQuery,
    SandboxRow,
    SandboxUsageRow,
    file_row,
    operation_row,
    sandbox_row,
    sandbox_usage_row,
)
from utils.errors import InvalidInput
from utils.models.tasks import Json
from utils.sandbox_service.commands import UserCommand
from utils.sandbox_service.lifecycle import SandboxOptions
from utils.streams.responses import stream_response, wants_stream

COMMAND_SECONDS = 60.0
"""Time limit of a command that asks for none."""

STATE = ("sandbox_gone", "sandbox_state", "sandbox_elsewhere", "sandbox_unavailable")
USE = (*STATE, "sandbox_refused", "sandbox_busy")
CREATE = (
    "budget_exceeded",
    "clone_failed",
    "invalid_branch",
    "repository_not_allowed",
    "sandbox_limit_reached",
    "sandbox_gone",
    "sandbox_refused",
    "sandbox_unavailable",
    "stored_secret_unreadable",
    "templates_unavailable",
    "unknown_template",
)
EXECUTE = (*USE, "command_refused", "command_timeout", "sandbox_not_isolated", "too_many_streams")

Sandbox = Annotated[SandboxRow, Field(description="The sandbox.")]

blueprint = Blueprint("sandboxes", __name__, url_prefix="/v1/sandboxes")


@blueprint.post("")
@endpoint({"sandbox": Sandbox}, body=NewSandboxBody, status=201, needs_body=True, errors=CREATE)
def create_sandbox(services: Services, user_id: str, body: NewSandboxBody) -> Json:
    """Open a sandbox, with a clone of a repository if you send one.

    Returns when the sandbox runs and the clone is made. It ends after `timeout_seconds`; extend it
    to use it longer.
    """
    if body.repo_url is None and (body.branch or body.name or body.github_token):
        raise InvalidInput("repo_url: is required for branch, name and github_token to count.")
    if body.template is not None:
        services.templates.resolve(body.template)
    repository = None
    if body.repo_url is not None:
        token = body.github_token
        repository = wanted_repository(
            services, user_id, body.repo_url, body.branch, body.name, token
        )
    asked = SandboxOptions(body.template, repository, body.timeout_seconds, body.environment)
    return {"sandbox": sandbox_row(services.sandboxes.create(user_id, asked))}


@blueprint.get("")
@endpoint(
    {
        "sandboxes": Annotated[list[SandboxRow], Field(description="The sandboxes.")],
        "next_cursor": int | None,
    },
    query=SandboxListQuery,
)
def list_sandboxes(services: Services, user_id: str, query: SandboxListQuery) -> Json:
    """List your sandboxes and those of your tasks, newest first, as they were recorded.

    To read the next page, send `next_cursor` as `cursor`.
    """
    found = services.database.list_sandboxes(
        user_id, status=query.status, limit=query.limit + 1, cursor=query.cursor
    )
    page, next_cursor = cut_page(found, query.limit)
    return {"sandboxes": [sandbox_row(one) for one in page], "next_cursor": next_cursor}


@blueprint.get("/<id:sandbox_id>")
@endpoint({"sandbox": Sandbox}, polled=True)
def get_sandbox(services: Services, user_id: str, sandbox_id: int) -> Json:
    """Return a sandbox, after asking its provider whether it still exists."""
    return {"sandbox": sandbox_row(services.sandboxes.get(user_id, sandbox_id))}


@blueprint.post("/<id:sandbox_id>/execute")
@endpoint(EXECUTED, body=ExecuteBody, errors=EXECUTE, output_stream=True)
def execute(
    services: Services, user_id: str, sandbox_id: int, body: ExecuteBody
) -> Json | Response:
    """Run a command and return what it printed.

    Commands of a sandbox run one at a time, and get no input. Send `Accept: text/event-stream` to
    get the output while it is printed: events `stdout` and `stderr`, then an event `exit` or
    `error`.
    """
    command = UserCommand(
        arguments=["sh", "-c", body.command] if isinstance(body.command, str) else body.command,
        timeout_seconds=body.timeout_seconds or _default_seconds(services),
        directory=body.cwd or ".",
        environment=body.environment,
    )
    if wants_stream():
        services.streams.check_room()
        stream = services.sandboxes.follow(user_id, sandbox_id, command)
        return stream_response(lambda: stream.chunks(services.streams))
    return services.sandboxes.execute(user_id, sandbox_id, command).fields


def _default_seconds(services: Services) -> float:
    return min(COMMAND_SECONDS, services.settings.max_command_seconds)


@blueprint.get("/<id:sandbox_id>/files")
@endpoint(
    {"files": Annotated[list[FileRow], Field(description="The entries, by name.")]},
    query=FilesQuery,
    errors=USE,
)
def list_files(services: Services, user_id: str, sandbox_id: int, query: FilesQuery) -> Json:
    """List a folder of a sandbox, at most 1,000 entries."""
    entries = services.sandboxes.list_files(user_id, sandbox_id, query.path)
    return {"files": [file_row(entry) for entry in entries]}


@blueprint.put("/<id:sandbox_id>/files/<path:file_path>")
@endpoint(
    {"size_bytes": Annotated[int, Field(description="The number of bytes that were written.")]},
    raw_body=True,
    errors=(*USE, "body_too_large"),
)
def write_file(services: Services, user_id: str, sandbox_id: int, file_path: str) -> Json:
    """Write the body as a file of a sandbox, and create missing folders."""
    content = request.get_data(cache=False)
    services.sandboxes.write_file(user_id, sandbox_id, file_path, content)
    return {"size_bytes": len(content)}


@blueprint.get("/<id:sandbox_id>/files/<path:file_path>")
@endpoint(media_type="application/octet-stream", errors=(*USE, "sandbox_file_too_large"))
def read_file(services: Services, user_id: str, sandbox_id: int, file_path: str) -> Response:
    """Return the content of a file of a sandbox. Links are not followed on the server's machine."""
    content = services.sandboxes.read_file(user_id, sandbox_id, file_path)
    return Response(
        content,
        content_type="application/octet-stream",
        headers={"Content-Disposition": "attachment"},
    )


@blueprint.delete("/<id:sandbox_id>/files/<path:file_path>")
@endpoint(media_type="text/plain", status=204, errors=USE)
def remove_file(services: Services, user_id: str, sandbox_id: int, file_path: str) -> Response:
    """Remove a file of a sandbox, or a folder with all it holds."""
    services.sandboxes.remove_file(user_id, sandbox_id, file_path)
    return Response(status=204, mimetype="text/plain")


@blueprint.post("/<id:sandbox_id>/pause")
@endpoint({"sandbox": Sandbox}, errors=USE)
def pause_sandbox(services: Services, user_id: str, sandbox_id: int) -> Json:
    """Pause a sandbox: its processes end, its files stay. It still ends at `expires_at`."""
    return {"sandbox": sandbox_row(services.sandboxes.pause(user_id, sandbox_id))}


@blueprint.post("/<id:sandbox_id>/resume")
@endpoint({"sandbox": Sandbox}, errors=("budget_exceeded", *USE))
def resume_sandbox(services: Services, user_id: str, sandbox_id: int) -> Json:
    """Resume a paused sandbox."""
    return {"sandbox": sandbox_row(services.sandboxes.resume(user_id, sandbox_id))}


@blueprint.post("/<id:sandbox_id>/extend")
@endpoint({"sandbox": Sandbox}, body=ExtendBody, errors=USE)
def extend_sandbox(services: Services, user_id: str, sandbox_id: int, body: ExtendBody) -> Json:
    """Set the time that a sandbox has left, from now."""
    extended = services.sandboxes.extend(user_id, sandbox_id, body.timeout_seconds)
    return {"sandbox": sandbox_row(extended)}


@blueprint.get("/<id:sandbox_id>/metrics")
@endpoint(
    {"metrics": Annotated[SandboxUsageRow, Field(description="What it uses.")]},
    errors=USE,
    polled=True,
)
def get_sandbox_metrics(services: Services, user_id: str, sandbox_id: int) -> Json:
    """Return what a sandbox uses at the moment."""
    return {"metrics": sandbox_usage_row(services.sandboxes.usage(user_id, sandbox_id))}


@blueprint.get("/<id:sandbox_id>/operations")
@endpoint(
    {
        "operations": Annotated[list[OperationRow], Field(description="The operations.")],
        "next_cursor": int | None,
    },
    query=OperationsQuery,
)
def list_operations(
    services: Services, user_id: str, sandbox_id: int, query: OperationsQuery
) -> Json:
    """List what was done in a sandbox, newest first.

    To read the next page, send `next_cursor` as `cursor`.
    """
    found = services.database.list_sandbox_operations(
        user_id, sandbox_id, limit=query.limit + 1, cursor=query.cursor
    )
    page, next_cursor = cut_page(found, query.limit)
    return {"operations": [operation_row(one) for one in page], "next_cursor": next_cursor}


@blueprint.delete("/<id:sandbox_id>")
@endpoint(media_type="text/plain", status=204, errors=STATE)
def end_sandbox(services: Services, user_id: str, sandbox_id: int) -> Response:
    """End a sandbox with all of its processes and files. One that has ended stays as it is."""
    services.sandboxes.destroy(user_id, sandbox_id)
    return Response(status=204, mimetype="text/plain")
