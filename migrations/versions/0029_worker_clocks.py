"""Workers by the clock of the database, drained at once; admitted tasks within the share."""

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    if is_postgresql():
        run_file("0029_workers.sql")
        run_on_supabase("0029_supabase.sql", "0005_grants.sql")
