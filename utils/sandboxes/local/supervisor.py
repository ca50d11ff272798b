"""Starts the commands of local sandboxes and ends everything that they leave behind.

Runs as a program of its own, `main(PLACE, DESCRIPTOR)`, without threads and with few imports, so
that it forks in a millisecond. For each sandbox it forks a keeper. The keeper is the
parent of the sandbox's commands and of every orphan below them (a child subreaper, on Linux), so no
process leaves it by a new session, group or environment. It ends them all when a command has ended,
when a limit is exceeded, and when the server closes the connection or dies. `namespace.py` starts
the supervisor; PLACE is `foreground` or `background`.

The server sends one byte with a socket for each sandbox. With a second socket, the keeper enters a
network of its own and returns through it the socket that a proxy listens on there. Through the
first socket the server sends the orders (`Message`), one at a time. It reads the line `keeper
PROCESS` or `failed ERRNO` once, and for each order the lines `started`, `failed ERRNO` or `refused
TEXT`, and `ended EXIT_CODE REASON`. Orders before all others name the processors that its commands
use, and describe the view that they share. An empty order ends the command. A byte with the number
of a killed keeper is answered when none of its processes is alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import resource
import select
import signal
import socket
import time
from typing import Any

from utils.sandboxes.local.usage import CHECK_SECONDS, IS_LINUX, Limits, descendants, parents
from utils.sandboxes.separation.messages import (
    HEADER,
    Message,
    Received,
    receive,
    receive_message,
)
from utils.sandboxes.separation.private_network import enter_private_network
from utils.sandboxes.separation.shared_view import SharedView, ViewError
from utils.sandboxes.separation.system_calls import fix_processors

SET_CHILD_SUBREAPER = 36
SESSION: dict[str, Any] = {"setsid": True} if IS_LINUX else {"setpgroup": 0}

STREAMS = 3
"""Descriptors that are sent with an order: standard input, output and error."""

SIGNALLED = 128
KILLED = SIGNALLED + signal.SIGKILL

NICENESS = 5
"""The server must answer requests while tasks run on the same machine."""

UNHEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals to the whole group of services: the server decides when its tasks end."""

END_SECONDS = 5.0
"""Longest wait for processes that were killed; one may hang in the kernel."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.001, 0.05


def main(place: str, descriptor: int) -> None:
    """Serve until the server closes its end, in the foreground or in the background."""
    if place == "background" and os.fork():
        os._exit(0)
    requests = socket.socket(fileno=descriptor)
    if IS_LINUX:
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in UNHEEDED:
        signal.signal(number, signal.SIG_IGN)
    # A collection would touch, and so copy, all memory of a forked process.
    gc.disable()
    awake = watch_children()
    keepers: set[int] = set()
    while True:
        ready = wait_readable(requests, awake)
        if awake in ready:
            drain(awake)
            collect_keepers(keepers)
        if requests in ready:
            byte, descriptors = receive(requests, 1, 2)
            if descriptors:
                keepers.add(fork_keeper(descriptors, requests))
            elif byte:
                (killed,) = HEADER.unpack(requests.recv(HEADER.size, socket.MSG_WAITALL))
                end_orphans(keepers, killed)
                requests.sendall(byte)
            else:
                break
    # The keepers end by themselves. Until then their orphans come here.
    while keepers and collect_keepers(keepers):
        time.sleep(LONGEST_PAUSE_SECONDS)


def wait_readable(*sources: socket.socket, seconds: float | None = None) -> list[socket.socket]:
    """Wait until a socket can be read or was closed, at most so long; return those that are.

    `select.select` refuses descriptors above 1,023, and a server may have so many when it starts
    this process.
    """
    poller = select.poll()
    for source in sources:
        poller.register(source, select.POLLIN)
    ready = dict(poller.poll(None if seconds is None else seconds * 1000))
    return [source for source in sources if source.fileno() in ready]


def fork_keeper(descriptors: list[int], requests: socket.socket) -> int:
    """Fork the keeper of one sandbox; return its process id."""
    keeper = os.fork()
    if keeper == 0:
        code = 1
        try:
            requests.close()
            keep(*(socket.socket(fileno=descriptor) for descriptor in descriptors))
            code = 0
        finally:
            os._exit(code)
    for descriptor in descriptors:
        os.close(descriptor)
    return keeper


def collect_keepers(keepers: set[int]) -> bool:
    """Remove the keepers that have ended; return False when no child is left.

    One that was killed has left orphans.
    """
    has_children = reap(statuses := dict[int, int]())
    ended = keepers & statuses.keys()
    keepers -= ended
    if any(statuses[keeper] for keeper in ended):
        end_orphans(keepers)
    return has_children


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


def end_orphans(keepers: set[int], killed: int = 0) -> None:
    """End the `killed` keeper, which may only be stopped, and the processes that keepers left."""
    deadline, statuses = time.monotonic() + END_SECONDS, dict[int, int]()
    while reap(statuses) and time.monotonic() < deadline:
        keepers -= statuses.keys()
        orphans = {pid for pid, its in parents().items() if its == os.getpid()} - keepers
        if not orphans and killed not in keepers:
            return
        kill_all(orphans | ({killed} & keepers))
        time.sleep(FIRST_PAUSE_SECONDS)


def keep(control: socket.socket, network: socket.socket | None = None) -> None:
    """Run the commands of one sandbox until the server closes its end."""
    if network:
        try:
            enter_private_network(network)
        except OSError as error:
            tell(control, f"failed {error.errno or 0}")
            return
    if IS_LINUX:
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    awake = watch_children()
    lower_priority()
    # A command may kill this process as soon as it runs.
    tell(control, f"keeper {os.getpid()}")
    view: SharedView | str | None = None
    with contextlib.suppress(EOFError):
        while True:
            received = receive_message(control, STREAMS)
            order = received.message
            if "processors" in order:
                view = limit_processors(order["processors"], is_final=network is not None)
            elif "view" in order:
                view = view or build_view(order["view"])
            elif order:
                carry_out(received, control, awake, view)
            if isinstance(view, SharedView):
                # The next command may need more luck.
                with contextlib.suppress(OSError):
                    view.prepare()
    if isinstance(view, SharedView) and view.close():
        # Looking for descendants takes longer than the end of the only one.
        wait_readable(awake, seconds=LONGEST_PAUSE_SECONDS)
    end_descendants()


def limit_processors(numbers: list[int], *, is_final: bool) -> str | None:
    """Keep all commands on some processors; return the reason if that is not possible.

    If it `is_final`, they cannot choose others.
    """
    try:
        os.sched_setaffinity(0, numbers)
        if is_final:
            fix_processors(ctypes.CDLL(None, use_errno=True))
    except OSError as error:
        return os.strerror(error.errno or 0)
    return None


def build_view(description: Message) -> SharedView | str:
    """Return the view of a sandbox, or the reason that there is none."""
    try:
        return SharedView(description)
    except ViewError as error:
        return str(error)
    except OSError as error:
        return os.strerror(error.errno or 0)


def carry_out(
    received: Received,
    control: socket.socket,
    awake: socket.socket,
    view: SharedView | str | None,
) -> None:
    """Run one command to its end, and end every process below it."""
    order = received.message
    try:
        if isinstance(view, str):
            tell(control, f"refused {view}")
            return
        command = view.start(received) if view else start(order, received.descriptors)
    except OSError as error:
        tell(control, f"failed {error.errno or 0}")
        return
    finally:
        os.chdir("/")
        for descriptor in received.descriptors:
            os.close(descriptor)
    tell(control, "started")
    code, reason = follow(command, control, awake, Limits(order["limits"]))
    end_descendants(command)
    tell(control, f"ended {code} {reason}")


def lower_priority() -> None:
    """Let the server go first, for the processor and when memory runs out."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    with contextlib.suppress(OSError), io.FileIO("/proc/self/oom_score_adj", "w") as score:
        score.write(b"500")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tell(control: socket.socket, line: str) -> None:
    """Send a line to the server, which may be gone."""
    with contextlib.suppress(OSError):
        control.sendall(line.encode() + b"\n")


def start(order: Message, descriptors: list[int]) -> int:
    """Start the command in a session of its own. Raises `OSError` when it cannot be started."""
    arguments: list[str] = order["arguments"]
    environment: dict[str, str] = order["environment"]
    os.chdir(order["directory"])
    limit_file_size(order["limits"]["disk_bytes"])
    # The program is searched for in the PATH of this process.
    os.putenv("PATH", environment.get("PATH", os.defpath))
    return os.posix_spawnp(
        arguments[0],
        arguments,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, descriptor, number)
            for number, descriptor in enumerate(descriptors)
        ],
        **SESSION,
        setsigdef=[*UNHEEDED, signal.SIGPIPE, signal.SIGXFSZ],
    )


def limit_file_size(limit: int) -> None:
    """Limit the size of a file; the next command may have another limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


def follow(
    command: int, control: socket.socket, awake: socket.socket, limits: Limits
) -> tuple[int, str]:
    """Wait for the end of the command; return its exit code and the limit it exceeded, if any.

    Returns at once when the server has closed its end.
    """
    next_check = time.monotonic() + CHECK_SECONDS
    while True:
        wait_seconds = max(next_check - time.monotonic(), 0.0)
        ready = wait_readable(control, awake, seconds=wait_seconds)
        drain(awake)
        statuses: dict[int, int] = {}
        reap(statuses)
        if command in statuses:
            code = statuses[command]
            return (code if code >= 0 else SIGNALLED - code), ""
        if control in ready:
            # An order to end the command, or the end of the server, which is read again.
            if control.recv(HEADER.size, socket.MSG_PEEK):
                receive_message(control, STREAMS)
            return KILLED, ""
        if time.monotonic() >= next_check:
            if reason := limits.exceeded():
                return KILLED, reason
            next_check = time.monotonic() + CHECK_SECONDS


def end_descendants(command: int | None = None) -> None:
    """Kill every process below this one, and wait for their end."""
    deadline, pause = time.monotonic() + END_SECONDS, FIRST_PAUSE_SECONDS
    has_group = kill_group(command)
    while (reap({}) or (has_group and not IS_LINUX)) and time.monotonic() < deadline:
        has_group = kill_group(command)
        kill_all(descendants())
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def kill_group(group: int | None) -> bool:
    """Send SIGKILL to a process group; return False when it has no processes."""
    if group is None:
        return False
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
