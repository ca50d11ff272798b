"""Servers of every kind: what they allow, what is fetched from them, and how they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.repositories import make_repository
from tests.support.backends import Repository, git
from tests.support.git.pushes import Target, local_request, push, result_of
from tests.support.git.server import GitServer
from utils.errors import PushRefused

PARTIAL = ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant")


def move_on(bare: Path, commits: int = 1) -> None:
    """Have the base branch of a published repository go on from where the task started."""
    tip = "main"
    for number in range(commits):
        tip = git(bare, "commit-tree", "main^{tree}", "-p", tip, "-m", f"Later {number}")
    git(bare, "update-ref", "refs/heads/main", tip)


@pytest.mark.parametrize("moved", [False, True], ids=["at the base", "moved on"])
@pytest.mark.parametrize("protocol", ["new", "old"])
@pytest.mark.parametrize("allowed", [PARTIAL, PARTIAL[:1], ()], ids=len)
def test_every_server_gets_the_same_commit(
    push_target: Target, allowed: tuple[str, ...], protocol: str, moved: bool
) -> None:
    for setting in PARTIAL:
        git(push_target.bare, "config", setting, str(setting in allowed).lower())
    if protocol == "old":
        push_target.server.old_protocol.add(push_target.name)
    if moved:
        move_on(push_target.bare)
    pushed = push_target.push()
    assert push_target.tree == push_target.request.tree_hash
    assert push_target.head == pushed.commit


def test_a_base_far_back_is_found_without_asking_for_it_by_name(push_target: Target) -> None:
    push_target.server.old_protocol.add(push_target.name)
    git(push_target.bare, "config", "uploadpack.allowAnySHA1InWant", "false")
    move_on(push_target.bare, commits=70)
    push_target.push()
    assert push_target.tree == push_target.request.tree_hash


@pytest.mark.parametrize("protocol", ["new", "old"])
def test_a_base_that_was_rewritten_away_is_told(push_target: Target, protocol: str) -> None:
    bare = push_target.bare
    other = git(bare, "commit-tree", "main~1^{tree}", "-m", "Rewritten")
    git(bare, "update-ref", "refs/heads/main", other)
    git(bare, "gc", "--quiet", "--prune=now")
    if protocol == "old":
        push_target.server.old_protocol.add(push_target.name)
        git(bare, "config", "uploadpack.allowAnySHA1InWant", "false")
    with pytest.raises(PushRefused) as raised:
        push_target.push()
    assert raised.value.code == "base_commit_gone"


def test_a_base_branch_that_is_gone_does_not_matter(push_target: Target) -> None:
    git(push_target.bare, "branch", "-m", "main", "trunk")
    push_target.push()
    assert push_target.tree == push_target.request.tree_hash


@pytest.mark.parametrize("form", ["file:///", "/"])
def test_a_local_repository_needs_no_token(push_target: Target, form: str) -> None:
    url = form + str(push_target.bare).lstrip("/")
    push_target.push(replace(push_target.request, repo_url=url, token=None))
    assert push_target.tree == push_target.request.tree_hash


def test_a_repository_with_longer_names_of_objects_is_pushed_to(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository", "--object-format=sha256")
    repository.commit("echo one >one; echo two >two")
    result = result_of(repository, "echo more >>one; mv two three")
    request = local_request(repository.folder, result)
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
    git_server: GitServer, large: Repository, tmp_path: Path, moved: bool
) -> None:
    script = (
        "echo x >>package_3/part_2/module_321.py; echo y >new; git rm -q package_7/part_1/*_715.py;"
        "git mv package_9/part_9/module_999.py moved.py; chmod +x package_1/part_1/module_111.py"
    )
    target = Target(git_server, large, result_of(large, script), tmp_path)
    if moved:
        move_on(target.bare)
    all_objects = git(large.folder, "rev-list", "--objects", "--count", "HEAD")
    before = git_server.sent_objects
    pushed = target.push()
    assert target.tree == target.request.tree_hash
    assert git_server.sent_objects - before == pushed.objects_fetched
    assert pushed.objects_fetched < 0.05 * int(all_objects)
    # Names, the commit with what the patch names, what it only moves, and what git may ask for to
    # see what the server has.
    asked = [path for verb, path, _ in target.asked if verb == "POST" and "upload-pack" in path]
    assert len(asked) == 3 + moved
