"""Tests of admission control: breaker, quota, probes, rate limit; the test moves the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.dispatcher.admission import (
    BURST_STARTS,
    FAILURES_TO_TRIP,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    QUOTA_EXPIRY_SECONDS,
    QUOTA_PAUSE_SECONDS,
    STARTS_PER_SECOND,
    AdmissionController,
)
from utils.errors import SandboxError, SandboxQuotaExceeded, SandboxUnavailable

AWAY = SandboxUnavailable("E2B is away.")
QUOTA = SandboxQuotaExceeded("E2B limit of 5 sandboxes")
LONG = 3 * LONGEST_PAUSE_SECONDS
MANY = range(1000)


class Clock:
    """A clock that only the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> AdmissionController:
    return AdmissionController(clock)


def admits_at_once(admission: AdmissionController) -> bool:
    is_blocked = admission.reason is not None or admission.is_tripped
    return not is_blocked and admission.may_start() and admission.wait_seconds() is None


def start_all(admission: AdmissionController, tasks: range) -> list[int]:
    """Start tasks as long as they are admitted; return the started ones."""
    started = []
    for task in tasks:
        if not admission.may_start():
            break
        admission.record_start(task)
        started.append(task)
    return started


def refuse(admission: AdmissionController, tasks: range, error: SandboxError) -> None:
    for task in tasks:
        admission.record_refusal(task, error)
        admission.record_end(task)


def trip(admission: AdmissionController) -> None:
    refuse(admission, range(start_all(admission, range(FAILURES_TO_TRIP))[-1] + 1), AWAY)


def test_all_tasks_are_admitted_at_first(admission: AdmissionController) -> None:
    assert start_all(admission, range(1000)) == [*range(1000)]
    assert admits_at_once(admission)


def test_fewer_failures_in_a_row_do_not_open_the_breaker(admission: AdmissionController) -> None:
    for task in range(20):
        admission.record_start(task)
        if task % FAILURES_TO_TRIP:
            admission.record_refusal(task, AWAY)
        else:
            admission.record_opened(task)
        admission.record_end(task)
        assert admits_at_once(admission)


def test_the_third_failure_in_a_row_opens_the_breaker(admission: AdmissionController) -> None:
    start_all(admission, range(3))
    for task in range(3):
        assert not admission.is_tripped
        admission.record_refusal(task, AWAY)
    assert admission.is_tripped


def test_a_quota_ends_a_row_of_failures(admission: AdmissionController) -> None:
    start_all(admission, range(10))
    refuse(admission, range(FAILURES_TO_TRIP - 1), AWAY)
    refuse(admission, range(3, 4), QUOTA)
    refuse(admission, range(4, 4 + FAILURES_TO_TRIP - 1), AWAY)
    assert not admission.is_tripped
    refuse(admission, range(8, 9), AWAY)
    assert admission.is_tripped


def test_only_a_cloud_that_is_away_opens_the_breaker(admission: AdmissionController) -> None:
    crowd = start_all(admission, range(2 * FAILURES_TO_TRIP))
    refuse(admission, range(len(crowd)), SandboxError("E2B does not know the template."))
    assert admits_at_once(admission)


def test_answers_to_other_requests_do_not_interrupt_a_row_of_failures(
    admission: AdmissionController,
) -> None:
    start_all(admission, range(FAILURES_TO_TRIP))
    for task in range(FAILURES_TO_TRIP):
        admission.record_reachable()
        admission.record_refusal(task, AWAY)
    assert admission.is_tripped


def test_an_open_breaker_lets_one_probe_through_at_a_time(
    admission: AdmissionController, clock: Clock
) -> None:
    trip(admission)
    assert admission.reason == "waiting: E2B is away."
    assert start_all(admission, range(10, 20)) == []
    clock.now += LONG
    assert start_all(admission, range(10, 20)) == [10]
    admission.record_refusal(10, AWAY)
    assert start_all(admission, range(20, 30)) == []
    clock.now += LONG
    assert start_all(admission, range(20, 30)) == [20]
    admission.record_opened(20)
    assert admits_at_once(admission)
    assert start_all(admission, range(30, 40)) == [*range(30, 40)]


def test_refusals_of_requests_made_before_the_breaker_tripped_do_not_lengthen_the_pause(
    admission: AdmissionController, clock: Clock
) -> None:
    crowd = range(start_all(admission, range(300))[-1] + 1)
    refuse(admission, crowd, AWAY)
    assert admission.failures == FAILURES_TO_TRIP
    clock.now += 1.2 * FIRST_PAUSE_SECONDS
    assert admission.may_start()


def test_a_late_refusal_lets_no_second_probe_through(
    admission: AdmissionController, clock: Clock
) -> None:
    start_all(admission, range(100, 110))
    refuse(admission, range(100, 109), AWAY)
    clock.now += LONG
    admission.record_start(1)
    admission.record_refusal(109, AWAY)
    admission.record_end(109)
    clock.now += LONG
    assert not admission.may_start()


def test_a_probe_that_ends_without_a_result_allows_another_probe(
    admission: AdmissionController, clock: Clock
) -> None:
    trip(admission)
    clock.now += LONG
    admission.record_start(50)
    assert not admission.may_start()
    admission.record_end(50)
    assert admission.may_start()


def test_another_answer_of_the_cloud_closes_a_breaker_without_a_probe(
    admission: AdmissionController, clock: Clock
) -> None:
    trip(admission)
    admission.record_reachable()
    assert admission.is_tripped
    clock.now += LONG
    admission.record_reachable()
    assert admits_at_once(admission)
    assert admission.failures == 0


def test_a_running_probe_decides_even_when_the_cloud_answers_other_requests(
    admission: AdmissionController, clock: Clock
) -> None:
    trip(admission)
    clock.now += LONG
    admission.record_start(50)
    admission.record_reachable()
    assert admission.is_tripped
    admission.record_refusal(50, AWAY)
    admission.record_reachable()
    assert admission.reason == "waiting: E2B is away."


@pytest.mark.parametrize("passed_seconds", [0.0, 5.0])
def test_a_denied_caller_is_told_when_to_ask_again(clock: Clock, passed_seconds: float) -> None:
    admission = AdmissionController(clock, paced=True)
    crowd = start_all(admission, range(100))
    assert len(crowd) < 100
    clock.now += passed_seconds
    assert (admission.wait_seconds() or 0.0) > 0
    clock.now += 5
    assert admission.may_start()
    assert admission.wait_seconds() is None


def pauses_of_refused_probes(
    admission: AdmissionController, clock: Clock, probes: int
) -> list[float]:
    """Trip the breaker and refuse each probe; return the pause before each, in seconds."""
    trip(admission)
    pauses = []
    for probe in range(probes):
        pauses.append(admission.wait_seconds() or 0.0)
        clock.now += LONG
        admission.record_start(probe)
        admission.record_refusal(probe, AWAY)
    return pauses


def test_pauses_double_from_two_seconds_to_a_minute(
    admission: AdmissionController, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _least, _most: 1.0)
    pauses = pauses_of_refused_probes(admission, clock, 8)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_pauses_grow_to_a_minute(admission: AdmissionController, clock: Clock) -> None:
    pauses = pauses_of_refused_probes(admission, clock, 10)
    assert pauses[0] < pauses[2] < pauses[4]
    assert max(pauses) <= 1.2 * LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("opened_first", [True, False])
def test_a_quota_is_learned_from_a_crowd(
    admission: AdmissionController, opened_first: bool
) -> None:
    start_all(admission, range(30))
    for first in (opened_first, not opened_first):
        if first:
            for task in range(5):
                admission.record_opened(task)
        else:
            refuse(admission, range(5, 30), QUOTA)
    assert admission.reason == "waiting: E2B limit of 5 sandboxes"
    assert not admission.is_tripped
    assert start_all(admission, range(30, 60)) == []
    admission.record_end(0)
    assert start_all(admission, range(30, 60)) == [30]


def test_a_quota_that_has_shrunk_is_learned_too(
    admission: AdmissionController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _least, _most: 1.0)
    for task in start_all(admission, range(6)):
        admission.record_opened(task)
    for task in range(3):
        admission.record_end(task)
    admission.record_start(10)
    admission.record_refusal(10, QUOTA)
    assert start_all(admission, range(11, 20)) == []
    assert admission.wait_seconds() == 5


def test_a_successful_probe_of_a_quota_is_followed_by_the_next_one(
    admission: AdmissionController, clock: Clock
) -> None:
    start_all(admission, range(30))
    for task in range(5):
        admission.record_opened(task)
    refuse(admission, range(5, 30), QUOTA)
    clock.now += 2 * QUOTA_PAUSE_SECONDS
    assert start_all(admission, range(30, 60)) == [30]
    admission.record_opened(30)
    assert start_all(admission, range(31, 60)) == [31]
    admission.record_refusal(31, QUOTA)
    assert start_all(admission, range(32, 60)) == []
    admission.record_end(0)
    assert start_all(admission, range(32, 60)) == [32]


def test_a_successful_probe_of_a_quota_ends_the_pause_of_a_late_refusal(
    admission: AdmissionController, clock: Clock
) -> None:
    start_all(admission, range(30))
    for task in range(5):
        admission.record_opened(task)
    refuse(admission, range(5, 29), QUOTA)
    clock.now += 2 * QUOTA_PAUSE_SECONDS
    assert start_all(admission, range(30, 60)) == [30]
    refuse(admission, range(29, 30), QUOTA)
    admission.record_opened(30)
    assert start_all(admission, range(31, 60)) == [31]


def test_a_quota_without_refusals_is_forgotten(
    admission: AdmissionController, clock: Clock
) -> None:
    admission.record_start(1)
    refuse(admission, range(1, 2), QUOTA)
    clock.now += QUOTA_EXPIRY_SECONDS + 1
    assert admission.reason is None
    assert start_all(admission, range(50)) == [*range(50)]


def test_a_quota_means_that_the_cloud_answers(admission: AdmissionController, clock: Clock) -> None:
    trip(admission)
    clock.now += LONG
    admission.record_start(9)
    admission.record_refusal(9, QUOTA)
    assert not admission.is_tripped
    assert admission.reason == "waiting: E2B limit of 5 sandboxes"


def test_without_a_rate_limit_all_tasks_start_at_once() -> None:
    assert len(start_all(AdmissionController(Clock()), MANY)) == len(MANY)


def test_a_rate_limit_allows_a_burst_and_then_one_start_after_the_other(clock: Clock) -> None:
    admission = AdmissionController(clock, paced=True)
    assert abs(len(start_all(admission, MANY)) - BURST_STARTS) <= 1
    for _ in range(5):
        seconds = admission.wait_seconds()
        assert seconds is not None
        assert 0 < seconds <= 1 / STARTS_PER_SECOND + 0.001
        clock.now += seconds + 0.001
        assert len(start_all(admission, MANY)) == 1


def test_a_long_rest_does_not_enlarge_the_burst(clock: Clock) -> None:
    admission = AdmissionController(clock, paced=True)
    first = len(start_all(admission, MANY))
    clock.now += 3600
    assert admission.may_start()
    assert abs(len(start_all(admission, MANY)) - first) <= 1


def test_a_reached_quota_delays_starts_longer_than_the_rate_limit(clock: Clock) -> None:
    admission = AdmissionController(clock, paced=True)
    admission.record_start(1)
    admission.record_refusal(1, SandboxQuotaExceeded("E2B limit of 1 sandboxes"))
    clock.now += 1
    assert not admission.may_start()
    clock.now += 60
    assert admission.may_start()


def test_as_many_tasks_may_be_claimed_as_may_start(clock: Clock) -> None:
    paced = AdmissionController(clock, paced=True)
    assert paced.most_starts() == BURST_STARTS
    started = start_all(paced, MANY)
    assert paced.most_starts() == 0
    clock.now += 3.5 / STARTS_PER_SECOND
    assert paced.most_starts() == 3
    assert len(start_all(paced, range(1000, 1100))) == 3
    for task in started[:2]:
        paced.record_opened(task)
    clock.now += LONG
    # The quota is that of the two sandboxes that are open.
    paced.record_refusal(started[2], QUOTA)
    assert paced.most_starts() == 0
    clock.now += 10
    assert paced.most_starts() == 1


WORDS = st.sampled_from(["start", "open", "away", "quota", "close", "wait"])


@given(st.lists(st.tuples(WORDS, st.integers(0, 8)), max_size=80))
def test_a_task_is_always_admitted_again_in_the_end(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    admission = AdmissionController(clock)
    inside: set[int] = set()
    for word, task in steps:
        match word:
            case "start" if task not in inside and admission.may_start():
                admission.record_start(task)
                inside.add(task)
            case "open" if task in inside:
                admission.record_opened(task)
            case "away" | "quota" if task in inside:
                admission.record_refusal(task, AWAY if word == "away" else QUOTA)
            case "close":
                admission.record_end(task)
                inside.discard(task)
            case "wait":
                clock.now += task * 10
    for task in inside:
        admission.record_end(task)
    clock.now += LONG
    assert admission.may_start()
