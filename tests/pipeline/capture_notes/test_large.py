"""Tests that a large file costs only itself: everything beside it is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Open, Repository, Row, shell_agent
from tests.support.git.exactness import check_exact, tree_left_by

FIX = "echo fixed >>src/app.py\n"
CORE = "truncate -s 3G core"
COMMIT = "git add --all; git commit -qm Work\n"
RANDOM = "head -c {0} /dev/urandom"

TOO_LARGE = {
    "a core dump": (f"{CORE}\n", "core"),
    "a core dump that was staged": ("truncate -s 30M core; git add core\n", "core"),
    "a file that was committed": (f"truncate -s 30M core; {COMMIT}", "core"),
    "a file that was committed and grew": (
        f"echo x >core; {COMMIT}truncate -s 30M core\n",
        "core",
    ),
    "a file that grew": ("truncate -s 30M docs/notes.txt\n", "docs/notes.txt"),
    "a file with an odd name": (
        "mkdir 'a *[b] '; truncate -s 30M \"a *[b] /new\nline \"\n",
        "a *[b] /new?line ",
    ),
    "a file in place of a folder": ("rm -r docs; truncate -s 30M docs; git add -A .\n", "docs"),
    "a file that a .gitignore allows": (
        "echo '!core' >>.gitignore; truncate -s 30M core\n",
        "core",
    ),
}
RESTORED = {
    "a file that grew": "",
    "a file in place of a folder": "rm -r docs\n",
    "a file that a .gitignore allows": "echo '!core' >>.gitignore\n",
}


def notes(task: Row) -> list[str]:
    """Return the notes of a task."""
    return list(task["execution_metadata"]["notes"])


@pytest.mark.cloud_sample({"a core dump"})
@pytest.mark.parametrize("case", TOO_LARGE)
def test_a_file_above_the_limit_is_left_out_with_a_note(
    shell: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    script, name = TOO_LARGE[case]
    task = shell.complete(script + FIX, sample)
    [note] = notes(task)
    assert f"MAX_NEW_FILE_BYTES (10000000): {name}. " in note
    kept = RESTORED.get(case, "") + FIX
    check_exact(shell, task, sample, tree_left_by(sample, kept, tmp_path / "x"), tmp_path)


@pytest.mark.local_only("nothing in it depends on the place")
def test_a_file_that_was_above_the_limit_before_is_compared(shell: Backend, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("seq 3000000 >large")
    script = "echo more >>large; truncate -s 30M ignored; echo ignored >.gitignore"
    task = shell.complete(script, repository)
    assert notes(task) == []
    assert task["changed_files"] == [".gitignore", "large"]


@pytest.mark.local_only("the limits are those of the script")
class TestTogether:
    """Changes that are too much together."""

    LIMIT = 100_000

    def complete(self, open_with: Open, repository: Repository, script: str) -> tuple[Backend, Row]:
        backend = open_with(max_patch_bytes=self.LIMIT)
        with shell_agent():
            return backend, backend.complete(script, repository)

    @pytest.mark.parametrize("committed", [False, True])
    def test_the_largest_are_left_out_until_the_rest_fits(
        self, open_with: Open, sample: Repository, tmp_path: Path, *, committed: bool
    ) -> None:
        rest = f"seq 5000 >numbers; mv docs/notes.txt moved\n{FIX}"
        script = (
            f"{rest}{RANDOM.format(80_000)} >large; {RANDOM.format(60_000)} >assets/image.bin\n"
        )
        backend, task = self.complete(open_with, sample, script + COMMIT * committed)
        assert [note.split(": ")[1] for note in notes(task)] == [
            "assets/image.bin, large. All other changes are stored."
        ]
        assert len(task["git_patch"]) <= self.LIMIT
        check_exact(backend, task, sample, tree_left_by(sample, rest, tmp_path / "x"), tmp_path)

    def test_a_deletion_and_a_file_that_becomes_a_link_count_as_well(
        self, open_with: Open, tmp_path: Path
    ) -> None:
        repository = Repository(tmp_path / "repository")
        repository.commit(f"{RANDOM.format(90_000)} >a; seq 20000 >b; seq 9 >c; echo x >d")
        rest = "echo fixed >>d; ln -sf d c"
        backend, task = self.complete(open_with, repository, f"rm a; ln -sf d b; {rest}")
        assert "largest first: a, b. " in notes(task)[0]
        expected = tree_left_by(repository, rest, tmp_path / "x")
        check_exact(backend, task, repository, expected, tmp_path)

    def test_what_is_far_too_much_is_not_even_read(
        self, open_with: Open, sample: Repository, tmp_path: Path
    ) -> None:
        rest = f"echo build >>.gitignore; echo x >small\n{FIX}"
        files = "for i in $(seq 9); do truncate -s ${i}00K f$i; done; mkdir build; cp f9 build\n"
        backend, task = self.complete(open_with, sample, files + rest)
        assert "largest first: f4, f5, f6 and 3 more. " in notes(task)[0]
        changed = [".gitignore", "f1", "f2", "f3", "small", "src/app.py"]
        assert task["changed_files"] == changed
        kept = f"for i in 1 2 3; do truncate -s ${{i}}00K f$i; done; {rest}"
        check_exact(backend, task, sample, tree_left_by(sample, kept, tmp_path / "x"), tmp_path)

    def test_the_only_change_is_told_although_it_is_too_large(
        self, open_with: Open, sample: Repository
    ) -> None:
        _, task = self.complete(open_with, sample, f"{RANDOM.format(90_000)} >large")
        assert (task["changed_files"], task["git_patch"]) == (["large"], None)
        assert "larger than MAX_PATCH_BYTES" in notes(task)[0]

    def test_what_came_and_went_in_commits_costs_only_the_commits(
        self, open_with: Open, sample: Repository, tmp_path: Path
    ) -> None:
        script = f"{RANDOM.format(90_000)} >large; {COMMIT}rm large\n{FIX}{COMMIT}"
        backend, task = self.complete(open_with, sample, script)
        check_exact(backend, task, sample, tree_left_by(sample, FIX, tmp_path / "x"), tmp_path)

    def test_special_files_beside_it_are_exact(
        self, open_with: Open, sample: Repository, tmp_path: Path
    ) -> None:
        rest = f"printf 'x\\r\\n' >>docs/dos.txt; printf 'caf\\351\\n' >latin\n{FIX}"
        script = f"{rest}{RANDOM.format(90_000)} >large"
        backend, task = self.complete(open_with, sample, script)
        check_exact(backend, task, sample, tree_left_by(sample, rest, tmp_path / "x"), tmp_path)
