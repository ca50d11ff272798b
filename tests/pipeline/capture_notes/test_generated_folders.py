"""Tests that folders which programs generate are left out when the repository did not have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, Row
from tests.support.git.exactness import check_exact, tree_left_by
from utils.pipeline.capture.generated_folders import GENERATED_FOLDERS, generated_folders

INSTALL = "mkdir -p node_modules/left-pad/lib; echo x >node_modules/left-pad/lib/index.js; "
COMPILE = "mkdir -p src/__pycache__; printf '\\000' >src/__pycache__/app.pyc; "
WORK = "echo more >>src/app.py; echo new >new"
CLOUD_SAMPLE = {"untracked folders"}

LEFT_OUT = {
    "untracked folders": (INSTALL + COMPILE + WORK, WORK, ["node_modules", "src/__pycache__"]),
    "a staged folder": (f"{INSTALL}{WORK}; git add --all", WORK, ["node_modules"]),
    "a folder with a repository": (
        f"{INSTALL}git init -q node_modules/left-pad; {WORK}",
        WORK,
        ["node_modules"],
    ),
    "a folder in a new folder": (
        f"mkdir -p web/app; echo x >web/app/y; {INSTALL}mv node_modules web/; {WORK}",
        f"mkdir -p web/app; echo x >web/app/y; {WORK}",
        ["web/node_modules"],
    ),
    "a name with odd characters": (
        f"mkdir -p 'a *[b] '/target; echo x >'a *[b] '/target/x; echo y >'a *[b] '/y; {WORK}",
        f"mkdir 'a *[b] '; echo y >'a *[b] '/y; {WORK}",
        ["a *[b] /target"],
    ),
}
KEPT = {
    "a folder that the agent committed": f"{INSTALL}git add -A; git commit -qm Vendor; {WORK}",
    "a file of such a name": f"echo x >node_modules; echo y >target; {WORK}",
    "a folder that a .gitignore names": f"echo node_modules/ >>.gitignore; {INSTALL}{WORK}",
    "a folder that a .gitignore allows": f"echo '!node_modules/' >>.gitignore; {INSTALL}{WORK}",
    "a link of such a name": f"ln -s docs node_modules; {WORK}",
}


def notes(task: Row) -> list[str]:
    """Return the notes of a task."""
    return list(task["execution_metadata"]["notes"])


@pytest.mark.cloud_sample(CLOUD_SAMPLE)
@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_new_folder_that_programs_generate_is_left_out_with_a_note(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script, kept, names = LEFT_OUT[case]
    task = shell.complete(script, sample)
    [note] = notes(task)
    assert f"programs generate these folders: {', '.join(names)}. " in note
    check_exact(shell, task, sample, tree_left_by(sample, kept, tmp_path / "x"), tmp_path)


@pytest.mark.cloud_sample(set())
@pytest.mark.parametrize("case", KEPT)
def test_what_somebody_decided_about_stays_as_decided(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    task = shell.complete(KEPT[case], sample)
    expected = tree_left_by(sample, KEPT[case], tmp_path / "x")
    check_exact(shell, task, sample, expected, tmp_path)
    assert notes(task) == []


@pytest.mark.local_only("nothing in it depends on the place")
def test_new_files_in_a_folder_that_the_repository_has_are_kept(
    shell: Backend, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("mkdir -p target/deep; echo x >target/deep/x; echo y >y")
    script = "echo new >target/new; echo new >target/deep/new; mkdir z; echo z >z/z; echo y >>y\n"
    more = (
        "mkdir -p z/target target/node_modules; echo x >z/target/x; echo x >target/node_modules/x\n"
    )
    more += "truncate -s 30M target/large"
    task = shell.complete(script + more, repository)
    assert "MAX_NEW_FILE_BYTES (10000000): target/large. " in notes(task)[0]
    assert "folders: target/node_modules, z/target. " in notes(task)[1]
    check_exact(shell, task, repository, tree_left_by(repository, script, tmp_path / "x"), tmp_path)


@pytest.mark.local_only("nothing in it depends on the place")
def test_a_project_can_change_the_list(shell: Backend, sample: Repository) -> None:
    def changed(*names: object) -> list[str]:
        project = shell.post(
            "/projects", name="p", repo_url=sample.url, settings={"generated_folders": names}
        )["project"]["id"]
        task = shell.complete(INSTALL + "mkdir gen; echo x >gen/x", sample, project_id=project)
        client = shell.app.test_client()
        headers = {"X-User-ID": "00000000-0000-4000-8000-00000000000a"}
        assert client.delete(f"/projects/{project}", headers=headers).status_code == 200
        return list(task["changed_files"])

    assert changed("gen") == ["node_modules/left-pad/lib/index.js"]
    assert changed() == ["gen/x", "node_modules/left-pad/lib/index.js"]


def test_entries_that_are_no_names_of_folders_are_ignored() -> None:
    odd = ["", ".", "..", ".git", "a/b", "a\nb", "x" * 101, 5, None, "*", "a\\b", "ok", "*.out"]
    assert generated_folders({"generated_folders": odd}) == ("ok", "*.out")
    assert generated_folders({"generated_folders": "ok"}) == GENERATED_FOLDERS
    assert generated_folders({}) == GENERATED_FOLDERS
    assert len(generated_folders({"generated_folders": ["a"] * 1000})) == 200
