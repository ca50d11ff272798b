"""Tests of two servers on one database: each task is completed exactly once.

The task engine gives a task to any server. Where a test needs one of them to have it, the other is
asleep until it runs.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import pytest

from tests.dispatcher.shared_rows import taking_no_task, uses_engine, wait_until_known
from tests.support.database.postgres_server import StoppablePostgres
from tests.support.database.samples import USER
from tests.support.live_server import (
    SHARED,
    Client,
    Json,
    LiveServer,
    ServerFactory,
    replace_in_prompts,
)
from tests.support.places import Place, commands_in
from tests.support.supabase.faulty_proxy import FaultyProxy
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.database.migrations import migrate

# On PostgreSQL the engine is the default; a project of Supabase may have only our tables.
own_with_all = pytest.mark.with_all("other cases show it", shared_database="own")
local_only = pytest.mark.local_only("what two servers share is the database")

SILENCE_SECONDS = 1.5
AT_ONCE = 4
"""The tasks that each server of a pair runs at once; more of them show nothing else."""
NAP = "script:\nprint begun\nsleep {seconds}\nwrite task-{number}.txt {number}"
LONG_NAP = "script:\nwrite begun.txt here\nprint begun\nsleep 300"

Pair = Callable[..., tuple[LiveServer, LiveServer]]


@pytest.fixture(scope="module", params=["own", "absurd"])
def shared_database(place: Place, request: pytest.FixtureRequest) -> dict[str, str]:
    """Provide the variables of a shared database: the place's project, or a PostgreSQL."""
    if project := place.project:
        if request.param == "absurd":
            project.migrate(engine=True)
        return {"TASK_ENGINE": request.param, **SHARED}
    server: StoppablePostgres = request.getfixturevalue("stoppable_postgres")
    url = server.create(f"two_servers_{request.param}")
    migrate(Settings.model_validate({"database_url": url}), engine=request.param == "absurd")
    return {"DATABASE_URL": url, "TASK_ENGINE": request.param, **SHARED}


@pytest.fixture
def new_pair(new_server: ServerFactory, shared_database: dict[str, str]) -> Pair:
    """Provide a function that starts two servers on one database."""

    def make(silence_seconds: float = SILENCE_SECONDS) -> tuple[LiveServer, LiveServer]:
        settings = {**shared_database, "SERVER_SILENCE_SECONDS": silence_seconds}
        settings |= {"MAX_CONCURRENT_TASKS": AT_ONCE, "MAX_TASKS_PER_USER": AT_ONCE}
        pair = new_server(**settings), new_server(**settings)
        for server in pair:
            server.start()
        return pair

    return make


def start_naps(client: Client, repository: str, numbers: range, seconds: int = 1) -> dict[int, int]:
    """Start a task for each number; return the numbers by task."""
    prompts = {number: NAP.format(number=number, seconds=seconds) for number in numbers}
    return {client.start(prompt, repository): number for number, prompt in prompts.items()}


def start_long_nap(server: LiveServer, other: LiveServer, repository: str) -> int:
    """Start a task on a server; return its id when its agent runs."""
    client = server.client(USER)
    with other.asleep():
        task_id = client.start(LONG_NAP, repository)
        client.wait_for_output(task_id, "begun")
    return task_id


def assert_each_done_once(client: Client, tasks: dict[int, int]) -> list[int]:
    """Wait for the end of tasks; return their attempts."""
    attempts = []
    for task_id, number in tasks.items():
        row = client.wait_for(task_id)
        assert row["status"] == "completed", (row["error_code"], row["error"])
        assert client.task(task_id)["changed_files"] == [f"task-{number}.txt"]
        assert [message["role"] for message in row["chat_messages"]] == ["user", "assistant"]
        events = client.get(f"/tasks/{task_id}/events?limit=1000").body["events"]
        assert [event["kind"] for event in events].count("result") == 1
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        attempts.append(row["execution_metadata"]["attempt"])
    return attempts


def all_run(client: Client, tasks: dict[int, int]) -> bool:
    return all(client.status(task_id)["status"] == "running" for task_id in tasks)


def wait_until_at_work(client: Client, tasks: dict[int, int], place: Place) -> None:
    """Wait until all tasks run; in the cloud, where agents outlive a server, until agents run."""
    if not place.cloud:
        eventually(partial(all_run, client, tasks))
        return
    for task_id in tasks:
        client.wait_for_output(task_id, "begun")


def shorten_sleeps(shared_database: dict[str, str], seconds: int) -> None:
    """Shorten the sleep of tasks for their next run; without effect for agents in the cloud."""
    if url := shared_database.get("DATABASE_URL"):
        replace_in_prompts(url, f"sleep {seconds}", "sleep 0")


@own_with_all
@local_only
def test_tasks_posted_to_both_are_each_done_once_by_the_one_that_got_them(
    new_pair: Pair, small_repository: str
) -> None:
    one, two = (server.client(USER) for server in new_pair(60))
    tasks = start_naps(one, small_repository, range(6))
    tasks |= start_naps(two, small_repository, range(6, 12))
    assert assert_each_done_once(two, tasks) == [1] * 12


@own_with_all.with_args(place="local")
def test_the_tasks_of_a_dead_server_are_completed_by_the_other(
    new_pair: Pair, small_repository: str, place: Place, shared_database: dict[str, str]
) -> None:
    dying, other = new_pair()
    client = dying.client(USER)
    seconds = 2 if place.cloud else 300
    with other.asleep():
        tasks = start_naps(client, small_repository, range(AT_ONCE + 2), seconds)
        running = dict(list(tasks.items())[:AT_ONCE])
        wait_until_at_work(client, running, place)
    shorten_sleeps(shared_database, seconds)
    dying.kill()
    client = other.client(USER)
    attempts = assert_each_done_once(client, tasks)
    # An agent in the cloud keeps running, and the other server resumes its task.
    assert sorted(attempts) == [1] * 2 + [1 if place.cloud else 2] * AT_ONCE
    # After its restart the first server finds no tasks of its own.
    dying.start()
    assert assert_each_done_once(dying.client(USER), tasks) == attempts


@own_with_all
@local_only
def test_a_server_that_comes_back_at_once_gets_its_own_tasks(
    new_pair: Pair, small_repository: str, shared_database: dict[str, str]
) -> None:
    dying, other = new_pair(60)
    client = dying.client(USER)
    with other.asleep():
        tasks = start_naps(client, small_repository, range(AT_ONCE), 300)
        eventually(partial(all_run, client, tasks))
    neighbour = other.client()
    beside = start_naps(neighbour, small_repository, range(3))
    shorten_sleeps(shared_database, 300)
    dying.kill()
    dying.start()
    assert assert_each_done_once(dying.client(USER), tasks) == [2] * AT_ONCE
    assert assert_each_done_once(neighbour, beside) == [1] * 3


@own_with_all
def test_a_server_that_was_only_paused_gives_way_to_the_one_that_took_over(
    new_pair: Pair, small_repository: str, place: Place, shared_database: dict[str, str]
) -> None:
    paused, other = new_pair()
    client = paused.client(USER)
    seconds = 2 if place.cloud else 300
    with other.asleep():
        tasks = start_naps(client, small_repository, range(3), seconds)
        wait_until_at_work(client, tasks, place)
    shorten_sleeps(shared_database, seconds)
    attempts = [1 if place.cloud else 2] * 3
    with paused.asleep():
        client = other.client(USER)
        # A task that is not taken over yet when its server wakes up is returned by that server.
        eventually(lambda: other.output.read_text().count("task.started") >= len(tasks))
    if not uses_engine(shared_database):
        assert "heartbeat.server_lost" in other.output.read_text()
    assert assert_each_done_once(client, tasks) == attempts
    eventually(lambda: paused.sandboxes() == [])
    assert assert_each_done_once(client, tasks) == attempts


@pytest.fixture
def proxy(place: Place) -> Iterator[FaultyProxy]:
    if place.project is None:
        pytest.fail("the proxy is for a place with a project")
    place.project.clear()
    with FaultyProxy(place.project.url) as running:
        yield running


@pytest.mark.cloud_only("the servers compete for a sandbox that survives")
@own_with_all
@pytest.mark.with_all("one that starts later knows less", knows_other=True)
@pytest.mark.parametrize(
    ("knows_other", "seconds"), [(True, 4), (False, 7)], ids=["known", "started later"]
)
def test_a_server_without_its_database_leaves_the_sandboxes_to_the_one_that_takes_over(
    new_server: ServerFactory,
    proxy: FaultyProxy,
    place: Place,
    small_repository: str,
    shared_database: dict[str, str],
    knows_other: bool,
    seconds: int,
) -> None:
    settings = {**shared_database, "SERVER_SILENCE_SECONDS": SILENCE_SECONDS}
    cut_off, other = new_server(**settings, SUPABASE_URL=proxy.url), new_server(**settings)
    cut_off.start()
    client = cut_off.client(USER)
    if knows_other:
        other.start()
        wait_until_known(client, shared_database)
    with taking_no_task(other, shared_database) if knows_other else nullcontext():
        tasks = start_naps(client, small_repository, range(3), seconds)
        wait_until_at_work(client, tasks, place)
    proxy.is_cut = True
    if not knows_other:
        other.start()
    took_over = "sandbox.attached" if uses_engine(shared_database) else "heartbeat.server_lost"
    eventually(lambda: took_over in other.output.read_text())
    ids = set(cut_off.sandboxes())
    if knows_other:
        proxy.is_cut = False
    assert assert_each_done_once(other.client(USER), tasks) == [1] * 3
    proxy.is_cut = False
    eventually(lambda: other.sandboxes() == [] and cut_off.sandboxes() == [])
    # The first server has followed each agent once, and the other server alone goes on.
    assert Counter(commands_in(place, ids, "agent.sh")) == dict.fromkeys(ids, 2)
    assert Counter(commands_in(place, ids, "capture.sh")) == dict.fromkeys(ids, 1)


@pytest.mark.cloud_only("agents on this machine are not left")
def test_a_server_resumes_the_tasks_that_it_left_when_nobody_could_reach_the_database(
    new_server: ServerFactory,
    proxy: FaultyProxy,
    place: Place,
    small_repository: str,
    shared_database: dict[str, str],
) -> None:
    settings = {**shared_database, "SERVER_SILENCE_SECONDS": SILENCE_SECONDS}
    settings["SUPABASE_URL"] = proxy.url
    one, other = new_server(**settings), new_server(**settings)
    one.start()
    other.start()
    client = one.client(USER)
    wait_until_known(client, shared_database)
    with taking_no_task(other, shared_database):
        tasks = start_naps(client, small_repository, range(3), 3)
        wait_until_at_work(client, tasks, place)
    wait_until_known(client, shared_database)
    ids = set(one.sandboxes())
    proxy.is_cut = True
    left = "lease.tasks_left" if uses_engine(shared_database) else "heartbeat.tasks_left"
    eventually(lambda: left in one.output.read_text())
    proxy.is_cut = False
    assert assert_each_done_once(client, tasks) == [1] * 3
    assert set(commands_in(place, ids, "agent.sh")) == ids
    assert Counter(commands_in(place, ids, "capture.sh")) == dict.fromkeys(ids, 1)


@own_with_all
@pytest.mark.cloud_only("the proxy is between the server and a project")
def test_tasks_that_were_claimed_while_the_database_failed_are_not_forgotten(
    new_server: ServerFactory,
    proxy: FaultyProxy,
    small_repository: str,
    shared_database: dict[str, str],
) -> None:
    settings = {**shared_database, "SERVER_SILENCE_SECONDS": SILENCE_SECONDS}
    settings["MAX_CONCURRENT_TASKS"] = 3
    dying, other = new_server(**settings), new_server(**settings, SUPABASE_URL=proxy.url)
    dying.start()
    other.start()
    client = dying.client(USER)
    with taking_no_task(other, shared_database):
        tasks = start_naps(client, small_repository, range(5))
        eventually(lambda: sum(client.status(one)["status"] != "pending" for one in tasks) >= 3)
    proxy.refused["/rest/v1/task_runs"] = 9
    dying.kill()
    assert len(assert_each_done_once(other.client(USER), tasks)) == 5
    assert proxy.refused["/rest/v1/task_runs"] < 9


@local_only
def test_after_a_time_without_a_database_no_server_takes_over_tasks_of_the_other(
    new_pair: Pair,
    small_repository: str,
    stoppable_postgres: StoppablePostgres,
    shared_database: dict[str, str],
) -> None:
    pair = new_pair()
    tasks = start_naps(pair[0].client(USER), small_repository, range(4), 9)
    tasks |= start_naps(pair[1].client(USER), small_repository, range(4, 8), 9)
    client = pair[0].client(USER)
    eventually(lambda: all(client.status(task_id)["status"] != "pending" for task_id in tasks))
    stoppable_postgres.stop()
    ends_at = time.monotonic() + 3 * math.ceil(SILENCE_SECONDS)  # leases are whole seconds
    try:
        eventually(lambda: time.monotonic() > ends_at)
    finally:
        stoppable_postgres.start()
    assert assert_each_done_once(client, tasks) == [1] * 8
    kind = "lease" if uses_engine(shared_database) else "heartbeat"
    for server in pair:
        text = server.output.read_text()
        assert (text.count(f"{kind}.failed"), text.count(f"{kind}.recovered")) == (1, 1)


@local_only
def test_a_task_is_cancelled_through_the_server_that_does_not_run_it(
    new_pair: Pair, small_repository: str
) -> None:
    running, other = new_pair(3)
    task_id = start_long_nap(running, other, small_repository)
    client = other.client(USER)
    answer = client.post(f"/tasks/{task_id}/cancel")
    assert (answer.code, answer.body["task"]["status"]) == (200, "cancelled")
    task: Json = client.task(task_id)
    assert task["changed_files"] == ["begun.txt"]
    eventually(lambda: running.sandboxes() == [])


def interrupt(client: Client, task_id: int) -> None:
    """Send a message that interrupts the running turn."""
    body = {"role": "user", "content": "script:\nwrite more.txt here", "run": True}
    answer = client.post(f"/tasks/{task_id}/chat", {**body, "interrupt": True})
    assert (answer.code, answer.body["turn"]["status"]) == (200, "waiting")


def wait_for_the_interrupting_turn(client: Client, task_id: int) -> Json:
    """Wait until the first turn was interrupted and the second is done; return the task."""

    def statuses() -> list[str]:
        turns = client.get(f"/tasks/{task_id}/turns").body["turns"]
        return [turn["status"] for turn in turns]

    eventually(lambda: statuses() == ["cancelled", "completed"])
    return client.task(task_id)


@own_with_all
@local_only
def test_a_turn_is_interrupted_through_the_server_that_does_not_run_it(
    new_pair: Pair, small_repository: str
) -> None:
    running, other = new_pair(3)
    task_id = start_long_nap(running, other, small_repository)
    client = other.client(USER)
    interrupt(client, task_id)
    task = wait_for_the_interrupting_turn(client, task_id)
    assert task["changed_files"] == ["begun.txt", "more.txt"]


@own_with_all
def test_a_turn_that_was_interrupted_when_its_server_died_does_not_go_on_after_the_restart(
    new_pair: Pair, small_repository: str, place: Place
) -> None:
    dying, other = new_pair(60)
    task_id = start_long_nap(dying, other, small_repository)
    client = other.client(USER)
    with dying.asleep():
        interrupt(client, task_id)
        dying.kill()
    dying.start()
    task = wait_for_the_interrupting_turn(client, task_id)
    # A sandbox in the cloud still has the changes that were made until then.
    assert task["changed_files"] == [*(["begun.txt"] if place.cloud else []), "more.txt"]
    eventually(lambda: dying.sandboxes() == [])


@own_with_all
@local_only
def test_a_task_that_waits_is_cancelled_through_either_server(
    new_pair: Pair, small_repository: str
) -> None:
    one, two = (server.client(USER) for server in new_pair(60))
    running = [one.start(LONG_NAP, small_repository) for _ in range(AT_ONCE)]
    waiting = one.start(LONG_NAP, small_repository)
    assert two.post(f"/tasks/{waiting}/cancel").body["task"]["status"] == "cancelled"
    for task_id in running:
        assert one.post(f"/tasks/{task_id}/cancel").code == 200
    assert one.wait_for(waiting)["status"] == "cancelled"
