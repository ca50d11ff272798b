"""Names the processes of a server, and gives each the settings that it works with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from utils.config.private_folder import data_folder_unusable, open_private_folder
from utils.config.settings import Settings

WORKER = "worker"
FIRST = "web-1"

_FOLDER = "processes"
_SHARED_FILES = ("jwt_secret", "secret_key", "deployment")


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a server: `worker`, or one of `web-1`, `web-2`, ...

    `folder` is where the members find what they tell each other.
    """

    name: str
    folder: Path

    @property
    def is_worker(self) -> bool:
        """True for the process that runs the tasks."""
        return self.name == WORKER

    @property
    def is_first(self) -> bool:
        """True for the web process that does what only one of them may do."""
        return self.name == FIRST


def member_of(settings: Settings, name: str) -> Member:
    """Return the member of this name of the server with these settings."""
    return Member(name, settings.data_dir.absolute() / _FOLDER)


def member_names(settings: Settings) -> list[str]:
    """Return the names of all members of a server."""
    web = [f"web-{number}" for number in range(1, settings.http_processes + 1)]
    return [*web, WORKER] if settings.work else web


def own_settings(settings: Settings, member: Member) -> Settings:
    """Return the settings of a member. Raises `ConfigurationError`.

    The worker uses `DATA_DIR` as a server of one process does. A web process is like a further
    server with a folder of its own, but has the keys and the name of the deployment that
    `DATA_DIR` holds.
    """
    try:
        open_private_folder(member.folder)
        if member.is_worker:
            return settings.model_copy(update={"http_processes": 1})
        own = member.folder / member.name
        open_private_folder(own)
        _link_shared_files(settings.data_dir.absolute(), own)
    except OSError as error:
        raise data_folder_unusable(member.folder, error) from error
    return settings.model_copy(
        update={
            "data_dir": own,
            "work": False,
            "agent_programs_dir": settings.programs_path,
            # The worker keeps the archive.
            "retention_days": 0,
            "sign_ins_per_address": _share(settings.sign_ins_per_address, settings),
            "sign_ins_per_user": _share(settings.sign_ins_per_user, settings),
        }
    )


def _share(limit: int, settings: Settings) -> int:
    return math.ceil(limit / settings.http_processes)


def _link_shared_files(shared: Path, own: Path) -> None:
    for name in _SHARED_FILES:
        link = own / name
        link.unlink(missing_ok=True)
        if (shared / name).exists():
            link.symlink_to(shared / name)
