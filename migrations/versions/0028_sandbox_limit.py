"""A limit of sandboxes over all workers of the task engine."""

import sqlalchemy as sa
from alembic import op

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("engine_limits", sa.Column("sandboxes", sa.Integer))
    if is_postgresql():
        run_file("0028_sandbox_limit.sql")
        run_on_supabase("0028_supabase.sql")
