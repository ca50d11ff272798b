"""Whether a task may ask for a sandbox, after how it went for others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.dispatcher import admission as start_gate
from utils.dispatcher.admission import FAILURES_TO_OPEN, QUOTA_MEMORY_SECONDS, AdmissionController
from utils.errors import SandboxError, SandboxQuotaExceeded, SandboxUnavailable

AWAY = SandboxUnavailable("E2B is away.")
QUOTA = SandboxQuotaExceeded("E2B limit of 5 sandboxes")
LONG = 3 * start_gate.LONGEST_PAUSE_SECONDS


class Clock:
    """A time that tests move on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> AdmissionController:
    return AdmissionController(clock)


def is_free(gate: AdmissionController) -> bool:
    in_the_way = gate.reason is not None or gate.is_tripped
    return not in_the_way and gate.may_start() and gate.wait_seconds() is None


def start_all(gate: AdmissionController, tasks: range) -> list[int]:
    """Start tasks as long as the gate lets them; return which."""
    started = []
    for task in tasks:
        if not gate.may_start():
            break
        gate.starting(task)
        started.append(task)
    return started


def refuse(gate: AdmissionController, tasks: range, error: SandboxError) -> None:
    for task in tasks:
        gate.refused(task, error)
        gate.closed(task)


def trip(gate: AdmissionController) -> None:
    refuse(gate, range(start_all(gate, range(FAILURES_TO_OPEN))[-1] + 1), AWAY)


def test_nothing_is_in_the_way_at_first(gate: AdmissionController) -> None:
    assert start_all(gate, range(1000)) == [*range(1000)]
    assert is_free(gate)


def test_fewer_failures_in_a_row_do_not_open_the_breaker(gate: AdmissionController) -> None:
    for task in range(20):
        gate.starting(task)
        if task % FAILURES_TO_OPEN:
            gate.refused(task, AWAY)
        else:
            gate.opened(task)
        gate.closed(task)
    assert is_free(gate)


def test_an_open_breaker_lets_one_probe_through_at_a_time(
    gate: AdmissionController, clock: Clock
) -> None:
    trip(gate)
    assert gate.reason == "waiting: E2B is away."
    assert start_all(gate, range(10, 20)) == []
    clock.now += LONG
    assert start_all(gate, range(10, 20)) == [10]
    gate.refused(10, AWAY)
    assert start_all(gate, range(20, 30)) == []
    clock.now += LONG
    assert start_all(gate, range(20, 30)) == [20]
    gate.opened(20)
    assert is_free(gate)
    assert start_all(gate, range(30, 40)) == [*range(30, 40)]


def test_a_crowd_that_asked_before_counts_as_one_failure(
    gate: AdmissionController, clock: Clock
) -> None:
    crowd = range(start_all(gate, range(300))[-1] + 1)
    refuse(gate, crowd, AWAY)
    assert gate.failures == FAILURES_TO_OPEN
    clock.now += 1.2 * start_gate.FIRST_PAUSE_SECONDS
    assert gate.may_start()


def test_a_late_refusal_lets_no_second_probe_through(
    gate: AdmissionController, clock: Clock
) -> None:
    start_all(gate, range(100, 110))
    refuse(gate, range(100, 109), AWAY)
    clock.now += LONG
    gate.starting(1)
    gate.refused(109, AWAY)
    gate.closed(109)
    clock.now += LONG
    assert not gate.may_start()


def test_a_probe_that_leaves_without_a_word_makes_way(
    gate: AdmissionController, clock: Clock
) -> None:
    trip(gate)
    clock.now += LONG
    gate.starting(50)
    assert not gate.may_start()
    gate.closed(50)
    assert gate.may_start()


def test_a_cloud_that_answers_closes_a_breaker_that_nobody_probes(
    gate: AdmissionController, clock: Clock
) -> None:
    trip(gate)
    gate.reachable()
    assert gate.is_tripped
    clock.now += LONG
    gate.reachable()
    assert is_free(gate)


def test_a_probe_decides_although_the_cloud_answers(
    gate: AdmissionController, clock: Clock
) -> None:
    trip(gate)
    clock.now += LONG
    gate.starting(50)
    gate.reachable()
    assert gate.is_tripped
    gate.refused(50, AWAY)
    gate.reachable()
    assert gate.reason == "waiting: E2B is away."


@pytest.mark.parametrize("passed_seconds", [0.0, 5.0])
def test_whoever_is_denied_hears_when_to_ask_again(clock: Clock, passed_seconds: float) -> None:
    gate = AdmissionController(clock, paced=True)
    crowd = start_all(gate, range(100))
    assert len(crowd) < 100
    clock.now += passed_seconds
    assert (gate.wait_seconds() or 0.0) > 0
    clock.now += 5
    assert gate.may_start()
    assert gate.wait_seconds() is None


def test_pauses_grow_to_a_minute(gate: AdmissionController, clock: Clock) -> None:
    trip(gate)
    pauses = []
    for probe in range(10):
        pauses.append(gate.wait_seconds() or 0.0)
        clock.now += LONG
        gate.starting(probe)
        gate.refused(probe, AWAY)
    assert pauses[0] < pauses[2] < pauses[4]
    assert max(pauses) <= 1.2 * start_gate.LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("opened_first", [True, False])
def test_a_quota_is_learned_from_a_crowd(gate: AdmissionController, opened_first: bool) -> None:
    start_all(gate, range(30))
    for first in (opened_first, not opened_first):
        if first:
            for task in range(5):
                gate.opened(task)
        else:
            refuse(gate, range(5, 30), QUOTA)
    assert gate.reason == "waiting: E2B limit of 5 sandboxes"
    assert not gate.is_tripped
    assert start_all(gate, range(30, 60)) == []
    gate.closed(0)
    assert start_all(gate, range(30, 60)) == [30]


def test_one_more_is_tried_now_and_then_and_then_the_next(
    gate: AdmissionController, clock: Clock
) -> None:
    start_all(gate, range(30))
    for task in range(5):
        gate.opened(task)
    refuse(gate, range(5, 30), QUOTA)
    clock.now += 2 * start_gate.QUOTA_PAUSE_SECONDS
    assert start_all(gate, range(30, 60)) == [30]
    gate.opened(30)
    assert start_all(gate, range(31, 60)) == [31]
    gate.refused(31, QUOTA)
    assert start_all(gate, range(32, 60)) == []
    gate.closed(0)
    assert start_all(gate, range(32, 60)) == [32]


def test_a_quota_without_refusals_is_forgotten(gate: AdmissionController, clock: Clock) -> None:
    gate.starting(1)
    refuse(gate, range(1, 2), QUOTA)
    clock.now += QUOTA_MEMORY_SECONDS + 1
    assert gate.reason is None
    assert start_all(gate, range(50)) == [*range(50)]


def test_a_quota_means_that_the_cloud_answers(gate: AdmissionController, clock: Clock) -> None:
    trip(gate)
    clock.now += LONG
    gate.starting(9)
    gate.refused(9, QUOTA)
    assert not gate.is_tripped
    assert gate.reason == "waiting: E2B limit of 5 sandboxes"


WORDS = st.sampled_from(["start", "open", "away", "quota", "close", "wait"])


@given(st.lists(st.tuples(WORDS, st.integers(0, 8)), max_size=80))
def test_whatever_happens_somebody_may_start_in_the_end(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    gate = AdmissionController(clock)
    inside: set[int] = set()
    for word, task in steps:
        match word:
            case "start" if task not in inside and gate.may_start():
                gate.starting(task)
                inside.add(task)
            case "open" if task in inside:
                gate.opened(task)
            case "away" | "quota" if task in inside:
                gate.refused(task, AWAY if word == "away" else QUOTA)
            case "close":
                gate.closed(task)
                inside.discard(task)
            case "wait":
                clock.now += task * 10
    for task in inside:
        gate.closed(task)
    clock.now += LONG
    assert gate.may_start()
