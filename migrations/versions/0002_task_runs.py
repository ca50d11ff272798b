"""What a server needs to know of a run to go on with it after a restart."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    task = sa.ForeignKey("tasks.id", ondelete="CASCADE")
    op.create_table(
        "task_runs",
        sa.Column("task_id", number, task, primary_key=True, autoincrement=False),
        sa.Column("sandbox_id", sa.Text, nullable=False),
        sa.Column("base_commit", sa.Text, nullable=False),
        sa.Column("agent_started_at", moment, nullable=False),
        sa.Column("stage_seconds", document, nullable=False),
        sa.Column("position", document, nullable=False),
        sa.Column("resumes", sa.Integer, nullable=False),
    )
