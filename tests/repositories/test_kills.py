"""A server that is killed loses no repository of a task, and makes no pull request twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from threading import Thread

import pytest

from tests.fakes.github.server import serve_github
from tests.fakes.github.service import FakeGitHub
from tests.support.backends import Repository, git
from tests.support.git.pushes import open_to_partial_clones
from tests.support.git.server import serve_git
from tests.support.github.names import LOGIN, TOKEN
from tests.support.live_server import Client, Json, LiveServer, ServerFactory
from tests.support.waiting import eventually

NAMES = ("app", "lib", "docs")
PROMPT = "script:\nprint begun\nsleep 1\n" + "\n".join(
    f"write {name}/made.txt {name}\nbytes {name}/image.bin AAH/" for name in NAMES
)


@pytest.fixture
def github(tmp_path: Path, small_origin: Repository) -> Iterator[FakeGitHub]:
    """Provide a fake GitHub with three repositories."""
    with serve_git(tmp_path / "served") as server, serve_github() as opened:
        opened.git_port = server.port
        opened.add_token(TOKEN, LOGIN)
        for name in NAMES:
            server.publish(small_origin, name, TOKEN)
            open_to_partial_clones(server.bare(name))
            opened.add_repository(f"team/{name}", server.bare(name), roles={LOGIN: "write"})
        yield opened


def create(client: Client, task_id: int) -> Json:
    body = {"github_token": TOKEN, "allow_simulated": True}
    answer = client.post(f"/create-pr/{task_id}", body)
    assert answer.code == 200, answer
    made: Json = answer.body
    return made


def create_until_killed(server: LiveServer, client: Client, github: FakeGitHub, task: int) -> None:
    """Request the pull requests, and kill the server when the first one is open."""
    waiting = server.client(client.user_id)

    def be_cut_off() -> None:
        with pytest.raises((HTTPException, OSError)):
            create(waiting, task)

    github.fail("hang", on="POST /repos/team/lib/pulls")
    request = Thread(target=be_cut_off)
    request.start()
    eventually(lambda: "POST /repos/team/lib/pulls" in " ".join(github.paths()))
    server.kill()
    request.join()
    github.failing.clear()
    github.released.set()


def check(github: FakeGitHub, row: Json, links: Sequence[str], clone: Path) -> None:
    """Assert that a repository has one pull request, which is exact and has these links."""
    name = row["name"]
    [pull] = github.pulls(f"team/{name}")
    bare = github.repositories[f"team/{name}"].bare
    assert git(bare, "rev-parse", f"{pull.head}^{{tree}}") == row["tree_hash"]
    assert git(bare, "diff", "--name-only", "main", pull.head) == "image.bin\nmade.txt"
    assert re.findall(r"^- (http\S+)$", pull.body, re.MULTILINE) == links
    git(bare, "clone", "--quiet", "--", ".", str(clone))
    git(clone, "am", "--quiet", stdin=row["git_patch"].encode())
    assert git(clone, "rev-parse", "HEAD^{tree}") == row["tree_hash"]


@pytest.mark.cloud_with_all("the pushes come from the server")
def test_kills_leave_three_exact_pull_requests(
    new_server: ServerFactory, github: FakeGitHub, tmp_path: Path
) -> None:
    server = new_server(GITHUB_API_URL=github.api_url)
    server.start()
    client = server.client()
    urls = [f"{github.url}/team/{name}.git" for name in NAMES]
    more = {"repositories": [{"repo_url": url} for url in urls], "github_token": TOKEN}
    task_id = client.start(PROMPT, urls[0], **more)
    client.wait_for_output(task_id, "begun")
    server.kill()
    server.start()
    client = server.client(client.user_id)
    assert client.wait_for(task_id)["status"] == "completed"
    task = client.task(task_id)

    create_until_killed(server, client, github, task_id)
    assert [len(github.pulls(f"team/{name}")) for name in NAMES] == [1, 0, 0]
    server.start()
    client = server.client(client.user_id)
    made = create(client, task_id)["pull_requests"]
    assert [one["created"] for one in made] == [False, True, True]
    for row in task["repositories"]:
        links = [one["pr_url"] for one in made if one["repository"] != row["name"]]
        check(github, row, links, tmp_path / row["name"])
    sequences = [event["sequence"] for event in client.events(task_id)]
    assert sequences == list(range(1, len(sequences) + 1))
