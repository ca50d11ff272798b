"""Workflows come along only when they are meant, however the patch says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.backends import Repository, Row, git
from tests.support.git.pushes import local_request, push, result_of
from utils.errors import Conflict

WORKFLOW = ".github/workflows/evil.yml"
NEW = "--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+on\n"
ESCAPED = "/.git\\150ub/workflows/evil.yml"

# What git reads as a new workflow, and no line of which names one to others.
FORGED = {
    "an escaped name": f'diff --git "a{ESCAPED}" "b{ESCAPED}"\nnew file mode 100644\n'
    + NEW.format(name=f'"b{ESCAPED}"'),
    "no header": NEW.format(name=f"b/{WORKFLOW}"),
}


@pytest.fixture(scope="module")
def push_origin(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    origin = Repository(tmp_path_factory.mktemp("workflows") / "origin")
    origin.commit("mkdir .github; echo one | tee one .github/CODEOWNERS")
    return origin


def forged(repository: Repository, extra: str) -> Row:
    """Return a result whose patch holds more than its lines seem to say."""
    honest = result_of(repository, "echo more >>one")
    script = f"echo more >>one; mkdir -p .github/workflows; echo on >{WORKFLOW}"
    return {**result_of(repository, script), "git_patch": honest["git_patch"] + extra}


@pytest.mark.parametrize("case", FORGED)
def test_a_workflow_that_a_patch_hides_is_found(
    push_origin: Repository, push_bare: Path, tmp_path: Path, case: str
) -> None:
    request = local_request(push_bare, forged(push_origin, FORGED[case]))
    with pytest.raises(Conflict) as raised:
        push(tmp_path, request)
    assert raised.value.code == "workflow_changes"
    assert git(push_bare, "branch", "--list", request.branch) == ""
    push(tmp_path, replace(request, allow_workflow_changes=True))
    assert WORKFLOW in git(push_bare, "ls-tree", "-r", "--name-only", request.branch)


@pytest.mark.parametrize(
    "script",
    [
        "echo more >>.github/CODEOWNERS",
        "mkdir -p a/.github/workflows; echo x >a/.github/workflows/x.yml",
        "mkdir -p .github/workflows2; echo x >.github/workflows2/x.yml",
    ],
)
def test_other_files_are_no_workflows(
    push_origin: Repository, push_bare: Path, tmp_path: Path, script: str
) -> None:
    request = local_request(push_bare, result_of(push_origin, script))
    assert not push(tmp_path, request).was_there
