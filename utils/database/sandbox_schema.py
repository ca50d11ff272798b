"""Declares the tables of sandboxes and of what was done in them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from utils.database.schema import metadata, own_number, user_key
from utils.database.types import CleanText, Document, Number, UtcDateTime

_uncounted = text("task_id IS NULL AND NOT is_counted")

sandboxes = Table(
    "sandboxes",
    metadata,
    own_number(),
    user_key(),
    Column("task_id", Number, ForeignKey("tasks.id", ondelete="CASCADE")),
    Column("project_id", Number, ForeignKey("projects.id", ondelete="CASCADE")),
    Column("provider", Text, nullable=False),
    Column("provider_id", Text),
    Column("server", Text),
    Column("template", Text),
    Column("repositories", Document, nullable=False),
    Column("status", Text, nullable=False),
    Column("commands", Number, nullable=False),
    Column("running_ms", Number, nullable=False),
    Column("running_since", UtcDateTime),
    Column("error", CleanText),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("paused_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("is_counted", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("provider", "provider_id", name="sandboxes_provider_provider_id_key"),
    Index("sandboxes_user_id_id", "user_id", "id"),
    Index("sandboxes_task_id", "task_id"),
    Index("sandboxes_project_id", "project_id"),
    Index("sandboxes_status_expires_at", "status", "expires_at"),
    Index("sandboxes_ended_at", "ended_at"),
    Index("sandboxes_uncounted", "id", postgresql_where=_uncounted, sqlite_where=_uncounted),
    sqlite_autoincrement=True,
)

sandbox_operations = Table(
    "sandbox_operations",
    metadata,
    own_number(),
    Column("sandbox_id", Number, ForeignKey("sandboxes.id", ondelete="CASCADE"), nullable=False),
    user_key(),
    Column("kind", Text, nullable=False),
    Column("command", CleanText),
    Column("exit_code", Integer),
    Column("duration_ms", Number),
    Column("error_code", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Index("sandbox_operations_sandbox_id_id", "sandbox_id", "id"),
    Index("sandbox_operations_user_id", "user_id"),
    Index("sandbox_operations_created_at", "created_at"),
    sqlite_autoincrement=True,
)
