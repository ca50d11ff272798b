"""Schedules, which start tasks at set times."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0026"
down_revision = "0025"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

# Elsewhere a function does this, in 0026_schedules.sql.
STARTS = """
CREATE TRIGGER tasks_start_schedule AFTER INSERT ON tasks
WHEN new.status = 'pending' AND json_extract(new.execution_metadata, '$.scheduled_for') IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'the moment of the schedule is not due')
    WHERE NOT EXISTS (
        SELECT 1 FROM schedules
        WHERE id = json_extract(new.execution_metadata, '$.schedule_id')
            AND user_id = new.user_id AND is_enabled AND started_for IS NOT next_run_at
            AND strftime('%s', next_run_at)
                = strftime('%s', json_extract(new.execution_metadata, '$.scheduled_for'))
    );
    UPDATE schedules SET
        started_for = next_run_at, last_run_at = new.created_at, last_task_id = new.id,
        last_error = NULL, last_error_code = NULL, refusals = 0
    WHERE id = json_extract(new.execution_metadata, '$.schedule_id');
END
"""


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("id", number, sa.Identity(always=False), primary_key=True),
        sa.Column(
            "user_id", user_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("name", sa.Text),
        sa.Column("cron", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("is_enabled", sa.Boolean, nullable=False),
        sa.Column("next_run_at", moment),
        sa.Column("started_for", moment),
        sa.Column("server", sa.Text),
        sa.Column("claimed_until", moment),
        sa.Column("last_run_at", moment),
        sa.Column("last_task_id", number),
        sa.Column("last_error", sa.Text),
        sa.Column("last_error_code", sa.Text),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("task", document, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("schedules_next_run_at", "schedules", ["next_run_at"])
    op.create_index("schedules_user_id_id", "schedules", ["user_id", "id"])
    if is_postgresql():
        run_file("0026_schedules.sql")
        run_on_supabase("0026_supabase.sql", "0005_grants.sql")
    else:
        op.execute(sa.text(STARTS))
