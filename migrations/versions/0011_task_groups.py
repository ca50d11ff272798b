"""Groups of tasks: attempts at the same prompt that are compared."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_file, run_on_supabase

revision = "0011"
down_revision = "0010"

user_id = sa.Text().with_variant(postgresql.UUID(as_uuid=False), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")

# Elsewhere a function does this, in 0011_task_groups.sql.
WITHOUT_TASKS = """
CREATE TRIGGER tasks_delete_empty_group AFTER DELETE ON tasks WHEN old.group_id IS NOT NULL
BEGIN
    DELETE FROM task_groups WHERE id = old.group_id
        AND NOT EXISTS (SELECT 1 FROM tasks WHERE group_id = old.group_id);
END
"""


def upgrade() -> None:
    op.create_table(
        "task_groups",
        sa.Column("id", number, sa.Identity(always=False), primary_key=True),
        sa.Column(
            "user_id", user_id, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("project_id", number, sa.ForeignKey("projects.id", ondelete="CASCADE")),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("repo_url", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False),
        sa.Column("check_command", sa.Text),
        sa.Column("chosen_task_id", number),
        sa.Column("created_at", moment, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("task_groups_user_id_id", "task_groups", ["user_id", "id"])
    op.create_index("task_groups_project_id", "task_groups", ["project_id"])
    # Without an action: SQLAlchemy reads none of a column that was added to a table of SQLite.
    reference = sa.ForeignKey("task_groups.id")
    op.add_column("tasks", sa.Column("group_id", number, reference), inline_references=True)
    op.create_index("tasks_group_id", "tasks", ["group_id"])
    if is_postgresql():
        run_file("0011_task_groups.sql")
        run_on_supabase("0011_supabase.sql")
    else:
        op.execute(WITHOUT_TASKS)
