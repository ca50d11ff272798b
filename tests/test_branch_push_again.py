"""A push that happened is recognised, and nobody else's work is overwritten."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.backends import Repository, Row, git
from tests.branch_pushes import (
    AGENT,
    FINISHED_AT,
    PERSON,
    TOKEN,
    open_to_partial_clones,
    push,
    request_of,
    result_of,
    tree_on,
)
from tests.git_server import GitServer, serve_git
from utils.branch_push import PushRequest
from utils.branch_push_commit import CommitText, Identity
from utils.errors import BranchChanged, InvalidBranch, PushRefused

NAME = "again"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with serve_git(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture(scope="module")
def repository(server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("again") / "repository")
    repository.commit("echo one >one; echo two >two; printf '\\0' >three", "Start")
    server.publish(repository, NAME, TOKEN)
    open_to_partial_clones(server.bare(NAME))
    return repository


@pytest.fixture(scope="module")
def result(repository: Repository) -> Row:
    return result_of(repository, "echo more >>one; git mv two four")


@pytest.fixture
def request_(server: GitServer, result: Row, request: pytest.FixtureRequest) -> PushRequest:
    """A request for a branch of this test's own."""
    return request_of(server.url(NAME), result, branch=f"async-code/{id(request):x}")


def pushes_to(server: GitServer) -> int:
    return sum(path.endswith("/git-receive-pack") for _, path, _ in server.requests)


def head_of(server: GitServer, branch: str) -> str:
    return git(server.bare(NAME), "rev-parse", f"refs/heads/{branch}")


def push_foreign(repository: Repository, server: GitServer, branch: str) -> str:
    foreign = git(repository.folder, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "Foreign")
    git(repository.folder, "push", "-qf", str(server.bare(NAME)), f"{foreign}:refs/heads/{branch}")
    return foreign


def test_a_second_call_pushes_and_fetches_nothing(
    server: GitServer, request_: PushRequest, tmp_path: Path
) -> None:
    first = push(tmp_path, request_)
    pushes, objects = pushes_to(server), server.sent_objects
    for known in (first.commit, None):
        again = push(tmp_path, replace(request_, expected_remote=known))
        assert again == replace(first, was_there=True, objects_fetched=0)
    assert (pushes_to(server), server.sent_objects) == (pushes, objects)


def test_the_commit_says_who_wrote_it_who_pushed_it_and_when(
    server: GitServer, request_: PushRequest, tmp_path: Path
) -> None:
    odd = Identity("  <A>\nB\0 , Ω.", "a<@>example\n.org")
    text = CommitText("Title \r\n\r\nBody\t\r\n# more\x00\n\n\n", odd, PERSON, FINISHED_AT)
    push(tmp_path, replace(request_, text=text))
    commit = git(server.bare(NAME), "cat-file", "commit", f"refs/heads/{request_.branch}")
    when = f"{int(FINISHED_AT.timestamp())} +0000"
    assert commit.splitlines()[1:] == [
        f"parent {request_.base_commit}",
        f"author A B , Ω <a@example .org> {when}",
        f"committer Person <person@example.org> {when}",
        "",
        "Title",
        "",
        "Body",
        "# more",
    ]


def test_a_new_message_replaces_what_we_pushed(
    server: GitServer, request_: PushRequest, tmp_path: Path
) -> None:
    first = push(tmp_path, request_)
    other = CommitText("fix: other words", AGENT, PERSON, FINISHED_AT)
    changed = replace(request_, text=other, expected_remote=first.commit)
    second = push(tmp_path, changed)
    assert not second.was_there
    assert head_of(server, request_.branch) == second.commit != first.commit
    assert tree_on(server, NAME, request_.branch) == request_.tree_hash


def test_a_branch_that_was_deleted_is_made_again(
    server: GitServer, request_: PushRequest, tmp_path: Path
) -> None:
    first = push(tmp_path, request_)
    git(server.bare(NAME), "update-ref", "-d", f"refs/heads/{request_.branch}")
    again = push(tmp_path, replace(request_, expected_remote=first.commit))
    assert (again.commit, again.was_there) == (first.commit, False)


@pytest.mark.parametrize("pushed_before", [False, True])
def test_what_someone_else_pushed_is_left_as_it_is(
    server: GitServer,
    repository: Repository,
    request_: PushRequest,
    tmp_path: Path,
    pushed_before: bool,
) -> None:
    expected = push(tmp_path, request_).commit if pushed_before else None
    foreign = push_foreign(repository, server, request_.branch)
    other = CommitText("fix: other words", AGENT, PERSON, FINISHED_AT)
    with pytest.raises(BranchChanged) as raised:
        push(tmp_path, replace(request_, text=other, expected_remote=expected))
    assert raised.value.remote_commit == foreign
    assert (raised.value.code, raised.value.http_status) == ("branch_changed", 409)
    assert foreign in raised.value.message
    assert head_of(server, request_.branch) == foreign


def test_someone_who_pushes_at_the_last_moment_wins(
    server: GitServer,
    repository: Repository,
    request_: PushRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = git(repository.folder, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "Late")
    git(repository.folder, "push", "-q", str(server.bare(NAME)), f"{foreign}:refs/heads/late")
    # The hook runs when the lease was checked by the client, as another push might come then.
    hook = server.bare(NAME) / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(
        "#!/bin/sh\nunset GIT_QUARANTINE_PATH\n"
        f"git update-ref refs/heads/{request_.branch} {foreign}\n"
    )
    hook.chmod(0o755)
    try:
        with pytest.raises(BranchChanged) as raised:
            push(tmp_path, request_)
    finally:
        hook.unlink()
    assert raised.value.remote_commit == foreign == head_of(server, request_.branch)


def test_calls_at_the_same_time_make_one_commit(
    server: GitServer, request_: PushRequest, tmp_path: Path
) -> None:
    start = threading.Barrier(4)

    def call(number: int) -> str:
        start.wait()
        return push(tmp_path / str(number), request_).commit

    with ThreadPoolExecutor(4) as threads:
        commits = set(threads.map(call, range(4)))
    assert commits == {head_of(server, request_.branch)}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tree_hash": "1" * 40}, "tree_mismatch"),
        ({"base_commit": "2" * 40}, "base_commit_gone"),
        ({"patch": "diff --git a/one b/one\n--- a/one\n+++ b/one\n@@ -1 +1 @@\n-no\n+yes\n"}, None),
        ({"patch": "diff --git a/none b/none\nold mode 100644\nnew mode 100755\n"}, None),
    ],
)
def test_what_does_not_fit_is_not_pushed(
    server: GitServer, request_: PushRequest, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    pushes = pushes_to(server)
    with pytest.raises(PushRefused) as raised:
        push(tmp_path, replace(request_, **changes))
    assert raised.value.code == (code or "patch_does_not_apply")
    assert pushes_to(server) == pushes


@pytest.mark.parametrize("branch", ["-rf", "a..b", "x y", "a:refs/heads/main", "+main", ""])
def test_a_name_that_is_no_branch_reaches_no_command(
    server: GitServer, request_: PushRequest, tmp_path: Path, branch: str
) -> None:
    before = git(server.bare(NAME), "for-each-ref")
    (tmp_path / "pushes").mkdir()
    if branch == "+main":
        push(tmp_path, replace(request_, branch=branch))
        assert head_of(server, "+main")
        return
    with pytest.raises(InvalidBranch):
        push(tmp_path, replace(request_, branch=branch))
    assert git(server.bare(NAME), "for-each-ref") == before
