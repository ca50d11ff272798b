"""A server that is killed while the checks of a group run makes the checks again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import psutil

from tests.support.agents.gates import Gate
from tests.support.live_server import ServerFactory, is_alive
from tests.support.places import processes_with
from tests.support.waiting import eventually

MARK = "CHECK_OF_GROUP"
CHECK = """
export {mark}={own}
cat made.txt
setsid sleep 600 >/dev/null 2>&1 &
echo begun {tell}
{wait}; exit 3
"""


def processes_of_checks(own: str) -> list[psutil.Process]:
    """Return the processes that checks have started and that run."""
    return [one for one in processes_with(MARK, partial(str.__eq__, own)) if is_alive(one)]


def test_the_checks_of_a_group_run_again_after_a_kill_and_leave_nothing(
    new_server: ServerFactory, small_repository: str, tmp_path: Path, gate: Gate
) -> None:
    server = new_server()
    server.start()
    client = server.client()
    command = CHECK.format(own=tmp_path, mark=MARK, tell=gate.tell, wait=gate.wait)
    body = {"prompt": "script:\nwrite made.txt made", "repo_url": small_repository}
    answer = client.post("/start-task", {**body, "attempts": 2, "check_command": command})
    eventually(lambda: gate.received().count(b"begun") == 2)
    # A process shows its environment from the moment when it has become another program.
    interrupted = eventually(lambda: processes_of_checks(str(tmp_path)))
    server.kill()
    server.start()
    eventually(lambda: gate.received().count(b"begun") == 4)
    assert not [one for one in interrupted if is_alive(one)]
    gate.open()
    client = server.client(client.user_id)
    path = f"/task-groups/{answer.body['group_id']}"
    eventually(lambda: client.get(path).body["group"]["status"] == "ended")
    for row in client.get(path).body["group"]["tasks"]:
        assert (row["status"], row["files"]) == ("completed", 1), row["error"]
        assert (row["check_exit_code"], row["check_output"]) == (3, "made")
        kinds = [event["kind"] for event in client.events(row["task_id"])]
        assert kinds.count("check") == 1
    eventually(lambda: server.sandboxes() == [])
    assert processes_of_checks(str(tmp_path)) == []
