"""Declares the tables of what the server does by itself: pull requests and scheduled tasks."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table, Text

from utils.database.schema import metadata, own_number, task_key, user_key
from utils.database.types import CleanText, Document, Number, UserId, UtcDateTime

automatic_pulls = Table(
    "automatic_pulls",
    metadata,
    task_key(),
    Column("user_id", UserId, nullable=False),
    Column("ciphertext", LargeBinary),
    Column("due_at", UtcDateTime, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("server", Text),
    Index("automatic_pulls_due_at", "due_at"),
)

# Without references to tasks: the last one may be deleted or archived.
schedules = Table(
    "schedules",
    metadata,
    own_number(),
    user_key(),
    Column("name", Text),
    Column("cron", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("next_run_at", UtcDateTime),
    Column("started_for", UtcDateTime),
    Column("server", Text),
    Column("claimed_until", UtcDateTime),
    Column("last_run_at", UtcDateTime),
    Column("last_task_id", Number),
    Column("last_error", CleanText),
    Column("last_error_code", Text),
    Column("refusals", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("task", Document, nullable=False),
    Index("schedules_next_run_at", "next_run_at"),
    Index("schedules_user_id_id", "user_id", "id"),
    sqlite_autoincrement=True,
)
