"""Tests of SIGTERM: tasks finish within the grace time or wait for the next start."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.git.repositories import make_repository
from tests.support.live_server import Client, LiveServer, ServerFactory, shorten_sleeps
from tests.support.stored_files import stored_bytes
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("agents in the cloud work on, see test_e2b_restart")

SLEEPS = "script:\nprint begun\nbackground 300\nsleep 300"
TOKEN = "marked-token-3f9a1c"


def stored(server: LiveServer, columns: str = "status, attempt") -> list[tuple[object, ...]]:
    """Read the tasks of a server that is stopped."""
    with closing(sqlite3.connect(server.data_dir / "async-code.db")) as connection:
        return connection.execute(f"SELECT {columns} FROM tasks ORDER BY id").fetchall()


def test_tasks_that_end_within_the_grace_time_complete_and_the_others_are_requeued(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=2, SHUTDOWN_GRACE_SECONDS=7)
    server.start()
    # An idle connection delays the end of the server; no task may start in that time.
    client = Client(server.port)
    long = client.start(SLEEPS, small_repository)
    short = client.start("script:\nprint begun\nsleep 3\nwrite a.txt a", small_repository)
    waiting = client.start("Waits", small_repository)
    for task_id in (long, short):
        client.wait_for_output(task_id, "begun")
    assert server.terminate() == 0
    assert server.sandbox_processes() == []
    assert server.sandboxes() == []
    assert stored(server) == [("pending", 0), ("completed", 1), ("pending", 0)]
    client.close()
    shorten_sleeps(server, 300)
    server.start(SHUTDOWN_GRACE_SECONDS=0)
    client = server.client(client.user_id)
    for task_id in (waiting, long):
        row = client.wait_for(task_id)
        assert (row["status"], row["execution_metadata"]["attempt"]) == ("completed", 1)


def test_tasks_are_put_back_while_a_slow_client_still_holds_up_the_end(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(SHUTDOWN_GRACE_SECONDS=0)
    server.start()
    client = server.client()
    task_id = client.start(SLEEPS, small_repository)
    user_id = client.user_id

    def is_put_back_in_time() -> bool:
        server.client(user_id).wait_for(task_id, "agent")
        has_seen = is_put_back_beside_a_slow_client(server)
        assert server.wait() == 0
        if not has_seen:
            server.start()
        return has_seen

    # The server gives up a slow client after a time that a loaded machine needs for other things.
    eventually(is_put_back_in_time)


def is_put_back_beside_a_slow_client(server: LiveServer) -> bool:
    """Stop a server; tell whether its task waited again before it had answered a slow client."""
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        body = BytesIO(b"{" * 10_000)
        slow.sendall(b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
        server.process.terminate()

        def is_put_back() -> bool:
            slow.sendall(body.read(1))
            return stored(server) == [("pending", 0)]

        with suppress(ConnectionError):
            eventually(is_put_back)
            slow.sendall(body.read())
            return slow.recv(100).startswith(b"HTTP/1.1 400 ")
    return False


def test_a_task_may_be_interrupted_by_many_shutdowns(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(SHUTDOWN_GRACE_SECONDS=0, MAX_ATTEMPTS=1)
    server.start()
    user_id = (client := server.client()).user_id
    task_id = client.start(SLEEPS, small_repository)
    for _ in range(2):
        client = server.client(user_id)
        client.wait_for(task_id, "agent")
        assert server.terminate() == 0
        assert server.sandbox_processes() == []
        assert stored(server) == [("pending", 0)]
        server.start()


def test_changes_that_are_being_read_at_the_end_are_stored(
    new_server: ServerFactory, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "large", large_bytes=40_000_000)
    server = new_server(SHUTDOWN_GRACE_SECONDS=0)
    server.start()
    client = server.client()
    task_id = client.start("script:\ndelete large.bin", str(repository))
    client.wait_for(task_id, "capturing")
    assert server.terminate() == 0
    assert stored(server) == [("completed", 1)]
    assert stored(server, "error, error_code, error_stage") == [(None, None, None)]


def test_a_token_waits_encrypted_and_is_erased_at_the_end(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1, SHUTDOWN_GRACE_SECONDS=0)
    server.start()
    client = server.client()
    first = client.start(SLEEPS, small_repository)
    client.wait_for_output(first, "begun")
    ids = [
        client.start(prompt, small_repository, github_token=TOKEN)
        for prompt in ("Done", "script:\nfail 1", "Cancelled")
    ]
    assert server.terminate() == 0
    assert secrets(server) == ids
    assert TOKEN.encode() not in stored_bytes(server.data_dir)
    server.start()
    client = server.client(client.user_id)
    for task_id in (ids[2], first):
        assert client.post(f"/tasks/{task_id}/cancel").code == 200
    ends = [client.wait_for(task_id)["status"] for task_id in ids]
    assert ends == ["completed", "failed", "cancelled"]
    assert server.terminate() == 0
    assert secrets(server) == []
    assert TOKEN.encode() not in stored_bytes(server.data_dir)


def test_a_token_of_another_key_ends_the_task_with_an_error_that_says_so(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1, SHUTDOWN_GRACE_SECONDS=0)
    server.start(SECRET_KEY="one key of at least thirty-two characters")
    client = server.client()
    client.wait_for(client.start(SLEEPS, small_repository), "agent")
    task_id = client.start("Never done", small_repository, github_token=TOKEN)
    server.terminate()
    server.start(SECRET_KEY="another key of at least 32 characters", MAX_CONCURRENT_TASKS=2)
    client = server.client(client.user_id)
    row = client.wait_for(task_id)
    assert (row["status"], row["error_code"]) == ("failed", "token_unreadable")
    last = {"status": "failed", "error_code": "token_unreadable"}
    assert client.events(task_id)[-1]["data"] == last


def secrets(server: LiveServer) -> list[int]:
    with closing(sqlite3.connect(server.data_dir / "async-code.db")) as connection:
        rows = connection.execute("SELECT task_id FROM task_secrets ORDER BY task_id")
        return [task_id for (task_id,) in rows]
