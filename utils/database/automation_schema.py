"""Declares the tables of what the server does by itself for tasks."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text

from utils.database.schema import metadata, task_key
from utils.database.types import UserId, UtcDateTime

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
