"""The branches of a repository come from its host, whoever runs it, and from no other place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tests.conftest import Headers
from tests.support.backends import Repository
from tests.support.git.server import GitServer
from tests.support.loopback import ANY_PATH

TOKEN = "secret-4711"
NOT_ALLOWED = (
    "ext::sh -c touch%20/tmp/x",
    "--upload-pack=touch /tmp/x",
    "https://someone:ghp_0123456789abcdef@github.com/o/n",
    "https://git.elsewhere.example/o/n",
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:169.254.169.254]/o/n",
    "file:///etc/../etc",
    "",
)
LISTED = ["", "a b", "-x", "x\x1b[31m", "x..y", "x.lock", "\u202egnp", "ok", "größe"]


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Provide a repository whose HEAD is at `trunk`, with a branch and a tag beside it."""
    repository = Repository(tmp_path_factory.mktemp("branched") / "origin")
    repository.commit("echo one >one")
    repository.run("git branch -m trunk; git branch feature/a; git tag v1")
    return repository


def ask(
    client: FlaskClient, headers: Headers, url: str, token: str | None = None
) -> tuple[int, Any]:
    """Return the status with the branches, or with the code of the error."""
    sent = {**headers, "X-GitHub-Token": token} if token else headers
    answer = client.get("/api/branches", query_string={"repo_url": url}, headers=sent)
    body = answer.get_json()
    assert TOKEN not in answer.get_data(as_text=True)
    return answer.status_code, body.get("branches", body.get("code"))


def test_the_default_branch_comes_first_also_of_private_repositories_and_of_this_machine(
    client: FlaskClient, headers: Headers, git_server: GitServer, branched: Repository
) -> None:
    names = ["trunk", "feature/a"]
    private = git_server.publish(branched, "private", TOKEN)
    assert ask(client, headers, private) == (400, "github_token_needed")
    assert ask(client, headers, private, "another") == (403, "github_token_refused")
    assert ask(client, headers, private, TOKEN) == (200, names)
    assert ask(client, headers, private) == (400, "github_token_needed")
    git_server.old_protocol.add("old")
    assert ask(client, headers, git_server.publish(branched, "old")) == (200, names)
    query = {"repo_url": str(branched.folder)}
    answer = client.get("/branches", query_string=query, headers=headers).get_json()
    assert (answer["branches"], answer["default_branch"]) == (names, "trunk")
    branched.run("git checkout --quiet --detach")
    answer = client.get("/branches", query_string=query, headers=headers).get_json()
    assert (answer["branches"], answer["default_branch"]) == (sorted(names), None)


def test_what_no_task_may_clone_from_is_not_asked(
    client: FlaskClient, headers: Headers, tmp_path: Path,
    git_server: GitServer, branched: Repository, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for url in NOT_ALLOWED:
        assert ask(client, headers, url) == (400, "repository_not_allowed")
    assert client.get("/branches", headers=headers).status_code == 400
    assert ask(client, headers, str(tmp_path)) == (404, "repository_not_found")
    assert ask(client, headers, git_server.url("gone")) == (404, "repository_not_found")

    # The token stays with the host that it was sent for.
    target = git_server.publish(branched, "target")
    git_server.redirects["leaving"] = target.partition("/team")[0]
    before = len(git_server.requests)
    assert ask(client, headers, git_server.url("leaving"), TOKEN) == (409, "repository_moved")
    assert len(git_server.requests) == before + 1

    git_server.hanging.add("hanging")
    monkeypatch.setattr("utils.git.remote_branches.TIMEOUT_SECONDS", 0.5)
    assert ask(client, headers, git_server.url("hanging")) == (503, "repo_unreachable")
    git_server.released.set()


def test_an_answer_of_any_length_with_any_names_is_harmless(
    client: FlaskClient, headers: Headers, httpserver: HTTPServer
) -> None:
    def packet(text: str) -> bytes:
        return f"{len(text.encode()) + 4:04x}{text}".encode()

    def listing(names: list[str]) -> bytes:
        lines = [f"{'1' * 40} refs/heads/{name}\n" for name in names]
        first = f"{'1' * 40} HEAD\0symref=HEAD:refs/heads/-x agent=any\n"
        advertised = b"".join(map(packet, (first, *lines)))
        return packet("# service=git-upload-pack\n") + b"0000" + advertised + b"0000"

    kind = "application/x-git-upload-pack-advertisement"
    url = httpserver.url_for("/team/odd")
    httpserver.expect_request(ANY_PATH).respond_with_response(
        Response(listing(LISTED), content_type=kind)
    )
    status, names = ask(client, headers, url)
    assert status == 200
    assert {"ok", "größe"} <= set(names) <= {"a", "ok", "größe"}

    httpserver.clear()
    many = [f"branch-{number}-{'x' * 200}" for number in range(20_000)]
    httpserver.expect_request(ANY_PATH).respond_with_response(
        Response(listing(many), content_type=kind)
    )
    status, names = ask(client, headers, url)
    assert (status, names) == (200, many[:1_000])
