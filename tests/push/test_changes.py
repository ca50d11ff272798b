"""Whatever a task changed, the pushed branch holds exactly the sandbox's tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.capture.test_changes import ALL_NAMES, CONTENTS, SHAPES
from tests.support.backends import Backend, Repository, git
from tests.support.git.exactness import in_folders, make_sample, together
from tests.support.git.pushes import captured, publish, push, request_of, tree_on
from tests.support.git.server import GitServer
from tests.support.suite.exhaustive import sampled

pytestmark = pytest.mark.local_only("the place of a task is told by its capture's tests")

COMMIT = "git add -A && git commit -qm"
SHORT = "for f in 1 2 3 4 5; do"

MORE = {
    "every odd name": ALL_NAMES,
    "every odd name, then edited": f"{ALL_NAMES}\n{COMMIT} Names && find . -path ./.git -prune -o "
    "-type f -size -2k -exec sh -c 'echo more >>\"$1\"' x {} \\;",
    "names that git's options have": "for n in -- --all -p --cached --stdin -z; do "
    'echo x >"./$n"; done; mkdir -- --git-dir=x && echo y >./--git-dir=x/--work-tree',
    "folders whose names end with a blank": "mkdir -p 'a /b ' 'c / d'; printf '\\0' >'a /b /x'; "
    f"printf '\\351\\n' >'c / d/y'; {COMMIT} One; chmod +x 'a /b /x'; "
    "mv 'c / d/y' 'a /b /z'; printf '\\0\\1' >'a /b /z b'",
    "mode changes alone": "chmod +x docs/* src/app.py; chmod -x tool.sh",
    "a rename and a mode change alone": "mv docs/notes.txt n && chmod +x n",
    "pure renames of every kind": "mv docs papers && mv link other_link && mv -- -rf ./-fr",
    "a folder of renames that swaps with another": "mv docs t && mv src docs && mv t src",
    "attributes that convert line ends": "echo '* text=auto eol=crlf' >.gitattributes; "
    "printf 'a\\nb\\n' >new.txt; printf 'x\\n' >>docs/dos.txt",
    "attributes with filters": "printf '* filter=lfs diff=lfs -text\\n*.txt ident\\n' "
    ">.gitattributes; printf '$Id$\\n' >id.txt; echo x >>docs/notes.txt; printf '\\0' >b.bin",
    "attributes with an encoding": "echo '*.u working-tree-encoding=UTF-16' >.gitattributes; "
    "printf '\\376\\377\\0a\\0\\n' >a.u",
    "attributes about blanks": "echo '* whitespace=trailing-space,cr-at-eol,tab-in-indent' "
    ">.gitattributes; printf 'a  \\n\\tb \\r\\n' >new.txt",
    "edits in each of several commits": f"{SHORT} echo $f >>README.md; {COMMIT} Edit$f; done",
    "a file renamed in each of several commits": f"o=README.md; {SHORT} git mv $o R$f && o=R$f; "
    "git commit -qm Move$f; done; echo end >>$o",
    "a file that comes and goes": f"echo x >x; {COMMIT} One; rm x; {COMMIT} Two; echo y >y",
    "a change taken back and made again": f"cp README.md o; echo x >>README.md; {COMMIT} One; "
    f"mv o README.md; {COMMIT} Two; echo y >>README.md; chmod +x README.md",
    "content of the base under a new name, edited later": f"cp docs/notes.txt a; {COMMIT} One; "
    f"echo x >>a; {COMMIT} Two; git mv docs/notes.txt b; git commit -qm Three",
    "modes changed back and forth": f"chmod +x src/app.py; {COMMIT} One; chmod -x src/app.py; "
    f"{COMMIT} Two; chmod +x docs/open_end.txt",
    "a merge": "git checkout -qb other; echo a >a; git add a; git commit -qm A; "
    "git checkout -q main; echo b >b; git add b; git commit -qm B; git merge -q -m M other",
    "an empty commit between others": f"echo a >a; {COMMIT} One; {COMMIT} No --allow-empty; "
    f"echo b >b; {COMMIT} Two",
    "a message with the words of a patch": f"echo a >a; {COMMIT} 'One\n\n@@ -1 +1 @@\nindex 12..34"
    "\nrename from x\nGIT binary patch\n\n  diff --git a/x b/x'; echo b >b",
    "a nested repository": "mkdir new && cd new && git init -q && echo x >x && git add x && "
    "git commit -qm x",
    "a new link that is a folder in the next commit": f"ln -s docs d; {COMMIT} One; rm d; "
    f"mkdir d; echo x >d/f; {COMMIT} Two",
    "a committed link that is left as a folder": f"ln -s docs d; {COMMIT} One; rm d; mkdir -p d/e; "
    "echo x >d/e/f; echo y >'d/\"'",
    "a folder that is a link between two commits": f"rm -r assets; ln -s docs assets; {COMMIT} A; "
    f"rm assets; mkdir assets; echo y >assets/z; {COMMIT} B; echo q >q",
    "a link that is a folder, a link and a folder": f"rm link; mkdir link; echo a >link/a; {COMMIT}"
    f" A; rm -r link; ln -s x link; {COMMIT} B; rm link; mkdir link; git mv README.md link/b; "
    f"{COMMIT} C",
    "a shared prefix of names": "mkdir a.d a; echo 1 >a.d/x; echo 2 >a/x; echo 3 >a-x; echo 4 >a0",
}
TOLD_ELSEWHERE = {
    *("a new file in new folders", "a deleted binary", "a file that becomes empty"),
    *("a text that becomes binary", "a file converted to UTF-8", "UTF-16 with its mark"),
    *("a NUL after 8000 bytes", "an edited file with CRLF", "a file converted from CRLF"),
    *("a deleted file with CRLF", "only carriage returns", "no final newline"),
    *("a line edited into a dash line", "Unicode separators", "overlong and surrogate bytes"),
    *(
        "an edited file that is not UTF-8",
        "a final newline that comes",
        "a binary that becomes text",
    ),
    *("trailing blanks", "control characters", "a folder nobody may enter", "an empty folder"),
    *("ignored files", "an ignored file made visible", "a FIFO beside the changes"),
    *("UTF-16 without zeros", "a NUL edited in late", "a carriage return at the very end"),
    *("lines that look like mail", "a new file with CRLF", "a file that is not UTF-8"),
    *("an edited binary", "a deleted file", "a changed symbolic link", "a renamed file"),
    *("a file nobody may read", "a renamed file that is not UTF-8", "an edited file"),
    *("an empty file that is filled", "a new binary", "a file converted to CRLF"),
    *("a final newline that goes", "a new symbolic link", "a deleted symbolic link"),
    *("a renamed binary", "a file made not executable", "a symbolic link with carriage return"),
    *("a symbolic link to nothing", "a symbolic link out of the tree", "a copied file"),
}
"""Samples whose patch is special for the capture but not for applying it."""

CASES = {
    name: script
    for name, script in {**CONTENTS, **SHAPES, **MORE}.items()
    if name not in TOLD_ELSEWHERE
}

ALONE = {
    *("every odd name, then edited", "pure renames of every kind", "everything deleted"),
    *("a folder of renames that swaps with another", "attributes that convert line ends"),
    *("a file renamed in each of several commits", "a merge", "a nested repository"),
    *("a link that was renamed in a commit, and a folder in its place", "a line of 3 MB"),
    "a link that is a folder, a link and a folder",
}
"""The cases that take the whole repository, or of which each run has one of its kind."""

MODULE_CHANGES = {
    "a submodule at another commit": "git init -q sub; cd sub; git commit -q --allow-empty -m New",
    "a submodule taken out": "rm -rf sub",
    "a submodule that becomes a file": "rm -rf sub; echo x >sub",
    "a submodule that becomes a link": "rm -rf sub; ln -s README.md sub",
    "a submodule beside other changes": "git init -q sub; "
    "(cd sub; git commit -q --allow-empty -m N); "
    "chmod +x README.md; git mv docs/notes.txt n; printf '\\377\\r\\n' >latin",
    "a new submodule": "git init -q more; (cd more; git commit -q --allow-empty -m New); "
    "printf '[submodule \"m\"]\\n\\tpath = more\\n\\turl = https://example.org/m\\n' >.gitmodules",
    "a link that is a submodule in the next commit": f"ln -s docs d; {COMMIT} One; rm d; mkdir d; "
    'git init -q d/sub; (cd d/sub; git commit -q --allow-empty -m New); printf \'[submodule "m"]\n'
    "\tpath = d/sub\n\turl = https://example.org/m\n' >.gitmodules",
    "a file that becomes a submodule": "rm docs/notes.txt; git init -q docs/notes.txt; "
    '(cd docs/notes.txt; git commit -q --allow-empty -m New); printf \'[submodule "m"]\\n\\tpath = '
    "docs/notes.txt\\n\\turl = https://example.org/m\\n' >.gitmodules",
}

MODULES_ALWAYS = {
    *("a submodule that becomes a file", "a submodule beside other changes"),
    *("a new submodule", "a link that is a submodule in the next commit"),
}

ODD_FOLDERS = {
    "modes that git wrote in its first year": ("100664", None),
    "an entry for an empty folder": ("100644", "empty"),
}
"""The mode of a file in the base, and the name of a folder with nothing in it."""


@pytest.fixture(scope="module")
def sample_url(git_server: GitServer, sample: Repository) -> str:
    return publish(git_server, sample, "changes")


@pytest.fixture(scope="module")
def with_submodule(git_server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = make_sample(tmp_path_factory.mktemp("modules") / "repository")
    entry = f"160000,{repository.head},sub"
    git(repository.folder, "update-index", "--add", "--cacheinfo", entry)
    git(repository.folder, "commit", "--quiet", "--message", "Add a submodule")
    publish(git_server, repository, "modules")
    return repository


def test_there_are_many_cases() -> None:
    assert len(CASES) + len(MODULE_CHANGES) >= 50
    assert {*CONTENTS, *SHAPES} >= TOLD_ELSEWHERE


def test_all_changes_together_are_pushed_as_they_are(
    shell: Backend, git_server: GitServer, sample: Repository, tmp_path: Path
) -> None:
    cases = {name: CASES[name] for name in CASES if not name.endswith("MB")}
    origin, scripts = together(sample, cases, tmp_path / "many")
    url = publish(git_server, origin, "together")
    request = request_of(url, captured(shell, in_folders(scripts), origin))
    pushed = push(tmp_path, request)
    assert pushed.tree == tree_on(git_server, "together", request.branch) == request.tree_hash
    bare = git_server.bare("together")
    assert git(bare, "diff-tree", "--name-only", "main", request.branch).split() == [*scripts]


@pytest.mark.parametrize("case", sampled(CASES, ALONE, "they are pushed together"))
def test_the_pushed_tree_is_the_sandboxs(
    shell: Backend,
    git_server: GitServer,
    sample: Repository,
    sample_url: str,
    tmp_path: Path,
    case: str,
) -> None:
    request = request_of(sample_url, captured(shell, CASES[case], sample))
    pushed = push(tmp_path, request)
    assert pushed.tree == tree_on(git_server, "changes", request.branch) == request.tree_hash
    head = git(git_server.bare("changes"), "rev-parse", f"{request.branch}", f"{request.branch}^")
    assert head.split() == [pushed.commit, request.base_commit]


@pytest.mark.parametrize("case", sampled(MODULE_CHANGES, MODULES_ALWAYS, "others are like it"))
def test_references_to_submodules_are_pushed_as_they_are(
    shell: Backend, git_server: GitServer, with_submodule: Repository, tmp_path: Path, case: str
) -> None:
    task = captured(shell, MODULE_CHANGES[case], with_submodule)
    assert "160000" in task["git_patch"]
    request = request_of(git_server.url("modules"), task)
    push(tmp_path, request)
    assert tree_on(git_server, "modules", request.branch) == request.tree_hash


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo x >>src/app.py", marks=pytest.mark.exhaustive("the other needs more")),
        "mv old/file old/other; git reset -q; echo y >y",
    ],
)
@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_a_base_that_is_written_as_git_no_longer_does_is_no_hindrance(
    shell: Backend, git_server: GitServer, tmp_path: Path, folder: str, script: str
) -> None:
    origin = make_sample(tmp_path / "origin")
    add_folder(origin, *ODD_FOLDERS[folder])
    task = captured(shell, script, origin)
    request = request_of(publish(git_server, origin, "odd"), task)
    push(tmp_path, request)
    assert tree_on(git_server, "odd", request.branch) == request.tree_hash
    names = ("diff", "--name-only", "--no-renames", origin.head, request.branch)
    assert git(git_server.bare("odd"), *names).split() == task["changed_files"]


def add_folder(origin: Repository, mode: str, empty: str | None) -> None:
    """Commit a folder whose tree no git of today would write."""
    folder = origin.folder
    blob = bytes.fromhex(git(folder, "rev-parse", "HEAD:README.md"))
    content = b"%b file\0%b" % (mode.encode(), blob)
    if empty:
        nothing = git(folder, "hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")
        content = b"40000 %b\0%b" % (empty.encode(), bytes.fromhex(nothing)) + content
    write = ("hash-object", "-t", "tree", "-w", "--literally", "--stdin")
    entry = f"040000 tree {git(folder, *write, stdin=content)}\told\n"
    top = git(folder, "mktree", stdin=f"{git(folder, 'ls-tree', 'HEAD')}\n{entry}".encode())
    commit = git(folder, "commit-tree", top, "-p", "HEAD", "-m", "Add an old folder")
    git(folder, "update-ref", "refs/heads/main", commit)
    git(folder, "reset", "--quiet", "--hard")
