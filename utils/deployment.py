"""The name by which a deployment knows its own sandboxes."""

from __future__ import annotations

from uuid import uuid4

from utils.settings import Settings

FILE_NAME = "deployment"


def deployment_name(settings: Settings) -> str:
    """Return `DEPLOYMENT`, or a name that is made once and kept in `DATA_DIR`."""
    if settings.deployment:
        return settings.deployment
    path = settings.data_dir / FILE_NAME
    if not path.exists():
        path.write_text(uuid4().hex)
    return path.read_text().strip()
