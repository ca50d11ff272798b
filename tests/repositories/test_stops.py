"""Tasks over several repositories that are stopped, and those that go on in a kept sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, Row, git, shell_agent
from tests.support.waiting import eventually
from tests.turns.steps import follow_up, sandbox_states, wait_for_turns


@pytest.fixture
def keeping(open_with: Open) -> Iterator[Backend]:
    """Provide a backend that keeps sandboxes, with a shell as its agent."""
    with shell_agent():
        yield open_with(workspace_ttl_seconds=600)


@pytest.fixture
def origins(tmp_path: Path) -> list[Repository]:
    """Provide two repositories."""
    made = [Repository(tmp_path / name) for name in ("app", "lib")]
    for one in made:
        one.commit("echo one >one.txt")
    return made


def start(backend: Backend, script: str, origins: list[Repository]) -> int:
    app, lib = origins
    return backend.start(script, app, repositories=[{"repo_url": lib.url}])


def check(row: Row, origins: list[Repository], folder: Path, names: list[str]) -> None:
    """Assert that each repository has these changed files, and an exact patch."""
    for origin, one in zip(origins, row["repositories"], strict=True):
        assert one["changed_files"] == names
        clone = origin.clone(folder / one["name"])
        git(clone, "am", "--quiet", stdin=one["git_patch"].encode())
        assert git(clone, "rev-parse", "HEAD^{tree}") == one["tree_hash"]


@pytest.mark.cloud_with_all("turns/test_workspaces.py keeps sandboxes there")
def test_a_turn_goes_on_with_the_kept_files_of_all_repositories(
    keeping: Backend, origins: list[Repository], tmp_path: Path
) -> None:
    task_id = start(keeping, "echo here >~/mark; echo 1 | tee app/a lib/a", origins)
    wait_for_turns(keeping, task_id)
    follow_up(keeping, task_id, "cat ~/mark; cd app && git commit -qam Mine; cd ..; rm */one.txt")
    row = wait_for_turns(keeping, task_id)
    assert row["status"] == "completed", row["error"]
    assert sandbox_states(keeping, task_id) == ["created", "paused", "resumed", "paused"]
    assert "here" in keeping.output(task_id)
    check(row, origins, tmp_path / "kept", ["a", "one.txt"])


@pytest.mark.cloud_with_all("turns/test_workspaces.py keeps sandboxes there")
@pytest.mark.usefixtures("patient_capture")
def test_a_cancel_keeps_the_changes_in_all_repositories(
    keeping: Backend, origins: list[Repository], tmp_path: Path
) -> None:
    task_id = start(keeping, "echo 1 | tee app/a lib/a; echo begun; sleep 300", origins)
    eventually(lambda: "begun" in keeping.output(task_id))
    assert keeping.post(f"/tasks/{task_id}/cancel")["task"]["status"] == "cancelled"
    row = keeping.wait(task_id)
    assert "2 files" in row["chat_messages"][-1]["content"]
    check(row, origins, tmp_path / "cancelled", ["a"])
