"""Which tasks were archived, and an index by which old tasks are found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0015"
down_revision = "0014"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_index("tasks_updated_at_id", "tasks", ["updated_at", "id"])
    user = sa.ForeignKey("users.id", ondelete="CASCADE")
    op.create_table(
        "archived_tasks",
        sa.Column("user_id", user_id, user, primary_key=True),
        sa.Column("task_id", number, primary_key=True, autoincrement=False),
        sa.Column("archived_at", moment, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
    )
    op.create_index("archived_tasks_task_id", "archived_tasks", ["task_id"])
    if is_postgresql():
        run_on_supabase("0015_archive.sql")
