"""Records of what the runs of tasks have used and cost."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0014"
down_revision = "0013"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")

AMOUNTS = (
    "sandbox_milliseconds",
    "sandbox_micro_usd",
    "model_micro_usd",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "unpriced_tokens",
    "git_operations",
    "failed_git_operations",
)


def upgrade() -> None:
    op.create_table(
        "usage_records",
        sa.Column("task_id", number, primary_key=True, autoincrement=False),
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column(
            "user_id", user_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("project_id", number),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("at", moment, nullable=False),
        *(sa.Column(name, number, nullable=False) for name in AMOUNTS),
    )
    op.create_index("usage_records_user_id_day", "usage_records", ["user_id", "day"])
    op.create_index("usage_records_day", "usage_records", ["day"])
    if is_postgresql():
        run_on_supabase("0014_usage.sql")
