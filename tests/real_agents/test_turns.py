"""The real programs go on with their sessions, only plan when they are asked to, and stop."""

from __future__ import annotations

import json

import pytest

from tests.fakes.models.server import Model
from tests.real_agents.test_whole_tasks import BOTH, PROMPT, open_real
from tests.support.backends import Backend, Open, Repository
from tests.support.waiting import eventually
from tests.turns.steps import follow_up, own_diff, statuses, turns_of, wait_for_turns

__all__ = ["open_real"]

pytest_plugins = ("tests.fixtures.tasks",)
pytestmark = [
    pytest.mark.local_only("the programs are installed on this machine"),
    pytest.mark.isolated_too("the programs do not know where they may write and connect to"),
]

MORE = "do write second.txt Second\ndo say I wrote another one."
KEPT_SECONDS = 600


@pytest.fixture
def keeping(open_real: Open) -> Backend:
    """Provide a backend that keeps sandboxes."""
    return open_real(workspace_ttl_seconds=KEPT_SECONDS)


@BOTH
def test_the_next_turn_goes_on_with_the_session(
    agent: str, keeping: Backend, repository: Repository, model: Model
) -> None:
    task_id = keeping.start(PROMPT, repository, model=agent)
    first = wait_for_turns(keeping, task_id)
    begun = len(model.requests)
    follow_up(keeping, task_id, MORE)
    row = wait_for_turns(keeping, task_id)
    assert row["status"] == "completed", (row["error"], keeping.output(task_id, "stderr"))
    assert row["changed_files"] == ["README.md", "hello.txt", "second.txt"]
    asked = json.dumps(model.requests[begun].body)
    assert "I wrote it." in asked
    assert "conversation so far" not in asked
    sessions = [one["execution_metadata"]["agent_session_id"] for one in (first, row)]
    assert sessions[0] == sessions[1]
    assert "hello.txt" not in own_diff(keeping, task_id, 2)
    used = [turn["output_tokens"] for turn in turns_of(keeping, task_id)]
    assert row["execution_metadata"]["usage"]["output_tokens"] == sum(used)


@BOTH
def test_an_agent_without_its_session_is_given_the_conversation(
    agent: str, open_real: Open, repository: Repository, model: Model
) -> None:
    backend = open_real()
    task = backend.complete(PROMPT, repository, model=agent)
    begun = len(model.requests)
    follow_up(backend, task["id"], MORE)
    row = backend.wait(task["id"])
    assert row["status"] == "completed", row["error"]
    asked = json.dumps(model.requests[begun].body)
    assert "conversation so far" in asked
    assert "You: I wrote it." in asked
    assert "second.txt" in row["changed_files"]


@BOTH
def test_a_plan_changes_nothing_and_is_carried_out_in_the_same_session(
    agent: str, keeping: Backend, repository: Repository, model: Model
) -> None:
    prompt = "do write hello.txt Hello\ndo shell echo more >>README.md\ndo say This is my plan."
    task_id = keeping.start(prompt, repository, model=agent, mode="plan")
    row = wait_for_turns(keeping, task_id)
    assert row["status"] == "completed", (row["error"], keeping.output(task_id, "stderr"))
    assert (row["changed_files"], row["execution_metadata"]["notes"]) == (
        [],
        ["The agent changed nothing."],
    )
    assert "This is my plan." in row["chat_messages"][-1]["content"]
    follow_up(keeping, task_id, MORE)
    row = wait_for_turns(keeping, task_id)
    assert row["status"] == "completed", (row["error"], keeping.output(task_id, "stderr"))
    assert row["changed_files"] == ["second.txt"]


@BOTH
def test_an_interrupting_message_leaves_no_process_of_the_turn(
    agent: str, keeping: Backend, repository: Repository, model: Model
) -> None:
    model.hanging = True
    task_id = keeping.start(PROMPT, repository, model=agent)
    eventually(lambda: model.requests)
    follow_up(keeping, task_id, MORE, interrupt=True)
    eventually(lambda: statuses(keeping, task_id)[0] == "cancelled")
    model.hanging = False
    row = wait_for_turns(keeping, task_id)
    assert statuses(keeping, task_id) == ["cancelled", "completed"], row["error"]
    assert row["changed_files"] == ["second.txt"]
    assert keeping.place.processes(keeping.folder) == []
