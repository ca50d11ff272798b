"""Defines the database gateway: one set of operations for every kind of database.

All methods are synchronous and safe to call from any thread. Views call them directly; the event
loop calls them through a thread pool. `user_id` is the first argument of every method on a user's
data; rows of other users are treated as missing. Each method is atomic. All may raise
`DatabaseUnavailable`. Where one raises `NotFound` for a task that is in the archive, it is
`TaskArchived`.

Several servers may share one database. An unfinished task belongs to one of them: the server that
created it or took it over. Only that server runs the task and moves it away from running.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, Self

from utils.config.settings import Settings
from utils.database.verbs.administration import AdministrationVerbs
from utils.database.verbs.api_keys import ApiKeyVerbs
from utils.database.verbs.archive import ArchiveVerbs
from utils.database.verbs.engine import EngineVerbs
from utils.database.verbs.groups import GroupVerbs
from utils.database.verbs.pull_requests import PullRequestVerbs
from utils.database.verbs.pushes import PushVerbs
from utils.database.verbs.repositories import RepositoryVerbs
from utils.database.verbs.sandboxes import SandboxVerbs
from utils.database.verbs.schedules import ScheduleVerbs
from utils.database.verbs.secrets import SecretVerbs
from utils.database.verbs.streams import StreamVerbs
from utils.database.verbs.turns import TurnVerbs
from utils.database.verbs.usage import UsageVerbs
from utils.models.events import NO_EVENTS, Event, EventBatch
from utils.models.runs import AgentRun, ClaimedTask
from utils.models.tasks import (
    ALL_TASKS,
    Heartbeat,
    Json,
    NewTask,
    QueuedTask,
    Task,
    TaskFilter,
    TaskPage,
    TaskStatus,
)
from utils.models.turns import TurnResult
from utils.models.users import Profile, Project, RefreshToken, User


def open_database(settings: Settings) -> Database:
    """Open Supabase if it is configured, else PostgreSQL if it is, else SQLite in `DATA_DIR`.

    Raises `DatabaseUnavailable`, and `ConfigurationError` when the tables are at another revision
    and this version may not migrate them by itself.
    """
    if settings.uses_supabase:
        # Its client takes long to import.
        from utils.database.supabase.database import open_supabase_database

        return open_supabase_database(settings)
    from utils.database.sql.database import open_sql_database

    return open_sql_database(settings)


class Database(
    AdministrationVerbs,
    ApiKeyVerbs,
    ArchiveVerbs,
    EngineVerbs,
    GroupVerbs,
    PullRequestVerbs,
    PushVerbs,
    RepositoryVerbs,
    SandboxVerbs,
    ScheduleVerbs,
    SecretVerbs,
    StreamVerbs,
    TurnVerbs,
    UsageVerbs,
    Protocol,
):
    """Declares the operations. The module docstring lists the rules that hold for all of them."""

    kind: str
    """`sqlite`, `postgresql` or `supabase`, for health answers."""

    is_shared: bool
    """True when several servers may use the database; an SQLite file belongs to one server."""

    knows_accounts: bool
    """True when the database is a Supabase project's, which holds the accounts of its users."""

    server: str
    """Name of this server among those that share the database; see `config.groups.identity`.

    Of a gateway that `owned_by` returned, it is the id of a run of the task engine.
    """

    def owned_by(self, run_id: str) -> Self:
        """Return this gateway for the task of a run: the run owns it in place of the server."""

    def ping(self) -> None:
        """Run a trivial read. Raises `DatabaseUnavailable` when it fails."""

    @property
    def write_failure(self) -> str | None:
        """The reason why the last write failed, for operators; None after one that succeeded.

        Tries another write before it tells of a failure.
        """

    def close(self) -> None:
        """Close all connections."""

    def ensure_user(self, user_id: str, email: str | None = None) -> User:
        """Return the user with this UUID; create the row if it is missing.

        An existing row is not changed.
        """

    def ensure_account(
        self, user_id: str, email: str | None, session: str | None, *, allow_anonymous: bool
    ) -> User:
        """Return the user of an account of Supabase; create the row if it is missing.

        Call it only where `knows_accounts`. Raises `Unauthenticated` when the account is deleted,
        banned or, without `allow_anonymous`, anonymous, or when its session has ended. An empty
        session is not checked.
        """

    def get_user(self, user_id: str) -> User:
        """Return the user. Raises `NotFound`."""

    def create_test_user(
        self, user_id: str, email: str, metadata: Json, expires_at: datetime
    ) -> User:
        """Insert a user with `is_test_user` set. Raises `Conflict` when the id exists."""

    def get_profile(self, user_id: str) -> Profile:
        """Return the profile of a user. Raises `NotFound`, `RowUnreadable`."""

    def update_profile(self, user_id: str, fields: Mapping[str, Any]) -> Profile:
        """Change the given columns of `Profile`. Raises `NotFound`."""

    def replace_profile(
        self, user_id: str, seen: Profile, fields: Mapping[str, Any]
    ) -> Profile | None:
        """Update the profile if it has not changed since `seen` was read (compare-and-set).

        Returns None when it has changed; nothing is written then. Raises `NotFound`.
        """

    def list_profile_ids(self, after: str | None = None, *, limit: int = 500) -> list[str]:
        """Return the sorted ids above `after` of users with a token or preferences."""

    def list_test_users(self) -> list[User]:
        """Return all test users, newest first."""

    def delete_test_user(self, user_id: str) -> bool:
        """Delete a test user and all its rows; return False when there is no such test user."""

    def create_project(self, user_id: str, fields: Mapping[str, Any]) -> Project:
        """Insert a project.

        `fields`: name, description, repo_url, repo_owner, repo_name, settings. Raises `Conflict`
        when the user already has a project for this repository, `Unauthenticated` when the user
        does not exist.
        """

    def list_projects(self, user_id: str) -> list[Project]:
        """Return the projects of a user with counters, newest first."""

    def get_project(self, user_id: str, project_id: int) -> Project:
        """Return one project with counters. Raises `NotFound`."""

    def get_project_settings(self, user_id: str, project_id: int) -> Json:
        """Return the settings of a project, without counting its tasks. Raises `NotFound`."""

    def update_project(self, user_id: str, project_id: int, fields: Mapping[str, Any]) -> Project:
        """Change the given columns. Raises `NotFound`, `Conflict`."""

    def delete_project(self, user_id: str, project_id: int) -> None:
        """Delete a project and its tasks. Raises `NotFound`."""

    def create_task(self, user_id: str, new: NewTask) -> Task:
        """Insert a pending task with the prompt as its first chat message, and its token if any.

        Records `new.delivery`, and the task's id as the answer to `new.request_key`, in the same
        transaction. Raises `NotFound` when the project is not
        the user's, `Unauthenticated` when the user does not exist, `Conflict` when the delivery
        was recorded before.
        """

    def get_task(self, user_id: str, task_id: int) -> Task:
        """Return the complete row. Raises `NotFound`."""

    def get_task_status(self, user_id: str, task_id: int) -> Task:
        """Return the row without diff, patch and `file_changes`.

        Cheap enough for polling: a long conversation is cut to the prompt. Raises `NotFound`.
        """

    def get_git_diff(self, user_id: str, task_id: int) -> str:
        """Return only the diff, or an empty string if there is none. Raises `NotFound`."""

    def delete_task(self, user_id: str, task_id: int) -> None:
        """Delete a task that has ended, with its events.

        Raises `NotFound`, and `Conflict` when the task has not ended.
        """

    def list_tasks(
        self,
        user_id: str,
        *,
        project_id: int | None = None,
        wanted: TaskFilter = ALL_TASKS,
        limit: int = 100,
        cursor: int | None = None,
    ) -> TaskPage:
        """Return a page of summaries with ids below `cursor`, newest first."""

    def list_project_tasks(
        self, user_id: str, project_id: int, *, limit: int = 100, cursor: int | None = None
    ) -> list[Task]:
        """Return rows in the form of `get_task_status`, newest first. Raises `NotFound`.

        Of a long conversation they hold only the beginning of the prompt.
        """

    def import_tasks(self, user_id: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert finished tasks that another backend exported; return the number inserted.

        Each row holds columns of `tasks` and `execution_metadata.legacy_id`. Rows with a legacy id
        that the user already has are skipped.
        """

    def claim_task(self, task_id: int, *, again: bool = False) -> ClaimedTask | None:
        """Move a pending task of this server to running, in stage cloning, and return its data.

        Returns None when the task is not pending, belongs to another server or is deleted. With
        `again`, a task that already runs on this server is returned unchanged: the response to an
        earlier claim may have been lost, or an earlier process may have claimed it.
        """

    def move_task(
        self,
        task_id: int,
        from_statuses: Collection[TaskStatus],
        to: TaskStatus,
        **fields: Any,
    ) -> Task | None:
        """Change the status with compare-and-set; set more columns in the same transaction.

        Returns the row in the form of `get_task_status`. Returns None and changes nothing when the
        status is not in `from_statuses` or the task runs on another server. A move to running
        increments `attempt` and sets `started_at`; a move to any other status deletes the stored
        run. A move to a terminal status also sets `completed_at`, clears `stage`, deletes the
        stored token, and appends the events that tell of the error and of the end. `updated_at` is
        always set. A turn of the task follows: its next one runs, its running one waits again, or
        ends with the task.
        """

    def finish_task(
        self,
        task_id: int,
        to: TaskStatus,
        fields: Mapping[str, Any],
        chat_message: Json | None,
        file_changes: Sequence[Json] = (),
        batch: EventBatch = NO_EVENTS,
        turn: TurnResult | None = None,
    ) -> Task | None:
        """Move a running task on and append a last chat message and events in one transaction.

        Works like `move_task`, but `batch` holds all events. `fields` may hold
        `execution_metadata`; `file_changes` is stored in it under that name. `turn` is the ended
        turn. If it `goes_on`, a task whose next turn waits is pending instead of `to`.
        """

    def append_events(self, user_id: str, task_id: int, events: Sequence[Event]) -> None:
        """Append events to a task of any status. Raises `NotFound`."""

    def begin_request(self, user_id: str, key: str, fingerprint: str) -> Json | None:
        """Reserve an Idempotency-Key for this request, or return the stored answer to it.

        A key is forgotten after `REQUEST_KEY_RETENTION`. Returns None when the caller must carry
        out the request; then `store_answer` or `release_request` follow. Raises `Conflict`
        (`idempotency_key_reused`) for another fingerprint, and `idempotency_key_in_use` while the
        same request runs.
        """

    def store_answer(self, user_id: str, key: str, answer: Json) -> None:
        """Store the answer to a request that `begin_request` reserved."""

    def release_request(self, user_id: str, key: str) -> None:
        """Forget a reserved request that was refused, unless its answer is stored."""

    def has_delivery(self, delivery_id: str) -> bool:
        """Tell whether a webhook delivery was recorded before."""

    def record_delivery(self, delivery_id: str) -> bool:
        """Record a webhook delivery for 30 days; return False when it was recorded before."""

    def append_chat_message(self, user_id: str, task_id: int, role: str, content: str) -> Task:
        """Append a chat message with the current time as its timestamp.

        Raises `NotFound`, and `Conflict` (`conversation_full`) above the limits of a conversation.
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

        `position` replaces the position of the task's run, if it has one, and resets its resumes
        to 0. Returns False and writes nothing when the task does not run on this server.
        """

    def start_run(self, run: AgentRun, batch: EventBatch) -> bool:
        """Store a run and events before its agent starts.

        Returns False and writes nothing when the task does not run on this server.
        """

    def get_run(self, task_id: int) -> AgentRun | None:
        """Return the run of a task, or None when its agent was not started."""

    def record_resume(self, task_id: int) -> None:
        """Increment the resumes of a run; `save_progress` with a position resets them."""

    def list_run_sandboxes(self) -> list[str]:
        """Return the sandbox ids of all runs; kept workspaces are listed by `list_workspaces`."""

    def list_events(
        self, user_id: str, task_id: int, *, after: int = 0, limit: int = 500
    ) -> list[Event]:
        """Return the events with a sequence above `after`, in order. Raises `NotFound`."""

    def record_heartbeat(self) -> Heartbeat:
        """Increment the heartbeat of this server; return the others' and its stops."""

    def claim_unfinished_tasks(
        self, silent: Collection[str] = (), *, own: bool = False
    ) -> list[QueuedTask]:
        """Assign unfinished tasks without a live server to this server; return them, oldest first.

        A task has no live server when its server is one of `silent` (these are deleted), has never
        sent a heartbeat, or is not set. With `own`, tasks that an earlier process of this server
        left are returned as well.
        """

    def request_stop(self, user_id: str, task_id: int) -> bool:
        """Ask the server that runs a task to stop it; return False when the task does not run."""

    def count_tasks(self) -> dict[tuple[str, str], int]:
        """Return the number of tasks by (status, agent), for metrics."""

    def add_refresh_token(self, token: RefreshToken) -> None:
        """Store the first token of a family. Raises `Unauthenticated` when the user is missing."""

    def rotate_refresh_token(
        self,
        token_hash: str,
        replacement_hash: str,
        expires_at: datetime,
        now: datetime,
        *,
        allow_anonymous: bool = False,
    ) -> User:
        """Use a token, store its replacement in the same family, and return the user.

        Within `REFRESH_RETRY_PERIOD` a token may be used again while its replacement is unused; a
        new replacement then takes the place of the first. Raises `Unauthenticated` for a token
        that is unknown, expired or revoked, or whose family has ended. A token that was used or
        replaced before raises it as well and revokes the whole family; so does one that came from
        Supabase when `ensure_account` would refuse the account.
        """

    def extend_refresh_token(
        self, token_hash: str, expires_at: datetime, now: datetime
    ) -> User | None:
        """Move the end of an unused, valid token and return its user; None for any other token.

        A token that came from Supabase is another one, because its account must be asked about.
        """

    def revoke_refresh_family(self, token_hash: str) -> None:
        """Revoke the family of a token; ignore an unknown token."""
