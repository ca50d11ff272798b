"""Compare-and-set of the repositories of a sandbox, on Supabase."""

from migrations.statements import is_postgresql, run_on_supabase

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    if is_postgresql():
        run_on_supabase("0023_sandbox_repositories.sql", "0005_grants.sql")
