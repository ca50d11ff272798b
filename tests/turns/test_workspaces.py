"""The sandbox of a task that has ended is kept for a while, and its next turn goes on in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, open_backend, shell_agent
from tests.support.places import Place
from tests.support.waiting import eventually
from tests.turns.steps import (
    check_chain,
    follow_up,
    own_diff,
    sandbox_states,
    turns_of,
    wait_for_turns,
)

MARK = "echo here >~/mark; echo one >one.txt; git commit --quiet --allow-empty -m Mine"
LOOK = "cat ~/mark; echo two >>one.txt; echo 'build' >.gitignore; mkdir build; echo x >build/x"
AGAIN = "ls build; rm one.txt; echo three >three.txt"


@pytest.fixture
def keeping(open_with: Open) -> Iterator[Backend]:
    """Provide a backend that keeps sandboxes, with a shell as its agent."""
    with shell_agent():
        yield open_with(workspace_ttl_seconds=600)


def ended(backend: Backend, task_id: int, prompt: str = "") -> list[str]:
    """Send a message, if any, and return what happened to the sandboxes until its turn ended."""
    if prompt:
        follow_up(backend, task_id, prompt)
    row = wait_for_turns(backend, task_id)
    assert row["status"] == "completed", (row["error"], backend.output(task_id))
    return sandbox_states(backend, task_id)


def test_the_next_turns_go_on_in_the_same_sandbox(
    keeping: Backend, sample: Repository, tmp_path: Path
) -> None:
    task_id = keeping.start(MARK, sample)
    assert ended(keeping, task_id) == ["created", "paused"]
    assert keeping.place.processes(keeping.folder) == [] or keeping.place.cloud
    assert ended(keeping, task_id, LOOK)[2:] == ["resumed", "paused"]
    assert ended(keeping, task_id, AGAIN)[4:] == ["resumed", "paused"]
    # The file is outside of the repository, and the folder is left out of the result.
    assert "here" in keeping.output(task_id)
    assert "x\n" in keeping.output(task_id)
    turns = turns_of(keeping, task_id)
    diffs = [own_diff(keeping, task_id, turn["number"]) for turn in turns]
    check_chain(sample.folder, turns, diffs, tmp_path / "chain")
    row = keeping.get(f"/tasks/{task_id}")["task"]
    assert row["changed_files"] == [".gitignore", "three.txt"]
    assert keeping.delete(f"/tasks/{task_id}")["http_status"] == 200
    eventually(lambda: keeping.sandboxes == [])


@pytest.mark.cloud_with_all("others go on in a kept sandbox of the cloud")
def test_a_turn_that_waits_goes_on_in_the_same_sandbox(
    keeping: Backend, sample: Repository
) -> None:
    task_id = keeping.start(f"{MARK}; sleep 1", sample)
    follow_up(keeping, task_id, LOOK)
    assert ended(keeping, task_id)[:3] == ["created", "paused", "resumed"]
    assert "here" in keeping.output(task_id)


@pytest.mark.cloud_with_all("others go on in a kept sandbox of the cloud")
def test_a_sandbox_is_kept_for_its_time_only(open_with: Open, sample: Repository) -> None:
    backend = open_with(workspace_ttl_seconds=1)
    with shell_agent():
        task_id = backend.start(MARK, sample)
        ended(backend, task_id)
        eventually(lambda: backend.sandboxes == [])
        assert ended(backend, task_id, "cat ~/mark; echo two >>one.txt")[2] == "created"
    assert "here" not in backend.output(task_id)


@pytest.mark.cloud_with_all("others go on in a kept sandbox of the cloud")
def test_sandboxes_above_the_limit_and_of_cancelled_tasks_are_not_kept(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(workspace_ttl_seconds=8, max_workspaces=1)
    with shell_agent():
        first, second = backend.start(MARK, sample), backend.start(MARK, sample)
        ended(backend, first)
        ended(backend, second)
        eventually(lambda: len(backend.sandboxes) <= 1)
        third = backend.start(f"{MARK}; echo begun; sleep 300", sample)
        eventually(lambda: "begun" in backend.output(third))
        assert backend.post(f"/tasks/{third}/cancel")["http_status"] == 200
        eventually(lambda: third not in [one.task_id for one in backend.sandboxes])


def test_a_restarted_server_finds_the_kept_sandboxes(
    place: Place, sample: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    with shell_agent():
        with open_backend(folder, place, workspace_ttl_seconds=600) as backend:
            kept, deleted = backend.start(MARK, sample), backend.start(MARK, sample)
            ended(backend, kept)
            ended(backend, deleted)
            eventually(lambda: len(backend.sandboxes) == 2)
        with open_backend(folder, place, workspace_ttl_seconds=600) as backend:
            assert len(backend.sandboxes) == 2
            assert backend.delete(f"/tasks/{deleted}")["http_status"] == 200
            assert ended(backend, kept, LOOK)[2:] == ["resumed", "paused"]
            assert "here" in backend.output(kept)
            assert [one.task_id for one in backend.sandboxes] == [kept]


def test_changes_that_a_pause_has_lost_are_made_again_in_another_sandbox(
    keeping: Backend, sample: Repository
) -> None:
    task_id = keeping.start(MARK, sample)
    ended(keeping, task_id)
    [kept] = keeping.sandboxes
    (kept.repository / "one.txt").unlink()
    states = ended(keeping, task_id, LOOK)
    assert states[2:] == ["resumed", "lost", "created", "paused"]
    assert "here" not in keeping.output(task_id)
    eventually(lambda: kept.name not in [one.name for one in keeping.sandboxes])
    row = keeping.get(f"/tasks/{task_id}")["task"]
    assert row["changed_files"] == [".gitignore", "one.txt"]
    assert "+one" not in own_diff(keeping, task_id, 2)
