"""The gateway to the rows: domain verbs, the same on every database.

Every verb is synchronous and safe to call from any thread; views call it directly, the event loop
through a thread pool. `user_id` is the first argument of every verb on a user's data, and a row of
another user does not exist for it. Each verb is atomic. All may raise `DatabaseUnavailable`.

Several servers may share one database. An unfinished task belongs to one of them: the one that
created it, or adopted it later. Only that server has it run and moves it away from running.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from utils.config.settings import Settings
from utils.models.runs import AgentRun
from utils.models.tasks import (
    NO_EVENTS,
    ClaimedTask,
    Event,
    EventBatch,
    Heartbeat,
    Json,
    NewTask,
    QueuedTask,
    Task,
    TaskPage,
    TaskStatus,
)
from utils.models.users import Profile, Project, RefreshToken, User


def open_database(settings: Settings) -> Database:
    """Return the gateway to Supabase, PostgreSQL or SQLite, the first of them that is configured.

    SQLite in `DATA_DIR` always is. Raises `ConfigurationError` when the tables are not as this
    version needs them and it may not change them by itself, `DatabaseUnavailable`.
    """
    if settings.uses_supabase:
        # Its client takes long to import.
        from utils.database.supabase.database import open_supabase_database

        return open_supabase_database(settings)
    from utils.database.sql.database import open_sql_database

    return open_sql_database(settings)


class Database(Protocol):
    """The verbs. See the module text for what holds for all of them."""

    kind: str
    """`sqlite`, `postgresql` or `supabase`, for health answers."""

    is_shared: bool
    """True when several servers may use the database; an SQLite file belongs to one server."""

    server: str
    """The name of this server among those that share the database; see `utils.config.identity`."""

    def ping(self) -> None:
        """Do one trivial read; raise `DatabaseUnavailable` when it fails."""

    def close(self) -> None:
        """Give back every connection."""

    def ensure_user(self, user_id: str, email: str | None = None) -> User:
        """Return the user with this UUID, made on first sight. An existing row is not changed."""

    def get_user(self, user_id: str) -> User:
        """Return the user. Raises `NotFound`."""

    def create_test_user(
        self, user_id: str, email: str, metadata: Json, expires_at: datetime
    ) -> User:
        """Add a user with `is_test_user` set. Raises `Conflict` when the id is taken."""

    def get_profile(self, user_id: str) -> Profile:
        """Return what a user has stored about themselves. Raises `NotFound`, `RowUnreadable`."""

    def update_profile(self, user_id: str, fields: Mapping[str, Any]) -> Profile:
        """Change the given columns of `Profile`. Raises `NotFound`."""

    def replace_profile(
        self, user_id: str, seen: Profile, fields: Mapping[str, Any]
    ) -> Profile | None:
        """`update_profile` if nothing has changed the profile since it was `seen`.

        None when something has; then nothing is written. Raises `NotFound`.
        """

    def list_profile_ids(self, after: str | None = None, *, limit: int = 500) -> list[str]:
        """Return the users with a token or preferences, in order, with ids above `after`."""

    def list_test_users(self) -> list[User]:
        """Return all test users, newest first."""

    def delete_test_user(self, user_id: str) -> bool:
        """Delete a test user and all rows of it; False when there is no such test user."""

    def create_project(self, user_id: str, fields: Mapping[str, Any]) -> Project:
        """Add a project.

        `fields`: name, description, repo_url, repo_owner, repo_name, settings.
        Raises `Conflict` when the user has a project for this repository already,
        `Unauthenticated` when the user does not exist.
        """

    def list_projects(self, user_id: str) -> list[Project]:
        """Return the user's projects with counters, newest first."""

    def get_project(self, user_id: str, project_id: int) -> Project:
        """Return one project with counters. Raises `NotFound`."""

    def update_project(self, user_id: str, project_id: int, fields: Mapping[str, Any]) -> Project:
        """Change the given columns. Raises `NotFound`, `Conflict`."""

    def delete_project(self, user_id: str, project_id: int) -> None:
        """Delete a project and its tasks. Raises `NotFound`."""

    def create_task(self, user_id: str, new: NewTask) -> Task:
        """Add a pending task whose first chat message is the prompt, and its token if it has one.

        Takes `new.delivery` in the same step. Raises `NotFound` when the project is not the user's,
        `Unauthenticated` when the user does not exist, `Conflict` when the delivery was taken.
        """

    def get_task(self, user_id: str, task_id: int) -> Task:
        """Return the full row. Raises `NotFound`."""

    def get_task_status(self, user_id: str, task_id: int) -> Task:
        """Return the row without diff and patch, and `file_changes` only once the task has ended.

        Cheap. Raises `NotFound`.
        """

    def get_git_diff(self, user_id: str, task_id: int) -> str:
        """Return the diff alone, empty when there is none. Raises `NotFound`."""

    def list_tasks(
        self,
        user_id: str,
        *,
        project_id: int | None = None,
        limit: int = 100,
        cursor: int | None = None,
    ) -> TaskPage:
        """Return a page of summaries, newest first, with ids below `cursor`."""

    def list_project_tasks(
        self, user_id: str, project_id: int, *, limit: int = 100, cursor: int | None = None
    ) -> list[Task]:
        """Return rows as `get_task_status` does, newest first. Raises `NotFound`."""

    def import_tasks(self, user_id: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add finished tasks of another backend; return how many were new.

        Each row has columns of `tasks` and `execution_metadata.legacy_id`; one whose legacy id the
        user has already is skipped.
        """

    def claim_task(self, task_id: int, *, again: bool = False) -> ClaimedTask | None:
        """Move a pending task of this server to running, as `move_task` does, with stage cloning.

        None when it is not pending, another server's, or gone. With `again` a task that this
        server has running already is returned as it is: the answer to a claim may have been lost,
        or an earlier process have claimed it.
        """

    def move_task(
        self,
        task_id: int,
        from_statuses: Collection[TaskStatus],
        to: TaskStatus,
        **fields: Any,
    ) -> Task | None:
        """Compare-and-set of the status, with more columns set in the same step.

        Returns the row as `get_task_status` does, or None when the status was none of
        `from_statuses`, or running on another server (the row is then unchanged). Going to
        running counts `attempt` up and sets `started_at`; going elsewhere forgets the run; going
        to an end sets `completed_at`, clears `stage` and erases the stored token; `updated_at`
        always moves.
        """

    def finish_task(
        self,
        task_id: int,
        to: TaskStatus,
        fields: Mapping[str, Any],
        chat_message: Json | None,
        file_changes: Sequence[Json] = (),
        batch: EventBatch = NO_EVENTS,
    ) -> Task | None:
        """`move_task` from running, with a last message and events appended in the same step.

        `fields` may hold `execution_metadata`; `file_changes` goes into it under that name.
        """

    def set_pull_request(self, user_id: str, task_id: int, fields: Mapping[str, Any]) -> Task:
        """Note what is known of a task's pull request; return the row as `get_task_status` does.

        `fields`: pr_branch, pr_number, pr_url, pr_state (open, closed, merged), and pr_commit, the
        commit that was pushed last. Raises `NotFound`.
        """

    def list_pull_request_tasks(self, pr_url: str) -> list[Task]:
        """Return the tasks, of all users, whose pull request this is, as `get_task_status` does."""

    def list_branch_tasks(self, pr_branch: str, pr_number: int) -> list[Task]:
        """Return all tasks, also in other repositories, with this branch and number."""

    def has_delivery(self, delivery_id: str) -> bool:
        """Say whether a webhook's delivery was taken before."""

    def record_delivery(self, delivery_id: str) -> bool:
        """Say whether a webhook's delivery is new, and remember it for 30 days."""

    def append_chat_message(self, user_id: str, task_id: int, role: str, content: str) -> Task:
        """Append a message, stamped when it is appended.

        Raises `NotFound`, and `Conflict` with `conversation_full` when there are too many.
        """

    def save_progress(
        self,
        task_id: int,
        batch: EventBatch,
        *,
        position: Json | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> bool:
        """Append events and set columns (stage, container_id, ...) of a running task.

        `position` replaces that of the task's run, if it has one, and sets its resumes to 0. False
        when the task does not run on this server (any more); then nothing is written.
        """

    def start_run(self, run: AgentRun, batch: EventBatch) -> bool:
        """Store a run, and events, before its agent starts.

        False when the task does not run on this server; then nothing is written.
        """

    def get_run(self, task_id: int) -> AgentRun | None:
        """Return the run of a task, None when its agent was not started."""

    def record_resume(self, task_id: int) -> None:
        """Note that one more process goes on with a run; forgotten when its position moves."""

    def list_run_sandboxes(self) -> list[str]:
        """Return the ids of the sandboxes of all runs."""

    def list_events(
        self, user_id: str, task_id: int, *, after: int = 0, limit: int = 500
    ) -> list[Event]:
        """Return the events with a sequence above `after`, in order. Raises `NotFound`."""

    def record_heartbeat(self) -> Heartbeat:
        """Record a heartbeat of this server; return those of the others and the tasks to stop."""

    def claim_unfinished_tasks(
        self, silent: Collection[str] = (), *, own: bool = False
    ) -> list[QueuedTask]:
        """Assign unfinished tasks without a running server to this one; return them, oldest first.

        These are the tasks of the `silent` servers, whose rows are deleted, of servers without any
        heartbeat, and of no server; with `own` also those of an earlier process of this server.
        """

    def request_stop(self, user_id: str, task_id: int) -> bool:
        """Have the server that runs a task stop it; False when the task does not run."""

    def count_tasks(self) -> dict[tuple[str, str], int]:
        """Return the number of tasks by (status, agent), for metrics."""

    def add_refresh_token(self, token: RefreshToken) -> None:
        """Store a token that starts a family. Raises `Unauthenticated` without such a user."""

    def rotate_refresh_token(
        self, token_hash: str, replacement_hash: str, expires_at: datetime, now: datetime
    ) -> User:
        """Use a token, store its replacement in the same family, and return the user.

        Within `REFRESH_RETRY_PERIOD` a token may be used again while its replacement is unused; a
        new replacement then takes the place of the first. Raises `Unauthenticated` for a token
        that is unknown, expired or revoked. A token that was used or replaced before raises it as
        well and revokes the whole family.
        """

    def revoke_refresh_family(self, token_hash: str) -> None:
        """Revoke the family this token belongs to; an unknown one is ignored."""
