"""Tests that every kind of change in the work tree is captured exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository
from tests.support.git.exactness import check_exact, in_folders, together, tree_left_by
from tests.support.suite.exhaustive import sampled

CONTENTS = {
    "a new file": "printf 'new\\n' >new.txt",
    "a new file in new folders": "mkdir -p a/b/c && printf 'new\\n' >a/b/c/new.txt",
    "an edited file": "printf 'more\\n' >>src/app.py",
    "an empty new file": ": >other_empty.txt",
    "a file that becomes empty": ": >src/app.py",
    "an empty file that is filled": "printf 'x\\n' >empty.txt",
    "a deleted file": "rm src/app.py",
    "everything deleted": "rm -rf -- * .gitignore",
    "a deleted binary": "rm assets/image.bin",
    "a new binary": "printf '\\000\\001\\377\\376' >new.bin",
    "an edited binary": "printf '\\000tail' >>assets/image.bin",
    "a binary of 5 MB": "seq 2300000 | gzip -n -1 | head -c 5000000 >big.bin && "
    "head -c 100000 big.bin >assets/image.bin",
    "a binary that becomes text": "printf 'text\\n' >assets/image.bin",
    "a text that becomes binary": "printf '\\000\\001' >src/app.py",
    "a file that is not UTF-8": "printf 'caf\\351 \\377\\n' >new.txt",
    "an edited file that is not UTF-8": "printf '\\374ber\\n' >>docs/latin.txt",
    "a file converted to UTF-8": "printf 'caf\\303\\251\\nna\\303\\257ve\\n' >docs/latin.txt",
    "UTF-16 with its mark": "printf '\\377\\376h\\000i\\000\\n\\000' >utf16.txt",
    "UTF-16 without zeros": "printf '\\377\\376\\101\\104\\012\\103' >utf16.txt",
    "a NUL after 8000 bytes": "{ head -c 9000 /dev/zero | tr '\\0' a; printf '\\n\\000\\n'; } >nul",
    "a NUL edited in late": "{ yes line | head -n 3000; printf '\\000\\n'; } >docs/notes.txt",
    "a new file with CRLF": "printf 'a\\r\\nb\\r\\n' >new.txt",
    "an edited file with CRLF": "printf 'four\\r\\n' >>docs/dos.txt",
    "a file converted to CRLF": "sed 's/$/\\r/' docs/notes.txt >t && mv t docs/notes.txt",
    "a file converted from CRLF": "tr -d '\\r' <docs/dos.txt >t && mv t docs/dos.txt",
    "a deleted file with CRLF": "rm docs/dos.txt",
    "mixed line ends": "printf 'a\\r\\nb\\nc\\rd\\r\\r\\n' >>docs/mixed.txt",
    "only carriage returns": "printf 'a\\rb\\rc\\r' >new.txt",
    "a carriage return at the very end": "printf 'a\\nb\\r' >new.txt",
    "no final newline": "printf 'no end' >new.txt",
    "a final newline that goes": "printf 'one' >docs/notes.txt",
    "a final newline that comes": "printf '\\n' >>docs/open_end.txt",
    "a line of 3 MB": "head -c 3000000 /dev/zero | tr '\\0' z >long.txt",
    "lines that look like mail": "printf 'From abc Mon Sep 17 00:00:00 2001\\nFrom: x\\n' >mail",
    "lines that look like a patch": "printf -- '---\\ndiff --git a/x b/x\\n--- a\\n+++ b\\n@@ -1 "
    "+1 @@\\n-- \\n2.39.5\\n' >patch.txt",
    "a line edited into a dash line": "printf -- '-- \\n- one\\n---\\n' >docs/notes.txt",
    "control characters": "printf '\\033[31mred\\033[0m\\f\\v\\b\\001\\n' >new.txt",
    "trailing blanks": "printf 'a  \\n\\t\\n \\n\\n\\n' >new.txt",
    "a thousand files": "mkdir many && for i in $(seq 1000); do echo $i >many/$i.txt; done",
    "Unicode separators": "printf 'a\\342\\200\\250b\\302\\205c\\n' >new.txt",
    "overlong and surrogate bytes": "printf '\\355\\240\\200 \\300\\200\\n' >new.txt",
}

SHAPES = {
    "a renamed file": "mv docs/notes.txt docs/renamed.txt",
    "a renamed and edited file": "mv docs/notes.txt n.txt && printf 'more\\n' >>n.txt",
    "a renamed binary": "mv assets/image.bin assets/photo.bin",
    "a renamed file with CRLF": "mv docs/dos.txt d.txt && printf 'x\\r\\n' >>d.txt",
    "a renamed file that is not UTF-8": "mv docs/latin.txt l.txt && printf '\\351\\n' >>l.txt",
    "two files that swap names": "mv src/app.py t && mv docs/notes.txt src/app.py && "
    "mv t docs/notes.txt",
    "a name that only changes its case": "mv README.md readme.md",
    "a copied file": "cp docs/notes.txt docs/copy.txt",
    "a file made executable": "chmod +x src/app.py",
    "a file made not executable": "chmod -x tool.sh",
    "an executable edited and renamed": "mv tool.sh bin.sh && echo exit >>bin.sh && "
    "chmod -x bin.sh",
    "a file nobody may read": "printf 'x\\n' >new.txt && chmod 000 new.txt",
    "a folder nobody may enter": "mkdir locked && echo x >locked/f && chmod 000 locked",
    "a new symbolic link": "ln -s README.md new_link",
    "a changed symbolic link": "ln -sfn README.md link",
    "a deleted symbolic link": "rm link",
    "a symbolic link out of the tree": "ln -s /etc/hostname out && ln -s ../.. up",
    "a symbolic link to nothing": "ln -s nowhere dangling",
    "a symbolic link with an odd target": "ln -s \"$(printf 'caf\\351\\ttab')\" odd",
    "a symbolic link with carriage return": "ln -s \"$(printf 'a\\r\\nb')\" odd",
    "a file that becomes a link": "ln -sf README.md src/app.py",
    "a link that becomes a file": "rm link && cp docs/notes.txt link",
    "a folder that becomes a file": "rm -r docs && printf 'x\\n' >docs",
    "a file that becomes a folder": "rm README.md && mkdir README.md && echo x >README.md/x",
    "a folder that becomes a link": "rm -r docs && ln -s src docs",
    "a renamed link": "mv link other",
    "a renamed link, and a folder in its place": "mv link other; mkdir link; echo x >link/x",
    "a link that moves into a folder in its place": "mv link a; mkdir link; mv a link/inner",
    "a link that was renamed in a commit, and a folder in its place": "git mv link other; "
    "mkdir link; echo x >link/x; git add .; git commit -qm A; git mv other last",
    "files whose name only the header tells, in folders with blanks": "mkdir ' ' 'x ' && "
    "cp assets/image.bin ' /a' && : >'x /empty' && ln -s \"$(printf 'caf\\351')\" 'x /odd'",
    "an empty folder": "mkdir empty_folder && echo x >other",
    "a FIFO beside the changes": "mkfifo pipe && echo x >new.txt",
    "ignored files": "mkdir build && echo x >build/x && echo x >a.log && echo x >new.txt",
    "an ignored file made visible": "echo x >a.log && printf 'build/\\n' >.gitignore",
}

NAMES = {
    "spaces": "'  two  spaces '",
    "quotes": "'it'\\''s \"quoted\"'",
    "a newline": "\"$(printf 'new\\nline')\"",
    "a tab": "\"$(printf 'a\\ttab')\"",
    "a carriage return": "\"$(printf 'a\\rreturn\\r')\"",
    "a backslash": "'back\\slash\\'",
    "globs": "'*?[a-z]!{x}'",
    "a dash": "-rf2",
    "an option": "--all",
    "a leading quote": "'\"quote'",
    "a leading hash": "'#hash'",
    "a leading exclamation mark": "'!bang'",
    "a leading colon": "':(top)magic'",
    "bytes that are not UTF-8": "\"$(printf 'caf\\351')\"",
    "composed and decomposed letters": "\"$(printf 'e\\314\\201-\\303\\251')\"",
    "an emoji": "\"$(printf '\\360\\237\\246\\212')\"",
    "right-to-left marks": "\"$(printf '\\342\\200\\256txt.exe')\"",
    "control characters": "\"$(printf '\\001\\033[31m\\177')\"",
    "the word NUL of a diff": "dev/null",
    "a and b prefixes": "'a/x b/x'",
    "an arrow": "'old => new'",
    "braces": "'{a => b}'",
    "200 characters": '"$(printf %0200d 0)"',
    "a name git keeps for itself": ".gitattributes.txt",
    "a dollar sign": "'$(touch oops)'",
    "a semicolon": "'; touch oops;'",
}

NAME_SCRIPTS = {
    f"a name with {what}": f'name={word}; case $name in */*) mkdir -p -- "./${{name%/*}}";; esac; '
    'printf "one\\n" >"./$name"; printf "bytes \\351\\n" >"./$name.latin"; '
    'printf "crlf\\r\\n" >"./$name.dos"; printf "\\000" >"./$name.bin"'
    for what, word in NAMES.items()
}

# In one task, because new files do not change how others are captured.
ALL_NAMES = "\n".join(f"({script})" for script in NAME_SCRIPTS.values())

CASES = {**CONTENTS, **SHAPES, "every odd name": ALL_NAMES}

# What changes the form of a whole result, or could be bent on its way out of a sandbox: bytes,
# sizes, names and modes.
SAMPLE = {
    *("everything deleted", "a binary of 5 MB", "a line of 3 MB", "a thousand files"),
    *("a file that is not UTF-8", "UTF-16 with its mark", "a NUL edited in late"),
    *("mixed line ends", "no final newline", "lines that look like a patch"),
    *("overlong and surrogate bytes", "a renamed and edited file", "a file made executable"),
    *("a folder nobody may enter", "a symbolic link with an odd target"),
    *("a folder that becomes a link", "a FIFO beside the changes", "every odd name"),
}


@pytest.mark.cloud_with_all("there all are tried together")
@pytest.mark.cloud_sample(SAMPLE)
@pytest.mark.parametrize("case", sampled(CASES, SAMPLE, "all are tried together"))
def test_the_patch_and_the_diff_give_the_agents_tree(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script = CASES[case]
    task = shell.complete(script, sample)
    expected = tree_left_by(sample, script, tmp_path / "expected")
    check_exact(shell, task, sample, expected, tmp_path)


@pytest.mark.cloud_with_all("the script is the same")
def test_all_changes_together_give_the_agents_tree(
    shell: Backend, sample: Repository, tmp_path: Path
) -> None:
    many, scripts = together(sample, CASES, tmp_path / "many")
    changes = in_folders(scripts)
    task = shell.complete(changes, many)
    assert {name.split("/")[0] for name in task["changed_files"]} == {*scripts}
    check_exact(shell, task, many, tree_left_by(many, changes, tmp_path / "expected"), tmp_path)
