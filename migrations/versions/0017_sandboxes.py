"""Sandboxes, and the log of what users did in them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0017"
down_revision = "0016"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
document = sa.JSON().with_variant(postgresql.JSONB, "postgresql")


def reference(table: str) -> sa.ForeignKey:
    """Return a reference to a row with which the referring row is deleted."""
    return sa.ForeignKey(f"{table}.id", ondelete="CASCADE")


def upgrade() -> None:
    create_sandboxes()
    create_operations()
    if is_postgresql():
        run_on_supabase("0017_sandboxes.sql")


def create_sandboxes() -> None:
    op.create_table(
        "sandboxes",
        sa.Column("id", number, sa.Identity(always=False), primary_key=True),
        sa.Column("user_id", user_id, reference("users"), nullable=False),
        sa.Column("task_id", number, reference("tasks")),
        sa.Column("project_id", number, reference("projects")),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("provider_id", sa.Text),
        sa.Column("server", sa.Text),
        sa.Column("template", sa.Text),
        sa.Column("repositories", document, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("commands", number, nullable=False),
        sa.Column("running_ms", number, nullable=False),
        sa.Column("running_since", moment),
        sa.Column("error", sa.Text),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("last_used_at", moment),
        sa.Column("expires_at", moment),
        sa.Column("paused_at", moment),
        sa.Column("ended_at", moment),
        sa.UniqueConstraint("provider", "provider_id", name="sandboxes_provider_provider_id_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("sandboxes_user_id_id", "sandboxes", ["user_id", "id"])
    op.create_index("sandboxes_task_id", "sandboxes", ["task_id"])
    op.create_index("sandboxes_project_id", "sandboxes", ["project_id"])
    op.create_index("sandboxes_status_expires_at", "sandboxes", ["status", "expires_at"])
    op.create_index("sandboxes_ended_at", "sandboxes", ["ended_at"])


def create_operations() -> None:
    op.create_table(
        "sandbox_operations",
        sa.Column("id", number, sa.Identity(always=False), primary_key=True),
        sa.Column("sandbox_id", number, reference("sandboxes"), nullable=False),
        sa.Column("user_id", user_id, reference("users"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("command", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("duration_ms", number),
        sa.Column("error_code", sa.Text),
        sa.Column("created_at", moment, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("sandbox_operations_sandbox_id_id", "sandbox_operations", ["sandbox_id", "id"])
    op.create_index("sandbox_operations_user_id", "sandbox_operations", ["user_id"])
    op.create_index("sandbox_operations_created_at", "sandbox_operations", ["created_at"])
