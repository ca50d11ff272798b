"""Tickets for streams of events, and which tasks have changed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0012"
down_revision = "0011"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "stream_tickets",
        sa.Column("ticket_hash", sa.Text, primary_key=True),
        sa.Column(
            "user_id", user_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("expires_at", moment, nullable=False),
    )
    op.create_index(
        "stream_tickets_user_id_expires_at", "stream_tickets", ["user_id", "expires_at"]
    )
    op.create_index("tasks_user_id_updated_at", "tasks", ["user_id", "updated_at"])
    if is_postgresql():
        run_on_supabase("0012_streams.sql")
