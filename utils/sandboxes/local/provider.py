"""Opens sandboxes in folders of this machine, and finds those that an earlier process has left."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread

from utils.config.private_folder import is_out_of_space
from utils.config.settings import Settings
from utils.errors import SandboxError, SandboxLost
from utils.processes import end_marked
from utils.sandboxes.local.boundary import NewBoundary, no_boundary
from utils.sandboxes.local.checkouts import CheckoutMaker
from utils.sandboxes.local.commands import Supervisor
from utils.sandboxes.local.files import create_folders, remove_folder, restore_folders
from utils.sandboxes.local.kind import LOCAL_SANDBOX
from utils.sandboxes.local.mirrors import MirrorStore
from utils.sandboxes.local.orders import NO_LIMITS, CommandLimits, ProcessorOrder
from utils.sandboxes.local.processors import Processors
from utils.sandboxes.local.sandbox import LocalSandbox, disk_full
from utils.sandboxes.local.snapshots import SnapshotStore
from utils.sandboxes.protocol import KeyState, SandboxKind, SandboxRequest, Template
from utils.sandboxes.snapshots import NO_SNAPSHOTS, SnapshotLimits, snapshot_limits
from utils.sandboxes.templates.machine import describe_machine

_NAME = re.compile(r"(task|sandbox)-[0-9]+-[0-9a-f]{8}")


def open_local(
    settings: Settings,
    environment: Mapping[str, str],
    kind: SandboxKind = LOCAL_SANDBOX,
    new_boundary: NewBoundary = no_boundary,
) -> LocalSandboxProvider:
    """Return the provider of sandboxes in folders, as the settings describe them."""
    mirrors = MirrorStore(settings.mirrors_path, settings.mirror_max_bytes)
    limits = CommandLimits(
        memory_bytes=settings.max_local_memory_bytes,
        processes=settings.max_local_processes,
        disk_bytes=settings.max_local_disk_bytes,
    )
    return LocalSandboxProvider(
        settings.data_dir / "sandboxes",
        environment,
        mirrors,
        limits,
        kind,
        new_boundary,
        snapshot_limits(settings),
    )


class LocalSandboxProvider:
    """Opens sandboxes as folders below `DATA_DIR/sandboxes`; snapshots are in a folder beside."""

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        mirrors: MirrorStore,
        limits: CommandLimits = NO_LIMITS,
        kind: SandboxKind = LOCAL_SANDBOX,
        new_boundary: NewBoundary = no_boundary,
        snapshots: SnapshotLimits = NO_SNAPSHOTS,
    ) -> None:
        self.kind = kind
        self._new_boundary = new_boundary
        self._root = root.absolute()
        self._environment = dict(environment)
        self._mirrors = mirrors
        self._snapshots = SnapshotStore(self._root.with_name("snapshots"), snapshots)
        self._limits = limits
        self._supervisor = Supervisor(environment)
        if kind.sees_this_machine:
            mirrors.checkouts = CheckoutMaker(self._supervisor, environment)
        self._open = WeakValueDictionary[str, LocalSandbox]()
        self._paused: set[str] = set()
        self._processors = Processors()

    def key_states(self) -> Sequence[KeyState]:
        """See `SandboxProvider`."""
        return ()

    async def templates(self) -> Sequence[Template]:
        """See `SandboxProvider`."""
        return [await to_thread.run_sync(describe_machine, self._root, self._environment)]

    async def open(self, request: SandboxRequest) -> LocalSandbox:
        """See `SandboxProvider`."""
        owner = f"task-{request.task_id}"
        if request.record_id is not None:
            owner = f"sandbox-{request.record_id}"
        folder = self._root / f"{owner}-{os.urandom(4).hex()}"
        try:
            if not (request.snapshot and await self._snapshots.restore(request.snapshot, folder)):
                await to_thread.run_sync(create_folders, folder)
        except OSError as error:
            if is_out_of_space(error):
                raise disk_full() from error
            raise SandboxError(
                f"The local sandbox could not be created: {error.strerror}. "
                "Check the free space and the permissions of DATA_DIR."
            ) from error
        try:
            return await self._sandbox(folder, request)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(remove_folder, folder)
            raise

    async def _sandbox(self, folder: Path, request: SandboxRequest) -> LocalSandbox:
        # The folder exists, so somebody has to know of it.
        with anyio.CancelScope(shield=True):
            boundary = await to_thread.run_sync(self._new_boundary, folder, request)
        limits = self._limits
        if request.memory_bytes:
            limits = replace(limits, memory_bytes=min(limits.memory_bytes, request.memory_bytes))
        processors = self._processors.take(request.cpus) if request.cpus else ()
        sandbox = LocalSandbox(
            folder,
            self._environment,
            self._mirrors,
            self._snapshots,
            self._supervisor,
            limits,
            boundary,
            ProcessorOrder(processors) if processors else None,
        )
        self._open[sandbox.id] = sandbox
        await sandbox.prepare()
        return sandbox

    async def attach(
        self,
        sandbox_id: str,
        request: SandboxRequest,  # noqa: ARG002 - there is none
    ) -> LocalSandbox:
        """See `SandboxProvider`. No local sandbox outlives its process."""
        raise SandboxLost(f"The local sandbox {sandbox_id} no longer exists.")

    async def is_paused(self, sandbox_id: str) -> bool | None:
        """See `SandboxProvider`. One without a command is the same as a paused one."""
        exists = await to_thread.run_sync(self._folder(sandbox_id).is_dir)
        return False if exists else None

    async def extend(self, sandbox_id: str, seconds: float) -> None:
        """See `SandboxProvider`. A local sandbox lives until it is closed."""

    async def list_existing(self) -> set[str]:
        """See `SandboxProvider`."""
        return {folder.name for folder in await to_thread.run_sync(self._folders)}

    def _folders(self) -> list[Path]:
        return [folder for folder in self._root.glob("*-*") if _NAME.fullmatch(folder.name)]

    async def resume(self, sandbox_id: str, request: SandboxRequest) -> LocalSandbox:
        """See `SandboxProvider`. Its folder may also be one that an earlier process has paused."""
        folder = self._folder(sandbox_id)
        self._paused.discard(sandbox_id)
        try:
            await to_thread.run_sync(restore_folders, folder)
        except OSError as error:
            raise SandboxLost(f"The local sandbox {sandbox_id} no longer exists.") from error
        return await self._sandbox(folder, request)

    async def end(self, sandbox_id: str) -> None:
        """See `SandboxProvider`. No other local sandbox than a paused one outlives its process."""
        self._paused.discard(sandbox_id)
        with anyio.CancelScope(shield=True):
            if opened := self._open.get(sandbox_id):
                await opened.pause()
            await to_thread.run_sync(remove_folder, self._folder(sandbox_id))

    def release(self, sandbox_id: str) -> None:
        """See `SandboxProvider`."""
        self._paused.add(sandbox_id)

    async def prune(self, kept: Collection[str]) -> None:
        """See `SandboxProvider`."""
        for sandbox_id in self._paused - set(kept):
            await self.end(sandbox_id)

    async def sweep(self, known: Collection[str]) -> int:
        """See `SandboxProvider`. Call it only before the first sandbox is opened."""
        return await to_thread.run_sync(self._sweep, known)

    def _folder(self, sandbox_id: str) -> Path:
        """Return the folder of a sandbox; there is none for the name of another place."""
        return self._root / (sandbox_id if _NAME.fullmatch(sandbox_id) else "none")

    async def close(self) -> None:
        """See `SandboxProvider`."""
        self._supervisor.close()

    def _sweep(self, known: Collection[str]) -> int:
        end_marked(f"{self._root}/")
        removed = 0
        for folder in self._folders():
            if folder.name in known:
                self._paused.add(folder.name)
            else:
                remove_folder(folder)
                removed += 1
        self._mirrors.sweep()
        self._snapshots.sweep()
        return removed
