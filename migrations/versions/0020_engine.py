"""Admission of tasks to the task engine, and its workers. The schema of the engine is its own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0020"
down_revision = "0019"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")

IS_PENDING = sa.text("status = 'pending'")
PARTS = ("admission", "triggers", "workers", "rights")


def upgrade() -> None:
    create_tables()
    op.create_index(
        "tasks_waiting",
        "tasks",
        ["user_id", "id"],
        postgresql_where=IS_PENDING,
        sqlite_where=IS_PENDING,
    )
    if is_postgresql():
        for part in PARTS:
            run_file(f"0020_engine_{part}.sql")
        run_on_supabase("0020_supabase.sql", "0005_grants.sql")


def create_tables() -> None:
    op.create_table(
        "engine_tasks",
        sa.Column(
            "task_id",
            number,
            sa.ForeignKey("tasks.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("user_id", user_id, nullable=False),
        sa.Column("engine_task", user_id, nullable=False),
        sa.Column("run", user_id),
        sa.Column("claim", sa.Text),
        sa.Column("worker", sa.Text),
    )
    op.create_index("engine_tasks_user_id", "engine_tasks", ["user_id"])
    op.create_table(
        "engine_limits",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("per_user", sa.Integer, nullable=False),
        sa.Column("cleaned_at", moment),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("places", sa.Integer, nullable=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.Column("waiting_reason", sa.Text),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
    )
