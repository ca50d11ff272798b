"""Opens the database of the settings for checks that change nothing."""

from __future__ import annotations

from database import Database
from utils.config.settings import Settings
from utils.database.migrations import require_head_revision, stored_revision
from utils.database.sql.database import SqlDatabase
from utils.database.sql.engine import open_engines


def open_gateway(settings: Settings, server: str = "") -> Database:
    """Open the database without a migration, and without a new name for a server.

    Raises `ConfigurationError` unless it is at the revision of this version, and
    `DatabaseUnavailable`.
    """
    if settings.uses_supabase:
        # Its client takes long to import.
        from utils.database.supabase.database import SupabaseDatabase, connect_current

        return SupabaseDatabase(connect_current(settings), server)
    engines = open_engines(settings)
    try:
        require_head_revision(engines.read(stored_revision), "The tables are not current.")
    except BaseException:
        engines.close()
        raise
    return SqlDatabase(engines, server)
