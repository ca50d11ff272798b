"""With the mode `plan` the agent says what it would do, and the next turn does it."""

from __future__ import annotations

import pytest

from tests.support.backends import Backend, Repository
from tests.turns.steps import complete_turn, turns_of


def test_a_plan_changes_nothing_and_the_next_turn_carries_it_out(
    backend: Backend, sample: Repository
) -> None:
    task = backend.complete("Say hello", sample, mode="plan")
    assert task["changed_files"] == []
    assert task["has_patch"] is False
    assert task["chat_messages"][-1]["content"].startswith("Plan: ")
    row = complete_turn(backend, task["id"], "Do it")
    assert row["changed_files"] == ["AI_GENERATED.md"]
    row = complete_turn(backend, task["id"], "And then?", mode="plan")
    assert row["changed_files"] == ["AI_GENERATED.md"]
    turns = turns_of(backend, task["id"])
    assert [turn["mode"] for turn in turns] == ["plan", "run", "plan"]
    assert [turn["files"] for turn in turns] == [0, 1, 0]


@pytest.mark.cloud_with_all("the place of a plan is shown by the test before")
def test_changes_of_an_agent_that_should_plan_are_not_kept(
    shell: Backend, sample: Repository
) -> None:
    task = shell.complete("echo one >one.txt", sample)
    row = complete_turn(shell, task["id"], "echo two >two.txt", mode="plan")
    assert row["git_patch"] == task["git_patch"]
    assert "was asked for a plan" in row["execution_metadata"]["notes"][0]
    row = complete_turn(shell, task["id"], "ls")
    assert "two.txt" not in shell.output(task["id"])
    assert row["changed_files"] == ["one.txt"]
