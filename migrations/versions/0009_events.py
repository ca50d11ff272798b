"""Events of a task that does not run."""

from migrations.statements import is_postgresql, run_on_supabase

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    if is_postgresql():
        run_on_supabase("0009_events.sql")
