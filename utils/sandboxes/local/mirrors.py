"""Stores mirrors: one bare repository per URL and branch, which later clones copy from.

A mirror contains exactly the history of its branch, so everybody who may fetch the branch may read
all of it. The clone script refreshes it with the caller's own token before it copies anything. A
mirror whose refresh was interrupted, or whose history was rewritten, is removed. At the end of a
task a mirror that it used gets a clone for the next one; see `checkouts.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread

from utils.errors import SandboxError
from utils.sandboxes.local.checkouts import CheckoutMaker, remove_checkout

_SHA1_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNSETTLED = "unsettled"
_USED = "used"

# Each refresh adds a pack or loose objects, which slow down later clones. Above these limits a new
# mirror is cheaper than the old one.
MAX_PACK_FILES = 60
MAX_OBJECT_FOLDERS = 200


class MirrorStore:
    """Stores mirrors in one folder and limits their total size to `max_bytes`.

    `root` None turns mirrors off. Without `checkouts` no clone is made before it is needed. For use
    on one event loop.
    """

    def __init__(self, root: Path | None, max_bytes: int) -> None:
        self._root = root.absolute() if root else None
        self._max_bytes = max_bytes
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sizes: dict[Path, int] = {}
        self.checkouts: CheckoutMaker | None = None
        self._too_large = set[Path]()
        self._making = set[asyncio.Task[None]]()

    def may_have(self, repo_url: str) -> bool:
        """Tell whether branches of a repository are kept in mirrors."""
        return self._root is not None and repo_url.startswith(("https://", "http://"))

    @asynccontextmanager
    async def use(self, repo_url: str, branch: str) -> AsyncIterator[BranchMirror]:
        """Lock the mirror of a branch for the block. Clones without a mirror are not locked."""
        if self._root is None or not self.may_have(repo_url):
            yield BranchMirror(self, None, repo_url, branch)
            return
        key = hashlib.sha256(f"{repo_url}\0{branch}".encode()).hexdigest()[:32]
        folder = self._root / key
        async with self._locks[key]:
            ready = await to_thread.run_sync(_begin_refresh, folder)
            if ready:
                yield BranchMirror(self, folder, repo_url, branch, path=str(folder))
        if not ready:
            yield BranchMirror(self, folder, repo_url, branch)

    def begin_checkout(self, mirror: BranchMirror) -> None:
        """Begin to make the clone that the next task of a branch takes, if it was in a mirror."""
        folder = Path(mirror.path)
        if mirror.path and self.checkouts and folder not in self._too_large:
            making = self._make_checkout(self.checkouts, mirror)
            task = asyncio.create_task(making)
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _make_checkout(self, checkouts: CheckoutMaker, mirror: BranchMirror) -> None:
        """Make the clone, if all mirrors leave room for it."""
        folder = Path(mirror.path)
        async with self._locks[folder.name]:
            # Without it the next task clones by itself.
            with contextlib.suppress(OSError, SandboxError):
                await checkouts.make(folder, mirror.repo_url, mirror.branch)
                sizes = await to_thread.run_sync(self._sizes_by_age, folder)
                if sum(sizes.values()) > self._max_bytes:
                    self._too_large.add(folder)
                    await to_thread.run_sync(remove_checkout, folder)
                    await to_thread.run_sync(self._sizes_by_age, folder)

    def sweep(self) -> None:
        """Remove unfinished mirrors of an earlier process. Blocks."""
        if self._root is not None:
            for draft in self._root.glob("*.new-*"):
                _remove(draft)

    async def shrink(self, changed: Path, *, is_locked: bool) -> None:
        """Remove the least recently used mirrors until the rest fits.

        Only the changed mirror is measured again; `is_locked` means that the caller has its lock.
        """
        sizes = await to_thread.run_sync(self._sizes_by_age, changed)
        total = sum(sizes.values())
        for folder, size in sizes.items():
            if total <= self._max_bytes:
                return
            lock = self._locks[folder.name]
            if lock.locked() and not (is_locked and folder == changed):
                continue
            async with contextlib.nullcontext() if lock.locked() else lock:
                await to_thread.run_sync(_remove, folder)
            total -= size

    def _sizes_by_age(self, changed: Path) -> dict[Path, int]:
        assert self._root is not None  # noqa: S101 - called for existing mirrors only
        known = {folder: size for folder, size in self._sizes.items() if folder != changed}
        # Folders with a suffix are drafts, which other threads are still creating.
        finished = (folder for folder in self._root.iterdir() if not folder.suffix)
        self._sizes = {
            folder: known[folder] if folder in known else _size(folder)
            for folder in sorted(finished, key=_last_used)
        }
        return self._sizes


class BranchMirror:
    """The mirror of one branch during one clone."""

    def __init__(
        self,
        store: MirrorStore,
        folder: Path | None,
        repo_url: str,
        branch: str,
        path: str = "",
    ) -> None:
        self.path = path
        self.repo_url = repo_url
        self.branch = branch
        self._store = store
        self._folder = folder

    async def record_clone(self, *, repository: str, base_commit: str, outdated: bool) -> None:
        """See `Mirror`."""
        if self._folder is None:
            return
        if self.path:
            if await to_thread.run_sync(_end_refresh, self._folder, outdated):
                await self._store.shrink(self._folder, is_locked=True)
        elif _SHA1_COMMIT.fullmatch(base_commit):
            # Without a mirror the next clone is only slower, so the task must not fail.
            with contextlib.suppress(OSError):
                await to_thread.run_sync(self._seed, Path(repository), base_commit)
                await self._store.shrink(self._folder, is_locked=False)

    def _seed(self, repository: Path, base_commit: str) -> None:
        assert self._folder is not None  # noqa: S101 - checked by record_clone
        if self._folder.exists() or (repository / ".git" / "shallow").exists():
            return
        draft = self._folder.with_name(f"{self._folder.name}.new-{os.urandom(4).hex()}")
        try:
            _create_bare_repository(
                draft, repository / ".git" / "objects", self.branch, base_commit
            )
            # Fails if another task has created the mirror meanwhile.
            with contextlib.suppress(OSError):
                draft.rename(self._folder)
        finally:
            _remove(draft)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _begin_refresh(folder: Path) -> bool:
    if not (folder / "HEAD").exists():
        return False
    if (folder / _UNSETTLED).exists() or _is_worn(folder):
        _remove(folder)
        return False
    (folder / _UNSETTLED).touch()
    return True


def _end_refresh(folder: Path, outdated: bool) -> bool:  # noqa: FBT001
    """Return True when the refresh added a pack or a folder of objects."""
    if outdated:
        _remove(folder)
        return False
    begun = (folder / _UNSETTLED).stat().st_mtime_ns
    (folder / _USED).touch()
    (folder / _UNSETTLED).unlink()
    objects = folder / "objects"
    return any(path.stat().st_mtime_ns >= begun for path in (objects, objects / "pack"))


def _is_worn(folder: Path) -> bool:
    objects = folder / "objects"
    return (
        _count_entries(objects / "pack") > MAX_PACK_FILES
        or _count_entries(objects) > MAX_OBJECT_FOLDERS
    )


def _count_entries(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _create_bare_repository(folder: Path, objects: Path, branch: str, commit: str) -> None:
    reference = folder / "refs" / "heads" / branch
    reference.parent.mkdir(parents=True)
    reference.write_text(f"{commit}\n")
    shutil.copytree(objects, folder / "objects")
    (folder / "objects" / "pack").mkdir(exist_ok=True)
    (folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    (folder / _USED).touch()
    (folder / "HEAD").write_text(f"ref: refs/heads/{branch}\n")


def _last_used(folder: Path) -> float:
    try:
        return (folder / _USED).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            # A running fetch removes its temporary files.
            with contextlib.suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total
