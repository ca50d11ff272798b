"""Tests of the check command: a result, never an error, and never a part of the changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.backends import Backend, Open, Repository, Row, shell_agent
from tests.support.waiting import eventually
from utils.pipeline.check import SHOWN_CHARACTERS

CHANGES = "echo new >new.txt"
TOKEN = "ghp_" + "a1B2" * 9


@pytest.fixture(scope="module", autouse=True)
def _shell() -> Iterator[None]:
    with shell_agent():
        yield


def checked(backend: Backend, sample: Repository, command: str, **body: Any) -> tuple[Row, Row]:
    """Return the row of a task and the result of its check."""
    row = backend.complete(CHANGES, sample, check_command=command, **body)
    assert row["changed_files"] == ["new.txt"]
    return row, row["execution_metadata"]["check"]


def test_a_check_sees_the_result_and_changes_nothing(backend: Backend, sample: Repository) -> None:
    row, check = checked(backend, sample, "cat new.txt; echo more >>new.txt; rm -rf .git; false")
    assert (check["exit_code"], check["output"]) == (1, "new")
    assert "more" not in row["git_diff"]
    kinds = [event["kind"] for event in backend.events(row["id"])]
    [event] = [one["data"] for one in backend.events(row["id"]) if one["kind"] == "check"]
    assert event == {name: check[name] for name in ("exit_code", "output", "seconds")}
    assert kinds.index("check") > kinds.index("git")
    assert row["execution_metadata"]["stage_seconds"]["checking"] > 0
    assert "group_id" not in row


@pytest.mark.cloud_with_all("a check runs like the agent")
def test_text_is_passed_as_it_is(backend: Backend, sample: Repository) -> None:
    _, check = checked(backend, sample, """printf '%s|' "a b" '$HOME' "\\$1"; exit 4 # '"`""")
    assert (check["exit_code"], check["output"]) == (4, "a b|$HOME|$1|")


@pytest.mark.cloud_with_all("a check runs like the agent")
def test_only_the_last_lines_are_stored(backend: Backend, sample: Repository) -> None:
    _, check = checked(backend, sample, "seq 100000; sleep 300 & seq 5 >&2")
    assert check["exit_code"] == 0
    assert check["output"].endswith("99999\n100000\n1\n2\n3\n4\n5")
    assert len(check["output"]) == SHOWN_CHARACTERS


def test_a_check_gets_no_token_and_prints_none(backend: Backend, sample: Repository) -> None:
    command = f"env; printf '%s%s' {TOKEN[:12]} {TOKEN[12:]}"
    _, check = checked(backend, sample, command, github_token=TOKEN)
    assert TOKEN not in check["output"]
    assert check["output"].count("[redacted]") == 1


@pytest.mark.cloud_with_all("a check runs like the agent")
def test_a_check_has_a_time_limit(open_with: Open, sample: Repository) -> None:
    backend = open_with(check_timeout_seconds=1.5)
    _, check = checked(backend, sample, "echo begun; sleep 300")
    assert check["exit_code"] is None
    assert check["output"].startswith("begun\nThe check took longer than 1.5 seconds")
    assert backend.sandboxes == []


@pytest.mark.cloud_with_all("a check runs like the agent")
def test_no_check_follows_a_failure(backend: Backend, sample: Repository) -> None:
    row = backend.perform(f"{CHANGES}; exit 3", sample, check_command="true")
    assert row["status"] == "failed"
    assert "check" not in row["execution_metadata"]


def test_a_cancel_ends_a_check_and_keeps_the_changes(backend: Backend, sample: Repository) -> None:
    task_id = backend.start(CHANGES, sample, check_command="sleep 300")
    eventually(lambda: backend.status(task_id).get("stage") == "checking")
    assert backend.post(f"/tasks/{task_id}/cancel")["task"]["status"] == "cancelled"
    assert backend.sandboxes == []
    row = backend.wait(task_id)
    assert (row["changed_files"], row["error_stage"]) == (["new.txt"], "checking")
