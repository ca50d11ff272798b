"""Tests that the times of files tell what was changed after a clone."""

from __future__ import annotations

from pathlib import Path

from tests.support.backends import Repository, run
from utils.pipeline import clone


def test_a_change_right_after_a_clone_has_a_later_time_than_the_clone(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("echo one >a")
    script = Path(clone.__file__).parent / "scripts" / "clone.sh"
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        arguments = [str(script), repository.url, "main", "clone", "config", "0", "", ""]
        run(["sh", "-c", 'sh "$@" && : >after', "sh", *arguments], folder)
        times = [(folder / name).stat().st_mtime_ns for name in ("config", "after")]
        assert times[0] < times[1]
