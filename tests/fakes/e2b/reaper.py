"""Ends all processes of a fake sandbox, also those that left its process group.

Every process carries a marker in its environment. One look at the process table serves all the
sandboxes that end meanwhile, so that hundreds can end at once with two threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

MARKER = "E2B_FAKE_SANDBOX"
"""In the environment of every process: `<server>/<sandbox>`; inherited by what leaves the group."""

_ROUNDS = 100
_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.2

_LOOKS = 5
"""Looks after which a process without an environment has none, like a thread of the kernel."""

_without: set[str] = set()
"""Processes that have no environment."""


@dataclass(slots=True)
class Reaper:
    """Ends whole sandboxes. One scan of the process table serves all callers that wait for it."""

    server: str
    _waiting: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _look_seconds: float = 0.0
    executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    async def end(self, sandbox: str, children: Iterable[subprocess.Popen[bytes]]) -> None:
        """Return when no process of the sandbox is left, children of this server included."""
        loop = asyncio.get_running_loop()
        done = self._waiting.setdefault(sandbox, loop.create_future())
        self._children += children
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
        await asyncio.shield(done)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            # With many sandboxes a look takes long, and would be taken all the time.
            await asyncio.sleep(self._look_seconds)
            started = loop.time()
            waiting, self._waiting = self._waiting, {}
            children, self._children = self._children, []
            names = frozenset(waiting)
            await loop.run_in_executor(self.executor, end_marked, self.server, names)
            await loop.run_in_executor(self.executor, wait_for, children)
            self._look_seconds = min(loop.time() - started, _LONGEST_PAUSE_SECONDS)
            for done in waiting.values():
                done.set_result(None)


def wait_for(children: Iterable[subprocess.Popen[bytes]]) -> None:
    """Collect the exit codes of killed children."""
    for child in children:
        child.wait(5)


def end_marked(server: str, sandboxes: frozenset[str] | None) -> None:
    """Kill the processes of these sandboxes, or of all, until no scan finds one."""
    killed: set[str] = set()
    looks: Counter[str] = Counter()
    for _ in range(_ROUNDS):
        found, unclear = signal_marked(server, sandboxes, signal.SIGKILL)
        killed |= found
        looks.update(unclear)
        _without.update(pid for pid in unclear if looks[pid] >= _LOOKS)
        # On its way out a process loses its environment first, and runs on for a moment.
        if not (found or unclear or any(_runs(pid) for pid in killed)):
            return
        time.sleep(_PAUSE_SECONDS)


def signal_marked(
    server: str, sandboxes: frozenset[str] | None, number: int
) -> tuple[set[str], set[str]]:
    """Signal the processes of these sandboxes, or of all.

    Returns the ids of the living ones, and those of processes to be looked at again: one that
    becomes another program has no environment for a moment.
    """
    begin = f"{MARKER}={server}/".encode()
    found: set[str] = set()
    unclear: set[str] = set()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            environment = _environment(entry.name)
            if not environment and entry.name not in _without and _runs(entry.name):
                unclear.add(entry.name)
            _, marked, rest = environment.partition(begin)
            name = rest.partition(b"\0")[0].decode()
            if marked and (sandboxes is None or name in sandboxes):
                os.kill(int(entry.name), number)
                found.add(entry.name)
    return found, unclear


def _environment(pid: str) -> bytes:
    # Without pathlib, which takes longer than the system does.
    with io.FileIO(f"/proc/{pid}/environ") as file:
        return file.readall()


def _runs(pid: str) -> bool:
    with contextlib.suppress(OSError), io.FileIO(f"/proc/{pid}/stat") as file:
        return file.readall().rpartition(b") ")[2][:1] not in b"ZX"
    return False
