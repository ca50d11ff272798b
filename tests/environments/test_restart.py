"""A server that is killed during a setup begins the task again, and shows its secrets nowhere."""

from __future__ import annotations

import re

import psutil

from tests.support.agents.gates import Gate
from tests.support.live_server import Client, LiveServer, ServerFactory
from tests.support.stored_files import stored_files
from tests.support.waiting import eventually

SECRET = "marked-secret-of-a-project-5f2c"
SETUP = """
echo "begun with $REGISTRY_TOKEN" {tell}
sleep 600 &
{wait}
echo "$REGISTRY_TOKEN" | tr a-z A-Z >made.txt; kill $!; echo "$REGISTRY_TOKEN"
"""


def places_of_secret(server: LiveServer, client: Client) -> list[str]:
    """Return where the secret shows: in arguments of processes, files of the server, answers."""
    processes = psutil.process_iter(["cmdline"])
    found = [str(one.pid) for one in processes if SECRET in " ".join(one.info["cmdline"] or ())]
    files = stored_files(server.data_dir) | {server.output: server.output.read_bytes()}
    found += [str(path) for path, content in files.items() if SECRET.encode() in content]
    for path in ("/projects", "/tasks", "/projects/1/secrets"):
        if SECRET in str(client.get(path).body):
            found.append(path)
    return found


def test_a_kill_during_a_setup_loses_nothing(
    new_server: ServerFactory, small_repository: str, gate: Gate
) -> None:
    server = new_server(LOG_LEVEL="DEBUG")
    server.start()
    client = server.client()
    settings = {"environment": {"setup": SETUP.format(tell=gate.tell, wait=gate.wait)}}
    made = client.post(
        "/projects", {"name": "P", "repo_url": small_repository} | {"settings": settings}
    )
    project_id = made.body["project"]["id"]
    answer = client.put(f"/projects/{project_id}/secrets/REGISTRY_TOKEN", {"value": SECRET})
    assert answer.code == 200, answer
    prompt = "script:\nprint after\nwrite own.txt x"
    task_id = client.start(prompt, small_repository, project_id=project_id)
    client.wait_for(task_id, "setup")
    eventually(lambda: gate.received().count(b"begun") == 1)
    assert places_of_secret(server, client) == []
    server.kill()
    server.start()
    eventually(lambda: gate.received().count(b"begun") == 2)
    gate.open()
    client = server.client(client.user_id)
    row = client.wait_for(task_id, "completed", "failed")
    assert row["status"] == "completed", row
    assert client.task(task_id)["changed_files"] == ["own.txt"]
    events = client.events(task_id)
    [setup] = [one["data"] for one in events if one["kind"] == "setup"]
    assert setup["output"] == "[redacted]"
    assert re.search(r"'stage': 'setup'.*'stage': 'agent'", str(events))
    # A sweep ends the first sandbox in the cloud later, when it is old enough.
    if server.place.cloud is None:
        eventually(lambda: server.sandboxes() == [])
    assert places_of_secret(server, client) == []
