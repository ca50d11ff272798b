"""Tests that a task ends with the right result or a clear error for each kind of repository."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.backends import (
    Backend,
    Open,
    Repository,
    Row,
    git,
    open_backend,
    run,
    shell_agent,
)
from tests.support.git.exactness import check_exact, tree_left_by
from tests.support.git.server import GitServer, serve_git

pytestmark = pytest.mark.cloud_with_all(
    "the script is the same; tests/sandboxes/e2b has the cloud's own faults"
)

SCRIPT = "script:\nwrite docs/new.txt new\n"
TOKEN = "marked-token-3f9a1c"


def failed(backend: Backend, repository: Repository | str, **body: str) -> Row:
    task = backend.perform(SCRIPT, repository, **body)
    assert (task["status"], task["error_stage"]) == ("failed", "cloning"), task["error"]
    assert not task["git_diff"]
    return task


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    made.commit("echo one >a")
    return made


def test_a_branch_with_slashes_is_cloned(backend: Backend, repository: Repository) -> None:
    repository.run("git switch -qc feature/deep/er")
    head = repository.commit("echo two >b")
    repository.run("git switch -q main")
    task = backend.complete(SCRIPT, repository, branch="feature/deep/er")
    assert task["execution_metadata"]["base_commit"] == head


@pytest.mark.parametrize("name", ["missing", "feature/missing", "refs/heads/main", "Main"])
def test_a_branch_that_does_not_exist_is_named(
    backend: Backend, repository: Repository, name: str
) -> None:
    task = failed(backend, repository, branch=name)
    assert task["error_code"] == "branch_not_found"
    assert f"The branch {name} does not exist" in task["error"]


def test_a_missing_branch_is_answered_with_the_default_one(
    backend: Backend, repository: Repository, git_server: GitServer
) -> None:
    repository.run("git branch -m main trunk")
    url = git_server.publish(repository, "trunk", TOKEN)
    task = failed(backend, url, branch="main", github_token=TOKEN)
    assert task["error_code"] == "branch_not_found"
    assert task["error"].endswith("The default branch is trunk.")


@pytest.mark.parametrize("served", [False, True])
def test_without_a_branch_the_one_of_head_is_cloned_and_stored(
    backend: Backend, repository: Repository, git_server: GitServer, served: bool
) -> None:
    repository.run("git branch -m main team/master; git branch other; git tag master")
    url = git_server.publish(repository, "master", TOKEN) if served else repository.url
    body = {"github_token": TOKEN} if served else {}
    task = backend.complete(SCRIPT, url, **body)
    assert (task["target_branch"], task["branch"]) == ("team/master", "team/master")
    assert task["execution_metadata"]["base_commit"] == repository.head


def test_the_name_of_the_default_branch_may_be_no_text(
    backend: Backend, repository: Repository
) -> None:
    repository.run("git branch -m main $(printf 'caf\\351')")
    assert backend.complete(SCRIPT, repository)["target_branch"] == "caf\ufffd"


def test_without_a_branch_a_detached_head_asks_for_one(
    backend: Backend, repository: Repository
) -> None:
    repository.run("git checkout -q --detach")
    task = failed(backend, repository)
    assert task["error_code"] == "branch_not_found"
    assert "send the name of a branch" in task["error"]


def test_a_tag_is_no_branch(backend: Backend, repository: Repository) -> None:
    repository.run("git tag v1")
    assert failed(backend, repository, branch="v1")["error_code"] == "branch_not_found"


def test_a_tag_with_the_name_of_a_branch_is_not_taken_for_it(
    backend: Backend, repository: Repository
) -> None:
    repository.run("git tag main")
    head = repository.commit("echo two >b")
    task = backend.complete(SCRIPT, repository)
    assert task["execution_metadata"]["base_commit"] == head


def test_a_missing_local_repository_is_not_found(backend: Backend, tmp_path: Path) -> None:
    assert failed(backend, str(tmp_path / "nothing"))["error_code"] == "repo_not_found"


def test_a_folder_that_is_no_repository_is_not_found(backend: Backend, tmp_path: Path) -> None:
    assert failed(backend, str(tmp_path))["error_code"] == "repo_not_found"


def test_a_missing_repository_of_a_server_is_not_found(
    backend: Backend, git_server: GitServer
) -> None:
    assert failed(backend, git_server.url("nothing"))["error_code"] == "repo_not_found"


def test_a_server_that_is_not_there_is_unreachable(backend: Backend) -> None:
    task = failed(backend, "http://127.0.0.1:9/team/nothing.git")
    assert task["error_code"] == "repo_unreachable"


@pytest.mark.parametrize("served", [False, True])
def test_an_empty_repository_says_so(
    backend: Backend, git_server: GitServer, tmp_path: Path, served: bool
) -> None:
    empty = Repository(tmp_path / "repository")
    url = git_server.publish(empty, "empty") if served else empty.url
    task = failed(backend, url)
    assert task["error_code"] == "branch_not_found"
    assert "has no commits yet" in task["error"]


@pytest.mark.parametrize("options", [["--bare"], ["--mirror"], ["--depth=1", "--no-local"]])
def test_bare_and_shallow_local_repositories_are_cloned(
    backend: Backend, sample: Repository, tmp_path: Path, options: list[str]
) -> None:
    git(sample.folder, "clone", "--quiet", *options, ".", str(tmp_path / "copy"))
    task = backend.complete(SCRIPT, str(tmp_path / "copy"))
    assert task["changed_files"] == ["docs/new.txt"]


def test_a_sha256_repository_works(backend: Backend, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "--object-format=sha256")
    repository.commit("echo one >a")
    task = backend.complete("script:\nwrite b two\\0351\ndelete a\n", repository)
    expected = tree_left_by(repository, "printf 'two\\351' >b; rm a", tmp_path / "x")
    check_exact(backend, task, repository, expected, tmp_path)
    assert len(task["commit_hash"]) == 64


def test_hooks_of_a_repository_do_not_run(backend: Backend, repository: Repository) -> None:
    mark = repository.folder.parent / "executed"
    for name in ("post-checkout", "pre-commit", "post-commit", "post-index-change"):
        hook = repository.folder / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
        hook.chmod(0o755)
    repository.run(f"git config uploadpack.packObjectsHook 'touch {mark}'")
    backend.complete(SCRIPT, repository)
    assert not mark.exists()


def test_submodules_are_left_as_they_are(
    backend: Backend, repository: Repository, tmp_path: Path
) -> None:
    other = Repository(tmp_path / "other")
    other.commit("echo x >x")
    repository.run(f"git -c protocol.file.allow=always submodule --quiet add {other.url} sub")
    repository.commit("")
    task = backend.complete(SCRIPT, repository)
    expected = tree_left_by(repository, "mkdir docs; printf 'new' >docs/new.txt", tmp_path / "x")
    check_exact(backend, task, repository, expected, tmp_path)


def test_lfs_pointers_stay_pointers(
    backend: Backend, repository: Repository, tmp_path: Path
) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\\noid sha256:aa\\nsize 9\\n"
    repository.commit(
        f"echo '*.psd filter=lfs diff=lfs merge=lfs -text' >.gitattributes; "
        f"printf '{pointer}' >a.psd"
    )
    task = backend.complete(SCRIPT + "append a.psd changed\n", repository)
    script = "mkdir docs; printf new >docs/new.txt; printf changed >>a.psd"
    check_exact(
        backend, task, repository, tree_left_by(repository, script, tmp_path / "x"), tmp_path
    )


@pytest.mark.parametrize(
    "command",
    ["write out/x y", "write out/new/x y", "write link y", "append link y", "chmod 777 link"],
)
def test_links_out_of_the_tree_are_not_written_through(
    backend: Backend, repository: Repository, tmp_path: Path, command: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    (outside / "file").chmod(0o600)
    repository.commit(f"ln -s {outside} out; ln -s {outside}/file link")
    backend.perform(f"script:\n{command}\n", repository)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "untouched"
    assert (outside / "file").stat().st_mode & 0o777 == 0o600


def test_a_folder_with_spaces_and_quotes_is_cloned(backend: Backend, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "it's a folder" / 're "po"')
    repository.commit("echo one >a")
    assert backend.complete(SCRIPT, str(repository.folder))["changed_files"] == ["docs/new.txt"]


def test_percent_signs_in_addresses_are_refused_in_words(backend: Backend) -> None:
    answer = backend.post("/start-task", prompt="x", repo_url="file:///tmp/with%20percent")
    assert (answer["http_status"], answer["code"]) == (400, "repository_not_allowed")


def test_a_depth_leaves_the_history_out(
    open_with: Open, sample: Repository, git_server: GitServer, tmp_path: Path
) -> None:
    url = git_server.publish(sample, "shallow")
    backend = open_with(clone_depth=1)
    for address in (url, sample.url):
        task = backend.complete("script:\nwrite new.txt \\0351\\r\\n\ncommit One\n", address)
        expected = tree_left_by(
            sample, "printf '\\351\\r\\n' >new.txt", tmp_path / str(len(address))
        )
        check_exact(backend, task, sample, expected, tmp_path / str(len(address)))


def test_a_depth_does_not_tie_a_local_clone_to_its_origin(
    open_with: Open, sample: Repository
) -> None:
    damage = (
        "chmod -R u+w .git/objects; find .git/objects -type f | while read -r f; do : >$f; done"
    )
    backend = open_with(clone_depth=1)
    with shell_agent():
        assert backend.perform(damage, sample)["error_code"] == "capture_failed"
    sample.run("git fsck --strict")


def test_a_private_repository_is_cloned_with_its_token(
    backend: Backend, sample: Repository, git_server: GitServer
) -> None:
    url = git_server.publish(sample, "private", TOKEN)
    assert backend.complete(SCRIPT, url, github_token=TOKEN)["changed_files"] == ["docs/new.txt"]


@pytest.mark.parametrize("body", [{}, {"github_token": "wrong-token"}])
def test_a_private_repository_refuses_others(
    backend: Backend, sample: Repository, git_server: GitServer, body: dict[str, str]
) -> None:
    url = git_server.publish(sample, f"refusing{len(body)}", TOKEN)
    task = failed(backend, url, **body)
    assert task["error_code"] == "clone_auth_failed"
    assert "github_token" in task["error"]


def test_a_redirect_to_another_host_does_not_get_the_token(
    backend: Backend, sample: Repository, git_server: GitServer
) -> None:
    url = git_server.publish(sample, "moved", TOKEN)
    git_server.redirects["moving"] = f"http://localhost:{git_server.port}/x"
    git_server.requests.clear()
    failed(backend, git_server.url("moving"), github_token=TOKEN)
    assert {sent for _, path, sent in git_server.requests if path.startswith("/x")} <= {None}
    assert url


def test_a_moved_repository_is_cloned_with_its_token(
    backend: Backend, sample: Repository, git_server: GitServer
) -> None:
    url = git_server.publish(sample, "after", TOKEN)
    git_server.moved |= {"before": "between", "between": "after"}
    task = backend.complete(SCRIPT, git_server.url("before"), github_token=TOKEN, branch="main")
    assert task["repo_url"] == git_server.url("before")
    assert url


def test_a_redirect_to_an_allowed_host_is_followed_without_the_token(
    open_with: Open, sample: Repository, git_server: GitServer, tmp_path: Path
) -> None:
    with serve_git(tmp_path / "other") as other:
        other.publish(sample, "elsewhere")
        git_server.redirects["elsewhere"] = f"http://127.0.0.1:{other.port}"
        backend = open_with(allowed_git_hosts=(f"127.0.0.1:{other.port}",))
        backend.complete(SCRIPT, git_server.url("elsewhere"), github_token=TOKEN)
        assert {sent for _, _, sent in other.requests} == {None}


@pytest.mark.parametrize(
    "target",
    [
        "https://elsewhere.example",
        "https://10.0.0.5",
        "http://169.254.169.254",
        "file://",
        "https://github.com.evil.example",
    ],
)
def test_a_redirect_away_from_the_allowed_hosts_is_refused(
    backend: Backend, git_server: GitServer, target: str
) -> None:
    git_server.redirects["leaving"] = target
    task = failed(backend, git_server.url("leaving"))
    assert task["error_code"] == "repository_not_allowed"
    assert "redirects" in task["error"]


def test_a_redirect_to_a_page_and_one_without_end_fail(
    backend: Backend, git_server: GitServer
) -> None:
    git_server.redirects["login"] = "/login?from="
    assert "redirects" in failed(backend, git_server.url("login"))["error"]
    git_server.moved["circle"] = "circle"
    assert failed(backend, git_server.url("circle"))["error_code"] == "repo_unreachable"


def test_a_name_that_leads_to_this_machine_is_refused_before_git_connects(
    open_with: Open,
) -> None:
    backend = open_with(allowed_git_hosts=("*",), allow_local_repos=False)
    task = failed(backend, f"https://{socket.gethostname().lower()}:9/team/nothing.git")
    try:
        socket.getaddrinfo(socket.gethostname(), 443)
    except OSError:
        assert task["error_code"] == "repo_unreachable"
    else:
        assert task["error_code"] == "repository_not_allowed"
        assert "private or local network" in task["error"]


@pytest.mark.local_only("names of this machine mean nothing in a cloud")
@pytest.mark.not_isolated("the proxy connects; tests/sandboxes/isolated/test_network.py")
def test_git_connects_to_the_addresses_that_were_checked(
    backend: Backend, sample: Repository, git_server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that changes its answer after the check has no effect."""
    git_server.publish(sample, "pinned")
    checked = [ip_address("127.0.0.1")]
    monkeypatch.setattr("utils.pipeline.clone.resolve", lambda _: checked)
    # Nobody but this test resolves the name: without the pin git cannot connect at all.
    backend.complete(SCRIPT, f"http://unknown.localdomain:{git_server.port}/team/pinned.git")


@pytest.mark.parametrize(("breaks", "status"), [(1, "completed"), (2, "failed")])
def test_a_clone_that_breaks_in_transfer_is_tried_once_more(
    backend: Backend, sample: Repository, git_server: GitServer, breaks: int, status: str
) -> None:
    url = git_server.publish(sample, f"breaking{breaks}")
    git_server.breaking[f"breaking{breaks}"] = breaks
    task = backend.perform(SCRIPT, url)
    assert task["status"] == status, task["error"]
    if status == "failed":
        assert task["error_code"] == "repo_unreachable"


def test_an_application_goes_on_when_another_one_in_its_process_ends(
    backend: Backend, sample: Repository, tmp_path: Path
) -> None:
    with open_backend(tmp_path / "data", backend.place) as other:
        other.complete(SCRIPT, sample)
    backend.complete(SCRIPT, sample)


def test_a_server_that_hangs_ends_in_a_timeout(open_with: Open, git_server: GitServer) -> None:
    git_server.hanging.add("hanging")
    task = failed(open_with(clone_timeout_seconds=1), git_server.url("hanging"))
    assert task["error_code"] == "clone_timeout"
    assert "CLONE_TIMEOUT_SECONDS" in task["error"]


def test_odd_files_of_a_repository_can_be_changed(
    backend: Backend, sample: Repository, tmp_path: Path
) -> None:
    script = "script:\nappend -rf y\ndelete na\\0357ve.txt\nrename a\\0040folder b\\0040folder\n"
    task = backend.complete(script, sample)
    expected = tree_left_by(
        sample, "printf y >>./-rf; rm na*.txt; mv 'a folder' 'b folder'", tmp_path / "x"
    )
    check_exact(backend, task, sample, expected, tmp_path)
    assert "na\\xefve.txt" in task["changed_files"]
    assert run(["git", "status", "--porcelain"], sample.folder) == b""
