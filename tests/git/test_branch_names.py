"""Names of branches that are taken, as git takes them, and those that are refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.errors import InvalidBranch
from utils.git.repository_url import validate_branch

BRANCH_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from(list("ab-./@{}~^:?*[\\ _#%")),
        st.characters(max_codepoint=0x2FF, exclude_characters="\0"),
    ),
    max_size=12,
)


def git_takes(name: str, folder: Path) -> bool:
    result = subprocess.run(
        ["git", "check-ref-format", "--branch", name],
        cwd=folder,
        env={"GIT_CEILING_DIRECTORIES": str(folder.parent), "PATH": "/usr/bin:/usr/local/bin:/bin"},
        capture_output=True,
        check=False,
    )
    return result.returncode == 0


def is_valid(name: str) -> bool:
    try:
        return validate_branch(name) == name
    except InvalidBranch:
        return False


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.one_of(BRANCH_TEXT, st.builds("{}.lock{}".format, BRANCH_TEXT, BRANCH_TEXT)))
@example("HEAD")
@example("refs/heads/x")
@example("foo/@")
@example("a./b")
@example("x.lock/y")
@example("été/ü")
@example("@{-1}")
def test_branch_names_follow_git(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    # Outside a repository git takes "@"; inside it means HEAD, which is no branch.
    assert is_valid(name) == (git_takes(name, folder) and name != "@")


@pytest.mark.parametrize("name", ["a\0b", "x" * 256, "\ud800", "@"])
def test_branch_names_that_cannot_be_arguments_are_refused(name: str) -> None:
    with pytest.raises(InvalidBranch) as refused:
        validate_branch(name)
    assert name not in refused.value.message or name == "@"
