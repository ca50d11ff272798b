"""Table definitions of the SQL gateway.

The migrations create the tables; a test compares them with these definitions.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    FetchedValue,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from utils.database.types import CleanText, Document, Number, Status, UserId, UtcDateTime

metadata = MetaData()

_is_pending = text("status = 'pending'")


def own_number() -> Column[int]:
    """Return the column of the numbers that the database gives to rows."""
    return Column("id", Number, Identity(always=False), primary_key=True)


def user_key() -> Column[str]:
    """Return the column of the user to whom a row belongs, and with whom it is deleted."""
    reference = ForeignKey("users.id", ondelete="CASCADE")
    return Column("user_id", UserId, reference, nullable=False)


def task_key() -> Column[int]:
    """Return the column of the task to which a row belongs, and with which it is deleted."""
    reference = ForeignKey("tasks.id", ondelete="CASCADE")
    return Column("task_id", Number, reference, primary_key=True, autoincrement=False)


users = Table(
    "users",
    metadata,
    Column("id", UserId, primary_key=True),
    Column("email", Text),
    Column("full_name", Text),
    Column("avatar_url", Text),
    Column("github_username", Text),
    Column("github_token", Text),
    Column("preferences", Document),
    Column("metadata", Document, nullable=False),
    Column("is_test_user", Boolean, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    own_number(),
    user_key(),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("repo_url", Text, nullable=False),
    Column("repo_owner", Text, nullable=False),
    Column("repo_name", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("settings", Document, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("pushed_commit", Text),
    UniqueConstraint("user_id", "repo_url", name="projects_user_id_repo_url_key"),
    sqlite_autoincrement=True,
)

task_groups = Table(
    "task_groups",
    metadata,
    own_number(),
    user_key(),
    Column("project_id", Number, ForeignKey("projects.id", ondelete="CASCADE")),
    Column("prompt", CleanText, nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("branch", Text, nullable=False),
    Column("check_command", CleanText),
    Column("chosen_task_id", Number),
    Column("created_at", UtcDateTime, nullable=False),
    Index("task_groups_user_id_id", "user_id", "id"),
    Index("task_groups_project_id", "project_id"),
    sqlite_autoincrement=True,
)

# Large columns come last: SQLite reads a row from its start up to the column, so lists and status
# reads do not touch the pages of a patch. The database computes `has_patch` and
# `execution_summary` (the metadata without `file_changes`) when it writes the row.
tasks = Table(
    "tasks",
    metadata,
    own_number(),
    user_key(),
    Column("project_id", Number, ForeignKey("projects.id", ondelete="CASCADE")),
    Column("status", Status, nullable=False),
    Column("agent", Text, nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("target_branch", Text, nullable=False),
    Column("pr_branch", Text),
    Column("pr_number", Integer),
    Column("pr_url", Text),
    Column("container_id", Text),
    Column("commit_hash", Text),
    Column("stage", Text),
    Column("attempt", Integer, nullable=False),
    Column("error_code", Text),
    Column("error_stage", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
    Column("prompt_preview", CleanText, nullable=False),
    Column("prompt_characters", Integer, nullable=False),
    Column("has_patch", Boolean, FetchedValue(), nullable=False),
    Column("error", CleanText),
    Column("changed_files", Document),
    Column("execution_summary", Document, FetchedValue()),
    Column("chat_messages", Document, nullable=False),
    Column("execution_metadata", Document),
    Column("git_diff", Text),
    Column("git_patch", Text),
    Column("server", Text),
    Column("stop_requested", Boolean, nullable=False, server_default=false()),
    Column("pr_commit", Text),
    Column("pr_state", Text),
    Column("workspace_until", UtcDateTime),
    Column("group_id", Number, ForeignKey("task_groups.id")),
    Column("queue_rank", Integer, nullable=False, server_default="0"),
    Index("tasks_group_id", "group_id"),
    Index("tasks_pr_branch", "pr_branch"),
    Index("tasks_pr_url", "pr_url"),
    Index("tasks_updated_at_id", "updated_at", "id"),
    Index("tasks_user_id_id", "user_id", "id"),
    Index("tasks_user_id_created_at", "user_id", "created_at"),
    Index("tasks_user_id_updated_at", "user_id", "updated_at"),
    Index("tasks_project_id_id", "project_id", "id"),
    Index("tasks_status_agent", "status", "agent"),
    Index("tasks_workspace_until", "workspace_until"),
    Index(
        *("tasks_waiting", "user_id", "queue_rank", "id"),
        postgresql_where=_is_pending,
        sqlite_where=_is_pending,
    ),
    sqlite_autoincrement=True,
)

task_events = Table(
    "task_events",
    metadata,
    task_key(),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", Document, nullable=False),
)

task_secrets = Table(
    "task_secrets",
    metadata,
    task_key(),
    Column("ciphertext", LargeBinary, nullable=False),
)

task_runs = Table(
    "task_runs",
    metadata,
    task_key(),
    Column("sandbox_id", Text, nullable=False),
    Column("base_commit", Text, nullable=False),
    Column("agent_started_at", UtcDateTime, nullable=False),
    Column("stage_seconds", Document, nullable=False),
    Column("position", Document, nullable=False),
    Column("resumes", Integer, nullable=False),
    Index("task_runs_sandbox_id", "sandbox_id"),
)

task_turns = Table(
    "task_turns",
    metadata,
    task_key(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("mode", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("agent_exit_code", Integer),
    Column("input_tokens", Number),
    Column("output_tokens", Number),
    Column("cost_usd", Float),
    Column("tree_before", Text),
    Column("tree_after", Text),
    Column("has_diff", Boolean, nullable=False),
    Column("files", Integer),
    Column("additions", Integer),
    Column("deletions", Integer),
    Column("error", CleanText),
    Column("error_code", Text),
    Column("error_stage", Text),
    Column("prompt", CleanText, nullable=False),
    Column("git_diff", Text),
    Column("interrupts", Integer),
)

task_repositories = Table(
    "task_repositories",
    metadata,
    task_key(),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("target_branch", Text, nullable=False),
    Column("base_commit", Text),
    Column("tree_hash", Text),
    Column("commit_hash", Text),
    Column("additions", Integer),
    Column("deletions", Integer),
    Column("has_patch", Boolean, nullable=False),
    Column("pr_branch", Text),
    Column("pr_number", Integer),
    Column("pr_url", Text),
    Column("pr_commit", Text),
    Column("pr_state", Text),
    Column("changed_files", Document),
    Column("notes", Document),
    Column("secret_files", Document),
    Column("git_diff", Text),
    Column("git_patch", Text),
    Index("task_repositories_pr_url", "pr_url"),
)

# Without references to tasks and projects: what was spent stays known when they are deleted.
usage_records = Table(
    "usage_records",
    metadata,
    Column("task_id", Number, primary_key=True, autoincrement=False),
    Column("run", CleanText, primary_key=True),
    user_key(),
    Column("project_id", Number),
    Column("agent", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("sandbox_milliseconds", Number, nullable=False),
    Column("sandbox_micro_usd", Number, nullable=False),
    Column("model_micro_usd", Number, nullable=False),
    Column("input_tokens", Number, nullable=False),
    Column("cached_input_tokens", Number, nullable=False),
    Column("output_tokens", Number, nullable=False),
    Column("unpriced_tokens", Number, nullable=False),
    Column("git_operations", Number, nullable=False),
    Column("failed_git_operations", Number, nullable=False),
    Index("usage_records_user_id_day", "user_id", "day"),
    Index("usage_records_day", "day"),
)

archived_tasks = Table(
    "archived_tasks",
    metadata,
    Column("user_id", UserId, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("task_id", Number, primary_key=True, autoincrement=False),
    Column("archived_at", UtcDateTime, nullable=False),
    Column("file", Text, nullable=False),
    Column("server", Text, nullable=False),
    Index("archived_tasks_task_id", "task_id"),
)

servers = Table(
    "servers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("beats", Number, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("family", Text, nullable=False),
    user_key(),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("session", Text),
    Column("ends_at", UtcDateTime),
    Index("refresh_tokens_family", "family"),
    Index("refresh_tokens_user_id_expires_at", "user_id", "expires_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    own_number(),
    user_key(),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("key_hash", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    UniqueConstraint("prefix", name="api_keys_prefix_key"),
    Index("api_keys_user_id_id", "user_id", "id"),
    sqlite_autoincrement=True,
)

stream_tickets = Table(
    "stream_tickets",
    metadata,
    Column("ticket_hash", Text, primary_key=True),
    user_key(),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("stream_tickets_user_id_expires_at", "user_id", "expires_at"),
)

project_secrets = Table(
    "project_secrets",
    metadata,
    Column("project_id", Number, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("for_agent", Boolean, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

request_keys = Table(
    "request_keys",
    metadata,
    Column("user_id", UserId, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("claimed_at", UtcDateTime, nullable=False),
    Column("answer", Document),
    Index("request_keys_created_at", "created_at"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("received_at", UtcDateTime, nullable=False),
    Index("webhook_deliveries_received_at", "received_at"),
)

# Which unfinished tasks the engine has, and who has claimed them; empty in SQLite. Each claim has
# another `claim`, while the engine gives out a `run` that was put off once more.
engine_tasks = Table(
    "engine_tasks",
    metadata,
    task_key(),
    Column("user_id", UserId, nullable=False),
    Column("engine_task", UserId, nullable=False),
    Column("run", UserId),
    Column("claim", Text),
    Column("worker", Text),
    Index("engine_tasks_user_id", "user_id"),
)

# One row while the engine is in use.
engine_limits = Table(
    "engine_limits",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("per_user", Integer, nullable=False),
    Column("cleaned_at", UtcDateTime),
    Column("sandboxes", Integer),
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("places", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("waiting_reason", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("is_draining", Boolean, nullable=False, server_default=false()),
)
