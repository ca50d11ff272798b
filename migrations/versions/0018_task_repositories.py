"""The further repositories of tasks that work in several."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_on_supabase

revision = "0018"
down_revision = "0017"

number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "task_repositories",
        sa.Column(
            "task_id",
            number,
            sa.ForeignKey("tasks.id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("repo_url", sa.Text, nullable=False),
        sa.Column("target_branch", sa.Text, nullable=False),
        sa.Column("base_commit", sa.Text),
        sa.Column("tree_hash", sa.Text),
        sa.Column("commit_hash", sa.Text),
        sa.Column("additions", sa.Integer),
        sa.Column("deletions", sa.Integer),
        sa.Column("has_patch", sa.Boolean, nullable=False),
        sa.Column("pr_branch", sa.Text),
        sa.Column("pr_number", sa.Integer),
        sa.Column("pr_url", sa.Text),
        sa.Column("pr_commit", sa.Text),
        sa.Column("pr_state", sa.Text),
        sa.Column("changed_files", document),
        sa.Column("notes", document),
        sa.Column("secret_files", document),
        sa.Column("git_diff", sa.Text),
        sa.Column("git_patch", sa.Text),
    )
    op.create_index("task_repositories_pr_url", "task_repositories", ["pr_url"])
    if is_postgresql():
        run_on_supabase("0018_task_repositories.sql", "0005_grants.sql")
