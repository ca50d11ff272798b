"""Limits for tasks and clients; a part of `utils.config.settings`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

Megabyte = 1_000_000


class LimitSettings(BaseSettings):
    """Sizes."""

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
