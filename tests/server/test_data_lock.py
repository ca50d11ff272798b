"""Tests that two servers never use the same data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.live_server import LiveServer, ServerFactory
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("about a folder of the server")

REFUSED = 2


def share(first: LiveServer, second: LiveServer) -> None:
    second.data_dir = first.data_dir


def test_a_second_server_refuses_and_says_what_to_do(new_server: ServerFactory) -> None:
    first, second = new_server(), new_server(SHUTDOWN_GRACE_SECONDS=0)
    first.start()
    share(first, second)
    second.launch()
    assert second.wait() == REFUSED
    output = second.output.read_text()
    assert f"Another server is using the data folder {first.data_dir}" in output
    assert "set DATA_DIR to another folder" in output
    assert "Traceback" not in output
    assert first.client().get("/health/ready").code == 200


def test_the_next_server_waits_for_one_that_is_about_to_stop(
    new_server: ServerFactory, small_repository: str
) -> None:
    first, second = new_server(SHUTDOWN_GRACE_SECONDS=50), new_server(SHUTDOWN_GRACE_SECONDS=50)
    first.start()
    client = first.client()
    task_id = client.start("script:\nprint begun\nsleep 2\nwrite a.txt 1", small_repository)
    client.wait_for_output(task_id, "begun")
    share(first, second)
    second.launch()
    eventually(lambda: "another server has the data folder" in second.output.read_text())
    assert first.terminate() == 0
    second.wait_until_ready()
    task = second.client(client.user_id).status(task_id)
    assert (task["status"], task["execution_metadata"]["attempt"]) == ("completed", 1)


def test_a_server_that_still_waits_for_its_start_ends_at_a_signal(
    new_server: ServerFactory,
) -> None:
    first, second = new_server(), new_server(SHUTDOWN_GRACE_SECONDS=50)
    first.start()
    share(first, second)
    second.launch()
    eventually(lambda: "another server has the data folder" in second.output.read_text())
    assert second.terminate() == 0
    assert "Traceback" not in second.output.read_text()


def test_a_killed_server_leaves_no_lock(new_server: ServerFactory) -> None:
    first, second = new_server(), new_server()
    first.start()
    first.kill()
    share(first, second)
    second.start()
    assert "another server has the data folder" not in second.output.read_text()


def test_a_data_folder_that_cannot_be_made_is_refused(
    new_server: ServerFactory, tmp_path: Path
) -> None:
    server = new_server()
    server.data_dir = tmp_path / "file" / "data"
    (tmp_path / "file").touch()
    server.launch()
    assert server.wait() == REFUSED
    assert "set DATA_DIR to another folder" in server.output.read_text()
