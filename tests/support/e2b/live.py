"""Runs a server and a fake cloud in their own processes, with a `claude` that waits on demand.

Besides the commands of the stand-in (see `tests.fakes.agents.stand_in`), its prompts may contain

    started FILE     (adds a line to a file outside the sandbox, for every start of the agent)
    await FILE       (waits until the file exists)
    raw TEXT         (prints the text without an end of line)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.e2b.preloaded_cloud import PreloadedCloud
from tests.support.git.repositories import make_repository
from tests.support.live_server import Client, Json, LiveServer
from tests.support.source_files import ROOT
from tests.support.waiting import eventually

HOLD_SECONDS = 600.0
"""Longer than any test: a request that is held this long is never answered."""

CLAUDE = f"""#!{sys.executable}
import sys, time
from pathlib import Path

sys.path.insert(0, {str(ROOT)!r})

from tests.fakes.agents import claude_program, stand_in


def start(_run, name):
    with open(name, "a") as file:
        file.write("started\\n")


def wait(_run, name):
    while not Path(name).exists():
        time.sleep(0.02)


def raw(_run, text):
    sys.stdout.write(text.replace("\\\\n", "\\n"))
    sys.stdout.flush()


stand_in.ACTIONS.update(started=start, raw=raw)
stand_in.ACTIONS["await"] = wait
claude_program.main()
"""

Events = list[tuple[str, Any]]


@dataclass(frozen=True)
class Live:
    """A server and its cloud; tests may write files to `folder`."""

    server: LiveServer
    cloud: E2BServerProcess
    folder: Path
    repository: str

    def sandbox_of(self, task_id: int) -> Json:
        """Wait for the sandbox of a task and return it."""

        def find() -> Json | None:
            found = [one for one in self.cloud.sandboxes() if task_of(one) == task_id]
            return found[-1] if found else None

        return eventually(find)

    def agent_file(self, task_id: int, name: str) -> Path:
        """Return the path of a file of the agent's run in its sandbox."""
        return Path(self.sandbox_of(task_id)["home"], ".async-code", "agent", name)

    def hold(self, route: str, skip: int = 0, seconds: float = HOLD_SECONDS) -> Callable[[], None]:
        """Delay a later request to a route, after `skip` others; the default has no end.

        Returns a function that waits for that request; the requests after it are not delayed.
        """
        before = self.cloud.stats()["fault_hits"]
        number = self.cloud.add_fault("delay", route=route, skip=skip, times=1, seconds=seconds)

        def wait() -> None:
            eventually(lambda: self.cloud.stats()["fault_hits"] > before)
            self.cloud.remove_faults(number)

        return wait

    def answered(self, task_id: int, route: str) -> int:
        """Return the number of requests about a task's sandbox that were answered in full."""
        sandbox_id = self.sandbox_of(task_id)["sandboxID"]
        found = [one for one in self.cloud.requests(route) if one["sandbox"] == sandbox_id]
        return sum(one["status"] == 200 for one in found)

    def wait_until_none_alive(self) -> None:
        """Wait until no sandbox is alive."""
        eventually(lambda: self.cloud.stats()["sandboxes"]["alive"] == 0)


def task_of(sandbox: Json) -> int:
    return int(sandbox["metadata"].get("task_id", 0))


@contextmanager
def live_cloud(folder: Path, **settings: object) -> Iterator[Live]:
    """Run a cloud and prepare a server, which the test starts."""
    tools = folder / "tools"
    tools.mkdir(parents=True)
    (tools / "claude").write_text(CLAUDE)
    (tools / "claude").chmod(0o755)
    repository = make_repository(folder / "repository")
    with PreloadedCloud() as cloud:
        cloud.configure(tools=str(tools))
        choices: dict[str, Any] = {
            **cloud.environment,
            "ANTHROPIC_API_KEY": "sk-a-key-for-the-stand-in",
            "MAX_CONCURRENT_TASKS": 20,
            "MAX_TASKS_PER_USER": 20,
            "SWEEP_GRACE_SECONDS": 2,
            **settings,
        }
        server = LiveServer(folder / "server", **choices)
        try:
            yield Live(server, cloud, folder, str(repository))
        finally:
            server.stop()


def events_of(client: Client, task_id: int) -> Events:
    """Return the events of a task, without the parts that differ between sandboxes."""
    stored = client.get(f"/tasks/{task_id}/events?limit=1000").body["events"]
    return [(event["kind"], _without_paths(event["data"])) for event in stored]


def comparable(events: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return events in a comparable form: the output of each stream is joined.

    What depends on the time or on the sandbox, such as the name of a commit, is left out.
    """
    found: dict[str, Any] = {"stdout": "", "stderr": "", "events": []}
    for kind, data in events:
        if kind == "output":
            found[data["stream"]] += data["text"]
        elif kind == "git":
            found["events"].append((kind, data["operation"]))
        elif data != {"stage": "cloning"} and kind != "sandbox":
            found["events"].append((kind, data))
    return found


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    return re.sub(r"/\S*/home/user", "/home/user", value) if isinstance(value, str) else value
