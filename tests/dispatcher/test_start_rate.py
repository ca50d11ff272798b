"""How many tasks start together in the cloud, by a clock that only the test moves."""

from __future__ import annotations

from utils.dispatcher.admission import AdmissionController
from utils.dispatcher.start_rate import STARTS_AT_ONCE, STARTS_PER_SECOND
from utils.errors import SandboxQuotaExceeded

MANY = 1000


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def start_all(gate: AdmissionController) -> int:
    """Start as many tasks as the gate lets through now."""
    started = 0
    while started < MANY and gate.may_start():
        gate.starting(started)
        started += 1
    return started


def test_a_gate_without_a_pace_lets_everyone_start_at_once() -> None:
    assert start_all(AdmissionController(Clock())) == MANY


def test_a_paced_gate_lets_some_start_at_once_and_the_others_one_by_one() -> None:
    clock = Clock()
    gate = AdmissionController(clock, paced=True)
    assert abs(start_all(gate) - STARTS_AT_ONCE) <= 1
    for _ in range(5):
        seconds = gate.wait_seconds()
        assert seconds is not None
        assert 0 < seconds <= 1 / STARTS_PER_SECOND + 0.001
        clock.now += seconds + 0.001
        assert start_all(gate) == 1


def test_a_paced_gate_that_rested_lets_no_more_start_at_once_than_a_new_one() -> None:
    clock = Clock()
    gate = AdmissionController(clock, paced=True)
    first = start_all(gate)
    clock.now += 3600
    assert gate.may_start()
    assert abs(start_all(gate) - first) <= 1


def test_a_quota_keeps_a_paced_gate_shut_for_longer_than_its_pace() -> None:
    clock = Clock()
    gate = AdmissionController(clock, paced=True)
    gate.starting(1)
    gate.refused(1, SandboxQuotaExceeded("E2B limit of 1 sandboxes"))
    clock.now += 1
    assert not gate.may_start()
    clock.now += 60
    assert gate.may_start()
