"""Sends follow-up messages to tasks and reads their turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.backends import ENDED, Backend, Row, git
from tests.support.waiting import eventually


def follow_up(backend: Backend, task_id: int, prompt: str, **body: Any) -> Row:
    """Send the next message to a task; return its turn."""
    answer = backend.post(f"/tasks/{task_id}/chat", role="user", content=prompt, run=True, **body)
    assert answer["http_status"] == 200, answer
    turn: Row = answer["turn"]
    return turn


def complete_turn(backend: Backend, task_id: int, prompt: str, **body: Any) -> Row:
    """Send the next message to a task that has ended; return its row when it is completed."""
    follow_up(backend, task_id, prompt, **body)
    row = backend.wait(task_id)
    assert row["status"] == "completed", (row["error"], backend.output(task_id))
    return row


def turns_of(backend: Backend, task_id: int) -> list[Row]:
    """Return the turns of a task."""
    turns: list[Row] = backend.get(f"/tasks/{task_id}/turns")["turns"]
    return turns


def statuses(backend: Backend, task_id: int) -> list[str]:
    """Return the status of each turn of a task."""
    return [turn["status"] for turn in turns_of(backend, task_id)]


def own_diff(backend: Backend, task_id: int, number: int) -> str:
    """Return the diff of what one turn has changed."""
    return str(backend.get(f"/tasks/{task_id}/turns/{number}/diff")["git_diff"])


def wait_for_turns(backend: Backend, task_id: int) -> Row:
    """Wait until all turns of a task have ended; return the row of the task.

    Its sandbox may still be there, kept for the next turn.
    """
    eventually(lambda: not {"waiting", "running"} & {*statuses(backend, task_id)})
    eventually(lambda: backend.status(task_id)["status"] in ENDED)
    row: Row = backend.get(f"/tasks/{task_id}")["task"]
    return row


def sandbox_states(backend: Backend, task_id: int) -> list[str]:
    """Return what happened to the sandboxes of a task."""
    events = backend.events(task_id)
    return [event["data"]["state"] for event in events if event["kind"] == "sandbox"]


def check_chain(origin: Path, turns: list[Row], diffs: list[str], clone: Path) -> None:
    """Assert that the diffs of the turns lead from the base to each of their trees."""
    git(origin, "clone", "--quiet", "--", ".", str(clone))
    for turn, diff in zip(turns, diffs, strict=True):
        if turn["tree_before"]:
            assert git(clone, "write-tree") == turn["tree_before"]
        if diff:
            git(clone, "apply", "--index", "--whitespace=nowarn", stdin=diff.encode())
        assert git(clone, "write-tree") == turn["tree_after"]
