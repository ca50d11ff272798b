"""Keeps snapshots of local sandboxes: copies of their files after a setup, below `DATA_DIR`.

Copies share their blocks with the originals where the file system can do that. They are never
links: an agent changes files in place.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import structlog
from anyio import to_thread

from utils.sandboxes.local.files import create_folders, remove_folder
from utils.sandboxes.local.usage import size_of
from utils.sandboxes.snapshots import (
    Snapshot,
    SnapshotKey,
    SnapshotLimits,
    choose_snapshot,
    read_name,
    snapshot_name,
    superfluous,
)

PARTS = ("home", "repository", "work/setup_state")
"""The parts of a sandbox that a snapshot holds."""

_FOLDERS = (*PARTS, "work")

COPY_SECONDS = 120.0

_COPY = ("cp", "-a", *(["--reflink=auto"] if sys.platform == "linux" else []), "--")
_DRAFT = ".new"

log = structlog.get_logger(__name__)


class SnapshotStore:
    """Stores the snapshots of a server in a folder. For use on one event loop."""

    def __init__(self, root: Path, limits: SnapshotLimits) -> None:
        self._root = root.absolute()
        self._limits = limits

    async def restore(self, key: SnapshotKey, folder: Path) -> bool:
        """Create the folders of a sandbox from the snapshot of a key; tell if there was one."""
        found = await to_thread.run_sync(self.list)
        snapshot = choose_snapshot(found, key, self._limits, time.time())
        if snapshot is None:
            return False
        try:
            await to_thread.run_sync(create_folders, folder)
            is_whole = await _copy(self._root / snapshot.id, folder)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(remove_folder, folder)
            raise
        if not is_whole:
            await to_thread.run_sync(remove_folder, folder)
            return False
        age_seconds = round(time.time() - snapshot.made_at)
        log.info("snapshot used", action="snapshot.used", age_seconds=age_seconds)
        return True

    async def save(self, key: SnapshotKey, folder: Path) -> bool:
        """Copy the files of a sandbox as the snapshot of a key; tell if that worked."""
        if not self._limits.count:
            return False
        name = snapshot_name(key, time.time())
        draft = self._root / f"{name}-{folder.name}{_DRAFT}"
        try:
            if not await to_thread.run_sync(_are_folders, folder):
                return False
            size = await to_thread.run_sync(_size, folder, self._limits.size_bytes)
            if size > self._limits.size_bytes:
                log.info("snapshot too large", action="snapshot.not_saved", bytes=size)
                return False
            await to_thread.run_sync(_create_draft, draft)
            is_whole = await _copy(folder, draft)
            if is_whole:
                await to_thread.run_sync(draft.rename, self._root / name)
                log.info("snapshot saved", action="snapshot.saved", bytes=size)
        except OSError as error:
            log.warning("snapshot not saved", action="snapshot.not_saved", reason=error.strerror)
            is_whole = False
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(remove_folder, draft)
        await to_thread.run_sync(self._prune)
        return is_whole

    def list(self) -> Sequence[Snapshot]:
        """Return the snapshots. Blocks."""
        if not self._root.is_dir():
            return []
        found = (read_name(one.name, one.name) for one in self._root.iterdir())
        return [one for one in found if one]

    def sweep(self) -> None:
        """Remove what an earlier process has left unfinished, and old snapshots. Blocks."""
        for draft in self._root.glob(f"*{_DRAFT}"):
            remove_folder(draft)
        self._prune()

    def _prune(self) -> None:
        for snapshot in superfluous(self.list(), self._limits, time.time()):
            remove_folder(self._root / snapshot.id)


def _create_draft(draft: Path) -> None:
    (draft / "work").mkdir(parents=True, mode=0o700)


def _are_folders(folder: Path) -> bool:
    """Tell whether the parts are folders: a setup may have put links to others in their place."""
    paths = [folder / name for name in _FOLDERS]
    return all(path.is_dir() and not path.is_symlink() for path in paths)


def _size(folder: Path, enough: int) -> int:
    return sum(size_of(str(folder / part), enough) for part in PARTS)


async def _copy(source: Path, target: Path) -> bool:
    """Copy the parts of a snapshot; tell if all were copied. A cancel ends it."""
    parts = [str(source / part) for part in PARTS]
    for part in PARTS:
        # Where it is to be, an empty folder of a new sandbox may be.
        with suppress(OSError):
            (target / part).rmdir()
    for part, path in zip(PARTS, parts, strict=True):
        if not await _run([*_COPY, path, str((target / part).parent)]):
            return False
    return True


async def _run(command: Sequence[str]) -> bool:
    def start() -> subprocess.Popen[bytes]:
        # A fixed program and paths of ours; it follows no link.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        )

    with anyio.CancelScope(shield=True):
        process = await to_thread.run_sync(start)
    try:
        with anyio.move_on_after(COPY_SECONDS):
            return await to_thread.run_sync(process.wait, abandon_on_cancel=True) == 0
        return False
    finally:
        process.kill()
