"""Names of the deployment, which marks its sandboxes, and of the server, which owns tasks."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from utils.config.private_folder import data_folder_unusable, open_private_folder, write_once
from utils.config.settings import Settings

FILE_NAME = "deployment"
SERVER_FILE_NAME = "server"


def deployment_name(settings: Settings) -> str:
    """Return `DEPLOYMENT`, or a random name that is generated once and stored in `DATA_DIR`."""
    if settings.deployment:
        return settings.deployment
    return _name_in(settings.data_dir / FILE_NAME)


def server_name(settings: Settings) -> str:
    """Return the name of the server, generated once and stored in `DATA_DIR`.

    Only one server at a time uses the folder, so an earlier server of this name has stopped.
    """
    open_private_folder(settings.data_dir)
    return _name_in(settings.data_dir / SERVER_FILE_NAME)


def _name_in(path: Path) -> str:
    try:
        if not path.exists():
            write_once(path, uuid4().hex)
        return path.read_text().strip()
    except OSError as error:
        raise data_folder_unusable(path.parent, error) from error
