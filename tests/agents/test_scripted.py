"""A script in a prompt writes only into the work tree, and runs no program of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import JWT_SECRET
from tests.support.backends import Backend, Open, Repository, git

PROGRAM = "#!/bin/sh\\ntouch MARK\\n"
ATTACKS = {
    "a hook": f"write .git/hooks/pre-commit {PROGRAM}\nchmod 755 .git/hooks/pre-commit",
    "a file system monitor": "append .git/config [core]\\n\\tfsmonitor = touch MARK\\n",
    "a filter": 'append .git/config [filter "x"]\\n\\tclean = touch MARK\\n\n'
    "write .gitattributes * filter=x\\n",
    "a signature": "append .git/config [commit]\\n\\tgpgSign = true\\n[gpg]\\n\\tprogram = MARK\\n",
    "a link to the folder": f"link .git g\nwrite g/hooks/pre-commit {PROGRAM}",
    "a folder in its place": "delete .git",
    "a folder moved there": f"write h/hooks/pre-commit {PROGRAM}\nrename h .git",
    "a link made in a folder": "link /nowhere/.git docs",
}
NAMES = {
    "capital letters": ".GiT/config",
    "an invisible character": ".g\\0342\\0200\\0214it/config",
    "a byte order mark": "\\0357\\0273\\0277.git/config",
    "a dot at the end": ".git./config",
    "blanks and dots at the end": ".git\\0040.\\0040/config",
    "the short name of NTFS": "GIT~1/config",
    "a stream of NTFS": ".git::$INDEX_ALLOCATION/config",
    "backslashes": "docs\\0134.git\\0134config",
    "another folder": "docs/.git/config",
    "a file in another folder": "docs/.git",
    "an escape": "\\056git/config",
}
INNOCENT = (".gitignore", ".github/workflows/x.yml", "x.git/y", "git", ".git-blame-ignore-revs")


@pytest.mark.parametrize("case", ATTACKS)
@pytest.mark.local_only("in the cloud a program of the repository runs on another machine")
def test_a_script_runs_no_program(
    backend: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    mark = tmp_path / "mark"
    script = ATTACKS[case].replace("MARK", str(mark))
    task = backend.perform(f"script:\n{script}\nwrite new.txt x\ncommit Change\n", sample)
    assert not mark.exists()
    assert task["status"] == "failed"
    assert "new.txt" not in (task["changed_files"] or [])


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.local_only("the script is the same in the cloud")
def test_no_name_that_stands_for_the_folder_of_git_is_written(
    backend: Backend, sample: Repository, case: str
) -> None:
    task = backend.perform(f"script:\nwrite {NAMES[case]} x\n", sample)
    assert (task["status"], task["changed_files"]) == ("failed", [])
    assert "a part of the path is the folder of git" in task["error"]


def test_names_that_only_begin_like_it_are_written_and_committed(
    backend: Backend, sample: Repository
) -> None:
    lines = "\n".join(f"write {name} x" for name in INNOCENT)
    task = backend.complete(f"script:\n{lines}\ncommit Change of mine\n", sample)
    assert sorted(task["changed_files"]) == sorted(INNOCENT)
    assert "Change of mine" in task["git_patch"]


@pytest.mark.local_only("in the cloud the programs run on another machine")
def test_a_commit_ignores_the_attributes_of_the_repository_and_the_system(
    backend: Backend, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("echo '* filter=x diff=x' >.gitattributes")
    task = backend.complete("script:\nwrite a.txt x\ncommit Change\n", repository)
    assert task["changed_files"] == ["a.txt"]


OUTSIDE = {
    "a rename onto a link": "write p x\\n\nrename p LINK",
    "a file below a link": "write LINK/p x\\n",
    "a rename below a link": "write p x\\n\nrename p LINK/p",
    "a link below a link": "link /etc/hostname LINK/p",
    "a link in place of a link": "link /etc/hostname LINK",
    "a deletion below a link": "delete LINK/kept",
    "a mode below a link": "chmod 777 LINK/kept",
    "a mode of a link": "chmod 777 LINK",
    "an addition to a link": "append LINK x",
    "bytes in place of a link": "bytes LINK eA==",
}


@pytest.mark.parametrize("case", OUTSIDE)
@pytest.mark.parametrize("is_file", [False, True], ids=["folder", "file"])
@pytest.mark.local_only("in the cloud there is nothing beside the sandbox")
def test_nothing_is_written_through_a_link(
    backend: Backend, tmp_path: Path, case: str, is_file: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").write_text("kept")
    (outside / "kept").chmod(0o600)
    target = outside / "kept" if is_file else outside
    repository = Repository(tmp_path / "repository")
    repository.commit(f"mkdir sub; ln -s '{target}' sub/link")
    script = OUTSIDE[case].replace("LINK", "sub/link")
    backend.perform(f"script:\n{script}\n", repository)
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"
    assert (outside / "kept").stat().st_mode & 0o777 == 0o600
    assert outside.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("link", ["AI_GENERATED.md", "AI_GENERATED.md/notes.md"])
@pytest.mark.parametrize("is_file", [False, True], ids=["folder", "file"])
@pytest.mark.local_only("in the cloud there is nothing beside the sandbox")
def test_a_prompt_is_not_written_through_a_link(
    backend: Backend, tmp_path: Path, link: str, is_file: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    repository = Repository(tmp_path / "repository")
    target = outside / "kept" if is_file else outside
    repository.commit(f"mkdir -p $(dirname ./{link}); ln -s '{target}' {link}")
    task = backend.complete("Say hello", repository)
    assert (outside / "kept").read_text() == "kept"
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert task["changed_files"] == [link]


@pytest.mark.parametrize(
    "settings",
    [
        {
            "environment": "production",
            "sandbox": "local",
            "jwt_secret": JWT_SECRET,
            "trust_user_id": True,
            "allow_local_repos": True,
        },
        {"enable_scripted_prompts": False},
    ],
    ids=["production", "turned off"],
)
@pytest.mark.local_only("the same agent is chosen for the cloud")
def test_elsewhere_than_in_development_a_script_is_plain_text(
    open_with: Open, sample: Repository, tmp_path: Path, settings: dict[str, object]
) -> None:
    backend = open_with(**settings)
    prompt = "script:\nwrite a.txt x\nfail 3"
    task = backend.complete(prompt, sample)
    assert task["changed_files"] == ["AI_GENERATED.md"]
    assert prompt in sample_with(backend, task["id"], sample, tmp_path)


def sample_with(backend: Backend, task_id: int, sample: Repository, folder: Path) -> str:
    """Return the file that the scripted agent wrote, after the task's patch is applied."""
    clone = sample.clone(folder / "clone")
    git(clone, "am", "--quiet", stdin=backend.patch(task_id))
    return (clone / "AI_GENERATED.md").read_text()


@pytest.mark.local_only("the same agent is chosen for the cloud")
def test_an_operator_can_turn_scripts_on_in_production(open_with: Open, sample: Repository) -> None:
    backend = open_with(
        environment="production",
        sandbox="local",
        jwt_secret=JWT_SECRET,
        trust_user_id=True,
        allow_local_repos=True,
        enable_scripted_prompts=True,
    )
    task = backend.complete("script:\nwrite a.txt x\n", sample)
    assert task["changed_files"] == ["a.txt"]
