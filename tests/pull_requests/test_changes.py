"""Whatever a task changed, its pull request holds exactly that: from the prompt to the branch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.capture.test_changes import CONTENTS, NAME_SCRIPTS, SHAPES
from tests.push.test_changes import MORE
from tests.support.backends import Repository, git
from tests.support.git.exactness import in_folders, make_sample, together
from tests.support.github.names import TOKEN
from tests.support.pull_requests import Hosted, Hub
from tests.support.suite.exhaustive import sampled

one_by_one = pytest.mark.local_only("all together go through the other place in one task")

# Those that differ for a branch on a server; the others are tried with the push alone.
CASES = {
    name: {**CONTENTS, **SHAPES, **NAME_SCRIPTS, **MORE}[name]
    for name in (
        *("a new file", "an edited file", "an empty new file", "a file that becomes empty"),
        *("an empty file that is filled", "a deleted file", "everything deleted"),
        *("a deleted binary", "a new binary", "an edited binary", "a binary of 5 MB"),
        *("a binary that becomes text", "a text that becomes binary", "a file that is not UTF-8"),
        *("an edited file that is not UTF-8", "UTF-16 with its mark", "a new file with CRLF"),
        *("an edited file with CRLF", "a file converted to CRLF", "mixed line ends"),
        *("no final newline", "a final newline that goes", "a final newline that comes"),
        *("lines that look like mail", "lines that look like a patch", "a thousand files"),
        *("a renamed file", "a renamed binary", "a renamed file that is not UTF-8"),
        *("a new symbolic link", "a deleted symbolic link", "a symbolic link to nothing"),
        *("a file that becomes a link", "a link that becomes a file"),
        *("a file that becomes a folder", "a folder that becomes a file"),
        *("an ignored file made visible", "every odd name", "mode changes alone"),
        *("a rename and a mode change alone", "folders whose names end with a blank"),
        *("attributes that convert line ends", "attributes with filters"),
        *("a file renamed in each of several commits", "a file that comes and goes"),
        *("a folder that is a link between two commits", "a merge"),
        *("a message with the words of a patch", "a renamed and edited file"),
        *("a file made executable", "a name with quotes", "a name with bytes that are not UTF-8"),
    )
}
KINDS = {
    "new": "a new file",
    "deleted": "a deleted file",
    "renamed": "a renamed file",
    "binary": "a new binary",
    "mode only": "mode changes alone",
    "symlinked": "a new symbolic link",
    "not UTF-8": "a file that is not UTF-8",
    "CRLF": "a new file with CRLF",
    "oddly named": "every odd name",
    "empty file": "an empty new file",
    "rename with edit": "a renamed and edited file",
    "file to symlink": "a file that becomes a link",
    "no final newline": "no final newline",
    "5 MB binary": "a binary of 5 MB",
    "1,000 files": "a thousand files",
    "quoted names": "a name with quotes",
}
"""Samples of changes that pull requests must support, by test name."""

ALWAYS = {"a new file", "a deleted file", "every odd name"}

# Said by the sandbox itself, from an index of its own.
TELL_TREE = """
cp .git/index ../index && GIT_INDEX_FILE=../index && export GIT_INDEX_FILE
git add --all >../added 2>&1; git write-tree
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return make_sample(tmp_path_factory.mktemp("sample") / "origin")


@pytest.fixture(scope="module")
def sample(hub: Hub, origin: Repository) -> Hosted:
    return hub.host(origin)


@pytest.fixture(scope="module")
def started(sample: Hosted, runs_all: bool) -> dict[str, int]:
    """Start all tasks, so that some are done while the pull requests of others are made."""
    start = sample.backend.start
    cases = CASES if runs_all else ALWAYS
    return {name: start(CASES[name], sample.url, github_token=TOKEN) for name in cases}


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 50
    assert CASES.keys() >= {*KINDS.values()}


@one_by_one
@pytest.mark.parametrize("case", sampled(CASES, ALWAYS, "the push of each is tested"))
def test_the_pull_request_holds_the_sandboxs_tree(
    sample: Hosted, origin: Repository, started: dict[str, int], case: str
) -> None:
    task = sample.backend.wait(started[case])
    assert task["status"] == "completed", task["error"]
    answer = sample.created(task["id"])
    assert sample.rev(f"{answer['branch']}^{{tree}}") == task["execution_metadata"]["tree_hash"]
    assert sample.rev(f"{answer['branch']}^") == origin.head
    assert answer["files_updated"] == len(task["changed_files"])
    assert sample.pulls[0].head_sha == answer["commit"]
    # The fake looks at the branches of all that are open, each time.
    sample.pulls[0].state = "closed"


@pytest.mark.exhaustive("tests/push/test_changes.py pushes them together")
def test_all_changes_together_are_one_pull_request(
    hub: Hub, origin: Repository, tmp_path: Path
) -> None:
    made, scripts = together(origin, CASES, tmp_path / "many")
    hosted = hub.host(made)
    task_id = hosted.task(in_folders(scripts) + TELL_TREE)
    branch = hosted.created(task_id)["branch"]
    changed = git(hosted.bare, "diff-tree", "--name-only", "main", branch).split()
    assert changed == [*scripts]
    assert hosted.backend.output(task_id).split()[-1] == hosted.rev(f"{branch}^{{tree}}")
