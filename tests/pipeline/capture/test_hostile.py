"""Tests that no setting of an agent runs in the server's git commands or changes the result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, git, run
from tests.support.git.exactness import check_exact, tree_left_by
from tests.support.suite.exhaustive import sampled
from utils.pipeline.capture import capture

pytestmark = pytest.mark.cloud_with_all(
    "the script is the same, and test_changes has a sample in the cloud"
)

WORK = "printf 'more\\n' >>src/app.py && printf 'caf\\351\\r\\n' >dos && rm README.md"

ATTRIBUTES = (
    "printf '*.py filter=evil diff=evil merge=evil ident\\n*.txt filter=lfs -text\\n' "
    ">.gitattributes"
)

CONFIGURATIONS = {
    "a file system monitor": "git config core.fsmonitor 'touch MARK; false'",
    "an external diff": "git config diff.external 'touch MARK'",
    "an external diff of some files": f"{ATTRIBUTES}; git config diff.evil.command 'touch MARK'",
    "a text conversion": f"{ATTRIBUTES}; git config diff.evil.textconv 'touch MARK; echo x'",
    "a filter": f"{ATTRIBUTES}; git config filter.evil.clean 'touch MARK; echo x'; "
    "git config filter.evil.smudge 'touch MARK'; git config filter.evil.required true",
    "a filter process": f"{ATTRIBUTES}; git config filter.evil.process 'touch MARK'; "
    "git config filter.lfs.process 'touch MARK'; git config filter.lfs.required true",
    "hooks elsewhere": "mkdir ../h; printf '#!/bin/sh\\ntouch MARK\\n' >../h/pre-commit; "
    "cp ../h/pre-commit ../h/post-index-change; cp ../h/pre-commit ../h/reference-transaction; "
    'chmod +x ../h/*; git config core.hooksPath "$PWD/../h"',
    "hooks in their place": "mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch MARK\\n' "
    ">.git/hooks/post-index-change; chmod +x .git/hooks/*",
    "another work tree": 'mkdir ../other; git config core.worktree "$PWD/../other"',
    "diffs without prefix": "git config diff.noprefix true; git config diff.mnemonicPrefix true",
    "another algorithm and context": "git config diff.algorithm minimal; "
    "git config diff.context 0; "
    "git config diff.interHunkContext 9; git config diff.renames copies",
    "an order of files": "printf 'src/*\\n' >../order; git config diff.orderFile \"$PWD/../order\"",
    "submodules in words": "git config diff.submodule log; git config diff.ignoreSubmodules all",
    "colours": "git config color.ui always; git config color.diff.new bold",
    "a word for format-patch": "git config format.attach x; git config format.signature MARK; "
    "git config format.subjectPrefix x; git config format.numbered true; git config format.to a@b; "
    "git config format.coverLetter true; git config format.headers 'X: y'; "
    "git config format.from x",
    "an include": "printf '[core]\\n\\tfsmonitor = touch MARK\\n[diff]\\n\\texternal = touch "
    "MARK\\n' "
    '>../more; git config include.path "$PWD/../more"',
    "the home's configuration": "printf '[core]\\n\\tfsmonitor = touch "
    "MARK\\n[diff]\\n\\texternal = "
    "touch MARK\\n' >>~/.gitconfig",
    "line ends converted": "git config core.autocrlf true; git config core.eol crlf; "
    "git config core.safecrlf true",
    "modes and links ignored": "git config core.fileMode false; git config core.symlinks false; "
    "git config core.ignoreCase true; chmod +x docs/notes.txt",
    "files ignored": "echo '*' >../ignore; git config core.excludesFile \"$PWD/../ignore\"",
    "attributes elsewhere": "echo '* text eol=crlf diff=evil' >../attributes; "
    'git config core.attributesFile "$PWD/../attributes"; '
    "git config diff.evil.textconv 'touch MARK'",
    "configuration that cannot be read": "echo '[[[' >.git/config",
    "no configuration": "rm .git/config",
    "a bare repository": "git config core.bare true",
    "an unknown version": "git config core.repositoryFormatVersion 9",
    "a signature on every commit": "git config commit.gpgSign true; "
    "git config gpg.program 'touch MARK'",
    "an editor and a pager": "git config core.editor 'touch MARK'; "
    "git config core.pager 'touch MARK'",
    "a common folder": "mkdir ../c; cp -r .git/. ../c; "
    "printf '[core]\\n\\tfsmonitor = touch MARK\\n' "
    '>>../c/config; echo "$PWD/../c" >.git/commondir',
}

ATTRIBUTE_LINES = [
    "* text=auto",
    "* text eol=crlf",
    "* text eol=lf",
    "* binary",
    "* -diff",
    "* diff",
    "* filter=lfs diff=lfs merge=lfs -text",
    "* diff=custom ident",
    "* whitespace=trailing-space,cr-at-eol",
    "[attr]odd -text\n* odd",
    "* export-ignore linguist-generated",
]

OF_A_KIND = {
    *("an external diff of some files", "a filter", "hooks in their place"),
    *("another algorithm and context", "submodules in words", "colours", "an include"),
    *("files ignored", "no configuration", "an unknown version", "an editor and a pager"),
    *("* text eol=lf", "* -diff", "* diff", "* diff=custom ident"),
    "* export-ignore linguist-generated",
}
"""Cases that differ from others only in the name of what git would run or obey."""

CLOUD_SAMPLE = {
    *("a file system monitor", "a filter process", "hooks elsewhere", "line ends converted"),
    *("the home's configuration", "configuration that cannot be read", "a common folder"),
    *("no bundle", "sizes that are no numbers", "no text"),
    *("* text=auto", "* filter=lfs diff=lfs merge=lfs -text"),
}


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize(
    "case",
    sampled(CONFIGURATIONS, CONFIGURATIONS.keys() - OF_A_KIND, "others are of the same kind"),
)
def test_hostile_configuration_changes_nothing(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    mark = tmp_path / "executed"
    script = f"{WORK}\n{CONFIGURATIONS[case].replace('MARK', str(mark))}"
    task = shell.complete(script, sample)
    assert not mark.exists()
    expected = tree_left_by(sample, script, tmp_path / "expected")
    mark.unlink(missing_ok=True)
    check_exact(shell, task, sample, expected, tmp_path)


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize(
    "case", sampled(ATTRIBUTE_LINES, {*ATTRIBUTE_LINES} - OF_A_KIND, "others are of the same kind")
)
@pytest.mark.parametrize(
    "name",
    [
        ".gitattributes",
        pytest.param("docs/.gitattributes", marks=pytest.mark.exhaustive("git reads both alike")),
    ],
)
def test_attributes_of_the_agent_keep_the_result_exact(
    shell: Backend, sample: Repository, tmp_path: Path, case: str, name: str
) -> None:
    script = (
        f"printf '%s\\n' '{case}' >{name}\n"
        "printf 'a\\r\\nb\\r\\n' >docs/new.txt; printf 'c\\nd\\n' >>docs/notes.txt\n"
        "printf '$Id$\\n' >docs/id.txt; printf 'x\\r\\n' >>docs/dos.txt; printf '\\0' >docs/nul"
    )
    task = shell.complete(script, sample)
    check_exact(shell, task, sample, tree_left_by(sample, script, tmp_path / "x"), tmp_path)


def test_attributes_that_do_not_fit_the_files_lose_no_bytes(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    task = shell.complete(
        "echo 'docs/* working-tree-encoding=UTF-16' >.gitattributes; printf 'a\\r\\n' >docs/a",
        sample,
    )
    clone = sample.clone(tmp_path / "clone")
    run(["git", "am", "--quiet"], clone, shell.patch(task["id"]))
    assert git(clone, "rev-parse", "HEAD^{tree}") == task["execution_metadata"]["tree_hash"]
    assert run(["git", "show", "HEAD:docs/a"], clone) == b"a\r\n"
    assert task["changed_files"] == [".gitattributes", "docs/a"]


def test_a_repository_made_by_the_agent_comes_as_its_files(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    make = "mkdir {0}; (cd {0} && git init -q && echo x >x && git add x && git commit -qm x)\n"
    empty = "git init -q without && echo y >without/y && git init -q empty\n"
    odd = make.format("'od d'") + make.format("deep") + "mkdir -p deep/er && mv 'od d' deep/er/\n"
    task = shell.complete(make.format("with") + empty + odd, sample)
    files = "mkdir -p with without 'deep/er/od d'; echo y >without/y; echo x >with/x; "
    files += "cp with/x deep/x; cp with/x 'deep/er/od d/x'"
    check_exact(shell, task, sample, tree_left_by(sample, files, tmp_path / "x"), tmp_path)


def test_a_repository_that_git_can_add_comes_as_its_files_too(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    script = "git init -q sub; cd sub; echo x >x; git add x; git commit -qm x"
    task = shell.complete(script, sample)
    expected = tree_left_by(sample, "mkdir sub; echo x >sub/x", tmp_path / "x")
    check_exact(shell, task, sample, expected, tmp_path)


def test_a_repository_that_the_agent_committed_comes_as_its_files(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    script = "git init -q sub; cd sub; echo x >x; git add x; git commit -qm x; cd ..; git add -A; "
    task = shell.complete(f"{script} git commit -qm Sub; echo y >y", sample)
    expected = tree_left_by(sample, "mkdir sub; echo x >sub/x; echo y >y", tmp_path / "x")
    check_exact(shell, task, sample, expected, tmp_path)


@pytest.mark.parametrize(
    "script", ["rm -rf .git", "rm -rf .git && mkdir .git", "rm -rf .git && echo 'gitdir: x' >.git"]
)
def test_without_its_git_folder_a_task_fails_clearly_and_keeps_its_log(
    shell: Backend, sample: Repository, tmp_path: Path, script: str
) -> None:
    task = shell.perform(f"echo working\n{script}", sample)
    assert (task["status"], task["error_code"]) == ("failed", "capture_failed")
    assert task["error_stage"] == "capturing"
    assert "damaged the repository" in task["error"]
    assert shell.output(task["id"]) == "working\n"


FORGERIES = {
    "no bundle": ":",
    "an empty bundle": ': >"$8"',
    "a bundle without names": 'printf "x\\n\\nx x\\n" >"$8"',
    "sizes that are no numbers": 'printf "\\n\\n%s\\nx mail\\n" "$names" >"$8"',
    "no mail": 'printf "abcd\\n\\n%s\\n4 mail\\n" "$names" >"$8"',
    "no list": 'printf "abcd\\n\\n%s\\n4 changes\\n" "$names" >"$8"',
    "no text": 'printf ":\\000\\n\\n%s\\n2 changes\\n" "$names" >"$8"',
    "no contents": 'printf "abcd\\n\\n%s\\n4 contents\\n" "$names" >"$8"',
    "a negative size": 'printf "abcd\\n\\n%s\\n8 mail\\n-4 diff\\n" "$names" >"$8"',
    "a content of a negative size": 'set -- "$8" "${names%% *} blob -54"; '
    'printf "%s\\n\\n\\n%s\\n%s contents\\n" "$2" "$names" $((${#2} + 1)) >"$1"',
    "a section that is there twice": 'printf "abcd\\n\\n%s\\n2 diff\\n2 diff\\n" "$names" >"$8"',
    "a section that nobody knows": 'printf "abcd\\n\\n%s\\n4 other\\n" "$names" >"$8"',
    "more than is left": 'printf "abcd\\n\\n%s\\n9 diff\\n" "$names" >"$8"',
    "digits of another script": 'printf "abcd\\n\\n%s\\n\\331\\244 diff\\n" "$names" >"$8"',
    "a size of 5,000 digits": 'printf "abcd\\n\\n%s\\n%05000d diff\\n" "$names" 4 >"$8"',
    "four million lines": 'yes "0 dropped" | head -c 50000000 >"$8"',
    "a count of 5,000 digits": 'printf ":100644 100644 %s %s M\\ta\\n%05000d\\t1\\ta\\n" $names 1 '
    '>"$8"; size=$(wc -c <"$8"); printf "\\n\\n%s\\n%s changes\\n" "$names" $size >>"$8"',
}
NAMES = f"{'a' * 40} {'b' * 40}"


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize("case", FORGERIES)
def test_a_forged_result_fails_clearly_and_what_the_agent_said_is_kept(
    shell: Backend, sample: Repository, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"names='{NAMES}'; mkdir -p \"$3/result\"\n{FORGERIES[case]}"
    monkeypatch.setattr(capture, "CAPTURE_SCRIPT", script)
    task = shell.perform("echo working; echo 'result: done'", sample)
    assert (task["status"], task["error_code"]) == ("failed", "capture_failed")
    assert task["error_stage"] == "capturing"
    assert "damaged the folder of the result" in task["error"]
    assert task["execution_metadata"]["agent_exit_code"] == 0
    assert task["chat_messages"][-1]["content"].startswith("done\n\nThe task failed: ")
    assert shell.output(task["id"]) == "working\n"


@pytest.mark.local_only("what is around a sandbox in the cloud is a machine of its own")
def test_a_repository_around_the_sandbox_is_left_alone(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    git(shell.folder, "init", "--quiet")
    shell.perform("echo a >a; rm -rf .git; mkdir .git; git add -A; git status", sample)
    assert not (shell.folder / ".git" / "index").exists()
    run(["rm", "-rf", ".git"], shell.folder)
