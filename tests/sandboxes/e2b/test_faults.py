"""Tasks in a cloud that fails: a right result or a truthful error, and no sandbox left behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Backend, Repository, shell_agent
from tests.support.e2b.fault_run import EVERY, FAULTS, run_with_faults
from tests.support.e2b.tasks import cloud_backend, ended, failure_of, wait_until_none_alive
from tests.support.preloaded import run_preloaded
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS, eventually
from utils.dispatcher.event_log import EventLog
from utils.models.tasks import Stage
from utils.redaction import Redactor

THE_SAME = pytest.mark.exhaustive("the other cases have each part of it")
LINES = 40
SLOW = "".join(f"print line {n} \u00e9\nsleep 0.03\n" for n in range(LINES))
SLOW_PROMPT = f"script:\nprint it runs\n{SLOW}write made.txt done\\n\nerror last note"
SLOW_OUTPUT = "it runs\n" + "".join(f"line {n} \u00e9\n" for n in range(LINES))


def has_event_with(backend: Backend, task_id: int, text: str) -> bool:
    """Tell whether an event of a task contains a text."""
    return text in str(backend.events(task_id))


def assert_output_stored_once(backend: Backend, task_id: int) -> None:
    """Assert that the slow task completed and that each line of its output is stored once."""
    task = ended(backend, task_id)
    assert task["status"] == "completed", task["error"]
    assert backend.output(task_id).split("\n", 1)[1] == SLOW_OUTPUT
    assert backend.output(task_id, "stderr") == "last note\n"
    assert task["changed_files"] == ["made.txt"]


@pytest.mark.timeout(240)
def test_every_task_ends_right_or_says_the_truth_when_every_fifth_request_fails(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, runs_all: bool
) -> None:
    tasks = 40 if runs_all else 12
    settings = {
        "max_concurrent_tasks": tasks // 2,
        "max_tasks_per_user": 99,
        "sweep_grace_seconds": 3,
    }
    with cloud_backend(failing_cloud, tmp_path, **settings) as backend:
        found = run_with_faults(backend, failing_cloud, small, tasks, seconds=200)
    assert found.wrong == []
    assert found.codes["completed"] > tasks / 2
    # Nothing is hit in the first round.
    assert found.fault_hits >= (found.requests - EVERY * len(FAULTS)) // EVERY


def test_a_create_whose_answer_is_lost_makes_one_sandbox(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.add_fault("drop", route="create", when="after", times=1)
    with cloud_backend(failing_cloud, tmp_path) as backend:
        task_id = backend.start("script:\nprint hello", small)
        assert ended(backend, task_id)["status"] == "completed"
        assert len(failing_cloud.requests("create")) == 2
        assert wait_until_none_alive(failing_cloud)["created"] == 1


def test_a_sandbox_that_nobody_heard_of_is_swept(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.add_fault("drop", route="create", when="after", times=3)
    with cloud_backend(failing_cloud, tmp_path, sweep_grace_seconds=1) as backend:
        task_id = backend.start("script:\nprint hello", small)
        assert ended(backend, task_id)["status"] == "completed"
        assert wait_until_none_alive(failing_cloud)["created"] == 2


def test_sandboxes_whose_kill_fails_for_long_are_swept_each(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("utils.sandboxes.e2b.reconnection.LONGEST_REQUEST_PAUSE_SECONDS", 0.1)
    number = failing_cloud.add_fault("status", route="kill", status=500)
    with cloud_backend(failing_cloud, tmp_path, sweep_grace_seconds=1) as backend:
        tasks = [backend.start(f"Task {number}", small) for number in range(3)]
        assert {ended(backend, task)["status"] for task in tasks} == {"completed"}
        eventually(lambda: not backend.get("/health/ready")["running"])
        stuck = failing_cloud.sandboxes()[0]["sandboxID"]
        failing_cloud.add_fault("status", route="kill", sandbox=stuck, status=500)
        failing_cloud.remove_faults(number)
        # One that cannot be ended does not keep the others alive.
        eventually(lambda: [one["sandboxID"] for one in failing_cloud.sandboxes()] == [stuck])
        failing_cloud.remove_faults()
        assert wait_until_none_alive(failing_cloud)["killed"] == 3


@pytest.mark.parametrize("route", ["files.write", "process.Start"])
def test_a_sandbox_lost_before_the_agent_started_is_replaced(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, route: str
) -> None:
    failing_cloud.add_fault("crash", route=route, times=1)
    with cloud_backend(failing_cloud, tmp_path) as backend:
        task = ended(backend, backend.start(SLOW_PROMPT, small))
        assert_output_stored_once(backend, task["id"])
        assert task["attempt"] == 1
        counts = wait_until_none_alive(failing_cloud)
        assert (counts["created"], counts["crashed"], counts["killed"]) == (2, 1, 1)


def test_three_lost_sandboxes_are_enough(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.add_fault("crash", route="files.write")
    with cloud_backend(failing_cloud, tmp_path) as backend:
        task = ended(backend, backend.start("script:\nprint hello", small))
        assert failure_of(task) == ("failed", "sandbox_lost", "cloning")
        assert wait_until_none_alive(failing_cloud)["created"] == 3


@pytest.mark.parametrize(
    ("how", "again"),
    [
        ("crash", True),
        ("expire", False),
        pytest.param("crash", False, marks=THE_SAME),
        pytest.param("expire", True, marks=THE_SAME),
    ],
)
def test_a_sandbox_lost_under_the_agent_is_replaced_only_where_that_is_wanted(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, how: str, again: bool
) -> None:
    first = tmp_path / "first"
    script = f"echo begun; mkdir {first} && sleep 300; echo ended; echo done >made.txt"
    data = tmp_path / "data"
    with shell_agent(), cloud_backend(failing_cloud, data, retry_lost_sandbox=again) as backend:
        task_id = backend.start(script, small)
        eventually(lambda: has_event_with(backend, task_id, "begun") and first.exists())
        getattr(failing_cloud, how)(failing_cloud.sandboxes()[0]["sandboxID"])
        task = ended(backend, task_id)
        assert task["attempt"] == 1
        if again:
            assert task["status"] == "completed"
            assert backend.output(task_id) == "begun\nbegun\nended\n"
            assert task["changed_files"] == ["made.txt"]
        else:
            assert failure_of(task) == ("failed", "sandbox_lost", "agent")
            assert backend.output(task_id) == "begun\n"
        assert wait_until_none_alive(failing_cloud)["created"] == 1 + again


def test_the_agent_of_another_sandbox_is_read_from_its_first_line() -> None:
    no_database: Any = None
    log = EventLog(no_database, Redactor(), 1)
    log.begin_stage(Stage.CLONING)
    log.begin_stage(Stage.AGENT)
    log.report("output", {"stream": "stdout", "text": "one\n"}, {"stdout": 1})
    assert log.position == {"stdout": 1, "stage": "agent"}
    log.begin_stage(Stage.CLONING)
    assert log.position == {"stage": "cloning"}


@pytest.mark.parametrize(
    "cut",
    [
        {"after_events": 1},
        {"after_bytes": 170},
        pytest.param({"after_events": 3}, marks=THE_SAME),
        pytest.param({"seconds": 0.2}, marks=THE_SAME),
    ],
    ids=str,
)
def test_streams_that_are_cut_again_and_again_lose_and_double_nothing(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, cut: dict[str, float]
) -> None:
    failing_cloud.add_fault("cut", route="process.Start", times=5, **cut)
    with cloud_backend(failing_cloud, tmp_path) as backend:
        task_id = backend.start(SLOW_PROMPT, small)
        assert_output_stored_once(backend, task_id)
        assert wait_until_none_alive(failing_cloud)["created"] == 1
    assert len(failing_cloud.requests("process.Start")) > 3


def test_an_agent_works_on_while_its_sandbox_cannot_be_reached(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    go = tmp_path / "go"
    waits = f"until [ -e {go} ]; do sleep 0.02; done"
    script = f"echo begun; {waits}; seq 50; echo last note >&2; echo done >made.txt"
    # Each stream of the agent's breaks by itself, until envd is away and no other one begins.
    failing_cloud.add_fault("cut", route="process.Start", skip=1, seconds=0.5)
    with shell_agent(), cloud_backend(failing_cloud, tmp_path / "data") as backend:
        task_id = backend.start(script, small, branch="main")
        eventually(lambda: has_event_with(backend, task_id, "begun"))
        sandbox = failing_cloud.sandboxes()[0]
        failing_cloud.set_envd(sandbox["sandboxID"], up=False)
        eventually(lambda: not failing_cloud.stats()["open_streams"])
        failing_cloud.remove_faults()
        go.touch()
        eventually(Path(sandbox["home"], "repository", "made.txt").exists)
        assert backend.status(task_id)["status"] == "running"
        failing_cloud.set_envd(sandbox["sandboxID"], up=True)
        task = ended(backend, task_id)
        assert (task["status"], task["changed_files"]) == ("completed", ["made.txt"])
        numbers = "".join(f"{number}\n" for number in range(1, 51))
        assert backend.output(task_id) == f"begun\n{numbers}"
        assert backend.output(task_id, "stderr") == "last note\n"


REFUSED = """
import sys
from pathlib import Path
from tests.fakes.e2b.control import E2BControl
from tests.support.backends import Repository, eventually
from tests.support.e2b.tasks import cloud_backend
from tests.sandboxes.e2b.test_faults import SLOW_PROMPT, assert_output_stored_once, has_event_with
from utils.sandboxes.e2b.advice import exit_immediately

folder, cloud = Path(sys.argv[1]), E2BControl(*sys.argv[2:])
repository = Repository(folder / "repository")
repository.commit("echo one >one.txt")
with cloud_backend(cloud, folder / "data") as backend:
    task_id = backend.start(SLOW_PROMPT, repository)
    eventually(lambda: has_event_with(backend, task_id, "line 3"))
    cloud.refuse(1.0, streams=True)
    assert_output_stored_once(backend, task_id)
    print("it held")
    exit_immediately(0)
"""


def test_connections_refused_for_a_while_lose_and_double_nothing(
    failing_cloud: E2BServerProcess, tmp_path: Path
) -> None:
    # In a process of its own: the SDK may abort the one in which connections were refused.
    program = tmp_path / "refused.py"
    program.write_text(REFUSED)
    arguments = [str(program), str(tmp_path), failing_cloud.url, failing_cloud.control_url]
    _, printed = run_preloaded(arguments, cwd=ROOT, env=os.environ, timeout=PATIENCE_SECONDS)
    assert "it held" in printed, printed[-4000:]
