"""The clone that is made for the next task is what that task would have cloned itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, Row, shell_agent
from tests.support.git.exactness import check_exact, make_sample, tree_left_by
from tests.support.git.server import GitServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.local_only("only this machine keeps something between two tasks")

MARK = "was-made-before"
"""A file in the folder of git, which shows the clones that were made before."""

WORK = f"[ -e .git/{MARK} ] && echo taken; printf 'more\\n' >>src/app.py; git status --short"
DETAILS = (
    "git log --all --format=%H%d; git reflog --all --format=%H; ls .git; "
    "git config remote.origin.url"
)


@pytest.fixture
def mirrored(open_with: Open) -> Iterator[Backend]:
    with shell_agent():
        yield open_with()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_sample(tmp_path / "repository")


def mark_checkout(backend: Backend) -> Path:
    """Wait for the clone of the only mirror, and mark it; return its folder."""
    (mirror,) = (backend.folder / "mirrors").iterdir()
    checkout = mirror / "checkout"
    eventually(checkout.exists)
    (checkout / ".git" / MARK).touch()
    return checkout


def output(backend: Backend, task: Row) -> list[str]:
    return backend.output(task["id"]).splitlines()


def complete(backend: Backend, script: str, url: str, times: int) -> Row:
    return [backend.complete(script, url) for _ in range(times)][-1]


def publish_and_clone(
    backend: Backend, git_server: GitServer, repository: Repository, name: str
) -> str:
    """Run tasks until the next one has a clone, and mark that; return the address."""
    url = git_server.publish(repository, name)
    complete(backend, WORK, url, 2)
    mark_checkout(backend)
    return url


def test_a_task_takes_the_clone_and_the_result_is_exact(
    mirrored: Backend, git_server: GitServer, repository: Repository, tmp_path: Path
) -> None:
    url = git_server.publish(repository, "taken")
    complete(mirrored, WORK, url, 2)
    for number in range(2):
        checkout = mark_checkout(mirrored)
        task = mirrored.complete(WORK, url)
        assert output(mirrored, task) == ["taken", " M src/app.py"]
        assert not (checkout / ".git" / MARK).exists()
        folder = tmp_path / f"check{number}"
        folder.mkdir()
        expected = tree_left_by(repository, WORK, folder / "expected")
        check_exact(mirrored, task, repository, expected, folder)


def test_new_commits_are_added_and_nothing_else_differs_from_a_clone(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    url = publish_and_clone(mirrored, git_server, repository, "moved")
    head = repository.commit("rm docs/dos.txt; mv link other; echo new >'a folder/new'")
    git_server.push(repository, "moved")
    task = mirrored.complete(f"{WORK}\n{DETAILS}", url)
    taken, changed, *seen = output(mirrored, task)
    assert (taken, changed) == ("taken", " M src/app.py")
    assert task["execution_metadata"]["base_commit"] == head
    assert f"{head} (HEAD -> main, origin/main, origin/HEAD)" in seen
    assert {"ORIG_HEAD", "FETCH_HEAD"}.isdisjoint(seen)
    assert seen[-1] == url


def test_changed_attributes_have_the_files_cloned_anew(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    url = publish_and_clone(mirrored, git_server, repository, "attributes")
    repository.commit("echo 'notes.txt text eol=crlf' >docs/.gitattributes")
    git_server.push(repository, "attributes")
    task = mirrored.complete(f"{WORK}\ngrep -c '\r' docs/notes.txt", url)
    assert output(mirrored, task) == [" M src/app.py", "7"]


def test_nobody_gets_the_clone_who_may_not_fetch(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    url = git_server.publish(repository, "closed", "marked-token-3f9a1c")
    for _ in range(2):
        mirrored.complete(WORK, url, github_token="marked-token-3f9a1c")
    checkout = mark_checkout(mirrored)
    task = mirrored.perform(WORK, url, github_token="wrong-token")
    assert (task["status"], task["error_code"]) == ("failed", "clone_auth_failed")
    assert checkout.exists()


def test_commits_that_were_rewritten_away_are_in_no_clone(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    secret = repository.commit("echo secret >secret")
    url = publish_and_clone(mirrored, git_server, repository, "rewritten")
    repository.run("git reset -q --hard HEAD~1")
    repository.commit("echo public >public")
    git_server.push(repository, "rewritten")
    for _ in range(3):
        task = mirrored.complete(f"{WORK}\ngit cat-file -t {secret} || echo unreachable", url)
        assert output(mirrored, task) == [" M src/app.py", "unreachable"]


def test_a_clone_that_makes_the_mirrors_too_large_is_removed_and_not_made_again(
    open_with: Open, git_server: GitServer, repository: Repository
) -> None:
    repository.commit("head -c 300000 /dev/urandom >random")
    url = git_server.publish(repository, "large")
    with shell_agent():
        backend = open_with(mirror_max_bytes=700_000)
        complete(backend, WORK, url, 2)
        (mirror,) = (backend.folder / "mirrors").iterdir()
        for _ in range(2):
            sent = git_server.sent_bytes
            assert output(backend, backend.complete(WORK, url)) == [" M src/app.py"]
            assert git_server.sent_bytes - sent < 100_000
            eventually(lambda: not [*mirror.glob("checkout*")])
