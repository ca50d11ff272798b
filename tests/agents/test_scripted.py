"""The scripted agent: its steps, and that it writes nothing outside and runs nobody's program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from demo.sample import ensure_sample
from tests.conftest import JWT_SECRET
from tests.support.backends import GIT_ENVIRONMENT, Backend, Open, Repository, git
from tests.support.source_files import ROOT
from utils.agents.scripted import ScriptedReader
from utils.models.tasks import Json

SCRIPT = ROOT / "utils" / "agents" / "scripted.sh"

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


KINDS = {
    "Take ten per cent off from 100.00 upwards": ["basket.py", "test_basket.py"],
    "Add another test": ["test_basket.py"],
    "Say hello": ["README.md"],
}


@pytest.mark.parametrize("prompt", KINDS)
@pytest.mark.local_only("the script is the same in the cloud")
def test_in_the_sample_it_edits_what_the_prompt_asks_for_tests_and_commits(
    backend: Backend, tmp_path: Path, prompt: str
) -> None:
    sample = ensure_sample(tmp_path / "sample", os.environ["PATH"])
    tasks = [backend.complete(prompt, f"file://{sample}") for _ in range(2)]
    assert [task["changed_files"] for task in tasks] == [KINDS[prompt]] * 2
    first, second = (backend.get(f"/git-diff/{task['id']}")["git_diff"] for task in tasks)
    assert first == second
    events = backend.events(tasks[0]["id"])
    said = [event["data"]["text"] for event in events if event["kind"] == "message"]
    assert said[0] == (
        "This is a simulation: a small script works in place of claude, without an AI."
    )
    ends = [event["data"] for event in events if event["kind"] == "tool" and "ok" in event["data"]]
    assert all(end["ok"] for end in ends)
    tests, commit = ends[-2:]
    assert tests["output"].endswith("\nOK")
    assert commit["output"] == "committed"


@pytest.mark.local_only("in the cloud a program of the repository runs on another machine")
def test_other_tests_than_those_of_the_sample_are_not_run(backend: Backend, tmp_path: Path) -> None:
    sample = ensure_sample(tmp_path / "sample", os.environ["PATH"])
    mark = tmp_path / "mark"
    changed = Repository(tmp_path / "changed")
    line = f'open("{mark}", "w")'
    changed.commit(f"cp '{sample}'/*.* . && echo '{line}' >>test_basket.py")
    task = backend.complete("Add another test", changed)
    assert task["changed_files"] == ["AI_GENERATED.md"]
    assert not mark.exists()


def test_the_script_knows_the_files_of_the_sample_and_what_it_makes_of_them(
    tmp_path: Path,
) -> None:
    text = SCRIPT.read_text()
    prompt = tmp_path / "prompt"
    for name, prompts in {
        "one": ["Take off ten per cent", "Add another test"],
        "two": ["Add another test", "Take off ten per cent", "Say hello"],
    }.items():
        folder = ensure_sample(tmp_path / name, os.environ["PATH"])
        for each in ("", *prompts):
            if each:
                prompt.write_text(each)
                command = ["sh", str(SCRIPT), str(prompt), "claude", "0"]
                ended = subprocess.run(
                    command,
                    cwd=folder,
                    # The user who runs the tests may have no name for git.
                    env=GIT_ENVIRONMENT,
                    check=False,
                    capture_output=True,
                    text=True,
                )
                assert ended.returncode == 0, ended.stdout + ended.stderr
            for file in ("basket.py", "test_basket.py"):
                assert git(folder, "hash-object", file).strip() in text
        assert not (folder / "AI_GENERATED.md").exists()


def test_lines_of_the_script_become_messages_and_calls_of_tools() -> None:
    reader = ScriptedReader()

    def read(line: str) -> list[tuple[str, Json]]:
        return list(reader.read_line("stdout", f"{line}\n"))

    assert read(r"message: One\nand a \\ two") == [("message", {"text": "One\nand a \\ two"})]
    assert read("tool: 1 Read a b.py") == [("tool", {"name": "Read", "id": "1", "input": "a b.py"})]
    end = {"name": "Bash", "id": "2", "output": "no\n", "ok": False, "characters": 3}
    assert read(r"tool-end: 2 Bash 7 no\n") == [("tool", {**end, "failed": True, "exit_code": 7})]
    for other in ("tool: x Read a", "tool-end: 1 Read", "messages: x"):
        assert read(other) == [("output", {"stream": "stdout", "text": f"{other}\n"})]
