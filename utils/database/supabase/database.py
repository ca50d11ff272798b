"""The gateway on Supabase, put together from its groups of verbs; each verb is one request."""

from __future__ import annotations

from utils.config.identity import server_name
from utils.config.settings import Settings
from utils.database.migrations import require_head_revision
from utils.database.supabase.client import Supabase, connect
from utils.database.supabase.errors import NOT_MIGRATED
from utils.database.supabase.progress import ProgressVerbs
from utils.database.supabase.projects import ProjectVerbs
from utils.database.supabase.pull_requests import PullRequestVerbs
from utils.database.supabase.runs import RunVerbs
from utils.database.supabase.servers import ServerVerbs
from utils.database.supabase.tasks import TaskVerbs
from utils.database.supabase.users import UserVerbs
from utils.database.supabase.webhook_deliveries import WebhookDeliveryVerbs


class SupabaseDatabase(
    UserVerbs,
    ProjectVerbs,
    TaskVerbs,
    ProgressVerbs,
    RunVerbs,
    ServerVerbs,
    PullRequestVerbs,
    WebhookDeliveryVerbs,
):
    """Every verb of `Database`, through supabase-py."""

    def ping(self) -> None:
        """See `Database`."""
        request = self.supabase.table("servers").select("id").limit(1)
        self.supabase.rows(request, idempotent=True)

    def close(self) -> None:
        """See `Database`."""
        self.supabase.close()


def open_supabase_database(settings: Settings) -> SupabaseDatabase:
    """Return the gateway once the project is as this version needs it.

    Raises `ConfigurationError`, `DatabaseUnavailable`.
    """
    return SupabaseDatabase(connect_current(settings), server_name(settings))


def connect_current(settings: Settings) -> Supabase:
    """Return a client of the configured project, which is as this version needs it.

    Raises `ConfigurationError`, `DatabaseUnavailable`.
    """
    supabase = connect(settings)
    try:
        require_head_revision(supabase.revision(), NOT_MIGRATED)
    except BaseException:
        supabase.close()
        raise
    return supabase
