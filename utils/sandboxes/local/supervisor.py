"""Starts the commands of local sandboxes and ends everything that they leave behind.

Runs as a program of its own, `supervisor.py DESCRIPTOR`, without threads and with few imports, so
that it forks in a millisecond. For each command it forks a keeper. The keeper is the parent of the
command and of every orphan below it (a child subreaper, on Linux), so no process leaves it by a new
session, group or environment. It ends them all when the command has ended, when a limit is
exceeded, and when the server closes the connection or dies.

The server sends one byte with a socket for each command. Through that socket it sends the order
(`receive_order`) and reads the lines `keeper PROCESS`, `started` or `failed ERRNO`, and
`ended EXIT_CODE REASON`.
A byte without a socket is answered when no process of a killed keeper is alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

IS_LINUX = sys.platform == "linux"
SET_CHILD_SUBREAPER = 36

HEADER = struct.Struct("!Q")
"""The number of bytes of an order; sent together with the three descriptors of the command."""

SIGNALLED = 128
KILLED = SIGNALLED + signal.SIGKILL
NOT_STARTED = 127

UNHEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals to the whole group of services: the server decides when its tasks end."""

END_SECONDS = 5.0
"""Longest wait for processes that were killed; one may hang in the kernel."""

FIRST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.05

CHECK_SECONDS = 0.5
"""Time between two looks at the memory and the number of processes."""

SIZE_CHECK_SHARE = 20
"""A look at the sizes of all files is followed by a pause of this many times its duration."""

# The system then ends a process of a task before the server when memory runs out.
OUT_OF_MEMORY_SCORE = b"500"

Order = dict[str, Any]


def main(descriptor: int) -> None:
    """Move to the background and serve until the server closes its end."""
    if os.fork():
        os._exit(0)
    requests = socket.socket(fileno=descriptor)
    become_subreaper()
    for number in UNHEEDED:
        signal.signal(number, signal.SIG_IGN)
    awake = watch_children()
    keepers: set[int] = set()
    while True:
        ready, _, _ = select.select([requests, awake], [], [])
        if awake in ready:
            drain(awake)
            collect_keepers(keepers)
        if requests in ready:
            byte, descriptors = receive(requests, 1, 1)
            if descriptors:
                keepers.add(fork_keeper(descriptors[0], requests))
            elif byte:
                end_orphans(keepers)
                requests.sendall(byte)
            else:
                break
    # The keepers end by themselves. Until then their orphans come here.
    while keepers and collect_keepers(keepers):
        time.sleep(LONGEST_PAUSE_SECONDS)


def fork_keeper(descriptor: int, requests: socket.socket) -> int:
    """Fork the keeper of one command; return its process id."""
    keeper = os.fork()
    if keeper == 0:
        code = 1
        try:
            requests.close()
            keep(socket.socket(fileno=descriptor))
            code = 0
        finally:
            os._exit(code)
    os.close(descriptor)
    return keeper


def collect_keepers(keepers: set[int]) -> bool:
    """Remove the keepers that have ended; return False when no child is left.

    One that was killed has left orphans.
    """
    statuses: dict[int, int] = {}
    has_children = reap(statuses)
    ended = keepers & statuses.keys()
    keepers -= ended
    if any(statuses[keeper] for keeper in ended):
        end_orphans(keepers)
    return has_children


def receive(connection: socket.socket, size: int, count: int) -> tuple[bytes, list[int]]:
    """Receive bytes, and descriptors that no command inherits."""
    data, descriptors, _, _ = socket.recv_fds(connection, size, count)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003
    return data, descriptors


def become_subreaper() -> None:
    """Make this process the parent of the orphans below it."""
    if IS_LINUX:
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def watch_children() -> socket.socket:
    """Return a socket that becomes readable when a child has ended."""
    awake, wake = socket.socketpair()
    awake.settimeout(0)
    wake.settimeout(0)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.detach(), warn_on_full_buffer=False)
    return awake


def drain(awake: socket.socket) -> None:
    """Read what the signals of children have written."""
    with contextlib.suppress(BlockingIOError):
        while awake.recv(1024):
            pass


def reap(statuses: dict[int, int]) -> bool:
    """Collect the exit codes of the children that have ended; return False when none is left."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
            statuses[pid] = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return False


def end_orphans(keepers: set[int]) -> None:
    """End the processes of keepers that were killed; they are children of this process now."""
    deadline = time.monotonic() + END_SECONDS
    statuses: dict[int, int] = {}
    while reap(statuses) and time.monotonic() < deadline:
        keepers -= statuses.keys()
        orphans = set(children_of(parents(), os.getpid())) - keepers
        if not orphans:
            return
        kill_all(orphans)
        time.sleep(FIRST_PAUSE_SECONDS)


def keep(control: socket.socket) -> None:
    """Run one command to its end, and end every process below it."""
    become_subreaper()
    awake = watch_children()
    order, descriptors = receive_order(control)
    # The command may kill this process as soon as it runs.
    tell(control, f"keeper {os.getpid()}")
    try:
        command = start(order, descriptors)
    except OSError as error:
        tell(control, f"failed {error.errno or 0}")
        return
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    tell(control, "started")
    code, reason = follow(command, control, awake, Limits(order["limits"]))
    end_descendants(command)
    tell(control, f"ended {code} {reason}")


def receive_order(control: socket.socket) -> tuple[Order, list[int]]:
    """Return the order, and the descriptors of standard input, output and error."""
    header, descriptors = receive(control, HEADER.size, 3)
    (size,) = HEADER.unpack(header)
    text = b""
    while len(text) < size:
        piece = control.recv(size - len(text))
        if not piece:
            raise EOFError
        text += piece
    order: Order = json.loads(text)
    return order, descriptors


def tell(control: socket.socket, line: str) -> None:
    """Send a line to the server, which may be gone."""
    with contextlib.suppress(OSError):
        control.sendall(f"{line}\n".encode())


def start(order: Order, descriptors: list[int]) -> int:
    """Start the command in a session of its own. Raises `OSError` when it cannot be started."""
    failed, failure = os.pipe()
    command = os.fork()
    if command == 0:
        try:
            become_command(order, descriptors)
        except OSError as error:
            os.write(failure, str(error.errno or 0).encode())
        finally:
            os._exit(NOT_STARTED)
    os.close(failure)
    with io.FileIO(failed) as reader:
        number = reader.readall()
    if number:
        raise OSError(int(number), os.strerror(int(number)))
    return command


def become_command(order: Order, descriptors: list[int]) -> None:
    """Replace this process by the command; the pipe to the keeper closes when it is replaced."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for heeded in (*UNHEEDED, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(heeded, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.chdir(order["directory"])
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, order["niceness"])
    with contextlib.suppress(OSError), io.FileIO("/proc/self/oom_score_adj", "w") as score:
        score.write(OUT_OF_MEMORY_SCORE)
    limit_resource(resource.RLIMIT_CORE, 0)
    limit_resource(resource.RLIMIT_FSIZE, order["limits"]["disk_bytes"])
    arguments: list[str] = order["arguments"]
    os.execvpe(arguments[0], arguments, order["environment"])  # noqa: S606 - none is wanted


def limit_resource(kind: int, limit: int) -> None:
    """Lower a limit of this process; a limit that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def follow(
    command: int, control: socket.socket, awake: socket.socket, limits: Limits
) -> tuple[int, str]:
    """Wait for the end of the command; return its exit code and the limit it exceeded, if any.

    Returns at once when the server has closed its end.
    """
    next_check = time.monotonic() + CHECK_SECONDS
    while True:
        wait_seconds = max(next_check - time.monotonic(), 0.0)
        ready, _, _ = select.select([control, awake], [], [], wait_seconds)
        drain(awake)
        statuses: dict[int, int] = {}
        reap(statuses)
        if command in statuses:
            code = statuses[command]
            return (code if code >= 0 else SIGNALLED - code), ""
        if control in ready:
            return KILLED, ""
        if time.monotonic() >= next_check:
            if reason := limits.exceeded():
                return KILLED, reason
            next_check = time.monotonic() + CHECK_SECONDS


def end_descendants(command: int) -> None:
    """Kill every process below this one, and wait for their end."""
    deadline, pause = time.monotonic() + END_SECONDS, FIRST_PAUSE_SECONDS
    has_group = kill_group(command)
    while (reap({}) or (has_group and not IS_LINUX)) and time.monotonic() < deadline:
        has_group = kill_group(command)
        kill_all(descendants())
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def kill_group(group: int) -> bool:
    """Send SIGKILL to a process group; return False when it has no processes."""
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return False
    return True


def kill_all(pids: set[int]) -> None:
    """Send SIGKILL to processes, of which some may have ended."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def descendants() -> set[int]:
    """Return all processes below this one; none where the system does not tell."""
    family, new, table = set[int](), {os.getpid()}, parents()
    while new:
        new = {child for parent in new for child in children_of(table, parent)} - family
        family |= new
    return family


def parents() -> dict[int, int]:
    """Return the parent of every process of this machine."""
    table = {}
    for name in os.listdir("/proc") if IS_LINUX else ():  # noqa: PTH208 - imports little
        if name.isdigit():
            with contextlib.suppress(OSError), io.FileIO(f"/proc/{name}/stat") as file:
                # The name of the program, in parentheses, may contain anything.
                table[int(name)] = int(file.readall().rpartition(b")")[2].split()[1])
    return table


def children_of(table: dict[int, int], parent: int) -> Iterator[int]:
    """Yield the children of a process."""
    return (child for child, its_parent in table.items() if its_parent == parent)


class Limits:
    """The limits of everything below this process, and of the folder of its sandbox."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self._memory_bytes: int = limits["memory_bytes"]
        self._processes: int = limits["processes"]
        self._disk_bytes: int = limits["disk_bytes"]
        self._folder: str = limits["folder"]
        self._next_size_check = 0.0

    def exceeded(self) -> str:
        """Return the name of a limit that is exceeded; empty without any."""
        family = descendants()
        if len(family) > self._processes:
            return "processes"
        if sum(map(resident_bytes, family)) > self._memory_bytes:
            return "memory"
        return "disk" if self._is_disk_limit_exceeded() else ""

    def _is_disk_limit_exceeded(self) -> bool:
        begun = time.monotonic()
        if begun < self._next_size_check:
            return False
        size = size_of(self._folder, self._disk_bytes)
        now = time.monotonic()
        self._next_size_check = now + max(SIZE_CHECK_SHARE * (now - begun), CHECK_SECONDS)
        return size > self._disk_bytes


def resident_bytes(pid: int) -> int:
    """Return the memory that only this process uses; 0 for one that has ended."""
    try:
        with io.FileIO(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = map(int, file.readall().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * resource.getpagesize()


def size_of(folder: str, enough: int) -> int:
    """Return the space that the files in a folder take; stop counting above `enough`."""
    total, folders = 0, [folder]
    while folders and total <= enough:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


if __name__ == "__main__":
    main(int(sys.argv[1]))
