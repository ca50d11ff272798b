"""The answers to requests with an Idempotency-Key; reads that leave long conversations out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0008"
down_revision = "0007"

moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
document = sa.JSON().with_variant(postgresql.JSONB, "postgresql")
user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.create_table(
        "request_keys",
        sa.Column(
            "user_id", user_id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("claimed_at", moment, nullable=False),
        sa.Column("answer", document),
    )
    op.create_index("request_keys_created_at", "request_keys", ["created_at"])
    if is_postgresql():
        run_on_supabase("0008_request_keys.sql")
