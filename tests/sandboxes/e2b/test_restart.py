"""Tests that a server killed at any point of a cloud task finishes it after its restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.e2b.live import Events, Live, comparable, events_of, live_cloud
from tests.support.e2b.tasks import LARGE_FILE
from tests.support.git.repositories import GitServer, serve_repository
from tests.support.live_server import Json
from tests.support.waiting import PATIENCE_SECONDS, eventually

FIRST_ATTEMPT, SECOND_ATTEMPT = 1, 2


@dataclass
class Story:
    """A task whose server was killed, and an equal task whose server kept running."""

    task_id: int
    prompt: str
    row: Json = field(default_factory=dict)
    events: Events = field(default_factory=list)
    undisturbed_row: Json = field(default_factory=dict)
    undisturbed_events: Events = field(default_factory=list)
    starts: int = 0


class Scene:
    """One server with a task at each point, which is then killed and started again."""

    def __init__(self, live: Live, stack: ExitStack) -> None:
        self.live = live
        self.stories: dict[str, Story] = {}
        self.client = live.server.client()
        self._gates = [self._git_server(stack, name) for name in ("cloning", "cloned")]

    def _git_server(self, stack: ExitStack, name: str) -> GitServer:
        served = serve_repository(Path(self.live.repository), self.live.folder / name)
        return stack.enter_context(served)

    def file(self, name: str) -> Path:
        return self.live.folder / name

    def start(self, point: str, *lines: str, repository: str = "") -> int:
        """Start the task of a point. It prints, writes a file and counts its starts."""
        prompt = "\n".join(
            [
                f"started {self.file(point)}.starts",
                *lines,
                "say ended",
                f"write {point}.txt {point}",
            ]
        )
        task_id = self.client.start(prompt, repository or self.live.repository, branch="main")
        self.stories[point] = Story(task_id, prompt)
        return task_id

    def start_tasks(self) -> None:
        """Start all tasks and wait until each is at its point."""
        self._hold_requests()
        self._stop_in_agents()
        self._stop_in_clones()
        self.start("queued")
        assert self.client.status(self.stories["queued"].task_id)["status"] == "pending"

    def _hold_requests(self) -> None:
        routes = {
            "creating": ("create", 0),
            "created": ("files.write", 0),
            "stored": ("process.Start", 1),
            "capturing": ("process.Start", 2),
            "reading": ("files.read", 0),
            "ended": ("kill", 0),
        }
        for point, (route, skip) in routes.items():
            wait_until_held = self.live.hold(route, skip)
            self.start(point, LARGE_FILE, "say before", "raw half")
            wait_until_held()
        self.client.wait_for(self.stories["ended"].task_id, "completed")

    def _stop_in_agents(self) -> None:
        self.start("started", f"await {self.file('go')}", "say after")
        eventually(self.file("started.starts").exists)
        half = f"await {self.file('go')}", "raw second half, ☃\\n"
        more = ("lines 30", "error oops")
        talking = self.start("talking", *more, "raw first half, ☃ ", *half, *more)
        self.client.wait_for_output(talking, "oops")
        self.client.wait_for_output(talking, "line 29")
        self.start("hanging", f"await {self.file('hang')}", "write more.txt more", "hang")
        self.start("alone", f"await {self.file('alone')}", *more)
        self.start("unwritten", LARGE_FILE, f"await {self.file('unwritten')}", *more)
        for point in ("hanging", "alone", "unwritten"):
            eventually(self.file(f"{point}.starts").exists)

    def _stop_in_clones(self) -> None:
        for point, git_server in zip(("cloning", "cloned"), self._gates, strict=True):
            self.start(point, repository=git_server.url)
            assert git_server.waiting.acquire(timeout=PATIENCE_SECONDS)

    def kill(self) -> None:
        """Kill the server while nothing can be stored and one agent has just reported its end."""
        cloned, unwritten = (self.stories[point].task_id for point in ("cloned", "unwritten"))
        hanging = self.live.agent_file(self.stories["hanging"].task_id, "out")
        with locked_database(self.live):
            self._gates[1].gate.set()
            self.file("unwritten").touch()
            eventually(lambda: self.live.answered(cloned, "process.Start") == 1)
            eventually(lambda: self.live.answered(unwritten, "files.read") == 1)
            self.file("hang").touch()
            eventually(lambda: "Done, and staying." in hanging.read_text())
            self.live.server.kill()

    def restart(self) -> None:
        """Let one agent end while no server runs, then start the server and wait for all tasks."""
        code = self.live.agent_file(self.stories["alone"].task_id, "code")
        for name in ("alone", "go"):
            self.file(name).touch()
        eventually(code.exists)
        self._gates[0].gate.set()
        self.live.cloud.forget_requests()
        self.live.server.start()
        self.client = self.live.server.client(self.client.user_id)
        for point, story in self.stories.items():
            story.row = self._row(story.task_id)
            story.events = events_of(self.client, story.task_id)
            story.starts = self.file(f"{point}.starts").read_text().count("started")

    def run_undisturbed(self) -> None:
        """Run tasks with the same prompts again, without killing the server."""
        ids = {
            point: self.client.start(story.prompt, self.live.repository, branch="main")
            for point, story in self.stories.items()
        }
        for point, task_id in ids.items():
            self.stories[point].undisturbed_row = self._row(task_id)
            self.stories[point].undisturbed_events = events_of(self.client, task_id)

    def _row(self, task_id: int) -> Json:
        self.client.wait_for(task_id)
        return self.client.task(task_id)


@contextmanager
def locked_database(live: Live) -> Iterator[None]:
    """Lock the database against all writers."""
    with closing(sqlite3.connect(live.server.data_dir / "async-code.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


CLONED_AGAIN = ("creating", "created", "cloning", "cloned")
GONE_ON_WITH = (
    "stored",
    "started",
    "talking",
    "hanging",
    "alone",
    "capturing",
    "reading",
    "unwritten",
)
POINTS = ("queued", *CLONED_AGAIN, *GONE_ON_WITH, "ended")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Provide all tasks after the server was killed and restarted."""
    with ExitStack() as stack:
        places = len(POINTS) - 1
        folder = tmp_path_factory.mktemp("restart")
        live = stack.enter_context(live_cloud(folder, MAX_CONCURRENT_TASKS=places))
        live.server.start()
        scene = Scene(live, stack)
        scene.start_tasks()
        scene.kill()
        scene.restart()
        scene.run_undisturbed()
        yield scene


@pytest.mark.parametrize("point", POINTS)
def test_a_task_completes_with_its_diff(scene: Scene, point: str) -> None:
    story = scene.stories[point]
    assert story.row["status"] == "completed", story.row
    assert story.row["git_diff"] == story.undisturbed_row["git_diff"]
    assert f"+{point}" in story.row["git_diff"] or point == "hanging"
    roles = [message["role"] for message in story.row["chat_messages"]]
    assert roles == ["user", "assistant"]


@pytest.mark.parametrize("point", POINTS)
def test_every_event_is_there_once(scene: Scene, point: str) -> None:
    story = scene.stories[point]
    assert comparable(story.events) == comparable(story.undisturbed_events)
    clones = story.events.count(("status", {"stage": "cloning"}))
    assert clones == 1 or point in CLONED_AGAIN


@pytest.mark.parametrize("point", POINTS)
def test_an_agent_is_started_once_and_attempts_are_counted(scene: Scene, point: str) -> None:
    story = scene.stories[point]
    # The undisturbed twin comes after this was counted.
    assert story.starts == 1
    expected = SECOND_ATTEMPT if point in CLONED_AGAIN else FIRST_ATTEMPT
    assert story.row["execution_metadata"]["attempt"] == expected


def test_no_sandbox_is_left(scene: Scene) -> None:
    scene.live.wait_until_none_alive()


def test_no_limit_of_the_cloud_is_on_an_agent(scene: Scene) -> None:
    starts = scene.live.cloud.requests("process.Start")
    agents = [one for one in starts if '"agent.sh"' in one["body"]]
    assert len(agents) >= len(GONE_ON_WITH)
    assert {one["headers"].get("connect-timeout-ms", "0") for one in agents} == {"0"}
