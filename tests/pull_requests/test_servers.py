"""Pull requests of tasks that ended long ago: the server that ran them and the sandbox are gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fakes.github.service import FakeGitHub
from tests.support.backends import USER, Repository, Row, git
from tests.support.github.names import NAME, TOKEN
from tests.support.live_server import SHARED, Client, LiveServer, ServerFactory
from tests.support.places import Place
from tests.support.stored_files import stored_bytes

pytestmark = pytest.mark.cloud_with_all("a pull request is made from what is stored")

CHANGE = "script:\nwrite made.txt here\nprint done"


def finished_task(server: LiveServer, github: FakeGitHub) -> int:
    """Run a task on a server of its own and end the server."""
    server.start()
    client = server.client(USER)
    client.put("/users/me", {"github_token": TOKEN})
    task_id = client.start(CHANGE, f"{github.url}/{NAME}.git")
    assert client.wait_for(task_id)["status"] == "completed"
    assert server.terminate() == 0
    assert server.sandboxes() == []
    return task_id


def test_other_servers_make_one_pull_request_with_the_stored_token(
    new_server: ServerFactory,
    place: Place,
    served_github: FakeGitHub,
    small_origin: Repository,
) -> None:
    settings = {**SHARED, "GITHUB_API_URL": served_github.api_url}
    gone = new_server(**settings)
    task_id = finished_task(gone, served_github)
    # An embedded database is one server's at a time; the same one comes back then.
    others = [new_server(**settings), new_server(**settings)] if place.project else [gone]
    for server in others:
        server.launch()
    for server in others:
        server.wait_until_ready()
    clients = [server.client(USER) for server in (others * 2)[:2]]

    def create(client: Client) -> Row:
        answer = client.post(f"/create-pr/{task_id}", {"allow_simulated": True})
        assert answer.code == 200, answer
        made: Row = answer.body
        return made

    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(create, clients)
    (pull,) = served_github.pulls(NAME)
    assert {one["pr_number"], two["pr_number"]} == {pull.number}
    assert sorted([one["created"], two["created"]]) == [False, True]
    bare = served_github.repositories[NAME].bare
    task = clients[0].task(task_id)
    assert task["pr_url"] == one["pr_url"]
    tree = git(bare, "rev-parse", f"{one['branch']}^{{tree}}")
    assert tree == task["execution_metadata"]["tree_hash"]
    assert git(bare, "diff", "--name-only", small_origin.head, pull.head) == "made.txt"
    rows = place.project.dump() if place.project else stored_bytes(gone.data_dir)
    assert TOKEN.encode() not in rows
    assert task["repo_url"].encode() in rows
