"""Servers of every kind: what they allow, what is fetched from them, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.repositories import make_repository
from tests.backends import Repository, Row, git
from tests.branch_pushes import (
    TOKEN,
    open_to_partial_clones,
    push,
    request_of,
    result_of,
    tree_on,
)
from tests.git_server import GitServer, serve_git
from utils.errors import PushRefused

SCRIPT = "echo more >>a/one; git mv a/two b/three; chmod +x a/four; printf '\\0' >a/bin; rm a/five"
PARTIAL = ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with serve_git(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("servers") / "repository")
    repository.commit("mkdir a b; for f in one two four five; do echo $f >a/$f; done; echo >b/x")
    repository.commit("mkdir c; for f in 1 2 3 4 5 6 7 8 9; do echo $f >c/$f; done", "More")
    return repository


@pytest.fixture(scope="module")
def result(repository: Repository) -> Row:
    return result_of(repository, SCRIPT)


@pytest.fixture
def name(server: GitServer, repository: Repository, request: pytest.FixtureRequest) -> str:
    """A fresh copy of the repository on the server."""
    name = f"copy-{id(request):x}"
    server.publish(repository, name, TOKEN)
    open_to_partial_clones(server.bare(name))
    return name


def move_on(server: GitServer, name: str, repository: Repository, commits: int = 1) -> None:
    """Have the base branch of a published repository go on from where the task started."""
    base = commit = repository.head
    tree = git(repository.folder, "rev-parse", f"{base}^{{tree}}")
    for number in range(commits):
        arguments = ("commit-tree", tree, "-p", commit, "-m", f"Later {number}")
        commit = git(repository.folder, *arguments)
    bare = str(server.bare(name))
    git(repository.folder, "push", "--quiet", bare, f"{commit}:refs/heads/main")


@pytest.mark.parametrize("moved", [False, True], ids=["at the base", "moved on"])
@pytest.mark.parametrize("protocol", ["new", "old"])
@pytest.mark.parametrize("allowed", [PARTIAL, PARTIAL[:1], ()], ids=len)
def test_every_server_gets_the_same_commit(
    server: GitServer,
    repository: Repository,
    result: Row,
    name: str,
    tmp_path: Path,
    allowed: tuple[str, ...],
    protocol: str,
    moved: bool,
) -> None:
    for setting in PARTIAL:
        git(server.bare(name), "config", setting, str(setting in allowed).lower())
    if protocol == "old":
        server.old_protocol.add(name)
    if moved:
        move_on(server, name, repository)
    request = request_of(server.url(name), result)
    pushed = push(tmp_path, request)
    assert tree_on(server, name, request.branch) == request.tree_hash
    assert git(server.bare(name), "rev-parse", request.branch) == pushed.commit


def test_a_base_far_back_is_found_without_asking_for_it_by_name(
    server: GitServer, repository: Repository, result: Row, name: str, tmp_path: Path
) -> None:
    server.old_protocol.add(name)
    git(server.bare(name), "config", "uploadpack.allowAnySHA1InWant", "false")
    move_on(server, name, repository, commits=70)
    request = request_of(server.url(name), result)
    push(tmp_path, request)
    assert tree_on(server, name, request.branch) == request.tree_hash


@pytest.mark.parametrize("protocol", ["new", "old"])
def test_a_base_that_was_rewritten_away_is_told(
    server: GitServer, result: Row, name: str, tmp_path: Path, protocol: str
) -> None:
    bare = server.bare(name)
    other = git(bare, "commit-tree", "main~1^{tree}", "-m", "Rewritten")
    git(bare, "update-ref", "refs/heads/main", other)
    git(bare, "gc", "--quiet", "--prune=now")
    if protocol == "old":
        server.old_protocol.add(name)
        git(bare, "config", "uploadpack.allowAnySHA1InWant", "false")
    with pytest.raises(PushRefused) as raised:
        push(tmp_path, request_of(server.url(name), result))
    assert raised.value.code == "base_commit_gone"


def test_a_base_branch_that_is_gone_does_not_matter(
    server: GitServer, result: Row, name: str, tmp_path: Path
) -> None:
    git(server.bare(name), "branch", "-m", "main", "trunk")
    request = request_of(server.url(name), result)
    push(tmp_path, request)
    assert tree_on(server, name, request.branch) == request.tree_hash


@pytest.mark.parametrize("form", ["file:///", "/"])
def test_a_local_repository_needs_no_token(
    server: GitServer, result: Row, name: str, tmp_path: Path, form: str
) -> None:
    url = form + str(server.bare(name)).lstrip("/")
    request = request_of(url, result, token=None)
    push(tmp_path, request)
    assert tree_on(server, name, request.branch) == request.tree_hash


def test_a_repository_with_longer_names_of_objects_is_pushed_to(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "--object-format=sha256")
    repository.commit("echo one >one; echo two >two")
    result = result_of(repository, "echo more >>one; mv two three")
    request = request_of(repository.url, result, token=None)
    push(tmp_path, request)
    tree = git(repository.folder, "rev-parse", f"refs/heads/{request.branch}^{{tree}}")
    assert tree == request.tree_hash


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("large")
    bare = make_repository(folder / "bare.git", files=2000, commits=500)
    git(folder, "clone", "--quiet", str(bare), str(folder / "clone" / "x"))
    repository = Repository(folder / "unused")
    repository.folder = folder / "clone" / "x"
    return repository


@pytest.mark.parametrize("moved", [False, True], ids=["at the base", "moved on"])
def test_little_of_a_large_repository_is_fetched(
    server: GitServer, large: Repository, tmp_path: Path, moved: bool
) -> None:
    url = server.publish(large, "large", TOKEN)
    open_to_partial_clones(server.bare("large"))
    script = (
        "echo x >>package_3/part_2/module_321.py; echo y >new; git rm -q package_7/part_1/*_715.py;"
        "git mv package_9/part_9/module_999.py moved.py; chmod +x package_1/part_1/module_111.py"
    )
    request = request_of(url, result_of(large, script))
    if moved:
        move_on(server, "large", large)
    all_objects = git(large.folder, "rev-list", "--objects", "--count", "HEAD")
    server.requests.clear()
    before = server.sent_objects
    pushed = push(tmp_path, request)
    assert tree_on(server, "large", request.branch) == request.tree_hash
    assert server.sent_objects - before == pushed.objects_fetched
    assert pushed.objects_fetched < 0.05 * int(all_objects)
    # Names, the commit with what the patch names, what it only moves, and what git may ask for to
    # see what the server has.
    asked = [path for verb, path, _ in server.requests if verb == "POST" and "upload-pack" in path]
    assert len(asked) == 3 + moved
