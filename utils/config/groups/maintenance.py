"""Settings of what is kept, and for how long; a part of `utils.config.settings`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class MaintenanceSettings(BaseSettings):
    """Limits of the time for which tasks and sandboxes are kept."""

    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after which the server deletes a task that has ended, with its diff, "
        "patch, events and messages, counted from its last change. 0 keeps all tasks.",
    )
    sandbox_max_age_seconds: float = Field(
        86_400,
        gt=0,
        description="Greatest age in seconds of a user's sandbox, however often it was extended. "
        "An older one is ended.",
    )
    archive: bool = Field(
        default=False,
        description="Write the tasks that `RETENTION_DAYS` deletes to compressed files in "
        "`DATA_DIR/archive` first.",
    )
