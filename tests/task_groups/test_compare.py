"""Tests of groups: their table, the choice of a task, and their cancel."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.support.backends import Backend, Open, Repository, Row, shell_agent
from tests.support.waiting import eventually
from tests.task_groups.shells import (
    NAMED_SHELL,
    Numbers,
    ended_group,
    group_of,
    start_group,
)

BOTH = ["claude", "codex"]
SLEEPS = "echo half >half.txt; echo sleeping; exec sleep 300"

SCENES = """
case $name in
    claude-1|claude-2) seq 3 >new.txt ;;
    claude-3) seq 9 >new.txt ;;
    codex-1) seq 2 >broken.txt ;;
    codex-2) echo more >new.txt; exit 3 ;;
esac
echo 'costs: {"cost_usd": 0.0'$n', "usage": {"input_tokens": '$n'00, "output_tokens": '$n'}}'
"""
CHECK = "touch left-behind; echo checked; if [ -e broken.txt ]; then echo broken >&2; exit 7; fi"


@pytest.fixture(scope="module", autouse=True)
def _shell() -> Iterator[None]:
    with shell_agent(NAMED_SHELL):
        yield


@pytest.fixture
def numbers(shown_folder: Path) -> Iterator[Numbers]:
    """Provide numbers for the tasks of a group."""
    numbers = Numbers(Path(mkdtemp(dir=shown_folder)), BOTH)
    yield numbers
    numbers.close()


def counted(row: Row) -> Row:
    """Return what the table must say of a task, counted from its row and its diff."""
    known, diff = row["execution_metadata"], (row["git_diff"] or "").splitlines()
    moments = (datetime.fromisoformat(row[name]) for name in ("started_at", "completed_at"))
    started, completed = moments
    check = known.get("check") or {}
    return {
        "task_id": row["id"],
        "agent": row["agent"],
        "status": row["status"],
        "seconds": round((completed - started).total_seconds(), 3),
        "input_tokens": known.get("usage", {}).get("input_tokens"),
        "output_tokens": known.get("usage", {}).get("output_tokens"),
        "cost_usd": known.get("cost_usd"),
        "files": len(row["changed_files"]),
        "additions": sum(one.startswith("+") and not one.startswith("+++") for one in diff),
        "deletions": sum(one.startswith("-") and not one.startswith("---") for one in diff),
        "check_exit_code": check.get("exit_code"),
        "check_output": check.get("output"),
        "tree": known["tree_hash"],
        "error": row["error"],
    }


@pytest.mark.cloud_with_all("what a group adds is about rows")
def test_the_numbers_of_a_group_are_those_of_its_rows(
    backend: Backend, sample: Repository, numbers: Numbers
) -> None:
    answer = start_group(
        backend, numbers.script + SCENES, sample, agents=BOTH, attempts=3, check_command=CHECK
    )
    assert answer["message"] == "6 tasks are queued."
    assert answer["task_id"] == answer["task_ids"][0]
    assert len(answer["task_ids"]) == 6
    group = ended_group(backend, answer["group_id"])
    table: list[Row] = group["tasks"]
    assert [row["task_id"] for row in table] == answer["task_ids"]
    labels = [(row["agent"], row["attempt"]) for row in table]
    assert labels == [(agent, number) for agent in BOTH for number in (1, 2, 3)]
    rows = {number: backend.wait(number) for number in answer["task_ids"]}
    for row in table:
        expected = counted(rows[row["task_id"]])
        assert {name: row[name] for name in expected} == expected
        assert rows[row["task_id"]]["group_id"] == group["id"]
        assert "left-behind" not in (rows[row["task_id"]]["git_diff"] or "")
    by_place = sorted(table, key=lambda row: row["rank"])
    assert [row["rank"] for row in by_place] == [1, 2, 3, 4, 5, 6]
    results = [(row["status"], row["check_exit_code"], row["additions"]) for row in by_place]
    assert results == [
        ("completed", 0, 3),
        ("completed", 0, 3),
        ("completed", 0, 9),
        ("completed", 7, 2),
        ("completed", 0, 0),
        ("failed", None, 1),
    ]
    assert by_place[0]["cost_usd"] < by_place[1]["cost_usd"]
    assert by_place[3]["check_output"] == "checked\nbroken"
    twins = [row["task_id"] for row in by_place[:2]]
    assert [row["same_tree_as"] for row in by_place] == [twins[1:], twins[:1], [], [], [], []]
    assert "passed check" in group["order_rule"]
    assert backend.sandboxes == []


@pytest.mark.cloud_with_all("what a group adds is about rows")
def test_a_pull_request_is_made_of_the_chosen_task_only(
    backend: Backend, sample: Repository
) -> None:
    answer = start_group(backend, "echo new >new.txt", sample, attempts=2)
    first, second = answer["task_ids"]
    ended_group(backend, answer["group_id"])
    path = f"/task-groups/{answer['group_id']}/choose"
    refused = backend.post(f"/create-pr/{first}")
    assert (refused["http_status"], refused["code"]) == (409, "task_not_chosen")
    assert path in refused["error"]
    assert backend.post(path, task_id=second)["group"]["chosen_task_id"] == second
    assert f"task {second} is chosen" in backend.post(f"/create-pr/{first}")["error"]
    assert backend.post(path, task_id=first)["group"]["chosen_task_id"] == first
    # The group is no reason any more; but the repository is not on GitHub.
    assert backend.post(f"/create-pr/{first}")["code"] == "repository_not_on_github"
    other = backend.complete("true", sample)["id"]
    assert backend.post(path, task_id=other)["http_status"] == 404
    assert group_of(backend, answer["group_id"])["chosen_task_id"] == first


@pytest.mark.cloud_with_all("what a group adds is about rows")
def test_a_choice_cancels_the_rest(backend: Backend, sample: Repository, numbers: Numbers) -> None:
    prompt = f'{numbers.script}[ "$name" = claude-1 ] && exec echo new >new.txt\n{SLEEPS}'
    answer = start_group(backend, prompt, sample, attempts=4)
    group_id = answer["group_id"]

    def completed() -> int | None:
        rows = group_of(backend, group_id)["tasks"]
        return next((row["task_id"] for row in rows if row["status"] == "completed"), None)

    chosen = eventually(completed)
    group = backend.post(f"/task-groups/{group_id}/choose", task_id=chosen)["group"]
    statuses = {row["task_id"]: row["status"] for row in group["tasks"]}
    assert statuses.pop(chosen) == "completed"
    assert set(statuses.values()) == {"cancelled"}
    assert (group["status"], group["chosen_task_id"]) == ("ended", chosen)
    assert backend.sandboxes == []


@pytest.mark.cloud_with_all("a group is its tasks")
def test_sandboxes_are_kept_for_the_chosen_task_only(open_with: Open, sample: Repository) -> None:
    backend = open_with(workspace_ttl_seconds=600)
    answer = start_group(backend, "echo new >new.txt", sample, attempts=3)
    ended_group(backend, answer["group_id"])
    first, *_ = answer["task_ids"]
    path = f"/task-groups/{answer['group_id']}"

    def kept() -> list[int]:
        return sorted(one.task_id for one in backend.sandboxes)

    database = backend.app.extensions["services"].database
    eventually(lambda: len(database.list_workspaces()) == len(kept()) == 3)
    backend.post(f"{path}/choose", task_id=first)
    assert kept() == [first]
    backend.post(f"{path}/cancel")
    assert kept() == []


@pytest.mark.cloud_with_all("a group is its tasks")
@pytest.mark.usefixtures("patient_capture")
def test_the_cancel_of_a_group_leaves_no_sandbox(backend: Backend, sample: Repository) -> None:
    answer = start_group(backend, SLEEPS, sample, agents=BOTH, attempts=3)
    path = f"/task-groups/{answer['group_id']}"
    eventually(lambda: sum("sleeping" in backend.output(one) for one in answer["task_ids"]) == 2)
    group = backend.post(f"{path}/cancel")["group"]
    assert {row["status"] for row in group["tasks"]} == {"cancelled"}
    assert backend.sandboxes == []
    assert backend.place.processes(backend.folder) == []
    diffs = [backend.get(f"/git-diff/{one}")["git_diff"] for one in answer["task_ids"]]
    assert sum("half.txt" in diff for diff in diffs) == 2
    again = backend.post(f"{path}/cancel")
    assert (again["http_status"], again["group"]["status"]) == (200, "ended")
