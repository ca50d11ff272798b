"""The commit that was pushed last to the default branch of a project's repository."""

import sqlalchemy as sa
from alembic import op

from migrations.statements import is_postgresql, run_on_supabase

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("projects", sa.Column("pushed_commit", sa.Text))
    if is_postgresql():
        run_on_supabase("0022_pushes.sql", "0005_grants.sql")
