"""Sets up the sandboxes and the database that the tasks of a test use.

Local folders with an embedded database, the default of a new installation; the same with isolated
sandboxes; or sandboxes of a fake cloud with a Supabase project.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil
import pytest

from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.support.supabase.settings import rows_in
from tests.support.supabase.stack import SupabaseStack
from utils.config.groups.identity import FILE_NAME
from utils.processes import MARKER_VARIABLE
from utils.sandboxes.isolated.requirements import missing_requirements

SANDBOX_VARIABLE = "E2B_SANDBOX_ID"
"""Environment variable that E2B sets for every process in a cloud sandbox."""


class Found(NamedTuple):
    """An existing sandbox."""

    name: str
    task_id: int
    repository: Path
    """The real path of its repository, inside the sandbox's own folder."""


class Place(Protocol):
    """A kind of sandbox with a database. `data` is the data folder of a backend."""

    settings: Mapping[str, Any]
    """Settings of a backend that runs its tasks there; names as in `Settings`."""
    environment: Mapping[str, str]
    """The same settings as environment variables, for a separate process."""
    cloud: E2BControl | None
    project: SupabaseStack | None

    def sandboxes(self, data: Path) -> list[Found]:
        """Return the existing sandboxes of a backend."""

    def processes(self, data: Path) -> list[psutil.Process]:
        """Return the processes in a backend's sandboxes, including sandboxes that were removed."""

    def clear(self, data: Path) -> None:
        """End the sandboxes of a killed backend and the processes in them."""


class LocalPlace:
    """The default place: every sandbox is a local folder."""

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


class IsolatedPlace(LocalPlace):
    """Local folders whose commands bubblewrap isolates, with the scripted agent.

    They are shown one folder of the tests, read-only.
    """

    # Asking npm and pip for their registries takes a second.
    settings: Mapping[str, Any] = {
        "sandbox": "isolated",
        "e2b_smoke_test": True,
        "isolated_allow_registries": False,
    }
    environment: Mapping[str, str] = {
        "SANDBOX": "isolated",
        "E2B_SMOKE_TEST": "true",
        "ISOLATED_ALLOW_REGISTRIES": "false",
    }

    def __init__(self, shown: Path) -> None:
        self.settings = {**self.settings, "isolated_readable_paths": (str(shown),)}
        self.environment = {**self.environment, "ISOLATED_READABLE_PATHS": str(shown)}


def require_isolation() -> None:
    """Skip the test on a machine without bubblewrap. In CI no test may be skipped."""
    if missing := missing_requirements():
        pytest.skip(f"no isolated sandboxes here: {missing[0][0]}")


class CloudPlace:
    """Sandboxes of the fake E2B cloud with the scripted agent, and rows in Supabase."""

    def __init__(self, cloud: E2BControl, project: SupabaseStack) -> None:
        self.cloud: E2BControl | None = cloud
        self.project: SupabaseStack | None = project
        self.settings: Mapping[str, Any] = {
            "e2b_api_key": API_KEY,
            "e2b_smoke_test": True,
            **rows_in(project),
            "trust_user_id": True,
            # The backends of a module share the project; none takes over another one's tasks.
            "server_silence_seconds": 3600,
        }
        self.environment: Mapping[str, str] = {
            **cloud.environment,
            "E2B_SMOKE_TEST": "true",
            "SUPABASE_URL": project.url,
            "SUPABASE_SERVICE_ROLE_KEY": project.service_role_key,
            "TASK_ENGINE": "own",
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
            if one["metadata"].get("deployment") == deployment and "task_id" in one["metadata"]
        ]

    def processes(self, data: Path) -> list[psutil.Process]:  # noqa: ARG002
        """See `Place`. Includes all backends, because the owner of an ended sandbox is unknown."""
        ids = self._cloud.stats()["sandbox_requests"].keys()
        return processes_with(SANDBOX_VARIABLE, ids.__contains__)

    def clear(self, data: Path) -> None:
        """See `Place`."""
        for sandbox in self.sandboxes(data):
            self._cloud.crash(sandbox.name)


def processes_with(variable: str, wanted: Any) -> list[psutil.Process]:
    """Return the processes whose environment has a variable with a matching value."""

    def matches(process: psutil.Process) -> bool:
        try:
            return bool(wanted(process.environ().get(variable, "")))
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if matches(process)]


def commands_in(place: Place, sandboxes: Collection[str], script: str) -> list[str]:
    """Return the sandbox of each command that has run a script."""
    assert place.cloud
    ran = [one for one in place.cloud.requests("process.Start") if f'"{script}"' in one["body"]]
    return [one["sandbox"] for one in ran if one["sandbox"] in sandboxes]
