"""Functions by which servers agree on the task engine, on Supabase; elsewhere they speak SQL."""

from migrations.statements import is_postgresql, run_on_supabase

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    if is_postgresql():
        run_on_supabase("0027_supabase.sql", "0005_grants.sql")
