"""Ranks of waiting tasks, by which each user's own are ordered."""

import sqlalchemy as sa
from alembic import op

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0025"
down_revision = "0024"

IS_PENDING = sa.text("status = 'pending'")


def upgrade() -> None:
    op.add_column("tasks", sa.Column("queue_rank", sa.Integer, nullable=False, server_default="0"))
    op.drop_index("tasks_waiting", "tasks")
    op.create_index(
        "tasks_waiting",
        "tasks",
        ["user_id", "queue_rank", "id"],
        postgresql_where=IS_PENDING,
        sqlite_where=IS_PENDING,
    )
    if is_postgresql():
        run_file("0025_engine_ranks.sql")
        run_on_supabase("0025_supabase.sql", "0005_grants.sql")
