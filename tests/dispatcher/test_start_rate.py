"""Tests of the rate limit on task starts, with a clock that the test moves."""

from __future__ import annotations

from utils.dispatcher.admission import BURST_STARTS, STARTS_PER_SECOND, AdmissionController
from utils.errors import SandboxQuotaExceeded

MANY = 1000


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def start_all(admission: AdmissionController) -> int:
    """Start as many tasks as are admitted now; return their number."""
    started = 0
    while started < MANY and admission.may_start():
        admission.record_start(started)
        started += 1
    return started


def test_without_a_rate_limit_all_tasks_start_at_once() -> None:
    assert start_all(AdmissionController(Clock())) == MANY


def test_a_rate_limit_allows_a_burst_and_then_one_start_after_the_other() -> None:
    clock = Clock()
    admission = AdmissionController(clock, paced=True)
    assert abs(start_all(admission) - BURST_STARTS) <= 1
    for _ in range(5):
        seconds = admission.wait_seconds()
        assert seconds is not None
        assert 0 < seconds <= 1 / STARTS_PER_SECOND + 0.001
        clock.now += seconds + 0.001
        assert start_all(admission) == 1


def test_a_long_rest_does_not_enlarge_the_burst() -> None:
    clock = Clock()
    admission = AdmissionController(clock, paced=True)
    first = start_all(admission)
    clock.now += 3600
    assert admission.may_start()
    assert abs(start_all(admission) - first) <= 1


def test_a_reached_quota_delays_starts_longer_than_the_rate_limit() -> None:
    clock = Clock()
    admission = AdmissionController(clock, paced=True)
    admission.record_start(1)
    admission.record_refusal(1, SandboxQuotaExceeded("E2B limit of 1 sandboxes"))
    clock.now += 1
    assert not admission.may_start()
    clock.now += 60
    assert admission.may_start()
