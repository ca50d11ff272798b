"""Tests of the queue: limits, turns between users, and the error when it is full."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.live_server import Client, Json, LiveServer, ServerFactory
from tests.support.waiting import eventually
from utils.dispatcher.sources.fair_queue import FairQueue, Waiting
from utils.errors import QueueFull
from utils.models.tasks import FOLLOW_UP_RANK

pytestmark = pytest.mark.cloud_with_all("the queue is the same for all sandboxes")

SLEEPS = "script:\nsleep 300"
NAPS = "script:\nsleep 0.4"

USERS = st.sampled_from("abc")
RANKS = st.sampled_from((FOLLOW_UP_RANK, -5, 0, 0, 0, 5))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.tuples(USERS, RANKS)),
        st.tuples(st.just("take"), st.sets(USERS)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
    ),
    max_size=40,
)


def everybody(_user: str) -> bool:
    return True


def carry_out(steps: list[tuple[str, object]]) -> Iterator[FairQueue]:
    """Yield the same queue again and again, each time rebuilt from the steps."""
    while True:
        queue = FairQueue(100)
        ids = itertools.count(1)
        for verb, what in steps:
            if verb == "add":
                assert isinstance(what, tuple)
                queue.add(what[0], next(ids), what[1])
            elif verb == "take":
                assert isinstance(what, set)
                queue.pop(what.__contains__)
            else:
                assert isinstance(what, int)
                queue.remove(what)
        yield queue


@given(STEPS)
def test_the_position_is_the_number_of_turns_until_a_task_starts(
    steps: list[tuple[str, object]],
) -> None:
    queues = carry_out(steps)
    queue = next(queues)
    positions = {task_id: queue.position(task_id) for task_id in range(1, 41)}
    order = [taken[1] for _ in range(len(queue)) if (taken := queue.pop(everybody))]
    waiting = {task_id: place for task_id, place in positions.items() if place is not None}
    assert waiting == {task_id: place for place, task_id in enumerate(order, start=1)}


@given(STEPS)
def test_each_user_is_served_in_order_and_nobody_twice_before_the_others(
    steps: list[tuple[str, object]],
) -> None:
    queue = next(carry_out(steps))
    taken = [entry for _ in range(len(queue)) if (entry := queue.pop(everybody))]
    left = len(queue)
    assert left == 0
    for user in "abc":
        own = [(one.rank, one.task_id) for one in taken if one.user_id == user]
        assert own == sorted(own)
        turns = [place for place, one in enumerate(taken) if one.user_id == user]
        for first, second in itertools.pairwise(turns):
            between = [one.user_id for one in taken[first + 1 : second]]
            assert len(between) == len(set(between))


@given(STEPS, st.sets(USERS))
def test_only_users_who_may_run_are_served(
    steps: list[tuple[str, object]], allowed: set[str]
) -> None:
    queue = next(carry_out(steps))
    served = {taken[0] for _ in range(50) if (taken := queue.pop(allowed.__contains__))}
    assert served <= allowed
    assert queue.pop(allowed.__contains__) is None


def test_reservations_count_until_they_are_given_back() -> None:
    queue = FairQueue(2)
    queue.reserve("a")
    queue.add("a", 1)
    with pytest.raises(QueueFull):
        queue.reserve("a")
    queue.release("a")
    queue.reserve("a")


def test_one_of_two_reservations_counts_until_it_is_given_back_too() -> None:
    queue = FairQueue(2)
    queue.reserve("a")
    queue.reserve("a")
    queue.release("a")
    queue.reserve("a")
    with pytest.raises(QueueFull):
        queue.reserve("a")


def test_a_user_of_whom_nothing_waits_gets_a_place_in_a_full_queue() -> None:
    queue = FairQueue(1)
    for user in ("a", "b"):
        queue.reserve(user)
        queue.add(user, ord(user))
        queue.release(user)
    for user in ("a", "b", "c"):
        with pytest.raises(QueueFull):
            queue.reserve(user)


def test_only_a_user_without_waiting_and_reserved_tasks_gets_a_place_in_a_full_queue() -> None:
    waiting, reserved = FairQueue(2), FairQueue(1)
    for task_id in (1, 2):
        waiting.add("a", task_id)
    reserved.reserve("a")
    for queue in (waiting, reserved):
        with pytest.raises(QueueFull):
            queue.reserve("a")
        queue.reserve("b")


def test_a_user_with_the_most_waiting_tasks_leaves_room_for_others() -> None:
    queue = FairQueue(20, 5)
    for task_id in range(5):
        queue.reserve("greedy")
        queue.add("greedy", task_id)
        queue.release("greedy")
    with pytest.raises(QueueFull, match="MAX_QUEUED_PER_USER") as refused:
        queue.reserve("greedy")
    assert refused.value.retry_after_seconds
    for _ in range(5):
        queue.reserve("modest")
    assert queue.pop(everybody)
    queue.reserve("greedy")


def test_the_queue_contains_a_task_until_it_is_popped() -> None:
    queue = FairQueue(1)
    assert 1 not in queue
    queue.add("a", 1)
    assert 1 in queue
    queue.pop(everybody)
    assert 1 not in queue


def test_only_a_task_that_waits_is_removed() -> None:
    queue = FairQueue(1)
    queue.add("a", 1)
    assert queue.remove(1)
    assert queue.remove(1) is False


def running(client: Client) -> int:
    tasks = client.get("/tasks?limit=100").body["tasks"].values()
    return [task["status"] for task in tasks].count("running")


def post(client: Client, prompt: str, repository: str, times: int) -> list[int]:
    return [client.start(prompt, repository) for _ in range(times)]


def test_no_more_tasks_run_at_once_than_allowed(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=3)
    server.start()
    clients = [server.client() for _ in range(2)]
    ids = [(client, post(client, NAPS, small_repository, 6)) for client in clients]

    def all_completed() -> bool:
        assert clients[0].get("/health/ready").body["running"] <= 3
        return all(client.status(own[-1])["status"] == "completed" for client, own in ids)

    eventually(all_completed)
    rows = [client.wait_for(task_id, "completed") for client, own in ids for task_id in own]
    assert most_at_once(rows) == 3


def most_at_once(rows: list[Json]) -> int:
    """Return the largest number of tasks that ran at the same time."""
    steps = [(row["started_at"], 1) for row in rows] + [(row["completed_at"], -1) for row in rows]
    return max(itertools.accumulate(step for _, step in sorted(steps)))


def test_one_user_runs_no_more_tasks_than_allowed_and_leaves_room_for_others(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=4, MAX_TASKS_PER_USER=2)
    server.start()
    greedy, modest = server.client(), server.client()
    ids = post(greedy, SLEEPS, small_repository, 4)
    eventually(lambda: running(greedy) == 2)
    quick = modest.start("Quick", small_repository)
    assert modest.wait_for(quick)["status"] == "completed"
    assert running(greedy) == 2
    assert greedy.post(f"/tasks/{ids[0]}/cancel").code == 200
    greedy.wait_for(ids[2], "agent")
    assert running(greedy) == 2


def test_one_task_of_another_user_does_not_wait_for_many(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=2)
    server.start()
    greedy, modest = server.client(), server.client()
    post(greedy, "script:\nsleep 0.2", small_repository, 30)
    single = modest.start("Single", small_repository)
    assert modest.status(single).get("queue_position", 1) <= 2
    modest.wait_for(single, "completed")
    assert greedy.get("/health/ready").body["queued"] > 15


def test_the_position_in_the_queue_is_told_and_falls(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1)
    server.start()
    client = server.client()
    first, *others = post(client, SLEEPS, small_repository, 5)
    client.wait_for(first, "agent")
    assert "queue_position" not in client.status(first)
    assert [client.status(task)["queue_position"] for task in others] == [1, 2, 3, 4]
    other_user = server.client()
    assert other_user.status(other_user.start(SLEEPS, small_repository))["queue_position"] == 2
    assert client.post(f"/tasks/{others[0]}/cancel").code == 200
    assert [client.status(task)["queue_position"] for task in others[1:]] == [1, 3, 4]
    assert client.post(f"/tasks/{first}/cancel").code == 200
    client.wait_for(others[1], "running")
    assert [client.status(task)["queue_position"] for task in others[2:]] == [2, 3]


@pytest.mark.local_only("in the cloud the task that runs goes on after the restart")
def test_a_user_chooses_which_own_tasks_start_first_and_overtakes_nobody_else(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1)
    server.start()
    client, other = server.client(), server.client()
    ended = client.start("Done", small_repository)
    client.wait_for(ended, "completed")
    begun = client.start(SLEEPS, small_repository)
    client.wait_for(begun, "agent")
    low, normal, high, seven = (
        client.start(SLEEPS, small_repository, priority=priority)
        for priority in ("low", "normal", "high", 7)
    )
    message = {"role": "user", "content": SLEEPS, "run": True}
    assert client.post(f"/tasks/{ended}/chat", message).code == 200
    theirs = other.start(SLEEPS, small_repository)
    expected = {ended: 1, seven: 3, high: 4, normal: 5, low: 6}
    assert {one: client.status(one)["queue_position"] for one in expected} == expected
    assert other.status(theirs)["queue_position"] == 2
    server.kill()
    server.start()
    client = server.client(client.user_id)
    other = server.client(other.user_id)
    client.wait_for(ended, "agent")
    expected = {seven: 2, high: 3, begun: 4, normal: 5, low: 6}
    assert {one: client.status(one)["queue_position"] for one in expected} == expected
    assert other.status(theirs)["queue_position"] == 1


def test_a_full_queue_says_when_to_come_back_and_makes_no_row(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1, MAX_QUEUED_TASKS=5)
    server.start()
    client = server.client()
    client.wait_for(client.start(SLEEPS, small_repository), "agent")
    body = {"prompt": SLEEPS, "repo_url": small_repository}
    clients = [server.client(client.user_id) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: one.post("/start-task", body), clients))
    refused = [answer for answer in answers if answer.code != 200]
    assert [(answer.code, answer.body["code"]) for answer in refused] == [(429, "queue_full")] * 3
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    assert client.get("/tasks").body["total_tasks"] == 6
    check_room(server, client, body)


def test_one_user_cannot_fill_the_queue_for_others(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1, MAX_QUEUED_TASKS=20)
    server.start()
    greedy, modest = server.client(), server.client()
    greedy.wait_for(greedy.start(SLEEPS, small_repository), "agent")
    body = {"prompt": SLEEPS, "repo_url": small_repository}
    answers = [greedy.post("/start-task", body) for _ in range(21)]
    assert [answer.code for answer in answers] == [200] * 5 + [429] * 16
    assert "MAX_QUEUED_PER_USER" in answers[-1].body["error"]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert [modest.post("/start-task", body).code for _ in range(5)] == [200] * 5


def check_room(server: LiveServer, client: Client, body: dict[str, str]) -> None:
    waiting = [
        int(task_id)
        for task_id, task in client.get("/tasks").body["tasks"].items()
        if task["status"] == "pending"
    ]
    assert client.post("/start-task", body).code == 429
    assert client.post(f"/tasks/{waiting[0]}/cancel").code == 200
    assert client.post("/start-task", body).code == 200


def test_a_requeued_task_is_the_next_of_its_user_again() -> None:
    queue = FairQueue(10)
    for task_id in (1, 2, 3):
        queue.add("user", task_id)
    assert queue.pop(everybody) == ("user", 1, 0)
    queue.add("user", 1)
    assert [queue.position(task_id) for task_id in (1, 2, 3)] == [1, 2, 3]
    assert [queue.pop(everybody) for _ in range(3)] == [("user", one, 0) for one in (1, 2, 3)]


def test_a_task_that_is_added_or_requeued_twice_is_popped_once() -> None:
    queue = FairQueue(10)
    queue.add("user", 1)
    queue.add("user", 1)
    queue.add("user", 1)
    assert queue.pop(lambda _: True) == ("user", 1, 0)
    queue.add("user", 1)
    queue.add("user", 1)
    assert queue.pop(lambda _: True) == ("user", 1, 0)
    assert queue.pop(lambda _: True) is None


def test_a_replaced_queue_holds_the_given_tasks_alone_and_keeps_reservations() -> None:
    queue = FairQueue(3)
    queue.add("one", 1)
    queue.add("two", 2)
    queue.reserve("two")
    queue.replace({2: Waiting("two"), 3: Waiting("one")})
    assert [queue.position(task_id) for task_id in (1, 2, 3)] == [None, 1, 2]
    assert len(queue) == 2
    with pytest.raises(QueueFull):
        queue.reserve("one")
