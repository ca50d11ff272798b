"""Mirrors make clones cheap and give nobody more than their token can fetch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, open_backend, shell_agent
from tests.support.git.server import GitServer
from tests.support.places import Place
from tests.support.waiting import eventually
from utils.sandboxes.local import mirrors as mirror

pytestmark = pytest.mark.local_only("nothing is shared between sandboxes in the cloud")

SCRIPT = "script:\nwrite new.txt new\n"
TOKEN = "marked-token-3f9a1c"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit("head -c 300000 /bin/sh >binary; head -c 300000 /dev/urandom >random")
    return made


@pytest.fixture
def mirrored(open_with: Open) -> Backend:
    return open_with()


def mirrors(backend: Backend) -> list[Path]:
    folder = backend.folder / "mirrors"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_second_task_takes_only_what_is_new(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    url = git_server.publish(repository, "twice")
    first = git_server.bytes_of(lambda: mirrored.complete(SCRIPT, url))
    head = repository.commit("echo two >two")
    git_server.push(repository, "twice")
    started = git_server.sent_bytes
    task = mirrored.complete(SCRIPT, url)
    assert task["execution_metadata"]["base_commit"] == head
    assert git_server.sent_bytes - started < first / 20
    assert len(mirrors(mirrored)) == 1


@pytest.mark.parametrize("body", [{}, {"github_token": "wrong-token"}])
def test_a_token_that_cannot_fetch_gets_nothing_from_the_mirror(
    mirrored: Backend, git_server: GitServer, repository: Repository, body: dict[str, str]
) -> None:
    name = f"closed{len(body)}"
    url = git_server.publish(repository, name, TOKEN)
    mirrored.complete(SCRIPT, url, github_token=TOKEN)
    task = mirrored.perform(SCRIPT, url, **body)
    assert (task["status"], task["error_code"]) == ("failed", "clone_auth_failed")
    assert mirrored.complete(SCRIPT, url, github_token=TOKEN)["changed_files"] == ["new.txt"]


def test_an_agent_that_damages_its_clone_leaves_the_mirror_whole(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    url = git_server.publish(repository, "damaged")
    damage = (
        "chmod -R u+w .git/objects; find .git/objects -type f | while read -r f; do : >$f; done"
    )
    for _ in ("the clone the mirror is made from", "a clone of the mirror"):
        with shell_agent():
            assert mirrored.perform(damage, url)["error_code"] == "capture_failed"
        (mirror_folder,) = mirrors(mirrored)
        packs = list((mirror_folder / "objects" / "pack").iterdir())
        assert packs
        assert all(pack.stat().st_size for pack in packs)
    assert mirrored.complete(SCRIPT, url)["changed_files"] == ["new.txt"]


def test_a_mirror_that_outgrows_the_limit_is_removed(
    open_with: Open, git_server: GitServer, repository: Repository
) -> None:
    backend = open_with(mirror_max_bytes=2_000_000)
    url = git_server.publish(repository, "growing")
    backend.complete(SCRIPT, url)
    assert len(mirrors(backend)) == 1
    repository.commit(
        "for n in $(seq 150); do head -c 20000 /dev/urandom >more$n; done", "Add three megabytes"
    )
    git_server.push(repository, "growing")
    backend.complete(SCRIPT, url)
    assert mirrors(backend) == []


def test_commits_that_were_rewritten_away_cannot_be_reached(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    secret = repository.commit("echo secret >secret")
    url = git_server.publish(repository, "rewritten")
    mirrored.complete(SCRIPT, url)
    repository.run("git reset -q --hard HEAD~1")
    repository.commit("echo public >public")
    git_server.push(repository, "rewritten")
    inspect_mirrors = f"git cat-file -t {secret} || echo unreachable; echo x >x"
    with shell_agent():
        for _ in range(2):
            task = mirrored.complete(inspect_mirrors, url)
            assert mirrored.output(task["id"]) == "unreachable\n"
            assert task["changed_files"] == ["x"]


def test_a_branch_that_was_deleted_is_not_found(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    repository.run("git branch gone")
    url = git_server.publish(repository, "deleted")
    mirrored.complete(SCRIPT, url, branch="gone")
    repository.run("git branch -D gone")
    git_server.push(repository, "deleted")
    task = mirrored.perform(SCRIPT, url, branch="gone")
    assert task["error_code"] == "branch_not_found"


def test_a_refresh_that_was_interrupted_discards_the_mirror(
    place: Place, tmp_path: Path, git_server: GitServer, repository: Repository
) -> None:
    folder = tmp_path / "data"
    url = git_server.publish(repository, "interrupted")
    with open_backend(folder, place) as backend:
        backend.complete(SCRIPT, url)
    git_server.hanging.add("interrupted")
    with open_backend(folder, place, clone_timeout_seconds=1) as backend:
        # A named branch, or the request for the name of the default branch hangs before a refresh.
        task = backend.perform(SCRIPT, url, branch="main")
        assert task["error_code"] == "clone_timeout"
    git_server.hanging.clear()
    with open_backend(folder, place) as backend:
        started = git_server.sent_bytes
        backend.complete(SCRIPT, url)
        assert git_server.sent_bytes - started > 300_000
        backend.complete(SCRIPT, url)
        assert len(mirrors(backend)) == 1


def test_mirrors_stay_below_their_size(
    open_with: Open, git_server: GitServer, repository: Repository
) -> None:
    backend = open_with(mirror_max_bytes=1_000_000)
    for number in range(4):
        backend.complete(SCRIPT, git_server.publish(repository, f"size{number}"))
    assert 1 <= len(mirrors(backend)) <= 2
    with_newest = git_server.sent_bytes
    backend.complete(SCRIPT, git_server.url("size3"))
    assert git_server.sent_bytes - with_newest < 100_000


def test_a_repository_larger_than_all_mirrors_is_cloned_all_the_same(
    open_with: Open, git_server: GitServer, repository: Repository
) -> None:
    backend = open_with(mirror_max_bytes=1000)
    url = git_server.publish(repository, "large")
    for _ in range(2):
        backend.complete(SCRIPT, url)
        assert mirrors(backend) == []


def test_tasks_that_run_at_once_share_a_mirror(
    open_with: Open, git_server: GitServer, repository: Repository
) -> None:
    backend = open_with(max_concurrent_tasks=4)
    url = git_server.publish(repository, "shared")
    for _ in range(2):
        started = [backend.start(f"script:\nwrite {n} {n}\n", url) for n in range(4)]
        rows = [backend.wait(task_id) for task_id in started]
        assert [row["changed_files"] for row in rows] == [[str(n)] for n in range(4)]
        assert [path.suffix for path in mirrors(backend)] == [""]


def test_a_worn_mirror_is_made_anew(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    url = git_server.publish(repository, "worn")
    mirrored.complete(SCRIPT, url)
    [folder] = mirrors(mirrored)
    for number in range(mirror.MAX_PACK_FILES + 1):
        (folder / "objects" / "pack" / f"tmp_{number}").touch()
    mirrored.complete(SCRIPT, url)
    [folder] = mirrors(mirrored)
    assert len(list((folder / "objects" / "pack").iterdir())) < 10


def test_a_mirror_that_cannot_be_stored_fails_no_task(
    mirrored: Backend, git_server: GitServer, repository: Repository
) -> None:
    (mirrored.folder / "mirrors").write_text("in the way")
    mirrored.complete(SCRIPT, git_server.publish(repository, "unkept"))


def test_mirrors_are_counted_while_others_are_made_and_refreshed(
    open_with: Open, git_server: GitServer, repository: Repository
) -> None:
    backend = open_with(max_concurrent_tasks=4, mirror_max_bytes=1_000_000)
    urls = [git_server.publish(repository, f"many{number}") for number in range(4)]
    for _ in range(2):
        for task_id in [backend.start(SCRIPT, url) for url in urls]:
            assert backend.wait(task_id)["status"] == "completed"


def test_drafts_of_an_earlier_process_are_removed(place: Place, tmp_path: Path) -> None:
    draft = tmp_path / "data" / "mirrors" / "abc.new-12"
    draft.mkdir(parents=True)
    (draft / "HEAD").touch()
    with open_backend(tmp_path / "data", place):
        eventually(lambda: not os.path.lexists(draft))
