"""Messages to a running task wait for their turn, can be taken back, and can interrupt."""

from __future__ import annotations

import pytest

from tests.support.agents.gates import Gate
from tests.support.backends import Backend, Repository
from tests.support.waiting import eventually
from tests.turns.steps import follow_up, own_diff, statuses, turns_of


def start_waiting(backend: Backend, repository: Repository, gate: Gate) -> int:
    """Start a task whose agent waits until the gate exists."""
    task_id = backend.start(f"echo one >one.txt; echo begun; {gate.wait}", repository)
    eventually(lambda: "begun" in backend.output(task_id))
    return task_id


@pytest.mark.cloud_with_all("one turn interrupts another in the cloud")
def test_turns_that_wait_run_in_their_order(shell: Backend, sample: Repository, gate: Gate) -> None:
    task_id = start_waiting(shell, sample, gate)
    assert follow_up(shell, task_id, "cat one.txt >two.txt")["status"] == "waiting"
    assert follow_up(shell, task_id, "cat two.txt >three.txt")["number"] == 3
    gate.open()
    eventually(lambda: set(statuses(shell, task_id)) == {"completed"})
    row = shell.wait(task_id)
    assert row["status"] == "completed"
    assert row["changed_files"] == ["one.txt", "three.txt", "two.txt"]
    assert [turn["files"] for turn in turns_of(shell, task_id)] == [1, 1, 1]
    assert "two.txt" not in own_diff(shell, task_id, 3)


@pytest.mark.cloud_with_all("one turn interrupts another in the cloud")
def test_a_turn_that_waits_can_be_taken_back(
    shell: Backend, sample: Repository, gate: Gate
) -> None:
    task_id = start_waiting(shell, sample, gate)
    follow_up(shell, task_id, "echo two >two.txt")
    follow_up(shell, task_id, "echo three >three.txt")
    assert shell.delete(f"/tasks/{task_id}/turns/2")["http_status"] == 200
    refused = shell.delete(f"/tasks/{task_id}/turns/1")
    assert (refused["http_status"], refused["code"]) == (409, "turn_started")
    assert shell.delete(f"/tasks/{task_id}/turns/2")["http_status"] == 404
    gate.open()
    eventually(lambda: statuses(shell, task_id) == ["completed", "completed"])
    row = shell.wait(task_id)
    assert row["changed_files"] == ["one.txt", "three.txt"]
    said = [one["content"] for one in row["chat_messages"] if one["role"] == "user"]
    assert said[1:] == ["echo three >three.txt"]


@pytest.mark.cloud_with_all("a cancel ends a turn")
def test_an_interrupting_message_ends_the_running_turn_first(
    shell: Backend, sample: Repository, gate: Gate
) -> None:
    task_id = start_waiting(shell, sample, gate)
    follow_up(shell, task_id, "cat one.txt >two.txt", interrupt=True)
    eventually(lambda: statuses(shell, task_id) == ["cancelled", "completed"])
    row = shell.wait(task_id)
    assert (row["status"], row["error"]) == ("completed", None)
    assert row["changed_files"] == ["one.txt", "two.txt"]
    assert turns_of(shell, task_id)[0]["error_code"] == "turn_interrupted"
    assert shell.place.processes(shell.folder) == []


@pytest.mark.cloud_with_all("one turn interrupts another in the cloud")
def test_a_cancel_ends_the_turns_that_wait_as_well(
    shell: Backend, sample: Repository, gate: Gate
) -> None:
    task_id = start_waiting(shell, sample, gate)
    follow_up(shell, task_id, "echo two >two.txt")
    assert shell.post(f"/tasks/{task_id}/cancel")["http_status"] == 200
    row = shell.wait(task_id)
    assert row["status"] == "cancelled"
    assert statuses(shell, task_id) == ["cancelled", "cancelled"]
