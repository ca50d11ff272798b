"""Servers of every kind: what they allow, what is fetched from them, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
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
from utils.errors import AppError, Forbidden, NotFound, PushRefused, Unavailable

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


REFUSALS = {
    "no permission": (
        "Permission to team/x.git denied to someone.",
        Forbidden,
        "github_forbidden",
    ),
    "a fine-grained token": (
        "Write access to repository not granted.",
        Forbidden,
        "github_forbidden",
    ),
    "an archive": (
        "This repository was archived so it is read-only.",
        PushRefused,
        "repo_archived",
    ),
    "single sign-on": (
        "The 'team' organization has enabled or enforced SAML SSO.",
        Forbidden,
        "github_sso_required",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_push_that_is_forbidden_says_why(
    server: GitServer, result: Row, name: str, tmp_path: Path, case: str
) -> None:
    text, kind, code = REFUSALS[case]
    server.refusals[name] = (403, text)
    with pytest.raises(kind) as raised:
        push(tmp_path, request_of(server.url(name), result))
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, Forbidden, "github_token_invalid"),
        (403, Forbidden, "github_forbidden"),
        (404, NotFound, "repo_not_found"),
        (413, PushRefused, "push_too_large"),
        (429, Unavailable, "github_rate_limited"),
        (500, Unavailable, "repo_unreachable"),
        (503, Unavailable, "repo_unreachable"),
    ],
)
def test_each_status_has_its_code(
    server: GitServer,
    result: Row,
    name: str,
    tmp_path: Path,
    status: int,
    kind: type[AppError],
    code: str,
) -> None:
    server.refusals[name] = (status, "")
    with pytest.raises(kind) as raised:
        push(tmp_path, request_of(server.url(name), result))
    assert raised.value.code == code


HOOKS = {
    "a rule": (
        "error: GH013: Repository rule violations found for refs/heads/x.",
        "branch_protected",
    ),
    "a protected branch": ("error: GH006: Protected branch update failed.", "branch_protected"),
    "a large file": (
        "error: File big.bin is 120.00 MB; this exceeds GitHub's file size limit of 100.00 MB\n"
        "error: GH001: Large files detected.",
        "file_too_large",
    ),
    "a secret": (
        "error: GH013: Repository rule violations\n- Push cannot contain secrets",
        "secret_detected",
    ),
    "a workflow": (
        "refusing to allow a Personal Access Token to create or update workflow "
        "`.github/workflows/x.yml` without `workflow` scope",
        "github_workflow_scope",
    ),
    "a house rule": (f"Ask Ann first, {TOKEN}\x1b[31m", "push_rejected"),
}


@pytest.mark.parametrize("case", HOOKS)
def test_a_hook_that_refuses_is_quoted(
    server: GitServer, result: Row, name: str, tmp_path: Path, case: str
) -> None:
    text, code = HOOKS[case]
    hook = server.bare(name) / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{text}\nEND\nexit 1\n")
    hook.chmod(0o755)
    request = request_of(server.url(name), result)
    with pytest.raises(AppError) as raised:
        push(tmp_path, request)
    assert raised.value.code == code
    if code == "push_rejected":
        assert raised.value.message.endswith("Ask Ann first, [redacted] [31m")
    assert request.branch not in git(server.bare(name), "branch", "--list")


def test_a_name_that_is_taken_says_so(
    server: GitServer, result: Row, name: str, tmp_path: Path
) -> None:
    git(server.bare(name), "branch", "async-code", "main")
    with pytest.raises(PushRefused) as raised:
        push(tmp_path, request_of(server.url(name), result))
    assert raised.value.code == "branch_name_taken"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": "wrong-token-4711"}, "github_token_invalid"),
        ({"token": None}, "github_token_required"),
        ({"token": f"{TOKEN}\nhost=elsewhere"}, "github_token_invalid"),
        ({"repo_url": "http://127.0.0.1:1/team/x.git"}, "repo_unreachable"),
        ({"repo_url": "file:///nowhere/at/all"}, "repo_not_found"),
    ],
)
def test_a_way_that_is_closed_has_its_code(
    server: GitServer, result: Row, name: str, tmp_path: Path, changes: dict[str, str], code: str
) -> None:
    (tmp_path / "pushes").mkdir()
    with pytest.raises(AppError) as raised:
        push(tmp_path, replace(request_of(server.url(name), result), **changes))
    assert raised.value.code == code


def test_a_server_that_does_not_answer_is_not_waited_for(
    server: GitServer, result: Row, name: str, tmp_path: Path
) -> None:
    server.hanging.add(name)
    with pytest.raises(Unavailable) as raised:
        push(tmp_path, request_of(server.url(name), result), timeout_seconds=0.3)
    assert raised.value.code == "git_timeout"


def test_a_folder_that_cannot_be_used_is_told(result: Row, tmp_path: Path) -> None:
    (tmp_path / "pushes").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable) as raised:
        push(tmp_path, request_of("file:///x", result), work_folder=tmp_path / "file")
    assert raised.value.code == "push_not_possible"
