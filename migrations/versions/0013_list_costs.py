"""The costs of tasks in their list."""

from migrations.statements import is_postgresql, run_on_supabase

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    if is_postgresql():
        run_on_supabase("0013_list_costs.sql")
