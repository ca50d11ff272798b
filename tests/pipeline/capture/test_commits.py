"""Tests that changes are captured exactly when the agent uses git itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, git, run
from tests.support.git.exactness import check_exact, tree_left_by
from tests.support.suite.exhaustive import sampled

pytestmark = pytest.mark.cloud_with_all(
    "the script is the same, and test_changes has a sample in the cloud"
)

COMMIT = "git add --all && git commit --quiet --allow-empty-message --cleanup=verbatim"

# Conflict markers contain the name of the commit, which depends on these values.
FIXED = (
    "export GIT_AUTHOR_DATE=@1000000000 GIT_COMMITTER_DATE=@1000000000 GIT_AUTHOR_NAME=a "
    "GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a"
)

HISTORIES = {
    "one commit": f"echo a >a && {COMMIT} -m 'Add a'",
    "several commits": f'for i in 1 2 3; do echo $i >>a && {COMMIT} -m "Step $i"; done',
    "dirty work on top of commits": f"echo a >a && {COMMIT} -m 'Add a' && echo b >b && "
    f"rm README.md",
    "staged and unstaged work": "echo a >a && git add a && echo b >>a && git rm -q README.md",
    "a commit that is taken back": f"echo a >a && {COMMIT} -m 'Add' && "
    f"git revert --no-edit HEAD && "
    "echo b >b",
    "an empty commit": "git commit -q --allow-empty -m Nothing && echo a >a",
    "only an empty commit": "git commit -q --allow-empty -m Nothing",
    "a merge": f"git switch -qc side && echo s >s && {COMMIT} -m Side && git switch -q main && "
    f"echo m >m && {COMMIT} -m Main && git merge -q --no-edit side && echo d >d",
    "a merge of the same file": f"git switch -qc side && echo s >>README.md && {COMMIT} -m S && "
    f"git switch -q main && echo m >>README.md && {COMMIT} -m M && "
    f"{{ git merge -q side || {{ echo both >README.md && {COMMIT} -m Merged; }}; }}",
    "an unfinished merge": f"git switch -qc side && echo s >>README.md && {COMMIT} -m S && "
    f"git switch -q main && echo m >>README.md && {COMMIT} -m M && {{ git merge -q side || :; }}",
    "an unfinished rebase": f"{FIXED}; git switch -qc side && echo s >>README.md && "
    f"{COMMIT} -m S && "
    f"git switch -q main && echo m >>README.md && {COMMIT} -m M && {{ git rebase -q side || :; }}",
    "an amended base": "echo a >a && git add a && git commit -q --amend -m Amended",
    "a history that was reset": "git reset -q --hard HEAD~1 && echo a >a",
    "an orphan branch": f"git switch -q --orphan new && echo a >a && {COMMIT} -m Orphan",
    "an unborn branch": "git switch -q --orphan new && echo a >a",
    "another branch": f"git switch -qc other/name && echo a >a && {COMMIT} -m Other",
    "another branch with nothing on it": "git switch -qc other && echo a >a",
    "a detached head": f"git switch -q --detach && echo a >a && {COMMIT} -m Detached && echo b >b",
    "work that was stashed": "echo a >>README.md && git stash -q && echo b >b",
    "a tag like the branch": f"git tag main && echo a >a && {COMMIT} -m Tagged",
    "CRLF that came and went": f"printf 'a\\r\\n' >a && {COMMIT} -m Dos && printf 'a\\n' >a && "
    f"{COMMIT} -m Unix",
    "CRLF that came and was removed": f"printf 'a\\r\\n' >a && {COMMIT} -m 1 && rm a && echo b >b",
    "latin-1 that came and went": f"printf '\\351\\n' >a && {COMMIT} -m 1 && echo a >a",
    "a link that came and went": f"ln -s \"$(printf '\\351')\" a && {COMMIT} -m 1 && rm a && "
    f"echo >b",
    "a binary that came and went": f"printf '\\000\\001' >a && {COMMIT} -m 1 && rm a && echo b >b",
    "a submodule that came and went": "git update-index --add --cacheinfo "
    "160000,$(git rev-parse HEAD),sub && git commit -q -m 1 && git rm -q --cached sub && echo b >b",
    "packed references": f"echo a >a && {COMMIT} -m 1 && git pack-refs --all && git gc -q",
    "assume-unchanged": "git update-index --assume-unchanged README.md && echo a >>README.md",
    "skip-worktree": "git update-index --skip-worktree README.md && echo a >>README.md",
    "intent to add": "echo a >a && git add -N a",
    "a replaced object": f"echo a >a && {COMMIT} -m 1 && git replace HEAD HEAD~1 && echo b >b",
    "a graft": f"echo a >a && {COMMIT} -m 1 && git replace --graft HEAD && echo b >b",
    "a replaced file of the base": "git replace HEAD:README.md HEAD:docs/notes.txt && "
    "echo a >README.md",
    "a split index": "git update-index --split-index && echo a >a && git add a",
    "a deleted index": "echo a >a && git add a && rm .git/index",
    "a damaged index": "echo a >a && echo damaged >.git/index",
    "a stale lock": "echo a >a && : >.git/index.lock",
    "stale locks everywhere": "echo a >a && : >.git/index.lock && : >.git/HEAD.lock && "
    ": >.git/config.lock && : >.git/refs/heads/main.lock",
    "a damaged head": "echo a >a && echo damaged >.git/HEAD",
    "a deleted branch": "echo a >a && rm -r .git/refs/heads .git/packed-refs 2>/dev/null; :",
    "a work tree elsewhere": f"git worktree add -q ../elsewhere && echo a >a && {COMMIT} -m 1",
    "excluded files": "mkdir -p .git/info && echo secret.txt >.git/info/exclude && "
    "echo a >secret.txt",
    "attributes of its own": "mkdir -p .git/info && "
    "echo '* text eol=crlf' >.git/info/attributes && "
    "printf 'a\\r\\n' >a",
}

MESSAGES = {
    "a diff": "'Subject\n\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n'",
    "a dash line": "'Subject\n\n---\n\nMore'",
    "a mail": "'Subject\n\nFrom abc Mon Sep 17 00:00:00 2001\nFrom: Other <o@example.org>\n'",
    "an index line": "'Subject\n\nIndex: x\n====\n'",
    "headers in its first lines": "'Subject\n\nFrom: Other <o@example.org>\nDate: "
    "yesterday\n\nText'",
    "a scissors line": "'Subject\n\n-- >8 --\n\nMore'",
    "nothing": "''",
    "only newlines": "'\n\n\n'",
    "a subject in brackets": "'[PATCH 1/2] [x] Subject'",
    "a subject of several lines": "'One\ntwo\nthree\n\nBody'",
    "a long subject": "\"$(printf '%02000d' 0)\"",
    "latin-1": "\"$(printf 'caf\\351')\"",
    "CRLF": "\"$(printf 'Subject\\r\\n\\r\\nBody\\r\\n')\"",
    "control characters": "\"$(printf 'Sub\\033ject\\001')\"",
    "an emoji": "'Add \U0001f98a'",
    "a dash": "'-rf'",
    "a hash": "'# Subject'",
    "leading blanks": "'   Subject\n   more'",
    "a base85 hunk": "'Subject\n\nGIT binary patch\nliteral 3\nKcmZ\n'",
}

AUTHORS = {
    "quotes": "'Mr. \"Q\" O'\\''Neil <q@example.org>'",
    "accents": "'Zoë Ångström <zoe@example.org>'",
    "no address": "'Nobody <>'",
    "many words": "'A, B; C (D) <a@example.org>'",
    "a from line": "'From: x <from@example.org>'",
}

OF_A_KIND = {
    *("staged and unstaged work", "only an empty commit", "a merge of the same file"),
    *("an unborn branch", "another branch with nothing on it", "a graft", "a deleted index"),
    *("CRLF that came and was removed", "latin-1 that came and went", "a stale lock"),
    *("a replaced file of the base", "a binary that came and went"),
}
"""Histories that are told apart from others here by what the exhaustive tests find, if at all."""

CLOUD_SAMPLE = {
    *("several commits", "a merge", "an unfinished rebase", "an orphan branch"),
    *("a submodule that came and went", "a split index", "stale locks everywhere"),
    *("a diff", "latin-1", "control characters", "accents"),
}


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize(
    "case", sampled(HISTORIES, HISTORIES.keys() - OF_A_KIND, "others are of the same kind")
)
def test_a_history_ends_in_the_agents_tree(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    task = shell.complete(HISTORIES[case], sample)
    expected = tree_left_by(sample, HISTORIES[case], tmp_path / "expected")
    if expected == git(sample.folder, "rev-parse", "HEAD^{tree}") and not task["git_diff"]:
        assert task["execution_metadata"]["tree_hash"] == expected
        assert task["execution_metadata"]["notes"] == ["The agent changed nothing."]
        return
    check_exact(shell, task, sample, expected, tmp_path)


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize("case", sampled(MESSAGES, CLOUD_SAMPLE, "all are tried in one history"))
def test_a_message_cannot_break_the_patch(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script = (
        f"echo a >a && {COMMIT} --allow-empty-message -m {MESSAGES[case]}\n"
        f"echo b >b && {COMMIT} -m Second && printf 'c\\r\\n' >c"
    )
    task = shell.complete(script, sample)
    check_exact(shell, task, sample, tree_left_by(sample, script, tmp_path / "x"), tmp_path)


def test_no_message_or_author_in_a_history_breaks_its_patch(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    options = [f"--allow-empty-message -m {text}" for text in MESSAGES.values()]
    options += [f"-m Subject --author {text}" for text in AUTHORS.values()]
    commits = [f"echo {n} >>a && {COMMIT} {option}" for n, option in enumerate(options)]
    script = "\n".join([*commits, f"test $(git rev-list --count HEAD) -gt {len(commits)}"])
    task = shell.complete(script, sample)
    check_exact(shell, task, sample, tree_left_by(sample, script, tmp_path / "x"), tmp_path)


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize("case", sampled(AUTHORS, CLOUD_SAMPLE, "all are tried in one history"))
def test_an_author_cannot_break_the_patch(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script = f"echo a >a && {COMMIT} -m Subject --author {AUTHORS[case]}"
    task = shell.complete(script, sample)
    check_exact(shell, task, sample, tree_left_by(sample, script, tmp_path / "x"), tmp_path)


def test_an_author_without_a_name_cannot_break_the_patch(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    script = f"""echo a >a && {COMMIT} -m Subject
    git cat-file commit HEAD | sed 's/^author [^<]*<.*>/author <>/' >../commit
    git update-ref HEAD "$(git hash-object -t commit -w --literally ../commit)"
    """
    task = shell.complete(script, sample)
    check_exact(shell, task, sample, tree_left_by(sample, script, tmp_path / "x"), tmp_path)


def test_files_outside_a_sparse_checkout_are_not_deleted(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    task = shell.complete("git sparse-checkout set docs && echo a >docs/a && echo b >b", sample)
    expected = tree_left_by(sample, "echo a >docs/a && echo b >b", tmp_path / "x")
    check_exact(shell, task, sample, expected, tmp_path)


def test_ordinary_commits_keep_their_messages_and_authors(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    task = shell.complete(
        f"echo a >a && {COMMIT} -m 'Add a' --author 'Ann <ann@example.org>'\n"
        f"echo b >b && {COMMIT} -m 'Add b'\necho c >c",
        sample,
    )
    clone = sample.clone(tmp_path / "clone")
    run(["git", "am", "--quiet"], clone, shell.patch(task["id"]))
    log = git(clone, "log", "--format=%an: %s", "-3").splitlines()
    assert log[1:] == ["async-code: Add b", "Ann: Add a"]
    assert log[0].startswith("async-code: claude: echo a >a")
