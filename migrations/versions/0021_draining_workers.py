"""Whether a worker takes no more tasks, because an administrator has asked it to."""

import sqlalchemy as sa
from alembic import op

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column(
        "workers",
        sa.Column("is_draining", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    if is_postgresql():
        run_file("0021_engine_share.sql")
        run_on_supabase("0021_supabase.sql", "0005_grants.sql")
