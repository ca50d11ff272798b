"""Whether the usage of a sandbox that has ended is recorded."""

import sqlalchemy as sa
from alembic import op

from migrations.statements import is_postgresql, run_on_supabase

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column(
        "sandboxes",
        sa.Column("is_counted", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    uncounted = sa.text("task_id IS NULL AND NOT is_counted")
    op.create_index(
        "sandboxes_uncounted",
        "sandboxes",
        ["id"],
        postgresql_where=uncounted,
        sqlite_where=uncounted,
    )
    if is_postgresql():
        run_on_supabase("0019_sandbox_usage.sql", "0005_grants.sql")
