"""Where the tasks of a test run and where their rows live.

Either in folders of this machine with an embedded database, as a newcomer has it, or in sandboxes
of a fake cloud with the rows in a Supabase project, as a deployment has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil

from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.support.supabase.stack import SupabaseStack
from tests.support.supabase_settings import rows_in
from utils.config.identity import FILE_NAME
from utils.processes import MARKER_VARIABLE

SANDBOX_VARIABLE = "E2B_SANDBOX_ID"
"""In the environment of everything that runs in a cloud sandbox, as E2B sets it."""


class Found(NamedTuple):
    """A sandbox that exists."""

    name: str
    task_id: int
    repository: Path
    """Where its repository really is; all of the sandbox is around it."""


class Place(Protocol):
    """Where tasks run. `data` is the data folder of the backend that is meant."""

    settings: Mapping[str, Any]
    """What a backend needs to run its tasks there; names as in `Settings`."""
    environment: Mapping[str, str]
    """The same for a process of its own."""
    cloud: E2BControl | None
    project: SupabaseStack | None

    def sandboxes(self, data: Path) -> list[Found]:
        """Return a backend's sandboxes that exist."""

    def processes(self, data: Path) -> list[psutil.Process]:
        """Return what runs in a backend's sandboxes, those included that do not exist any more."""

    def clear(self, data: Path) -> None:
        """End a backend's sandboxes and what runs in them, after it was killed."""


class LocalPlace:
    """The default: every sandbox is a folder."""

    settings: Mapping[str, Any] = {}
    environment: Mapping[str, str] = {}
    cloud: E2BControl | None = None
    project: SupabaseStack | None = None

    def sandboxes(self, data: Path) -> list[Found]:
        """See `Place`."""
        folders = sorted((data / "sandboxes").glob("task-*"))
        return [Found(one.name, int(one.name.split("-")[1]), one / "repository") for one in folders]

    def processes(self, data: Path) -> list[psutil.Process]:
        """See `Place`."""
        return processes_with(MARKER_VARIABLE, lambda marker: marker.startswith(f"{data}/"))

    def clear(self, data: Path) -> None:
        """See `Place`."""
        for process in self.processes(data):
            with suppress(psutil.NoSuchProcess):
                process.kill()


class CloudPlace:
    """E2B's sandboxes, of the fake cloud, where the scripted agent works; rows in Supabase."""

    def __init__(self, cloud: E2BControl, project: SupabaseStack) -> None:
        self.cloud: E2BControl | None = cloud
        self.project: SupabaseStack | None = project
        self.settings: Mapping[str, Any] = {
            "e2b_api_key": API_KEY,
            "e2b_smoke_test": True,
            **rows_in(project),
            "trust_user_id": True,
            # The backends of one module share the project; none looks after another's tasks.
            "server_silence_seconds": 3600,
        }
        self.environment: Mapping[str, str] = {
            **cloud.environment,
            "E2B_SMOKE_TEST": "true",
            "SUPABASE_URL": project.url,
            "SUPABASE_SERVICE_ROLE_KEY": project.service_role_key,
            "TRUST_USER_ID": "true",
            "SERVER_SILENCE_SECONDS": "3600",
        }
        self._cloud = cloud

    def sandboxes(self, data: Path) -> list[Found]:
        """See `Place`."""
        path = data / FILE_NAME
        deployment = path.read_text() if path.exists() else ""
        return [
            Found(
                one["sandboxID"],
                int(one["metadata"]["task_id"]),
                Path(one["home"], "repository"),
            )
            for one in self._cloud.sandboxes()
            if one["metadata"].get("deployment") == deployment
        ]

    def processes(self, data: Path) -> list[psutil.Process]:  # noqa: ARG002
        """See `Place`. Of all its backends: nothing tells whose a sandbox was that is gone."""
        ids = self._cloud.stats()["sandbox_requests"].keys()
        return processes_with(SANDBOX_VARIABLE, ids.__contains__)

    def clear(self, data: Path) -> None:
        """See `Place`."""
        for sandbox in self.sandboxes(data):
            self._cloud.crash(sandbox.name)


def processes_with(variable: str, wanted: Any) -> list[psutil.Process]:
    """Return the processes that have a variable with a wanted value in their environment."""

    def matches(process: psutil.Process) -> bool:
        try:
            return bool(wanted(process.environ().get(variable, "")))
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if matches(process)]
