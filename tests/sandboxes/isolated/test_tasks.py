"""Whole tasks in isolated sandboxes: clone through the proxy, limits, refused connections."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, shell_agent
from tests.support.git.server import GitServer

pytestmark = pytest.mark.isolated_only("others have no boundary")

BOMB = "f() { [ $1 -gt 9 ] && exec sleep 60; f $(($1 + 1)) & f $(($1 + 1)) & wait; }; f 1"
IN_MEMORY = (
    "perl -e 'for (1 .. 60) { my $name = q(x); my $file = syscall(MEMFD, $name, 0); "
    "open($kept[$_], q(>&=), $file); syswrite($kept[$_], q(x) x 5_000_000) } sleep 60'"
).replace("MEMFD", {"x86_64": "319", "aarch64": "279"}[os.uname().machine])
LIMITS = {
    "max_local_memory_bytes": 200_000_000,
    "max_local_processes": 100,
    "max_local_disk_bytes": 6_000_000,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Provide a repository that is smaller than the limits."""
    repository = Repository(tmp_path_factory.mktemp("small") / "repository")
    repository.commit("echo one >README.md")
    return repository


def test_a_repository_is_cloned_through_the_proxy_and_from_its_mirror(
    open_with: Open, small: Repository, git_server: GitServer
) -> None:
    url = git_server.publish(small, "private", token="a-token-of-somebody")
    with shell_agent():
        backend = open_with()
        script = (
            "echo two >two.txt; git fetch 2>&1; "
            "curl -sS https://first.example; curl -sS https://first.example http://second.example"
        )
        first = backend.complete(script, url, github_token="a-token-of-somebody")
        assert (backend.folder / "mirrors").is_dir()
        requests = len(git_server.requests)
        second = backend.complete(script, url, github_token="a-token-of-somebody")
    assert first["changed_files"] == second["changed_files"] == ["two.txt"]
    # The mirror needs no second download of the objects.
    assert len(git_server.requests) - requests < requests
    output = backend.output(first["id"]) + backend.output(first["id"], "stderr")
    assert "a-token-of-somebody" not in output
    assert_told_once(backend, first["id"], ["first.example:443", "second.example:80"])


def assert_told_once(backend: Backend, task_id: int, hosts: list[str]) -> None:
    """Fail unless the events tell of exactly these hosts, in this order."""
    data = [one["data"] for one in backend.events(task_id) if one["kind"] == "status"]
    refused = [one["text"] for one in data if "was not connected to" in str(one.get("text"))]
    assert [text.split(" to ")[1].split(": ")[0] for text in refused] == hosts
    assert all("ISOLATED_ALLOWED_HOSTS" in text for text in refused)


@pytest.mark.parametrize(
    ("prompt", "setting"),
    [
        (BOMB, "MAX_LOCAL_PROCESSES"),
        (
            "ulimit -f unlimited; exec dd if=/dev/zero of=large bs=1M count=10240",
            "MAX_LOCAL_DISK_BYTES",
        ),
        (IN_MEMORY, "MAX_LOCAL_MEMORY_BYTES"),
    ],
    ids=["a fork bomb", "a file of 10 GB", "files in memory"],
)
def test_a_task_above_a_limit_is_ended_and_its_changes_are_kept(
    open_with: Open, small: Repository, prompt: str, setting: str
) -> None:
    with shell_agent():
        backend = open_with(**LIMITS)
        task = backend.perform(f"echo kept >kept.txt; {prompt}", small)
    assert (task["status"], task["error_code"]) == ("failed", "sandbox_limit_exceeded")
    assert setting in task["error"]
    assert "kept.txt" in (task["changed_files"] or ()), task["error"]
    assert backend.place.processes(backend.folder) == []


def test_a_local_repository_is_read_by_the_clone_and_not_by_the_agent(
    open_with: Open, small: Repository, tmp_path: Path
) -> None:
    with shell_agent():
        backend = open_with()
        task = backend.complete(f"ls {small.folder} 2>&1; echo x >x; true", small)
        assert task["changed_files"] == ["x"]
        assert "README.md" not in backend.output(task["id"])
        # The repository of another sandbox is no source.
        hidden = backend.folder / "sandboxes" / "task-9-00000000" / "repository"
        Repository(hidden).commit("echo secret >secret")
        refused = backend.perform("true", f"file://{hidden}", branch="main")
    assert (refused["status"], refused["error_stage"]) == ("failed", "cloning")
