"""API keys, and which account of Supabase a sign-in came from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0007"
down_revision = "0006"

user_id = sa.Text().with_variant(postgresql.UUID(), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    _create_api_keys()
    op.add_column("refresh_tokens", sa.Column("session", sa.Text))
    op.add_column("refresh_tokens", sa.Column("ends_at", moment))
    # Nobody knows whether an earlier sign-in came from Supabase, so none goes on for ever.
    op.execute("UPDATE refresh_tokens SET ends_at = expires_at")
    if is_postgresql():
        run_on_supabase("0007_sign_in.sql")


def _create_api_keys() -> None:
    owner = sa.ForeignKey("users.id", ondelete="CASCADE")
    op.create_table(
        "api_keys",
        sa.Column("id", number, sa.Identity(always=False), primary_key=True),
        sa.Column("user_id", user_id, owner, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("key_hash", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment),
        sa.Column("last_used_at", moment),
        sa.UniqueConstraint("prefix", name="api_keys_prefix_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("api_keys_user_id_id", "api_keys", ["user_id", "id"])
