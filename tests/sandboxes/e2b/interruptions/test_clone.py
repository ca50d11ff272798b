"""A clone in the cloud survives broken connections, in the same sandbox, with an exact result."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import Repository, git
from tests.support.e2b.tasks import cloud_backend, ended, failure_of, wait_until_none_alive
from tests.support.git.server import GitServer
from tests.support.waiting import eventually
from utils.dispatcher import task_run

TASKS = 3
CUT_SECONDS = 0.4
TOKEN = "marked-clone-token-5f21"
PROMPT = "script:\nprint begun\nwrite made.txt done"

# The first clone of a repository named `killed` leaves a part of it and is killed.
SLOW_GIT = """#!/bin/sh
case " $* " in
*" clone "*)
    echo clone >>"{log}"
    for target; do :; done
    sleep {seconds}
    while [ -e "{hold}" ]; do sleep 0.05; done
    if [ -e "{kill}" ]; then
        rm "{kill}"
        mkdir -p "$target/.git" && echo half >"$target/half.txt"
        kill -9 0
    fi
    ;;
esac
exec "{git}" "$@"
"""


class SlowClones:
    """A `git` for the sandboxes that counts clones, takes its time, and may be killed once."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.tools = folder / "tools"
        self.tools.mkdir()
        self.kill = folder / "kill"
        self.hold = folder / "hold"
        self._log = folder / "clones"
        program = self.tools / "git"
        real = shutil.which("git")
        program.write_text(
            SLOW_GIT.format(
                log=self._log, kill=self.kill, hold=self.hold, seconds=seconds, git=real
            )
        )
        program.chmod(0o755)

    @property
    def count(self) -> int:
        """The number of clones that were started."""
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0


@pytest.fixture
def clones(failing_cloud: E2BServerProcess, tmp_path: Path) -> SlowClones:
    """Provide the slow clones of the cloud."""
    clones = SlowClones(tmp_path, 0.8)
    failing_cloud.configure(tools=str(clones.tools))
    return clones


@contextmanager
def shared_connection_cut(cloud: E2BServerProcess) -> Iterator[None]:
    """Drop all connections of the cloud again and again in the block."""
    over = Event()

    def cut_again_and_again() -> None:
        while not over.wait(CUT_SECONDS):
            cloud.cut()

    thread = Thread(target=cut_again_and_again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_clone_whose_connection_is_cut_again_and_again_is_followed(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, clones: SlowClones
) -> None:
    failing_cloud.add_fault("cut", route="process.Start", times=3, after_events=1)
    with cloud_backend(failing_cloud, tmp_path / "data") as backend:
        task = ended(backend, backend.start(PROMPT, small, branch="main"))
        assert (task["status"], task["changed_files"]) == ("completed", ["made.txt"]), task["error"]
        assert wait_until_none_alive(failing_cloud)["created"] == 1
    assert clones.count == 1


def test_a_clone_that_was_killed_with_its_connection_is_begun_anew_without_its_remains(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, clones: SlowClones
) -> None:
    clones.kill.touch()
    clones.hold.touch()
    with cloud_backend(failing_cloud, tmp_path / "data") as backend:
        task_id = backend.start(PROMPT, small, branch="main")
        eventually(lambda: clones.count == 1)
        failing_cloud.cut()
        clones.hold.unlink()
        task = ended(backend, task_id)
        assert (task["status"], task["changed_files"]) == ("completed", ["made.txt"]), task["error"]
        assert wait_until_none_alive(failing_cloud)["created"] == 1
    assert clones.count == 2


def test_a_clone_that_fails_is_not_repeated(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, clones: SlowClones
) -> None:
    failing_cloud.add_fault("cut", route="process.Start", times=2, after_events=1)
    with cloud_backend(failing_cloud, tmp_path / "data") as backend:
        task_id = backend.start(PROMPT, small, branch="no-such-branch")
        assert failure_of(ended(backend, task_id)) == ("failed", "branch_not_found", "cloning")
    assert clones.count == 1


def test_no_attempt_at_a_clone_shows_its_token(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    clones: SlowClones,
    git_server: GitServer,
) -> None:
    failing_cloud.add_fault("cut", route="process.Start", times=2, after_events=1)
    url = git_server.publish(small, "cut-clone", TOKEN)
    with cloud_backend(failing_cloud, tmp_path / "data", allow_local_repos=True) as backend:
        task = backend.complete(PROMPT, url, github_token=TOKEN, branch="main")
        seen = str(backend.events(task["id"])) + str(task)
    assert TOKEN not in seen
    for request in failing_cloud.requests("process.Start"):
        shown, _, _ = request["body"].partition('"envs"')
        assert TOKEN not in shown
    assert not failing_cloud.requests("process.List")


def test_a_clone_that_nobody_can_reach_fails_with_its_time_limit_and_says_why(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_run, "LOST_SANDBOX_ATTEMPTS", 1)
    monkeypatch.setattr(task_run, "MAX_REFUSALS", 0)
    failing_cloud.add_fault("drop", route="process.Start")
    with cloud_backend(failing_cloud, tmp_path, clone_timeout_seconds=2) as backend:
        task = ended(backend, backend.start(PROMPT, small, branch="main"))
    assert failure_of(task) == ("failed", "e2b_unavailable", "cloning")
    assert len(failing_cloud.requests("process.Start")) > 3


@pytest.mark.timeout(120)
def test_tasks_whose_shared_connection_is_cut_again_and_again_complete(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository, clones: SlowClones
) -> None:
    lines = "".join(f"print line {number}\nsleep 0.05\n" for number in range(20))
    prompt = f"script:\n{lines}write made.txt done"
    output = "".join(f"line {number}\n" for number in range(20))
    settings = {"max_concurrent_tasks": TASKS, "max_tasks_per_user": TASKS}
    with cloud_backend(failing_cloud, tmp_path / "data", **settings) as backend:
        with shared_connection_cut(failing_cloud):
            ids = [backend.start(prompt, small) for _ in range(TASKS)]
            rows = [ended(backend, task_id) for task_id in ids]
        assert [row["status"] for row in rows] == ["completed"] * TASKS, rows
        for row in rows:
            assert backend.output(row["id"]).endswith(output)
            patched = small.clone(tmp_path / str(row["id"]))
            git(patched, "am", "--quiet", stdin=row["git_patch"].encode())
            tree = row["execution_metadata"]["tree_hash"]
            assert git(patched, "rev-parse", "HEAD^{tree}") == tree
    assert clones.count == TASKS
