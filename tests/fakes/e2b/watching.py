"""Watches folders of a fake sandbox and reports changes in envd's words, with inotify."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import struct
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from tests.fakes.e2b.connect import RpcError, envelope, last
from tests.fakes.e2b.files import Paths, entry_of
from tests.fakes.e2b.http import Aborted

READ_BYTES = 65_536

_HEAD = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE, _MOVED_TO, _MOVED_FROM = 0x100, 0x80, 0x40
_DELETE, _MODIFY, _ATTRIB = 0x200, 0x2, 0x4

# In the order in which envd reports several at once.
_TYPES = (
    (_CREATE | _MOVED_TO, "EVENT_TYPE_CREATE"),
    (_MOVED_FROM, "EVENT_TYPE_RENAME"),
    (_ATTRIB, "EVENT_TYPE_CHMOD"),
    (_MODIFY, "EVENT_TYPE_WRITE"),
    (_DELETE, "EVENT_TYPE_REMOVE"),
)
_ALL = _CREATE | _MOVED_TO | _MOVED_FROM | _DELETE | _MODIFY | _ATTRIB


class Watcher:
    """Watches one folder. Raises `RpcError` when it is none."""

    def __init__(self, paths: Paths, message: dict[str, Any]) -> None:
        self._paths = paths
        self._asked = message.get("path", "")
        self._is_recursive = bool(message.get("recursive"))
        self._has_entries = bool(message.get("includeEntry"))
        self._folder = paths.real(self._asked)
        if not self._folder.exists():
            raise RpcError("not_found", f"path {self._asked} not found")
        if not self._folder.is_dir():
            raise RpcError("invalid_argument", f"path {self._asked} not a directory")
        self._events: list[dict[str, Any]] = []
        self._has_events = asyncio.Event()
        self._folders: dict[int, Path] = {}
        self._fd: int = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._add(self._folder)
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _add(self, folder: Path) -> None:
        number = _LIBC.inotify_add_watch(self._fd, os.fsencode(folder), _ALL)
        self._folders[number] = folder
        if self._is_recursive:
            for item in folder.iterdir():
                if item.is_dir() and not item.is_symlink():
                    self._add(item)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, READ_BYTES)
            while data:
                number, mask, _, size = _HEAD.unpack_from(data)
                name = data[_HEAD.size : _HEAD.size + size].rstrip(b"\0")
                data = data[_HEAD.size + size :]
                if number in self._folders:
                    self._note(self._folders[number] / os.fsdecode(name), mask)

    def _note(self, path: Path, mask: int) -> None:
        for bits, kind in _TYPES:
            if not mask & bits:
                continue
            event: dict[str, Any] = {"name": str(path.relative_to(self._folder)), "type": kind}
            if self._has_entries and os.path.lexists(path):
                event["entry"] = entry_of(self._paths, path, self._asked)
            self._events.append(event)
        if self._is_recursive and mask & (_CREATE | _MOVED_TO) and path.is_dir():
            self._add(path)
        self._has_events.set()

    def pop_events(self) -> list[dict[str, Any]]:
        """Return the events since the last call."""
        if not self.is_closed:
            self._read()
        events, self._events = self._events, []
        self._has_events.clear()
        return events

    async def wait(self) -> None:
        """Wait until there are events."""
        await self._has_events.wait()

    @property
    def is_closed(self) -> bool:
        """True when it no longer watches, because it was removed or its sandbox has ended."""
        return self._fd < 0

    def close(self) -> None:
        """Stop watching."""
        if not self.is_closed:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._has_events.set()


async def follow_watcher(watcher: Watcher, seconds: float) -> AsyncGenerator[bytes]:
    """Yield the events of a folder until the deadline, if there is one."""
    try:
        yield envelope(b'{"start":{}}')
        async with asyncio.timeout(seconds or None):
            while True:
                await watcher.wait()
                if watcher.is_closed:
                    raise Aborted
                for event in watcher.pop_events():
                    yield envelope(json.dumps({"filesystem": event}).encode())
    except TimeoutError:
        yield last("deadline_exceeded", "context deadline exceeded")
    finally:
        watcher.close()
