"""Many tasks at once have correct results and leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.git.repositories import git
from tests.support.live_server import Client, Json, LiveServer, ServerFactory
from tests.support.places import Place
from tests.support.waiting import eventually

RUNNING, CLOUD_RUNNING = 4, 20
USERS = 5
POSTING_THREADS = 32
MAX_THREADS = 40


def prompt(number: int) -> str:
    return f"Task number <{number}> of many"


def threads_of(process: psutil.Process) -> int:
    """Count the threads, without those of the HTTP library of E2B's SDK.

    It hands each answer over in a thread of its own, which waits for the interpreter.
    """
    names = []
    for path in Path(f"/proc/{process.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            names.append((path / "comm").read_text())
    return sum(not name.startswith("tokio-") for name in names)


@contextmanager
def most_threads(process: psutil.Process) -> Iterator[list[int]]:
    """Sample the number of threads of a process; the list receives the largest number."""
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], threads_of(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def post_all(
    server: LiveServer, users: list[str], repository: str, count: int
) -> dict[int, tuple[str, int]]:
    """Start all tasks at once; return the user and the number of each task by its id."""
    local = threading.local()

    def post(number: int) -> tuple[int, tuple[str, int]]:
        user = users[number % USERS]
        if not hasattr(local, "clients"):
            local.clients = {one: server.client(one) for one in users}
        return local.clients[user].start(prompt(number), repository), (user, number)

    with ThreadPoolExecutor(POSTING_THREADS) as pool:
        return dict(pool.map(post, range(count)))


def wait_for_all(clients: dict[str, Client]) -> None:
    def left() -> int:
        health = next(iter(clients.values())).get("/health/ready").body
        return int(health["queued"] + health["running"])

    eventually(lambda: left() == 0, seconds=200)


def assert_own_prompt_only(task: Json, number: int) -> None:
    assert task["status"] == "completed", task
    for text in (task["git_diff"], task["git_patch"]):
        assert text.count("Task number <") == text.count(f"Task number <{number}>") > 0


def assert_patch_gives_the_tree(clone: Path, task: Json) -> None:
    metadata = task["execution_metadata"]
    git(clone, "checkout", "--quiet", "--force", "--detach", metadata["base_commit"])
    git(clone, "am", "--quiet", "--keep-cr", stdin=task["git_patch"].encode())
    assert git(clone, "rev-parse", "HEAD^{tree}") == metadata["tree_hash"]


@pytest.mark.cloud_with_all("many run there at once in sandboxes/e2b/test_faults.py")
@pytest.mark.timeout(300)
def test_many_tasks_at_once(
    place: Place,
    new_server: ServerFactory,
    small_repository: str,
    tmp_path: Path,
    runs_all: bool,
) -> None:
    at_once = CLOUD_RUNNING if place.cloud else RUNNING
    # As many as are posted at once, of which most wait.
    count = POSTING_THREADS * (3 if runs_all else 1)
    server = new_server(MAX_CONCURRENT_TASKS=at_once, MAX_TASKS_PER_USER=at_once)
    server.start()
    clients = {(client := server.client()).user_id: client for _ in range(USERS)}
    warm_up(clients, small_repository)
    eventually(lambda: server.sandboxes() == [])
    wait_for_all(clients)
    process = server.process
    before = files_of_commands(process)
    with most_threads(process) as most:
        tasks = post_all(server, list(clients), small_repository, count)
        wait_for_all(clients)
    assert 0 < most[0] <= MAX_THREADS
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", small_repository, str(clone))
    trees = set()
    for task_id, (user, number) in tasks.items():
        task = clients[user].task(task_id)
        assert_own_prompt_only(task, number)
        assert_patch_gives_the_tree(clone, task)
        trees.add(task["execution_metadata"]["tree_hash"])
    assert len(trees) == count
    assert_nothing_is_left(server, before)


def files_of_commands(process: psutil.Process) -> list[str]:
    """Return the kinds of open files that serve to run commands and wait for them."""
    links = []
    for path in Path(f"/proc/{process.pid}/fd").iterdir():
        # The server closes idle connections meanwhile.
        with suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return sorted(link for link in links if link.startswith(("pipe:", "anon_inode:[pidfd]")))


def warm_up(clients: dict[str, Client], repository: str) -> None:
    """Run a task for each user, so that all files that stay open are open."""
    ids = [(client, client.start("Warm up", repository)) for client in clients.values()]
    for client, task_id in ids:
        client.wait_for(task_id, "completed")


def assert_nothing_is_left(server: LiveServer, before: list[str]) -> None:
    eventually(lambda: server.sandboxes() == [] and server.sandbox_processes() == [])
    eventually(lambda: server.process.children() == [])
    assert [path.name for path in server.temporary.iterdir()] == []
    eventually(lambda: files_of_commands(server.process) == before)
    known = {"async-code.db", "async-code.db-shm", "async-code.db-wal", "lock"}
    folders = {"mirrors", "sandboxes"}
    keys = {"jwt_secret", "secret_key", "deployment", "server"}
    assert {path.name for path in server.data_dir.iterdir()} <= known | folders | keys
