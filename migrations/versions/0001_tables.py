"""Users, projects, tasks and what belongs to them."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.statements import is_postgresql, run_file

revision = "0001"
down_revision = None

STATUSES = ("pending", "running", "completed", "failed", "cancelled")

user_id = sa.Text().with_variant(postgresql.UUID(), "postgresql")
number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
status = sa.Enum(*STATUSES, name="task_status", create_constraint=True).with_variant(
    postgresql.ENUM(*STATUSES, name="task_status", create_type=False), "postgresql"
)

# The metadata without the contents of files, for readers that poll.
SUMMARY = {
    "sqlite": "json_remove(execution_metadata, '$.file_changes')",
    "postgresql": "execution_metadata - 'file_changes'",
}


def upgrade() -> None:
    if is_postgresql():
        run_file("0001_older_schema.sql")
    _create_users()
    _create_projects()
    _create_tasks()
    _create_task_events()
    _create_task_secrets()
    _create_refresh_tokens()


def _required(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _own_number() -> sa.Column[Any]:
    return sa.Column("id", number, sa.Identity(always=False), primary_key=True)


def _owner() -> sa.Column[Any]:
    reference = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", user_id, reference, nullable=False)


def _task_reference() -> sa.Column[Any]:
    reference = sa.ForeignKey("tasks.id", ondelete="CASCADE")
    return sa.Column("task_id", number, reference, primary_key=True, autoincrement=False)


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", user_id, primary_key=True),
        sa.Column("email", sa.Text),
        sa.Column("full_name", sa.Text),
        sa.Column("avatar_url", sa.Text),
        sa.Column("github_username", sa.Text),
        sa.Column("github_token", sa.Text),
        sa.Column("preferences", document),
        _required("metadata", document),
        _required("is_test_user", sa.Boolean),
        sa.Column("expires_at", moment),
        _required("created_at", moment),
        _required("updated_at", moment),
        if_not_exists=is_postgresql(),
    )


def _create_projects() -> None:
    op.create_table(
        "projects",
        _own_number(),
        _owner(),
        _required("name", sa.Text),
        sa.Column("description", sa.Text),
        _required("repo_url", sa.Text),
        _required("repo_owner", sa.Text),
        _required("repo_name", sa.Text),
        _required("is_active", sa.Boolean),
        _required("settings", document),
        _required("created_at", moment),
        _required("updated_at", moment),
        sa.UniqueConstraint("user_id", "repo_url", name="projects_user_id_repo_url_key"),
        sqlite_autoincrement=True,
        if_not_exists=is_postgresql(),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        *_task_columns(),
        *_computed_and_wide(),
        sqlite_autoincrement=True,
        if_not_exists=is_postgresql(),
    )
    op.create_index("tasks_user_id_id", "tasks", ["user_id", "id"])
    op.create_index("tasks_user_id_created_at", "tasks", ["user_id", "created_at"])
    op.create_index("tasks_project_id_id", "tasks", ["project_id", "id"])
    op.create_index("tasks_status_agent", "tasks", ["status", "agent"])


def _task_columns() -> list[sa.Column[Any]]:
    return [
        _own_number(),
        _owner(),
        sa.Column("project_id", number, sa.ForeignKey("projects.id", ondelete="CASCADE")),
        _required("status", status),
        _required("agent", sa.Text),
        _required("repo_url", sa.Text),
        _required("target_branch", sa.Text),
        sa.Column("pr_branch", sa.Text),
        sa.Column("pr_number", sa.Integer),
        sa.Column("pr_url", sa.Text),
        sa.Column("container_id", sa.Text),
        sa.Column("commit_hash", sa.Text),
        sa.Column("stage", sa.Text),
        _required("attempt", sa.Integer),
        sa.Column("error_code", sa.Text),
        sa.Column("error_stage", sa.Text),
        _required("created_at", moment),
        _required("updated_at", moment),
        sa.Column("started_at", moment),
        sa.Column("completed_at", moment),
        _required("prompt_preview", sa.Text),
        _required("prompt_characters", sa.Integer),
    ]


def _computed_and_wide() -> list[sa.Column[Any]]:
    summary = sa.Computed(SUMMARY[op.get_context().dialect.name], persisted=True)
    has_patch = sa.Computed("git_patch IS NOT NULL", persisted=True)
    return [
        sa.Column("has_patch", sa.Boolean, has_patch, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("changed_files", document),
        sa.Column("execution_summary", document, summary),
        _required("chat_messages", document),
        sa.Column("execution_metadata", document),
        sa.Column("git_diff", sa.Text),
        sa.Column("git_patch", sa.Text),
    ]


def _create_task_events() -> None:
    op.create_table(
        "task_events",
        _task_reference(),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        _required("at", moment),
        _required("kind", sa.Text),
        _required("data", document),
    )


def _create_task_secrets() -> None:
    op.create_table("task_secrets", _task_reference(), _required("ciphertext", sa.LargeBinary))


def _create_refresh_tokens() -> None:
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.Text, primary_key=True),
        _required("family", sa.Text),
        _owner(),
        _required("expires_at", moment),
        sa.Column("used_at", moment),
        sa.Column("revoked_at", moment),
    )
    op.create_index("refresh_tokens_family", "refresh_tokens", ["family"])
    op.create_index(
        "refresh_tokens_user_id_expires_at", "refresh_tokens", ["user_id", "expires_at"]
    )
