"""The turns of tasks, and how long the workspace of a task is kept for the next one."""

import sqlalchemy as sa
from alembic import op

from migrations.statements import is_postgresql, run_on_supabase

revision = "0010"
down_revision = "0009"

number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("tasks", sa.Column("workspace_until", moment))
    op.create_index("tasks_workspace_until", "tasks", ["workspace_until"])
    task = sa.ForeignKey("tasks.id", ondelete="CASCADE")
    op.create_table(
        "task_turns",
        sa.Column("task_id", number, task, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("started_at", moment),
        sa.Column("ended_at", moment),
        sa.Column("agent_exit_code", sa.Integer),
        sa.Column("input_tokens", number),
        sa.Column("output_tokens", number),
        sa.Column("cost_usd", sa.Float),
        sa.Column("tree_before", sa.Text),
        sa.Column("tree_after", sa.Text),
        sa.Column("has_diff", sa.Boolean, nullable=False),
        sa.Column("files", sa.Integer),
        sa.Column("additions", sa.Integer),
        sa.Column("deletions", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("error_stage", sa.Text),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("git_diff", sa.Text),
        sa.Column("interrupts", sa.Integer),
    )
    if is_postgresql():
        run_on_supabase("0010_turns.sql", "0005_grants.sql")
