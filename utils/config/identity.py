"""The names by which a deployment knows its own sandboxes, and a server its own tasks."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from utils.config.settings import Settings

FILE_NAME = "deployment"
SERVER_FILE_NAME = "server"


def deployment_name(settings: Settings) -> str:
    """Return `DEPLOYMENT`, or a name that is made once and kept in `DATA_DIR`."""
    if settings.deployment:
        return settings.deployment
    return _name_in(settings.data_dir / FILE_NAME)


def server_name(settings: Settings) -> str:
    """Return the name of the server that `DATA_DIR` belongs to, made once and kept there.

    One server at a time has the folder, so whatever else bears the name has ended.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _name_in(settings.data_dir / SERVER_FILE_NAME)


def _name_in(path: Path) -> str:
    if not path.exists():
        path.write_text(uuid4().hex)
    return path.read_text().strip()
