"""Tests of interrupted captures and of the limits of a capture."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import anyio
import pytest

from tests.support.backends import Repository, git
from tests.support.suite.exhaustive import sampled
from utils.errors import CaptureError
from utils.git.environment import agent_configuration
from utils.models.runs import Changes, ChangeTexts
from utils.pipeline.capture import bundle as capture_bundle
from utils.pipeline.capture import capture
from utils.pipeline.capture.capture import TOO_LARGE, CaptureLimits, capture_changes
from utils.sandboxes.local.mirrors import MirrorStore
from utils.sandboxes.local.provider import LocalSandboxProvider
from utils.sandboxes.local.sandbox import LocalSandbox
from utils.sandboxes.protocol import SandboxRequest

pytestmark = pytest.mark.anyio

LIMITS = CaptureLimits(
    patch_bytes=100_000, files=100, file_bytes=10_000, new_file_bytes=1_000_000, timeout_seconds=60
)
MOMENTS = 8
LOCKS = (".git/index.lock", ".git/HEAD.lock", ".git/config.lock", ".git/info/attributes")

COMMIT = "git add --all && git commit --quiet -m Work"
NESTED = "git init -q sub; (cd sub; echo x >x; git add x; git commit -qm x); "
AGENTS = {
    "edits": "printf 'more\\n' >>src/app.py; mv docs/notes.txt n.txt; echo x >x",
    "nothing": ":",
    "commits and edits": f"echo a >a; {COMMIT}; echo b >b",
    "commits in latin-1": f"printf '\\351\\n' >a; {COMMIT}; printf 'x\\n' >a",
    "what needs binary hunks": "printf 'x\\r\\n' >>docs/dos.txt; printf '\\351' >>docs/latin.txt; "
    "ln -s \"$(printf 'a\\r\\nb')\" odd",
    "a repository inside": f"{NESTED} echo y >y",
    "a repository inside that is committed": f"{NESTED} {COMMIT}; echo y >y",
    "names that git refuses": f"echo x >git~1; ln -s x .gitmodules; {NESTED} echo y >y",
    "many files and an edit of the same size": "mkdir n; for i in $(seq 150); do echo $i >n/$i; "
    "done; printf X | dd of=README.md bs=1 conv=notrunc",
    "hidden edits": "git update-index --assume-unchanged README.md; echo a >>README.md",
    "a damaged index": "echo a >a; echo damaged >.git/index",
    "wrong encodings": "echo 'docs/* working-tree-encoding=UTF-16' >.gitattributes; echo a >docs/a",
}
ALWAYS = {"edits", "hidden edits", "a repository inside that is committed"}

Work = Callable[[str], Awaitable[LocalSandbox]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def work(tmp_path: Path, sample: Repository) -> AsyncIterator[Work]:
    """Provide a function that opens a sandbox and runs an agent in it."""
    provider = LocalSandboxProvider(
        tmp_path / "sandboxes", {"PATH": os.environ["PATH"]}, MirrorStore(None, 0)
    )
    sandboxes: list[LocalSandbox] = []

    async def open_after(script: str) -> LocalSandbox:
        sandbox = await provider.open(SandboxRequest(len(sandboxes) + 1, "user", 1, 600))
        sandboxes.append(sandbox)
        clone = sample.clone(Path(sandbox.paths.repository))
        await sandbox.write_files(
            {
                f"{sandbox.paths.work}/commit_message": b"Message\n",
                f"{sandbox.paths.work}/git_config": (clone / ".git" / "config").read_bytes(),
                f"{sandbox.paths.home}/.gitconfig": agent_configuration(),
            }
        )
        command = ["sh", "-c", f"cd {clone} && {{ {script}; }}"]
        assert (await sandbox.run(command, timeout_seconds=60)).ok
        return sandbox

    yield open_after
    for sandbox in sandboxes:
        await sandbox.close()


def without_time(changes: Changes) -> Changes:
    """Remove the fields that depend on the time of the commit."""
    return dataclasses.replace(changes, commit_hash="", texts=ChangeTexts.of(changes.diff, None))


def sections_of(sandbox: LocalSandbox) -> list[str]:
    """Return the names of the sections of the one bundle that was written."""
    [bundle] = Path(sandbox.paths.work, "result").glob("bundle-*")
    _, _, index = bundle.read_text().rpartition("\n\n")
    return [line.split()[1] for line in index.splitlines()[1:]]


def tree_of(sandbox: LocalSandbox, commit: str) -> str:
    """Return the tree of the commit that the only run of the script has made."""
    [objects] = Path(sandbox.paths.work, "result").glob("*/objects")
    return git(objects.parent, "--git-dir=.", "rev-parse", commit + "^{tree}")


def leave_locks(repository: Path) -> None:
    """Leave the locks of a git command that was killed."""
    for name in LOCKS:
        lock = repository / name
        # Repositories of the tests have only the folders that git needs.
        lock.parent.mkdir(exist_ok=True)
        lock.touch()


@pytest.mark.parametrize("agent", sampled(AGENTS, ALWAYS, "others end in these steps as well"))
async def test_an_interrupted_capture_gives_the_same_when_it_runs_again(
    work: Work, sample: Repository, agent: str
) -> None:
    base = sample.head
    undisturbed = await work(AGENTS[agent])
    started = time.monotonic()
    expected = await capture_changes(undisturbed, base, LIMITS)
    duration = time.monotonic() - started
    assert await capture_changes(undisturbed, base, LIMITS) == expected
    disturbed = await work(AGENTS[agent])
    for moment in range(MOMENTS):
        with anyio.move_on_after(duration * moment / MOMENTS):
            await capture_changes(disturbed, base, LIMITS)
        if moment % 2:
            leave_locks(Path(disturbed.paths.repository))
    changes = await capture_changes(disturbed, base, LIMITS)
    assert without_time(changes) == without_time(expected)
    assert await capture_changes(disturbed, base, LIMITS) == changes


@contextmanager
def locked_again_and_again(lock: Path) -> Iterator[None]:
    """Create a lock whenever it is missing, as other git processes of an agent do."""
    ended = Event()

    def create() -> None:
        while not ended.is_set():
            lock.touch()

    thread = Thread(target=create)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("agent", ["edits", "a repository inside that is committed"])
async def test_a_lock_of_another_git_process_costs_nothing(
    work: Work, sample: Repository, agent: str
) -> None:
    expected = await capture_changes(await work(AGENTS[agent]), sample.head, LIMITS)
    sandbox = await work(AGENTS[agent])
    with locked_again_and_again(Path(sandbox.paths.repository) / ".git" / "index.lock"):
        changes = await capture_changes(sandbox, sample.head, LIMITS)
    assert without_time(changes) == without_time(expected)


@pytest.mark.parametrize("agent", ["a repository inside that is committed", "hidden edits"])
async def test_captures_at_the_same_time_give_the_same(
    work: Work, sample: Repository, agent: str
) -> None:
    expected = await capture_changes(await work(AGENTS[agent]), sample.head, LIMITS)
    sandbox = await work(AGENTS[agent])
    captured: list[Changes] = []

    async def capture_once() -> None:
        captured.append(await capture_changes(sandbox, sample.head, LIMITS))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(capture_once)
    assert [without_time(changes) for changes in captured] == [without_time(expected)] * 4


async def test_a_repository_whose_folder_of_git_is_gone_comes_as_its_files(
    work: Work, sample: Repository
) -> None:
    # What a capture leaves that is interrupted between two steps.
    sandbox = await work(f"{NESTED} {COMMIT}; rm -rf sub/.git; echo y >y")
    changes = await capture_changes(sandbox, sample.head, LIMITS)
    assert changes.changed_files == ("sub/x", "y")


async def test_a_capture_reads_its_own_result_while_another_server_captures_as_well(
    work: Work, sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = await work("echo a >a")
    expected = await capture_changes(sandbox, sample.head, LIMITS)
    read_files = sandbox.read_files

    async def read_after_another_capture(
        paths: Sequence[str], *, max_bytes: int
    ) -> dict[str, bytes | None]:
        monkeypatch.setattr(sandbox, "read_files", read_files)
        await sandbox.write_files({f"{sandbox.paths.repository}/b": b"b\n"})
        assert (await capture_changes(sandbox, sample.head, LIMITS)).changed_files == ("a", "b")
        return await read_files(paths, max_bytes=max_bytes)

    monkeypatch.setattr(sandbox, "read_files", read_after_another_capture)
    assert await capture_changes(sandbox, sample.head, LIMITS) == expected


async def test_a_diff_that_fits_is_kept_without_its_patch(work: Work, sample: Repository) -> None:
    sandbox = await work("echo a >a")
    whole = await capture_changes(sandbox, sample.head, LIMITS)
    assert whole.patch is not None
    small = dataclasses.replace(LIMITS, patch_bytes=len(whole.patch.encode()) - 1)
    changes = await capture_changes(sandbox, sample.head, small)
    texts = ChangeTexts.of(whole.diff, None)
    assert changes == dataclasses.replace(whole, texts=texts, notes=changes.notes)
    assert [note.split(" is ")[0] for note in changes.notes] == ["The patch"]
    exact = dataclasses.replace(LIMITS, patch_bytes=len(whole.patch.encode()))
    assert await capture_changes(sandbox, sample.head, exact) == whole


async def test_where_no_file_system_shows_offsets_the_result_is_the_same(
    work: Work, sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = await work(f"echo a >a; {COMMIT}; mv README.md b")
    expected = await capture_changes(sandbox, sample.head, LIMITS)
    assert "/proc/self/fdinfo/5" in capture.CAPTURE_SCRIPT
    changed = capture.CAPTURE_SCRIPT.replace("/proc/self/fdinfo/5", "/nowhere/5")
    monkeypatch.setattr(capture, "CAPTURE_SCRIPT", changed)
    assert await capture_changes(sandbox, sample.head, LIMITS) == expected


async def test_contents_that_are_too_much_together_leave_out_the_large_ones(
    work: Work, sample: Repository
) -> None:
    sandbox = await work(f"seq 20000 >large; {COMMIT}; echo more >>large; echo a >small")
    base = git(Path(sandbox.paths.repository), "rev-parse", "HEAD")
    changes = await capture_changes(sandbox, base, LIMITS)
    assert {c.filename: c.after for c in changes.file_changes} == {
        "large": TOO_LARGE,
        "small": "a\n",
    }
    assert (changes.diff is None, changes.additions) == (False, 2)


async def test_renames_and_more_files_than_are_kept_are_all_counted(
    work: Work, sample: Repository
) -> None:
    sandbox = await work("mv docs/notes.txt n.txt; echo a >a; echo z >z")
    changes = await capture_changes(sandbox, sample.head, LIMITS)
    assert changes.changed_files == ("a", "docs/notes.txt", "n.txt", "z")
    assert (changes.additions, changes.deletions) == (9, 7)
    few = await capture_changes(sandbox, sample.head, dataclasses.replace(LIMITS, files=1))
    assert few.file_changes == changes.file_changes[:1]
    assert (few.changed_files, few.patch) == (changes.changed_files, changes.patch)


async def test_as_many_files_as_are_kept_need_no_list_of_their_own(
    work: Work, sample: Repository
) -> None:
    sandbox = await work("echo a >a; echo z >z")
    changes = await capture_changes(sandbox, sample.head, dataclasses.replace(LIMITS, files=2))
    assert [c.after for c in changes.file_changes] == ["a\n", "z\n"]
    assert sections_of(sandbox) == ["mail", "contents"]


async def test_nothing_that_changed_is_no_patch_and_the_base(
    work: Work, sample: Repository
) -> None:
    changes = await capture_changes(await work(":"), sample.head, LIMITS)
    assert (changes.commit_hash, changes.changed_files) == (sample.head, ())
    assert (changes.diff, changes.patch) == (None, None)
    assert changes.notes == ("The agent changed nothing.",)


@pytest.mark.parametrize("total_bytes", [0, 50])
async def test_a_list_of_changes_that_is_too_long_is_an_error(
    work: Work, sample: Repository, monkeypatch: pytest.MonkeyPatch, total_bytes: int
) -> None:
    sandbox = await work("echo a >a")
    monkeypatch.setattr(capture_bundle, "LISTING_BYTES", 50)
    if total_bytes:
        monkeypatch.setattr(capture, "_bundle_bytes", lambda _: total_bytes)
    with pytest.raises(CaptureError, match="too long to be stored"):
        await capture_changes(sandbox, sample.head, LIMITS)


async def test_contents_that_look_like_sections_stay_in_theirs(
    work: Work, sample: Repository
) -> None:
    text = "1 commits\n\n9 patch\n\n"
    sandbox = await work(f"printf '{text}' >patch; printf '\\n\\n' >commits; : >diff")
    changes = await capture_changes(sandbox, sample.head, LIMITS)
    assert {c.filename: c.after for c in changes.file_changes} == {
        "commits": "\n\n",
        "diff": "",
        "patch": text,
    }
    assert changes.patch is not None
    assert changes.patch.endswith(changes.diff or "?")
    assert tree_of(sandbox, changes.commit_hash) == changes.tree_hash
