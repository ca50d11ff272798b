"""Tests of snapshots: a setup runs once, and again when anything that it depends on has changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import USER, Backend, Repository, Row, shell_agent
from utils.commands.doctor.snapshots import check_snapshots
from utils.sandboxes.local.snapshots import SnapshotStore
from utils.sandboxes.snapshots import (
    Snapshot,
    SnapshotKey,
    SnapshotLimits,
    choose_snapshot,
    read_name,
    snapshot_name,
    superfluous,
)

TOKEN = "ghp_" + "a1B2" * 9
LIMITS = SnapshotLimits(count=2, age_seconds=100, size_bytes=1)


@pytest.fixture(scope="module", autouse=True)
def _shell() -> Iterator[None]:
    with shell_agent():
        yield


class Prepared:
    """A project whose setup shows in what it makes that it has run again."""

    def __init__(self, backend: Backend, folder: Path, **environment: Any) -> None:
        self.backend = backend
        self.repository = Repository(folder / "repository")
        self.repository.commit("echo first >file; mkdir mixed; echo a >mixed/a")
        self.repository.commit("echo made >.gitignore")
        self.setup = (
            "mkdir made mixed/deep; date +%s%N >made/it; echo new >mixed/new; "
            "echo deep >mixed/deep/er; echo home >~/in_home"
        )
        settings = {"environment": {"setup": self.setup, **environment}}
        made = backend.post("/projects", name="P", repo_url=self.repository.url, settings=settings)
        self.id = made["project"]["id"]

    def change(self, **environment: Any) -> None:
        answer = self.backend.app.test_client().put(
            f"/projects/{self.id}",
            json={"settings": {"environment": {"setup": self.setup, **environment}}},
            headers={"X-User-ID": USER},
        )
        assert answer.status_code == 200

    def complete(self, prompt: str, **body: Any) -> Row:
        return self.backend.complete(prompt, self.repository, project_id=self.id, **body)

    def stamp(self, **body: Any) -> str:
        """Return what the setup of a new task has made, in its own run or in an earlier one."""
        return self.backend.output(self.complete("cat made/it", **body)["id"])

    def notes(self, row: Row) -> str:
        events = self.backend.events(row["id"])
        return " ".join(str(one["data"].get("text")) for one in events if one["kind"] == "status")

    def scripts(self, row: Row) -> list[str]:
        events = self.backend.events(row["id"])
        return [one["data"]["script"] for one in events if one["kind"] == "setup"]


LOOK = "cat mixed/new mixed/deep/er ~/in_home file; ls; git status --porcelain; echo x >own"
PREPARED = "new\ndeep\nhome\n"


@pytest.mark.isolated_too("its snapshots are copies, which it has to see at its own places")
def test_the_second_task_starts_from_the_files_of_the_first_setup(
    backend: Backend, tmp_path: Path
) -> None:
    project = Prepared(backend, tmp_path)
    first = project.complete(LOOK)
    project.repository.commit("echo second >file; mv mixed/a mixed/b")
    second = project.complete(f"{LOOK}; ls mixed")
    assert backend.output(first["id"]) == f"{PREPARED}first\nfile\nmade\nmixed\n"
    assert backend.output(second["id"]).startswith(f"{PREPARED}second\nfile\nmade\nmixed\n")
    assert backend.output(second["id"]).endswith("b\ndeep\nnew\n")
    for row in (first, second):
        assert row["changed_files"] == ["own"]
        assert not row["execution_metadata"].get("notes")
    assert (project.scripts(first), project.scripts(second)) == (["setup"], [])
    assert "setup were used" in project.notes(second)


@pytest.mark.local_only("the scripts of the pipeline are the same everywhere")
def test_a_change_of_what_the_setup_depends_on_has_it_run_again(
    backend: Backend, tmp_path: Path
) -> None:
    project = Prepared(backend, tmp_path)
    first = project.stamp()
    assert project.stamp() == first
    project.change(setup=f"{project.setup}; true")
    second = project.stamp()
    project.change(setup=f"{project.setup}; true", variables={"A": "b"})
    third = project.stamp()
    assert len({first, second, third}) == 3
    assert project.stamp() == third


@pytest.mark.local_only("the scripts of the pipeline are the same everywhere")
def test_a_changed_script_of_the_repository_runs_again(backend: Backend, tmp_path: Path) -> None:
    project = Prepared(backend, tmp_path, setup="", setup_from_repository=True)
    script = "mkdir -p .async-code; echo '{}' >.async-code/setup.sh"
    project.repository.commit(script.format("mkdir -p made; date +%s%N >made/it"))
    first = project.stamp()
    project.repository.commit("echo more >more")
    assert project.stamp() == first
    project.repository.commit(script.format("echo second >made/it"))
    row = project.complete("cat made/it")
    assert backend.output(row["id"]) == "second\n"
    assert "has changed" in project.notes(row)
    assert project.stamp() == "second\n"
    assert len(list((backend.folder / "snapshots").glob(f"p{project.id}-*"))) == 1
    settings = backend.app.extensions["services"].settings
    [finding] = check_snapshots(settings)
    assert "of 20, 0.0 to 0.0 hours old" in finding.summary


@pytest.mark.local_only("its snapshots are folders")
def test_a_failed_setup_leaves_no_snapshot(backend: Backend, tmp_path: Path) -> None:
    project = Prepared(backend, tmp_path)
    project.change(setup=f"{project.setup}; false")
    row = backend.perform("true", project.repository, project_id=project.id)
    assert row["error_code"] == "setup_failed"
    assert not list((backend.folder / "snapshots").glob(f"p{project.id}-*"))


@pytest.mark.cloud_only("a snapshot there holds programs as well")
def test_a_task_with_a_token_uses_no_snapshot_with_programs(
    backend: Backend, tmp_path: Path
) -> None:
    project = Prepared(backend, tmp_path)
    assert project.stamp(github_token=TOKEN) != project.stamp(github_token=TOKEN)


def snapshot(project_id: int, made_at: float, digest: str = "a" * 16) -> Snapshot:
    """Return a snapshot."""
    return Snapshot(f"{project_id} {made_at}", SnapshotKey(project_id, digest), made_at)


def test_the_newest_of_each_project_is_kept_within_the_limits() -> None:
    found = [snapshot(1, 10), snapshot(1, 60), snapshot(2, 50), snapshot(3, 40), snapshot(4, 1)]
    deleted = list(superfluous(found, LIMITS, 105))
    assert deleted == [found[3], found[0], found[4]]
    assert choose_snapshot(found, SnapshotKey(1, "a" * 16), LIMITS, 105) == found[1]
    assert choose_snapshot(found, SnapshotKey(4, "a" * 16), LIMITS, 105) is None
    assert choose_snapshot(found, SnapshotKey(1, "b" * 16), LIMITS, 105) is None


def test_of_two_snapshots_within_one_second_the_earlier_is_deleted() -> None:
    key = SnapshotKey(12, "0123456789abcdef")
    made = (1_764_000_000.1, 1_764_000_000.9)
    earlier, later = (read_name(str(at), snapshot_name(key, at)) for at in made)
    assert earlier is not None
    assert later is not None
    assert list(superfluous([earlier, later], LIMITS, made[1])) == [earlier]


def test_names_of_snapshots_are_read_back_and_others_are_not() -> None:
    key = SnapshotKey(12, "0123456789abcdef")
    name = snapshot_name(key, 1_764_000_000.9)
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert read_name("id", name) == Snapshot("id", key, 1_764_000_000.9)
    # As earlier versions named them.
    assert read_name("id", f"p12-{key.digest}-1764000000") == Snapshot("id", key, 1_764_000_000)
    for other in ("", "p12", f"{name}.new", f"{name}\n", "p1-0123456789abcdeg-1"):
        assert read_name("id", other) is None


@pytest.mark.anyio
@pytest.mark.parametrize("part", ["home", "repository", "work", "work/setup_state"])
async def test_a_folder_that_a_setup_has_replaced_by_a_link_is_not_copied(
    tmp_path: Path, part: str
) -> None:
    folder, another = tmp_path / "task-1", tmp_path / "another"
    for name in ("home", "repository", "work/setup_state"):
        (folder / name).mkdir(parents=True)
        (another / name).mkdir(parents=True)
    store = SnapshotStore(tmp_path / "snapshots", SnapshotLimits(2, 100, 2**30))
    assert await store.save(SnapshotKey(1, "a" * 16), folder)
    (folder / part).rename(tmp_path / "moved")
    (folder / part).symlink_to(another / part)
    assert not await store.save(SnapshotKey(1, "b" * 16), folder)
    assert len(list((tmp_path / "snapshots").iterdir())) == 1
