"""A task in a local sandbox is ended when it needs more than its limits allow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, Row, shell_agent

pytestmark = pytest.mark.local_only("a sandbox in the cloud has the size of its template")

MEMORY = 'import time; x = b"x" * 300_000_000; time.sleep(60)'
PROCESSES = "for i in $(seq 40); do env -i setsid sleep 60 & done; sleep 60"
FILES = "i=0; while sleep 0.01; do i=$((i + 1)); head -c 200000 /dev/urandom >f$i; done"
# What neither a process nor a folder shows, or too deep for a path.
SHARED = """
import mmap, os, time
for _ in range(3):
    shared = mmap.mmap(-1, 100_000_000)
    shared.write(bytes(100_000_000))
    os.fork()
time.sleep(60)
"""
IN_MEMORY = """
import os, time
files = [os.memfd_create("x") for _ in range(60)]
for file in files:
    os.write(file, bytes(5_000_000))
time.sleep(60)
"""
UNNAMED = """
import os, time
files = [open("x", "wb") for _ in range(3) if not os.path.exists("x") or not os.unlink("x")]
os.unlink("x")
for file in files:
    os.write(file.fileno(), os.urandom(4_000_000))
time.sleep(60)
"""
DEEP = """
import os, time
for _ in range(1500):
    os.mkdir("deep")
    os.chdir("deep")
for n in range(3):
    open(str(n), "wb").write(os.urandom(4_000_000))
time.sleep(60)
"""
ONE_FILE = "head -c 9000000 /dev/zero >large"
LIMITS = {
    "max_local_memory_bytes": 200_000_000,
    "max_local_processes": 30,
    "max_local_disk_bytes": 6_000_000,
    # Isolated sandboxes are shown no interpreter outside of /usr.
    "isolated_readable_paths": (sys.base_prefix,),
}


def python(program: str) -> str:
    """Return the command that runs a program, without the packages of this project."""
    return f"'{Path(sys.executable).resolve()}' -c '{program}'"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Provide a repository that is smaller than the limits."""
    repository = Repository(tmp_path_factory.mktemp("small") / "repository")
    repository.commit("echo one >README.md")
    return repository


def perform(open_with: Open, prompt: str, repository: Repository) -> tuple[Backend, Row]:
    with shell_agent():
        backend = open_with(**LIMITS)
        return backend, backend.perform(f"echo kept >kept.txt; {prompt}", repository)


@pytest.mark.parametrize(
    ("prompt", "setting"),
    [
        (python(MEMORY), "MAX_LOCAL_MEMORY_BYTES"),
        (PROCESSES, "MAX_LOCAL_PROCESSES"),
        (FILES, "MAX_LOCAL_DISK_BYTES"),
        (f"exec {ONE_FILE}", "MAX_LOCAL_DISK_BYTES"),
        (python(SHARED), "MAX_LOCAL_MEMORY_BYTES"),
        (python(IN_MEMORY), "MAX_LOCAL_MEMORY_BYTES"),
        (python(UNNAMED), "MAX_LOCAL_DISK_BYTES"),
        (f"cd ../home; {python(DEEP)}", "MAX_LOCAL_DISK_BYTES"),
    ],
    ids=[
        *("memory", "processes", "files", "one file"),
        *("shared memory", "files in memory", "files without a name", "deep files"),
    ],
)
def test_a_task_above_a_limit_is_ended_and_its_changes_are_kept(
    open_with: Open, small: Repository, prompt: str, setting: str
) -> None:
    _, task = perform(open_with, prompt, small)
    assert (task["status"], task["error_code"]) == ("failed", "sandbox_limit_exceeded")
    assert setting in task["error"]
    assert task["error_stage"] == "agent"
    assert "kept.txt" in (task["changed_files"] or ()), task["error"]


def test_a_clone_above_the_limit_is_ended(open_with: Open, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("head -c 9000000 /dev/urandom >large")
    _, task = perform(open_with, ":", repository)
    assert (task["status"], task["error_code"]) == ("failed", "sandbox_limit_exceeded")
    assert task["error_stage"] == "cloning"


def test_a_task_below_the_limits_leaves_no_core_dump(open_with: Open, small: Repository) -> None:
    backend, task = perform(open_with, "ulimit -c; sh -c 'kill -SEGV $$'; :", small)
    assert (task["status"], task["changed_files"]) == ("completed", ["kept.txt"])
    assert backend.output(task["id"]).startswith("0\n")
