"""Settings of sizes, tasks and time limits; a part of `utils.config.settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from utils.config.addresses import expanded

Megabyte = 1_000_000

E2B_PLAN_SANDBOXES = 20
"""The number of sandboxes that E2B's smallest plan allows at once."""


class LimitSettings(BaseSettings):
    """Limits of sizes."""

    max_patch_bytes: int = Field(
        10 * Megabyte,
        ge=1,
        description="Maximum size of a stored patch, and of all stored file contents of a task "
        "together. When a patch is larger, its largest changes are left out.",
    )
    max_new_file_bytes: int = Field(
        10 * Megabyte,
        ge=1,
        description="Maximum size of a new file. Larger ones are left out of the result.",
    )
    max_file_changes: int = Field(
        200,
        ge=0,
        description="Maximum number of changed files per task whose old and new contents are "
        "stored.",
    )
    max_file_change_bytes: int = Field(
        256_000, ge=0, description="Maximum size of a file whose contents are stored."
    )
    max_output_bytes: int = Field(
        2 * Megabyte, ge=0, description="Maximum size of the agent output stored per task."
    )
    max_body_bytes: int = Field(
        Megabyte, ge=1, description="Maximum size of a request body. Larger ones get 413."
    )
    max_import_bytes: int = Field(
        16 * Megabyte, ge=1, description="Maximum size of an upload to /migrate-legacy-tasks."
    )


class TaskLimitSettings(BaseSettings):
    """Limits of tasks, their stages and the mirrors of repositories, and who runs tasks."""

    task_engine: Literal["auto", "own", "absurd"] = Field(
        "auto",
        description="Decides which server runs a task, where several share a PostgreSQL or "
        "Supabase database. With `absurd`, an engine inside the database, it is any worker that is "
        "free, and limits of users hold over all of them. With `own` it is the server that the "
        "task was sent to. `auto` uses the engine where it is installed and no server at work does "
        "without it, else `own`.",
    )
    work: bool = Field(
        default=True,
        description="Run tasks in the server. `false` needs a database with the task engine and "
        "leaves them to the workers, see `./run.sh worker`.",
    )

    max_concurrent_tasks: int | None = Field(
        None,
        ge=1,
        le=500,
        description="Maximum number of tasks that run at the same time. The default is "
        f"{E2B_PLAN_SANDBOXES} with E2B, else the number of CPU cores.",
    )
    max_sandboxes: int | None = Field(
        None,
        ge=1,
        description="Maximum number of sandboxes that run at the same time on all workers of a "
        "database with the task engine, those that users open included: the limit of your E2B "
        "plan. While it is reached no further task starts. The same on all servers and workers.",
    )
    max_tasks_per_user: int = Field(
        8, ge=1, description="Maximum number of tasks of one user that run at the same time."
    )
    max_local_memory_bytes: int = Field(
        8000 * Megabyte,
        ge=1,
        description="Maximum memory of all processes of a task in a local sandbox, on Linux.",
    )
    max_local_processes: int = Field(
        1000,
        ge=1,
        description="Maximum number of processes of a task in a local sandbox, on Linux.",
    )
    max_local_disk_bytes: int = Field(
        20_000 * Megabyte,
        ge=1,
        description="Maximum size of the files of a task in a local sandbox, the clone included.",
    )
    max_queued_tasks: int = Field(
        1000, ge=1, description="Maximum number of queued tasks. Further requests get 429."
    )
    max_queued_per_user: int | None = Field(
        None,
        ge=1,
        description="Maximum number of queued tasks of one user. Further requests get 429. The "
        "default is a quarter of `MAX_QUEUED_TASKS`, at least 5.",
    )
    max_streams: int = Field(
        1000,
        ge=1,
        description="Maximum number of open event streams and waiting polls. Further streams get "
        "503, further polls are answered at once.",
    )
    max_group_size: int = Field(
        6,
        ge=1,
        le=100,
        description="Maximum number of tasks that one request starts to compare their results.",
    )
    max_attempts: int = Field(
        3,
        ge=1,
        description="Maximum number of times a task is started when the server stops while it "
        "runs.",
    )
    workspace_ttl_seconds: float = Field(
        1800,
        ge=0,
        description="Seconds for which the sandbox of a task that has ended is kept, so that the "
        "agent can go on in it with its session. Cloud sandboxes are paused meanwhile. 0 keeps "
        "none: a later turn then begins with the same files in a new sandbox.",
    )
    max_workspaces: int = Field(
        20,
        ge=0,
        description="Maximum number of sandboxes that are kept at the same time. The ones that "
        "would be kept longest stay.",
    )
    sandbox_timeout_seconds: float = Field(
        600, gt=0, description="Time limit in seconds for the clone and the agent together."
    )
    clone_timeout_seconds: float = Field(
        60, gt=0, description="Time limit in seconds for the clone."
    )
    agent_timeout_seconds: float = Field(
        300, gt=0, description="Time limit in seconds for the agent."
    )
    check_timeout_seconds: float = Field(
        300, gt=0, description="Time limit in seconds for the check command of a task."
    )
    command_timeout_seconds: float = Field(
        30, gt=0, description="Time limit in seconds for every other command."
    )
    shutdown_grace_seconds: float = Field(
        5,
        ge=0,
        description="Seconds that running tasks get to finish when the server shuts down. Together "
        "with the end of the others it fits into the 10 s that containers are given by default.",
    )
    server_silence_seconds: float = Field(
        30,
        gt=0,
        description="Seconds without a heartbeat after which another server on the same database "
        "is considered stopped and its tasks are taken over.",
    )
    clone_depth: int = Field(
        0, ge=0, description="Number of commits to clone. 0 clones the full history of the branch."
    )
    mirror_dir: Path | None = Field(
        None,
        description="Folder for cached mirrors of repositories. The default is `DATA_DIR/mirrors`.",
    )
    mirror_max_bytes: int = Field(
        2000 * Megabyte,
        ge=0,
        description="Maximum size of all mirrors together. 0 turns mirrors off.",
    )

    @field_validator("mirror_dir")
    @classmethod
    def _mirror_path(cls, value: Path | None) -> Path | None:
        return None if value is None else expanded(value)
