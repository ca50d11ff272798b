"""Reads and removes files in a cloud sandbox. Raises the exceptions of the SDK."""

from __future__ import annotations

from typing import Literal

from e2b import AsyncSandbox, EntryInfo, FileType
from e2b.exceptions import FileNotFoundException, InvalidArgumentException

from utils.sandboxes.e2b.commands import REQUEST_SECONDS
from utils.sandboxes.e2b.keys import KeyRing
from utils.sandboxes.protocol import FileEntry, SandboxUsage


class NoMirror:
    """Stands for the mirror that a cloud sandbox does not have."""

    path = ""

    async def record_clone(self, *, repository: str, base_commit: str, outdated: bool) -> None:
        """See `Mirror`. Nothing is stored."""


async def list_folder(sandbox: AsyncSandbox, path: str, most: int) -> list[FileEntry] | None:
    """Return the first entries of a folder by name, None when it is no folder."""
    try:
        found = await sandbox.files.list(path, request_timeout=REQUEST_SECONDS)
    except (FileNotFoundException, InvalidArgumentException):
        return None
    found.sort(key=lambda entry: entry.name)
    return [FileEntry(one.name, _kind(one), one.size, one.modified_time) for one in found[:most]]


def _kind(entry: EntryInfo) -> Literal["file", "folder", "link", "other"]:
    if entry.symlink_target is not None:
        return "link"
    if entry.type is FileType.DIR:
        return "folder"
    return "file" if entry.type is FileType.FILE else "other"


async def remove_path(sandbox: AsyncSandbox, path: str) -> bool:
    """Remove a file, or a folder with all it holds; False when it does not exist."""
    # A removal of what does not exist is no error.
    exists = await sandbox.files.exists(path, request_timeout=REQUEST_SECONDS)
    await sandbox.files.remove(path, request_timeout=REQUEST_SECONDS)
    return exists


async def read_usage(sandbox: AsyncSandbox, keys: KeyRing) -> SandboxUsage:
    """Return the newest of the measurements that E2B has; a new sandbox has none."""
    measured = await keys.call(sandbox.get_metrics, request_timeout=REQUEST_SECONDS)
    if not measured:
        return SandboxUsage()
    newest = max(measured, key=lambda one: one.timestamp)
    return SandboxUsage(
        cpu_percent=newest.cpu_used_pct,
        cpu_count=newest.cpu_count,
        memory_used_bytes=newest.mem_used,
        memory_total_bytes=newest.mem_total,
        disk_used_bytes=newest.disk_used,
        disk_total_bytes=newest.disk_total,
    )
