"""Keeps snapshots of cloud sandboxes at E2B, and finds them by their names.

A snapshot holds the whole sandbox after a setup. New ones are created from it as from a template.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import AbstractContextManager

import anyio
import structlog
from e2b import AsyncSandbox

from utils.errors import SandboxError
from utils.sandboxes.e2b.commands import REQUEST_SECONDS
from utils.sandboxes.e2b.errors import translating
from utils.sandboxes.e2b.keys import KeyRing
from utils.sandboxes.snapshots import (
    Snapshot,
    SnapshotKey,
    SnapshotLimits,
    choose_snapshot,
    read_name,
    snapshot_name,
    superfluous,
)

SAVE_SECONDS = 120.0

LIST_SECONDS = 60.0
"""Time for which a list of snapshots is used; those of this server are known at once."""

log = structlog.get_logger(__name__)


class SnapshotCatalogue:
    """The snapshots of one deployment, whose names begin alike. For use on one event loop."""

    def __init__(
        self,
        sandboxes: type[AsyncSandbox],
        keys: KeyRing,
        deployment: str,
        limits: SnapshotLimits,
    ) -> None:
        mark = hashlib.sha256(deployment.encode()).hexdigest()[:8]
        self._prefix = f"async-code-{mark}-"
        self._sandboxes = sandboxes
        self._keys = keys
        self._limits = limits
        self._found: dict[str, Snapshot] = {}
        self._listed_at = -LIST_SECONDS
        self._lock = anyio.Lock()

    async def find(self, key: SnapshotKey) -> Snapshot | None:
        """Return the snapshot for a key, None without one or when E2B does not tell."""
        try:
            await self._refresh()
        except SandboxError as error:
            log.info("snapshots not listed", action="snapshot.not_listed", reason=error.message)
        return choose_snapshot(self._found.values(), key, self._limits, time.time())

    def forget(self, snapshot: Snapshot) -> None:
        """Note that a snapshot is gone."""
        self._found.pop(snapshot.id, None)

    async def save(
        self,
        sandbox: AsyncSandbox,
        key: SnapshotKey,
        translated: AbstractContextManager[None],
    ) -> bool:
        """Save a sandbox as the snapshot of a key; tell if that worked."""
        now = time.time()
        try:
            with translated:
                saved = await self._keys.call(
                    sandbox.create_snapshot,
                    self._prefix + snapshot_name(key, now),
                    request_timeout=SAVE_SECONDS,
                )
        except SandboxError as error:
            log.warning("snapshot not saved", action="snapshot.not_saved", reason=error.message)
            return False
        self._found[saved.snapshot_id] = Snapshot(saved.snapshot_id, key, now)
        log.info("snapshot saved", action="snapshot.saved")
        await self.prune()
        return True

    async def prune(self) -> None:
        """Delete the snapshots over a limit. A failure is tried again with the next snapshot."""
        for snapshot in list(superfluous(self._found.values(), self._limits, time.time())):
            try:
                with translating():
                    await self._keys.call(
                        self._sandboxes.delete_snapshot,
                        snapshot.id,
                        request_timeout=REQUEST_SECONDS,
                    )
            except SandboxError as error:
                log.info("snapshot not deleted", action="snapshot.kept", reason=error.message)
            else:
                self.forget(snapshot)

    async def _refresh(self) -> None:
        async with self._lock:
            if anyio.current_time() - self._listed_at < LIST_SECONDS:
                return
            listed: list[Snapshot] = []
            with translating():
                pages = self._sandboxes.list_snapshots()
                while pages.has_next:
                    page = await self._keys.call(pages.next_items, request_timeout=REQUEST_SECONDS)
                    for one in page:
                        listed += self._own(one.snapshot_id, one.names)
            self._found = {one.id: one for one in listed}
            self._listed_at = anyio.current_time()

    def _own(self, snapshot_id: str, names: list[str]) -> list[Snapshot]:
        for name in names:
            # Full names are `project-slug/name:tag`.
            own = name.rpartition("/")[2].partition(":")[0]
            if own.startswith(self._prefix):
                snapshot = read_name(snapshot_id, own.removeprefix(self._prefix))
                return [snapshot] if snapshot else []
        return []
