"""Limits of sizes, of tasks and of sandboxes; a part of `utils.config.settings`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

Megabyte = 1_000_000

E2B_TASK_PLACES = 20
"""The number of sandboxes that E2B's smallest plan allows at once."""


class LimitSettings(BaseSettings):
    """Limits of sizes."""

    max_patch_bytes: int = Field(
        10 * Megabyte,
        ge=1,
        description="Largest patch, and largest sum of file contents, that is stored with a task.",
    )
    max_file_changes: int = Field(
        200, ge=0, description="Files whose contents before and after are stored."
    )
    max_file_change_bytes: int = Field(
        256_000, ge=0, description="Largest file whose contents are stored."
    )
    max_output_bytes: int = Field(
        2 * Megabyte, ge=0, description="Agent output that is stored with a task."
    )
    max_body_bytes: int = Field(Megabyte, ge=1, description="Largest request body.")
    max_import_bytes: int = Field(
        16 * Megabyte, ge=1, description="Largest upload to /migrate-legacy-tasks."
    )


class TaskLimitSettings(BaseSettings):
    """Limits of tasks, their stages and the mirrors of repositories."""

    max_concurrent_tasks: int | None = Field(
        None,
        ge=1,
        le=500,
        description=f"Tasks that run at once; when not given, {E2B_TASK_PLACES} with E2B and "
        "else the number of cores.",
    )
    max_tasks_per_user: int = Field(8, ge=1, description="Tasks of one user that run at once.")
    max_queued_tasks: int = Field(
        1000, ge=1, description="Tasks that wait; one more is answered with 429."
    )
    max_attempts: int = Field(
        3, ge=1, description="Times a task is started when the server dies under it."
    )
    sandbox_timeout_seconds: float = Field(
        600, gt=0, description="Limit for clone and agent together."
    )
    clone_timeout_seconds: float = Field(60, gt=0, description="Limit for the clone.")
    agent_timeout_seconds: float = Field(300, gt=0, description="Limit for the agent.")
    command_timeout_seconds: float = Field(30, gt=0, description="Limit for every other command.")
    shutdown_grace_seconds: float = Field(
        10, ge=0, description="Time that running tasks get to finish when the server stops."
    )
    server_silence_seconds: float = Field(
        30,
        gt=0,
        description="Silence after which another server on the same database counts as ended, and "
        "its tasks are taken over.",
    )
    clone_depth: int = Field(
        0, ge=0, description="Commits of history to clone; 0 is all of the branch."
    )
    mirror_dir: Path | None = Field(
        None,
        description="Folder for local mirrors of repositories; `DATA_DIR/mirrors` if not given.",
    )
    mirror_max_bytes: int = Field(
        2000 * Megabyte, ge=0, description="Size of all mirrors together; 0 turns mirrors off."
    )
