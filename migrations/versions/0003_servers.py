"""Which server looks after a task, where several share one database."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("beats", number, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
    )
    op.add_column("tasks", sa.Column("server", sa.Text))
    op.add_column(
        "tasks", sa.Column("stop_requested", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_index("task_runs_sandbox_id", "task_runs", ["sandbox_id"])
