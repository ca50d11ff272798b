"""Settings of the snapshots of prepared sandboxes; a part of `utils.config.settings`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class SnapshotSettings(BaseSettings):
    """Limits of snapshots."""

    max_snapshots: int = Field(
        20,
        ge=0,
        description="Maximum number of snapshots of sandboxes after their setup, one for each "
        "project; its later tasks start from it. 0 keeps none: each task runs the setup.",
    )
    snapshot_max_age_seconds: float = Field(
        604_800,
        gt=0,
        description="Seconds after which a snapshot is used no longer. The setup runs again, and "
        "finds newer packages.",
    )
    snapshot_max_bytes: int = Field(
        2_000_000_000,
        ge=1,
        description="Maximum size of a snapshot in `DATA_DIR`, for local and isolated sandboxes. A "
        "larger sandbox is not saved.",
    )
