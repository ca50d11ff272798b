"""Pull requests that are due because their tasks have completed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0024"
down_revision = "0023"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")

# Elsewhere a function does this, in 0024_automatic_pulls.sql.
COMPLETED = """
CREATE TRIGGER tasks_pull_is_due AFTER UPDATE OF status ON tasks
WHEN old.status = 'running' AND new.status = 'completed'
    AND json_extract(new.execution_metadata, '$.auto_pr') = 1
BEGIN
    INSERT INTO automatic_pulls (task_id, user_id, ciphertext, due_at, tries)
    VALUES (
        new.id, new.user_id, (SELECT ciphertext FROM task_secrets WHERE task_id = new.id),
        new.completed_at, 0
    )
    ON CONFLICT (task_id) DO UPDATE SET
        ciphertext = coalesce(excluded.ciphertext, automatic_pulls.ciphertext),
        due_at = excluded.due_at, tries = 0, server = NULL;
END
"""
NOT_COMPLETED = """
CREATE TRIGGER tasks_pull_is_not_due AFTER UPDATE OF status ON tasks
WHEN new.status IN ('failed', 'cancelled')
BEGIN
    DELETE FROM automatic_pulls WHERE task_id = new.id;
END
"""


def upgrade() -> None:
    op.create_table(
        "automatic_pulls",
        sa.Column(
            "task_id",
            number,
            sa.ForeignKey("tasks.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("user_id", user_id, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("server", sa.Text),
    )
    op.create_index("automatic_pulls_due_at", "automatic_pulls", ["due_at"])
    if is_postgresql():
        run_file("0024_automatic_pulls.sql")
        run_on_supabase("0024_supabase.sql", "0005_grants.sql")
    else:
        op.execute(COMPLETED)
        op.execute(NOT_COMPLETED)
