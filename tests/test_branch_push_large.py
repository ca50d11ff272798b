"""A small patch that would unpack to gigabytes is refused before git reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import Repository, git
from tests.branch_pushes import open_to_partial_clones, push, request_of, result_of
from utils.branch_push_patch import MAX_UNPACKED_BYTES
from utils.errors import PushRefused

HALF = MAX_UNPACKED_BYTES // 2 + 1


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("large") / "repository")
    repository.commit("echo one >one")
    return repository


@pytest.fixture
def bare(repository: Repository, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", "--bare", str(repository.folder), str(tmp_path / "bare"))
    open_to_partial_clones(tmp_path / "bare")
    return tmp_path / "bare"


@pytest.mark.parametrize(
    "sizes",
    [
        f"literal {MAX_UNPACKED_BYTES + 1}",
        f"delta {MAX_UNPACKED_BYTES + 1}",
        f"literal \t+{MAX_UNPACKED_BYTES + 1} bytes",
        f"literal -{2**64 - MAX_UNPACKED_BYTES * 5}",
        f"literal {'9' * 5_000}",
        f"literal {'0' * 30}{MAX_UNPACKED_BYTES + 1}",
        f"literal {HALF}\nz\n\ndelta {HALF}",
    ],
)
def test_a_patch_that_unpacks_to_very_much_is_refused(
    repository: Repository, bare: Path, tmp_path: Path, sizes: str
) -> None:
    result = result_of(repository, "printf '\\0' >zero")
    assert "literal 1\n" in result["git_patch"]
    patch = result["git_patch"].replace("literal 1\n", f"{sizes}\n")
    request = request_of(f"file://{bare}", {**result, "git_patch": patch}, token=None)
    with pytest.raises(PushRefused) as raised:
        push(tmp_path, request)
    assert raised.value.code == "file_too_large"
    assert git(bare, "branch", "--list", request.branch) == ""


def test_lines_of_files_that_name_sizes_are_no_binary_files(
    repository: Repository, bare: Path, tmp_path: Path
) -> None:
    script = f"echo 'literal {10**12}' >two; git add two; git commit -qm 'Two\n\ndelta {10**12}'"
    request = request_of(f"file://{bare}", result_of(repository, script), token=None)
    assert push(tmp_path, request).commit == git(bare, "rev-parse", request.branch)
