"""Lets all commands of an isolated sandbox share one view of this machine.

bubblewrap builds the view once, and the keeper keeps its namespaces. Each command joins them, with
processes, messages between processes (IPC) and mounts of its own: nothing of a command is there for
the next one but files, and the kernel ends what it leaves. No process of ours stays in the view
for an agent to attack: the keeper is outside, and the first process of the next command is made
when no command runs.

With few imports, because the supervisor forks.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import stat
from typing import NamedTuple

from utils.sandboxes.separation import kernel
from utils.sandboxes.separation.first_process import READY, SAFE, wait_for_command
from utils.sandboxes.separation.messages import Message, Received, receive, send_text

OTHERS = ("uts", "cgroup")
"""Namespaces of a view beside those of mounts and users; not every kernel has all."""

WAITING = ("/bin/sh", "-c", "echo; read -r _")
"""Tells that the view is there, and keeps it until the keeper has opened its namespaces."""

MOST_TEXT_BYTES = 1000
INFORMATION = 3


class ViewError(Exception):
    """The view could not be built; the message is that of bubblewrap."""


class FirstProcess(NamedTuple):
    """A process that waits for its command."""

    number: int
    connection: socket.socket


class SharedView:
    """The view of one sandbox, held by its namespaces."""

    def __init__(self, description: Message) -> None:
        """Build it. Raises `OSError` and `ViewError`."""
        self._next: FirstProcess | None = None
        self._kept: int | None = None
        self._closed: list[str] = description["closed"]
        with contextlib.ExitStack() as stack:
            folder = f"/proc/{_wait_for_process(description['command'], stack)}/ns"
            mounts = os.open(f"{folder}/mnt", os.O_RDONLY)
            user = os.open(f"{folder}/user", os.O_RDONLY)
            others = [os.open(f"{folder}/{name}", os.O_RDONLY) for name in _others(folder)]
        # It has rights over the mounts, which the user namespace of the commands has not.
        owner = kernel.owner_of(mounts)
        self._joined = (owner, mounts, *others)
        self._user = None if os.path.sameopenfile(owner, user) else user

    def prepare(self) -> None:
        """Have the process of the next command ready. Raises `OSError`."""
        self._next = self._next or self._fork()

    def close(self) -> bool:
        """End the process of the next command; return True when there was one to collect."""
        ended, self._next = self._next, None
        if ended is None:
            return False
        ended.connection.close()
        os.kill(ended.number, signal.SIGKILL)
        return True

    def start(self, order: Received) -> int:
        """Start a command; return the process that ends as it does. Raises `OSError`."""
        shown, trees = [], list[int]()
        try:
            for path, is_writable in order.message["enclosure"]["trees"]:
                with contextlib.suppress(FileNotFoundError):
                    is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - imports little
                    attributes = SAFE | (0 if is_writable else kernel.READ_ONLY)
                    trees.append(kernel.open_tree(path, attributes))
                    shown.append((path, is_folder))
            return self._send(order, json.dumps({"trees": shown}).encode(), trees)
        finally:
            for tree in trees:
                os.close(tree)

    def _send(self, order: Received, shown: bytes, trees: list[int]) -> int:
        self.prepare()
        assert self._next  # noqa: S101 - prepared
        first, self._next = self._next, None
        with first.connection as connection:
            mounts = _receive_mounts(connection)
            try:
                # It may fail meanwhile.
                with contextlib.suppress(BrokenPipeError):
                    send_text(connection, order.text, order.descriptors)
                    send_text(connection, shown, trees)
                _raise_failure(connection.recv(MOST_TEXT_BYTES))
            finally:
                self._keep(mounts)
        return first.number

    def _keep(self, mounts: int) -> None:
        """Keep the mounts of a command until the next one runs, and give up those of the last one.

        The kernel takes a while to remove mounts. The end of a command would wait for that.
        """
        last, self._kept = self._kept, mounts
        if last is not None:
            os.close(last)

    def _fork(self) -> FirstProcess:
        ours, theirs = socket.socketpair()
        process = kernel.fork(kernel.NEW_PROCESSES | kernel.NEW_IPC)
        if process == 0:
            number = errno.EIO
            try:
                wait_for_command(theirs, self._joined, self._user, self._closed)
            except OSError as error:
                number = error.errno or errno.EIO
            finally:
                with contextlib.suppress(OSError):
                    theirs.sendall(b"%d" % number)
                os._exit(1)
        theirs.close()
        return FirstProcess(process, ours)


def _receive_mounts(connection: socket.socket) -> int:
    """Return the namespace of the mounts of a first process that is ready. Raises `OSError`."""
    answer, descriptors = receive(connection, MOST_TEXT_BYTES, 1)
    if answer != READY:
        _raise_failure(answer or b"%d" % errno.EIO)
    return descriptors[0]


def _raise_failure(answer: bytes) -> None:
    """Raise the error that a first process tells. It closes its end when there is none."""
    if answer:
        number = int(answer)
        raise OSError(number, os.strerror(number))


def _wait_for_process(command: list[str], stack: contextlib.ExitStack) -> int:
    """Return the process in a new view, which ends after the block. Raises `ViewError`."""
    pipes = [os.pipe() for _ in range(4)]
    (input_end, stays), (said, output_end), (complaints, error_end), (found, found_end) = pipes
    theirs = (input_end, output_end, error_end, found_end)
    os.posix_spawnp(
        command[0],
        [command[0], "--info-fd", str(INFORMATION), *command[1:], *WAITING],
        {"PATH": os.defpath},
        file_actions=[(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs)],
    )
    for end in theirs:
        os.close(end)
    for end in (stays, said, complaints, found):
        stack.callback(os.close, end)
    if not os.read(said, 1):
        text = os.read(complaints, MOST_TEXT_BYTES).decode(errors="replace")
        raise ViewError(" ".join(text.split()))
    information = b""
    while not information.rstrip().endswith(b"}"):
        information += os.read(found, MOST_TEXT_BYTES)
    return int(json.loads(information)["child-pid"])


def _others(folder: str) -> list[str]:
    """Return the namespaces that differ from those of this process."""
    return [
        name
        for name in OTHERS
        if os.path.exists(f"{folder}/{name}")  # noqa: PTH110 - imports little
        and not os.path.samefile(f"{folder}/{name}", f"/proc/self/ns/{name}")  # noqa: PTH121
    ]
