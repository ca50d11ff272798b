"""The functions by which the backend writes to Supabase, where a verb is one request."""

from migrations.statements import is_postgresql, run_on_supabase

revision = "0005"
down_revision = "0004"

PARTS = ("rows", "tasks", "progress", "servers", "users", "grants")


def upgrade() -> None:
    if is_postgresql():
        run_on_supabase(*(f"0005_{part}.sql" for part in PARTS))
