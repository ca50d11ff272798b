"""Provides new databases of SQLite without running the migrations each time."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from database import open_database
from utils.config.settings import Settings
from utils.database.sql.engine import SQLITE_FILE


def provide_tables(settings: Settings) -> None:
    """Put a migrated database where the settings have the server make one; never replace one."""
    if settings.database_url is None and not settings.uses_supabase:
        provide_database(settings.data_dir)


def provide_database(data_dir: Path) -> None:
    """Put a migrated database into a data folder that has none."""
    file = data_dir / SQLITE_FILE
    if not file.exists():
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(_migrated())
        file.chmod(0o600)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({"data_dir": folder, "database_url": None})
        open_database(settings).close()
        return Path(folder, SQLITE_FILE).read_bytes()
