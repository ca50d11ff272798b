"""What became of a task's pull request, and which deliveries of GitHub were seen."""

import sqlalchemy as sa
from alembic import op

from migrations.statements import is_postgresql, run_on_supabase

revision = "0006"
down_revision = "0005"

moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.add_column("tasks", sa.Column("pr_commit", sa.Text))
    op.add_column("tasks", sa.Column("pr_state", sa.Text))
    op.create_index("tasks_pr_branch", "tasks", ["pr_branch"])
    op.create_index("tasks_pr_url", "tasks", ["pr_url"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("received_at", moment, nullable=False),
    )
    op.create_index("webhook_deliveries_received_at", "webhook_deliveries", ["received_at"])
    if is_postgresql():
        run_on_supabase("0006_pull_requests.sql")
