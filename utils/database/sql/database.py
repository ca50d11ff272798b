"""Combines the groups of methods into the gateway to SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, text, update

from utils.config.groups.identity import server_name
from utils.config.settings import Settings
from utils.database.announcing import announcing
from utils.database.change_polling import PollSource
from utils.database.migrations import ensure_current
from utils.database.schema import servers
from utils.database.sql.engine import open_engines, reading, writing
from utils.database.sql.reasons import with_reason
from utils.database.sql.sandboxes import SandboxMethods
from utils.database.sql.schedules import ScheduleMethods
from utils.database.sql.tables.administration import AdministrationMethods
from utils.database.sql.tables.api_keys import ApiKeyMethods
from utils.database.sql.tables.archive import ArchiveMethods
from utils.database.sql.tables.progress import ProgressMethods
from utils.database.sql.tables.projects import ProjectMethods, ProjectSecretMethods
from utils.database.sql.tables.pull_requests import PullRequestMethods, RepositoryMethods
from utils.database.sql.tables.repeated_requests import IdempotencyMethods, WebhookDeliveryMethods
from utils.database.sql.tables.runs import RunMethods
from utils.database.sql.tables.servers import ServerMethods
from utils.database.sql.tables.task_groups import TaskGroupMethods
from utils.database.sql.tables.tasks import TaskMethods
from utils.database.sql.tables.turns import TurnMethods
from utils.database.sql.tables.usage import UsageMethods
from utils.database.sql.tables.users import UserMethods
from utils.database.sql.task_engine import TaskEngineMethods
from utils.errors import DatabaseUnavailable

_one = text("SELECT 1")
_same = (
    update(servers).where(servers.c.id == bindparam("this_server")).values(beats=servers.c.beats)
)


@announcing
class SqlDatabase(
    UserMethods,
    ApiKeyMethods,
    ArchiveMethods,
    ProjectMethods,
    ProjectSecretMethods,
    TaskMethods,
    TaskGroupMethods,
    ProgressMethods,
    RunMethods,
    TurnMethods,
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
    """Implements `Database` in SQL."""

    @reading
    def ping(self, connection: Connection) -> None:
        """See `Database`."""
        connection.execute(_one)

    @property
    def write_failure(self) -> str | None:
        """See `Database`."""
        return self.engines.failures.recheck(self._write_nothing)

    @writing
    def _write_nothing(self, connection: Connection) -> None:
        connection.execute(_same, {"this_server": self.server})

    def close(self) -> None:
        """See `Database`."""
        self.changes.close()
        self.engines.close()


def open_sql_database(settings: Settings) -> SqlDatabase:
    """Open the configured database; migrate it if it is SQLite.

    Raises `ConfigurationError`, `DatabaseUnavailable`.
    """
    engines = open_engines(settings)
    try:
        ensure_current(engines)
    except DatabaseUnavailable as error:
        engines.close()
        raise with_reason(error) from error
    except BaseException:
        engines.close()
        raise
    database = SqlDatabase(engines, server_name(settings))
    _exchange_changes(database)
    return database


def _exchange_changes(database: SqlDatabase) -> None:
    if not database.is_shared:
        return
    if database.engines.connect is None:
        database.changes.use(PollSource(database.changes, database.list_task_marks))
        return
    # Its driver takes long to import.
    from utils.database.change_notifications import NotifySource

    database.changes.use(NotifySource(database.changes, database.engines.connect))
