"""Secrets of projects."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0016"
down_revision = "0015"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "project_secrets",
        sa.Column(
            "project_id",
            number,
            sa.ForeignKey("projects.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("for_agent", sa.Boolean, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
    )
    if is_postgresql():
        run_on_supabase("0016_project_secrets.sql")
