"""Tests that workers, processes without HTTP, share the tasks of a database by its engine."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import psycopg
import pytest

from tests.dispatcher.shared_rows import LONG, RESULTS
from tests.fixtures.page import NewSite
from tests.support.database.samples import USER
from tests.support.live_server import (
    SHARED,
    LiveServer,
    ServerFactory,
    WorkerFactory,
    replace_in_prompts,
)
from tests.support.page.accessibility import Check
from tests.support.supabase.settings import rows_in
from tests.support.waiting import eventually
from utils.api.requests import EXAMPLE_USER_ID
from utils.config.settings import Settings
from utils.database.migrations import migrate
from utils.dispatcher.sources.engine_queue import IDLE_PAUSE_SECONDS
from utils.server.web_server import EXIT_CONFIGURATION

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer
    from tests.support.supabase.stack import SupabaseStack

pytestmark = pytest.mark.local_only("what workers share is the database")
as_before = pytest.mark.exhaustive("as the case before, but more")

LIMIT = 4
"""The tasks of one user that run at once, on all workers together."""

QUICK = "script:\nsleep 0.2\nwrite task.txt done"

STARTED = """
SELECT user_id::text, status, count(*) FROM tasks
WHERE status IN ('running', 'completed') GROUP BY user_id, status
"""

RUNNING_ON = """
SELECT count(*) FROM engine_tasks JOIN tasks ON tasks.id = task_id
WHERE worker = %s AND status = 'running'
"""

OVER = """
SELECT FROM absurd.r_tasks WHERE state = 'running' AND claim_expires_at <= absurd.current_time()
"""

PATIENT_CROWD = 100
"""So many tasks take longer than the leases of workers that die."""


@pytest.fixture
def database_url(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """Provide the address of a PostgreSQL, or with the parameter `supabase` of a project's."""
    if getattr(request, "param", "") == "supabase":
        stack: SupabaseStack = request.getfixturevalue("engine_stack")
        stack.clear()
        return stack.superuser_url
    url = postgres_server.create(f"workers_{uuid4().hex}")
    migrate(Settings.model_validate({"database_url": url}), engine=True)
    return url


@pytest.fixture
def shared(database_url: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Provide the variables of a server that leaves its tasks to workers."""
    rows = {"DATABASE_URL": database_url}
    if "engine_stack" in request.fixturenames:
        stack: SupabaseStack = request.getfixturevalue("engine_stack")
        rows = {name.upper(): value for name, value in rows_in(stack).items()}
        rows["TRUST_USER_ID"] = "true"
    return {
        **rows,
        "TASK_ENGINE": "absurd",
        "WORK": "false",
        **SHARED,
        "MAX_TASKS_PER_USER": str(LIMIT),
    }


def test_a_worker_in_a_second_folder_with_copied_settings_takes_the_tasks_of_a_server(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    shared: dict[str, str],
    small_repository: str,
) -> None:
    server, worker = new_server(), new_worker()
    for one in (server, worker):
        lines = [f"{name}={value}" for name, value in shared.items()]
        (one.data_dir.parent / ".env").write_text("\n".join(lines))
    server.start(ADMIN_USER_IDS=USER)
    client = server.client(USER)
    task_id = client.start(QUICK, small_repository)
    row = client.status(task_id)
    assert (row["status"], row["queue_position"]) == ("pending", 1)
    assert "no worker is running" in row["waiting_reason"]
    assert client.get("/health/ready").body["workers"] == 0
    worker.start()
    assert client.wait_for(task_id)["status"] == "completed"
    [known] = eventually(lambda: client.get("/admin/workers").body["workers"])
    assert (known["name"], known["places"]) == ((worker.data_dir / "server").read_text(), 4)
    health = client.get("/health/ready").body
    assert (health["workers"], health["running"], health["sandboxes"]["reason"]) == (1, 0, None)
    assert client.wait_for(client.start(QUICK, small_repository))["status"] == "completed"
    refused = new_server(**shared)
    refused.launch(TASK_ENGINE="own", WORK="true")
    assert refused.wait() == EXIT_CONFIGURATION
    assert "Remove TASK_ENGINE=own here" in refused.output.read_text()


def test_a_worker_with_another_key_than_the_server_says_that_it_can_read_no_secret(
    new_server: ServerFactory, new_worker: WorkerFactory, shared: dict[str, str]
) -> None:
    server, right = new_server(**shared), new_worker(**shared)
    wrong = new_worker(**shared | {"SECRET_KEY": "0" * 32})
    server.start()
    client = server.client(USER)
    project = client.post("/projects", {"name": "one", "repo_url": "https://github.com/a/one"})
    path = f"/projects/{project.body['project']['id']}/secrets/TOKEN"
    assert client.put(path, {"value": "a-secret-value"}).code == 200
    for worker in (right, wrong):
        worker.start()
    eventually(lambda: "worker.key_differs" in wrong.output.read_text())
    assert "worker.key_differs" not in right.output.read_text()


def test_a_worker_that_is_stopped_gives_its_tasks_back_to_the_others(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    shared: dict[str, str],
    small_repository: str,
) -> None:
    server, first = new_server(**shared), new_worker(**shared, SHUTDOWN_GRACE_SECONDS=0)
    server.start()
    first.start()
    client = server.client(USER)
    tasks = [client.start(LONG, small_repository) for _ in range(LIMIT + 1)]
    for task_id in tasks[:LIMIT]:
        client.wait_for_output(task_id, "begun")
    replace_in_prompts(shared["DATABASE_URL"], "300", "0")
    assert first.terminate() == 0
    assert {client.status(one)["status"] for one in tasks} == {"pending"}
    second = new_worker(**shared)
    second.start()
    ended = [client.wait_for(task_id) for task_id in tasks]
    # Without the agent's end the attempt does not count.
    assert {row["execution_metadata"]["attempt"] for row in ended} == {1}
    assert {row["status"] for row in ended} == {"completed"}


def test_a_drained_worker_ends_what_it_runs_and_takes_tasks_again_when_it_may(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    shared: dict[str, str],
    small_repository: str,
) -> None:
    server, worker = new_server(**shared), new_worker(**shared, SERVER_SILENCE_SECONDS=3)
    server.start(ADMIN_USER_IDS=USER)
    worker.start()
    client = server.client(USER)
    running = client.start(LONG, small_repository)
    client.wait_for_output(running, "begun")
    # A worker may run a task before its first beat.
    [known] = eventually(lambda: client.get("/admin/workers").body["workers"])
    assert client.post("/admin/workers/unknown/drain").code == 404
    answer = client.post(f"/admin/workers/{known['name']}/drain")
    assert (answer.code, answer.body["is_draining"]) == (200, True)
    assert client.get("/admin/workers").body["workers"][0]["is_draining"]
    eventually(lambda: "worker.drain_changed" in worker.output.read_text())
    waiting = client.start(QUICK, small_repository)
    eventually(lambda: "drained the workers" in client.status(waiting).get("waiting_reason", ""))
    # What it runs is its own until the end.
    assert client.post(f"/tasks/{running}/cancel").body["task"]["status"] == "cancelled"
    assert client.status(waiting)["status"] == "pending"
    assert client.post(f"/admin/workers/{known['name']}/resume").code == 200
    assert client.wait_for(waiting)["status"] == "completed"


def test_a_worker_that_starts_leaves_the_others_time_to_extend_leases_that_are_over(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    shared: dict[str, str],
    small_repository: str,
) -> None:
    server, first = new_server(**shared), new_worker(**shared, SERVER_SILENCE_SECONDS=1.5)
    late = new_worker(**shared, SERVER_SILENCE_SECONDS=240)
    server.start()
    first.start()
    client = server.client(USER)
    task_id = client.start(LONG, small_repository)
    client.wait_for_output(task_id, "begun")
    with psycopg.connect(shared["DATABASE_URL"], autocommit=True) as rows:

        def is_over() -> bool:
            return rows.execute(OVER).fetchone() is not None

        # As after a time without the database: the worker lives, and its leases are over.
        with first.asleep():
            eventually(is_over)
            late.start()
            # It asks for tasks at least that often.
            ends_at = time.monotonic() + 2 * IDLE_PAUSE_SECONDS
            eventually(lambda: time.monotonic() > ends_at)
        eventually(lambda: not is_over())
    assert client.post(f"/tasks/{task_id}/cancel").body["task"]["status"] == "cancelled"
    assert "task.started" not in late.output.read_text()
    assert "lease.lost" not in first.output.read_text()


def test_two_workers_together_keep_to_the_limit_of_sandboxes(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    shared: dict[str, str],
    small_repository: str,
) -> None:
    settings = {**shared, "MAX_SANDBOXES": "1"}
    server, *workers = new_server(**settings), new_worker(**settings), new_worker(**settings)
    server.start()
    for worker in workers:
        worker.launch()
    for worker in workers:
        worker.wait_until_ready()
    client = server.client(USER)
    running = client.start(LONG, small_repository)
    client.wait_for_output(running, "begun")
    waiting = client.start(QUICK, small_repository)
    eventually(lambda: "1 of 1 sandboxes run" in client.status(waiting).get("waiting_reason", ""))
    assert client.status(waiting)["status"] == "pending"
    assert client.post(f"/tasks/{running}/cancel").code == 200
    assert client.wait_for(waiting)["status"] == "completed"


def test_an_administrator_drains_and_resumes_a_worker_on_the_page(
    new_server: ServerFactory, new_site: NewSite, shared: dict[str, str]
) -> None:
    server = new_server(**shared)
    server.start(WORK="true", ADMIN_USER_IDS=EXAMPLE_USER_ID)
    site = new_site(server.port)
    site.sign_in()
    site.open_view("Settings")
    table = site.page.get_by_role("region", name="Workers")
    name = (server.data_dir / "server").read_text()
    table.get_by_role("row").filter(has_text=name).get_by_text("0 of 4").wait_for()
    check = Check(site)
    check.look("workers")
    assert check.faults == []
    site.click(f"Drain worker {name}")
    site.page.get_by_role("dialog").get_by_text("No other worker takes tasks").wait_for()
    site.confirm("Let it work")
    client = server.client(EXAMPLE_USER_ID)
    assert not client.get("/admin/workers").body["workers"][0]["is_draining"]
    site.click(f"Drain worker {name}")
    site.confirm("Drain worker")
    table.get_by_text("Drained, can be stopped").wait_for()
    site.click(f"Resume worker {name}")
    site.confirm("Resume worker")
    table.get_by_text("Takes tasks").wait_for()
    # Another administrator's step is seen as well.
    assert client.post(f"/admin/workers/{name}/drain").code == 200
    table.get_by_text("Drained, can be stopped").wait_for()


def test_a_task_is_cancelled_on_the_worker_that_runs_it_and_its_changes_are_kept(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    shared: dict[str, str],
    small_repository: str,
) -> None:
    server, worker = new_server(**shared), new_worker(**shared, SERVER_SILENCE_SECONDS=3)
    server.start()
    worker.start()
    client = server.client(USER)
    running = client.start(
        "script:\nwrite begun.txt here\nprint begun\nsleep 300", small_repository
    )
    client.wait_for_output(running, "begun")
    answer = client.post(f"/tasks/{running}/cancel")
    assert (answer.code, answer.body["task"]["status"]) == (200, "cancelled")
    assert client.task(running)["changed_files"] == ["begun.txt"]
    eventually(lambda: worker.sandboxes() == [])


class Crowd(NamedTuple):
    """The tasks of several users. The first has more than the others, and starts its own first."""

    limit: int
    """The tasks of one user that may run at once; a worker has as many places."""

    counts: list[int]

    def start(self, server: LiveServer, repository: str) -> None:
        """Start the tasks of one user after the other."""
        for number, count in enumerate(self.counts):
            client = server.client(f"{USER[:-2]}{number:02}")
            for _ in range(count):
                client.start(QUICK, repository)

    def settings(self) -> dict[str, object]:
        """Return the settings of its server and its workers."""
        return {
            "MAX_TASKS_PER_USER": self.limit,
            "MAX_CONCURRENT_TASKS": self.limit,
            "MAX_QUEUED_PER_USER": 1000,
            "SERVER_SILENCE_SECONDS": 3,
        }


MANY = Crowd(8, [180, 30, 30, 30, 30])


@pytest.mark.parametrize(
    ("database_url", "crowd"),
    [
        ("postgresql", Crowd(4, [16, 4, 4])),
        pytest.param("postgresql", MANY, marks=as_before),
        pytest.param("supabase", MANY, marks=as_before),
    ],
    indirect=["database_url"],
    ids=["few", "300", "300 by PostgREST"],
)
def test_workers_that_die_or_sleep_lose_no_task_and_repeat_no_result(
    new_server: ServerFactory,
    new_worker: WorkerFactory,
    shared: dict[str, str],
    database_url: str,
    small_repository: str,
    crowd: Crowd,
) -> None:
    settings, total = shared | crowd.settings(), sum(crowd.counts)
    server, *workers = new_server(**settings), *(new_worker(**settings) for _ in range(3))
    server.start()
    for worker in workers:
        worker.launch()
    for worker in workers:
        worker.wait_until_ready()
    crowd.start(server, small_repository)
    with psycopg.connect(database_url, autocommit=True) as rows:
        watch = Watch(rows)
        eventually(partial(watch.has_completed, total // 5))
        workers[0].kill()
        with workers[1].asleep():
            # Longer than its lease: it wakes up beside those that have taken over its tasks.
            eventually(partial(watch.has_lost_all, (workers[1].data_dir / "server").read_text()))
            eventually(partial(watch.has_completed, total // 2))
        eventually(partial(watch.has_completed, total))
        assert watch.most_at_once <= crowd.limit
        assert Counter(watch.results()) == {("completed", 1): total}
        if total >= PATIENT_CROWD:
            assert watch.last_to_end().endswith("00"), "the user with the most tasks"
    workers[0].start()
    eventually(lambda: not any(worker.sandboxes() for worker in workers))


class Watch:
    """Reads how many tasks of each user run and have completed."""

    def __init__(self, rows: psycopg.Connection) -> None:
        self._rows = rows
        self.most_at_once = 0

    def has_completed(self, wanted: int) -> bool:
        """Tell whether so many tasks have completed; note how many run at once."""
        found = self._rows.execute(STARTED).fetchall()
        running = [count for _, status, count in found if status == "running"]
        self.most_at_once = max(self.most_at_once, *running, 0)
        completed: int = sum(count for _, status, count in found if status == "completed")
        return completed >= wanted

    def has_lost_all(self, worker: str) -> bool:
        """Tell whether no task runs under the name of a worker any more."""
        return self._rows.execute(RUNNING_ON, (worker,)).fetchone() == (0,)

    def last_to_end(self) -> str:
        """Return the id of the user whose last task ended last."""
        found = self._rows.execute("SELECT user_id::text FROM tasks ORDER BY completed_at DESC")
        return str((found.fetchone() or [""])[0])

    def results(self) -> list[tuple[str, int]]:
        """Return the status and the number of results of each task."""
        return self._rows.execute(RESULTS).fetchall()
