"""Combines the groups of methods into the gateway to Supabase; each call is one request."""

from __future__ import annotations

from utils.config.groups.identity import server_name
from utils.config.settings import Settings
from utils.database.announcing import announcing
from utils.database.change_polling import PollSource
from utils.database.migrations import require_head_revision
from utils.database.supabase.client import Supabase, connect
from utils.database.supabase.errors import NOT_MIGRATED
from utils.database.supabase.sandboxes import SandboxMethods
from utils.database.supabase.schedules import ScheduleMethods
from utils.database.supabase.tables.administration import AdministrationMethods
from utils.database.supabase.tables.api_keys import ApiKeyMethods
from utils.database.supabase.tables.archive import ArchiveMethods
from utils.database.supabase.tables.progress import ProgressMethods
from utils.database.supabase.tables.projects import ProjectMethods, ProjectSecretMethods
from utils.database.supabase.tables.pull_requests import PullRequestMethods
from utils.database.supabase.tables.repeated_requests import (
    IdempotencyMethods,
    WebhookDeliveryMethods,
)
from utils.database.supabase.tables.repositories import RepositoryMethods
from utils.database.supabase.tables.runs import RunMethods
from utils.database.supabase.tables.servers import ServerMethods
from utils.database.supabase.tables.task_groups import TaskGroupMethods
from utils.database.supabase.tables.tasks import TaskMethods
from utils.database.supabase.tables.turns import TurnMethods
from utils.database.supabase.tables.usage import UsageMethods
from utils.database.supabase.tables.users import UserMethods
from utils.database.supabase.task_engine import TaskEngineMethods


@announcing
class SupabaseDatabase(
    UserMethods,
    ApiKeyMethods,
    ArchiveMethods,
    ProjectMethods,
    ProjectSecretMethods,
    TurnMethods,
    TaskMethods,
    TaskGroupMethods,
    ProgressMethods,
    RunMethods,
    SandboxMethods,
    ServerMethods,
    TaskEngineMethods,
    PullRequestMethods,
    RepositoryMethods,
    WebhookDeliveryMethods,
    IdempotencyMethods,
    UsageMethods,
    AdministrationMethods,
    ScheduleMethods,
):
    """Implements `Database` with supabase-py."""

    def ping(self) -> None:
        """See `Database`."""
        request = self.supabase.table("servers").select("id").limit(1)
        self.supabase.rows(request, idempotent=True)

    @property
    def write_failure(self) -> str | None:
        """See `Database`."""
        return self.supabase.failures.recheck(self._write_nothing)

    def _write_nothing(self) -> None:
        same = self.supabase.table("servers").update({"id": self.server}).eq("id", self.server)
        self.supabase.rows(same, idempotent=True)

    def close(self) -> None:
        """See `Database`."""
        self.changes.close()
        self.supabase.close()


def open_supabase_database(settings: Settings) -> SupabaseDatabase:
    """Open the configured Supabase project, which must be at the newest revision.

    Raises `ConfigurationError`, `DatabaseUnavailable`.
    """
    database = SupabaseDatabase(connect_current(settings), server_name(settings))
    database.changes.use(PollSource(database.changes, database.list_task_marks))
    return database


def connect_current(settings: Settings) -> Supabase:
    """Return a client of the configured project, which must be at the newest revision.

    Raises `ConfigurationError`, `DatabaseUnavailable`.
    """
    supabase = connect(settings)
    try:
        require_head_revision(supabase.revision(), NOT_MIGRATED)
    except BaseException:
        supabase.close()
        raise
    return supabase
