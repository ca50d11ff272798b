"""Who may write past the backend, with what defaults, and within what limits."""

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Nobody writes to SQLite past the backend.
    if is_postgresql():
        run_file("0004_defaults.sql")
        run_on_supabase("0004_supabase.sql")
        run_file("0004_limits.sql")
