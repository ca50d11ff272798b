"""Schemas of the sandboxes of users."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NotRequired, cast

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from utils.api.requests import (
    EXAMPLE_REPOSITORY,
    Body,
    Cursor,
    Limit,
    NotBlank,
    Query,
    RepositoryAddress,
    Token,
    example,
    without_nul,
)
from utils.api.responses import Time
from utils.models.sandboxes import SandboxStatus, StoredOperation, StoredSandbox
from utils.sandbox_service.policy import MAX_PATH_CHARACTERS
from utils.sandboxes.protocol import FileEntry, SandboxUsage

MAX_COMMAND_CHARACTERS = 64_000
MAX_ARGUMENTS = 1_000
MAX_VARIABLES = 200
MAX_ENVIRONMENT_CHARACTERS = 64_000

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")

StatusName = Literal["created", "running", "paused", "terminated", "error"]


def _environment(variables: dict[str, str]) -> dict[str, str]:
    if not all(_VARIABLE.fullmatch(name) for name in variables):
        raise ValueError("names must be letters, digits and underscores")
    if len(variables) > MAX_VARIABLES:
        raise ValueError(f"must have at most {MAX_VARIABLES} variables")
    if sum(map(len, variables.values())) > MAX_ENVIRONMENT_CHARACTERS:
        raise ValueError(f"must have at most {MAX_ENVIRONMENT_CHARACTERS:,} characters")
    for value in variables.values():
        without_nul(value)
    return variables


def _command(command: list[str] | str) -> list[str] | str:
    parts = [command] if isinstance(command, str) else command
    if not parts or not parts[0].strip():
        raise ValueError("must name a program")
    if len(parts) > MAX_ARGUMENTS or sum(map(len, parts)) > MAX_COMMAND_CHARACTERS:
        raise ValueError(f"must have at most {MAX_COMMAND_CHARACTERS:,} characters")
    for part in parts:
        without_nul(part)
        part.encode()
    return command


Environment = Annotated[dict[str, str], AfterValidator(_environment)]
Seconds = Annotated[float, Field(gt=0, le=10**9)]
FilePath = Annotated[str, Field(max_length=MAX_PATH_CHARACTERS), AfterValidator(without_nul)]


class NewSandboxBody(Body):
    """A sandbox to open. Every field is optional."""

    model_config = example(repo_url=EXAMPLE_REPOSITORY, timeout_seconds=1800)

    template: Annotated[NotBlank, Field(max_length=200)] | None = Field(
        None, description="Template of the sandbox, from GET /templates."
    )
    repo_url: RepositoryAddress | None = None
    branch: Annotated[str, Field(max_length=255)] | None = Field(
        None, description="Branch to clone; the repository's default branch by default."
    )
    name: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Folder of the repository in the home folder; its name by default."
    )
    github_token: Token | None = Field(
        None, description="Token for the clone. It is used once and not kept."
    )
    timeout_seconds: Seconds | None = Field(
        None,
        description="Seconds until the sandbox ends, `SANDBOX_LEASE_SECONDS` by default, at most "
        "`MAX_SANDBOX_LEASE_SECONDS`.",
    )
    environment: Environment = Field(
        default_factory=dict,
        description="Variables of all commands. They are stored in the sandbox only.",
    )


class ExecuteBody(Body):
    """A command to run."""

    model_config = example(command=["ls", "-l"], cwd="Hello-World", timeout_seconds=60)

    command: Annotated[list[str] | str, AfterValidator(_command)] = Field(
        description="Arguments of the command, or a text that `sh -c` runs in the sandbox."
    )
    cwd: FilePath = Field(".", description="Folder to run it in, from the home folder.")
    environment: Environment = Field(
        default_factory=dict, description="Variables of this command alone."
    )
    timeout_seconds: Seconds | None = Field(
        None,
        description="Seconds after which the command is ended, 60 by default, at most "
        "`MAX_COMMAND_SECONDS`.",
    )


class ExtendBody(Body):
    """The time that a sandbox is to live from now."""

    model_config = example(timeout_seconds=3600)

    timeout_seconds: Seconds | None = Field(
        None, description="Seconds from now; `SANDBOX_LEASE_SECONDS` by default."
    )


class SandboxListQuery(Query):
    """Selects a page of sandboxes."""

    status: SandboxStatus | None = Field(None, description="List sandboxes with this status only.")
    limit: Limit = 100
    cursor: Cursor = None


class OperationsQuery(Query):
    """Selects a page of operations."""

    limit: Limit = 100
    cursor: Cursor = None


class FilesQuery(Query):
    """Names a folder."""

    path: FilePath = Field("", description="Folder to list; the home folder by default.")


class SandboxRepositoryRow(TypedDict):
    """A repository in a sandbox."""

    name: Annotated[str, Field(description="Its folder in the home folder.")]
    repo_url: Annotated[str, Field(description="The address that it was cloned from.")]
    branch: NotRequired[Annotated[str | None, Field(description="The branch that was cloned.")]]
    base_commit: NotRequired[Annotated[str, Field(description="The commit of the clone.")]]
    pushed: NotRequired[
        Annotated[dict[str, str], Field(description="The last pushed commit of each branch.")]
    ]


class SandboxRow(TypedDict):
    """A sandbox."""

    id: Annotated[int, Field(description="The number of the sandbox.")]
    task_id: Annotated[int | None, Field(description="The task that it belongs to, if any.")]
    project_id: Annotated[int | None, Field(description="The project of that task.")]
    provider: Annotated[str, Field(description="Its kind: local, isolated or e2b.")]
    provider_id: Annotated[str | None, Field(description="The name that its provider gave it.")]
    template: Annotated[str | None, Field(description="The template that was asked for.")]
    repositories: Annotated[
        list[SandboxRepositoryRow], Field(description="The repositories cloned into it.")
    ]
    status: Annotated[
        StatusName,
        Field(
            description="`created` while it is opened, then `running` or `paused`, at the end "
            "`terminated`, or `error` when it could not be opened."
        ),
    ]
    error: Annotated[str | None, Field(description="Says to people why it ended.")]
    commands: Annotated[int, Field(description="The number of commands that were executed.")]
    running_seconds: Annotated[float, Field(description="The time that it ran, without pauses.")]
    created_at: Annotated[Time, Field(description="When it was asked for.")]
    updated_at: Annotated[Time, Field(description="When its status changed last.")]
    last_used_at: Annotated[Time | None, Field(description="When it was used last.")]
    expires_at: Annotated[Time | None, Field(description="When it ends, if it is not extended.")]
    paused_at: Annotated[Time | None, Field(description="Since when it is paused.")]
    ended_at: Annotated[Time | None, Field(description="When it ended.")]


class OperationRow(TypedDict):
    """An operation in a sandbox."""

    id: Annotated[int, Field(description="The number of the operation.")]
    kind: Annotated[str, Field(description="What was done: execute, write_file, pause, ...")]
    command: Annotated[
        str | None, Field(description="The command or the path, without secrets, cut.")
    ]
    exit_code: Annotated[int | None, Field(description="The exit code of the command.")]
    duration_ms: Annotated[int | None, Field(description="The time that it took.")]
    error_code: Annotated[str | None, Field(description="The code of the error, if it failed.")]
    created_at: Annotated[Time, Field(description="When it ended.")]


class FileRow(TypedDict):
    """An entry of a folder."""

    name: Annotated[str, Field(description="The name of the entry.")]
    kind: Annotated[Literal["file", "folder", "link", "other"], Field(description="What it is.")]
    size_bytes: Annotated[int, Field(description="The size of a file.")]
    modified_at: Annotated[Time, Field(description="When it was changed last.")]


class SandboxUsageRow(TypedDict):
    """The use of a sandbox's resources; null for those that its kind does not measure."""

    cpu_percent: Annotated[float | None, Field(description="The share of the processors.")]
    cpu_count: Annotated[int | None, Field(description="The number of processors.")]
    memory_used_bytes: Annotated[int | None, Field(description="The memory in use.")]
    memory_total_bytes: Annotated[int | None, Field(description="The memory that it has.")]
    disk_used_bytes: Annotated[int | None, Field(description="The disk in use.")]
    disk_total_bytes: Annotated[int | None, Field(description="The disk that it has.")]


EXECUTED = {
    "stdout": Annotated[str, Field(description="What it printed, as UTF-8.")],
    "stderr": Annotated[str, Field(description="What it printed as errors, as UTF-8.")],
    "exit_code": Annotated[int, Field(description="Its exit code, 128 + N after signal N.")],
    "duration_ms": Annotated[int, Field(description="The time that it took.")],
    "truncated": Annotated[
        bool, Field(description="True when output beyond a megabyte was left out.")
    ],
}
"""The fields of a command that has ended."""


def sandbox_row(sandbox: StoredSandbox) -> SandboxRow:
    """Return the row of a sandbox."""
    computed = {"status": sandbox.status.value, "running_seconds": sandbox.running_ms / 1000}
    row = {
        name: computed[name] if name in computed else getattr(sandbox, name)
        for name in SandboxRow.__annotations__
    }
    return cast("SandboxRow", row)


def operation_row(operation: StoredOperation) -> OperationRow:
    """Return the row of an operation."""
    return cast(
        "OperationRow", {name: getattr(operation, name) for name in OperationRow.__annotations__}
    )


def file_row(entry: FileEntry) -> FileRow:
    """Return the row of an entry of a folder."""
    return cast("FileRow", {name: getattr(entry, name) for name in FileRow.__annotations__})


def sandbox_usage_row(usage: SandboxUsage) -> SandboxUsageRow:
    """Return the row of what a sandbox uses."""
    return cast(
        "SandboxUsageRow", {name: getattr(usage, name) for name in SandboxUsageRow.__annotations__}
    )
