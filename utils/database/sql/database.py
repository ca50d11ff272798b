"""The gateway on SQLite and PostgreSQL, put together from its groups of verbs."""

from __future__ import annotations

from sqlalchemy import Connection, text

from utils.config.identity import server_name
from utils.config.settings import Settings
from utils.database.migrations import ensure_current
from utils.database.sql.engine import open_engines, reading
from utils.database.sql.progress import ProgressVerbs
from utils.database.sql.projects import ProjectVerbs
from utils.database.sql.pull_requests import PullRequestVerbs
from utils.database.sql.runs import RunVerbs
from utils.database.sql.servers import ServerVerbs
from utils.database.sql.tasks import TaskVerbs
from utils.database.sql.users import UserVerbs
from utils.database.sql.webhook_deliveries import WebhookDeliveryVerbs

_one = text("SELECT 1")


class SqlDatabase(
    UserVerbs,
    ProjectVerbs,
    TaskVerbs,
    ProgressVerbs,
    RunVerbs,
    ServerVerbs,
    PullRequestVerbs,
    WebhookDeliveryVerbs,
):
    """Every verb of `Database`, in SQL."""

    @reading
    def ping(self, connection: Connection) -> None:
        """See `Database`."""
        connection.execute(_one)

    def close(self) -> None:
        """See `Database`."""
        self.engines.close()


def open_sql_database(settings: Settings) -> SqlDatabase:
    """Return the gateway once the tables are as this version needs them.

    Raises `ConfigurationError`, `DatabaseUnavailable`.
    """
    engines = open_engines(settings)
    try:
        ensure_current(engines)
    except BaseException:
        engines.close()
        raise
    return SqlDatabase(engines, server_name(settings))
