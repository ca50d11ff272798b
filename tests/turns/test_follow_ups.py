"""A message to a task that has ended makes its agent go on, with the files of the turns before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, git, shell_agent
from tests.support.git.exactness import check_exact
from tests.support.github.names import TOKEN
from tests.support.pull_requests import Hosted
from tests.turns.steps import complete_turn, follow_up, own_diff, statuses, turns_of

pytestmark = pytest.mark.isolated_with_all("the files of a kept sandbox are shown again")


@pytest.mark.cloud_with_all("test_workspaces has turns in the cloud")
def test_a_second_turn_adds_to_the_first(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    task = shell.complete("echo one >one.txt; echo both >both.txt; echo 'result: one'", sample)
    first_diff = task["git_diff"]
    prompt = "cat one.txt; echo more >>both.txt; echo 'result: two'"
    row = complete_turn(shell, task["id"], prompt)
    assert row["changed_files"] == ["both.txt", "one.txt"]
    assert "one" in shell.output(task["id"])
    [first, second] = turns_of(shell, task["id"])
    assert (second["number"], second["prompt"], second["mode"]) == (2, prompt, "run")
    assert second["tree_before"] == first["tree_after"]
    assert first["tree_before"] == git(sample.folder, "rev-parse", "HEAD^{tree}")
    assert (second["files"], second["additions"], second["deletions"]) == (1, 1, 0)
    assert own_diff(shell, task["id"], 1) == first_diff
    assert "+more" in own_diff(shell, task["id"], 2)
    assert "+one" not in own_diff(shell, task["id"], 2)
    check_exact(shell, row, sample, second["tree_after"], tmp_path)
    assert [message["content"] for message in row["chat_messages"][1::2]] == ["one", "two"]


@pytest.mark.cloud_with_all("rows and numbers are the same everywhere")
def test_the_events_of_a_later_turn_go_on_with_the_numbers(
    shell: Backend, sample: Repository
) -> None:
    task = shell.complete("echo one", sample)
    complete_turn(shell, task["id"], "echo two")
    events = shell.events(task["id"])
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    found = [event["data"] for event in events if {"status", "turn"} & event["data"].keys()]
    assert found == [{"status": "completed"}, {"turn": 2}, {"status": "completed"}]


@pytest.mark.local_only("the clone is the same everywhere")
def test_a_turn_begins_at_the_base_of_the_task_although_the_branch_has_other_commits(
    open_with: Open, tmp_path: Path
) -> None:
    origin = Repository(tmp_path / "origin")
    base = origin.commit("echo base >base.txt")
    backend = open_with(clone_depth=1)
    with shell_agent():
        task = backend.complete("echo one >one.txt", origin)
        git(origin.folder, "commit", "--quiet", "--amend", "--message", "Rewritten")
        origin.commit("echo other >other.txt")
        row = complete_turn(backend, task["id"], "echo two >two.txt; ls")
    assert row["execution_metadata"]["base_commit"] == base
    assert row["changed_files"] == ["one.txt", "two.txt"]
    assert "other.txt" not in backend.output(task["id"])


@pytest.mark.cloud_with_all("rows and numbers are the same everywhere")
def test_a_failed_turn_leaves_what_the_turns_before_have_made(
    shell: Backend, tmp_path: Path
) -> None:
    origin = Repository(tmp_path / "origin")
    origin.commit("echo base >base.txt")
    task = shell.complete("echo one >one.txt", origin)
    moved = origin.folder.rename(tmp_path / "away")
    follow_up(shell, task["id"], "echo two >two.txt")
    row = shell.wait(task["id"])
    assert (row["status"], row["error_stage"]) == ("failed", "cloning")
    for name in ("git_diff", "git_patch", "changed_files", "commit_hash"):
        assert row[name] == task[name]
    for name in ("tree_hash", "base_commit", "additions", "file_changes"):
        assert row["execution_metadata"][name] == task["execution_metadata"][name]
    moved.rename(origin.folder)
    row = complete_turn(shell, task["id"], "echo three >three.txt")
    assert (row["error"], row["changed_files"]) == (None, ["one.txt", "three.txt"])
    assert statuses(shell, task["id"]) == ["completed", "failed", "completed"]


def test_the_next_pull_request_is_the_same_one_with_all_turns(hosted: Hosted) -> None:
    backend, task_id = hosted.backend, hosted.task("echo more >>one.txt")
    first = hosted.created(task_id)
    complete_turn(backend, task_id, "echo more >>two.txt", github_token=TOKEN)
    second = hosted.created(task_id)
    assert (second["pr_number"], second["branch"]) == (first["pr_number"], first["branch"])
    assert not second["created"]
    tree = git(hosted.bare, "rev-parse", f"{second['branch']}^{{tree}}")
    assert tree == turns_of(backend, task_id)[-1]["tree_after"]
    assert git(hosted.bare, "rev-list", "--count", f"main..{second['branch']}") == "1"


@pytest.mark.cloud_with_all("rows and numbers are the same everywhere")
def test_only_messages_of_the_user_make_turns(shell: Backend, sample: Repository) -> None:
    task = shell.complete("echo one", sample)
    path = f"/tasks/{task['id']}/chat"
    for body in (
        {"role": "assistant", "content": "Hello", "run": True},
        {"role": "user", "content": "Hello", "interrupt": True},
        {"role": "user", "content": "Hello", "mode": "plan"},
    ):
        assert shell.post(path, **body)["http_status"] == 400
    answer = shell.post(path, role="user", content="Hello")
    assert answer["http_status"] == 200
    assert "turn" not in answer
    assert statuses(shell, task["id"]) == ["completed"]


@pytest.mark.cloud_with_all("rows and numbers are the same everywhere")
def test_a_repeated_request_makes_one_turn(shell: Backend, sample: Repository) -> None:
    task = shell.complete("echo one", sample)
    first, second = (
        follow_up(shell, task["id"], "echo two", idempotency_key="again") for _ in range(2)
    )
    assert first["number"] == second["number"] == 2
    shell.wait(task["id"])
    assert statuses(shell, task["id"]) == ["completed", "completed"]
