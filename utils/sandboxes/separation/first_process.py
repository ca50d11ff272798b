"""Runs a command of an isolated sandbox as the first process of a process namespace of its own.

It waits for the command with its mounts made already, and gives up all rights before it starts the
command. It collects processes that have lost their parents; when it ends, the kernel ends all of
the namespace. The command can neither signal it nor look into it.

With few imports, because the supervisor forks.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import sys

from utils.sandboxes.separation import kernel
from utils.sandboxes.separation.messages import Message, receive_message

NAME = b"init"

READY = b"r"
"""Sent with the namespace of the mounts when everything is there but the command."""

MASKED = "/proc/keys"
"""Lists the keys that the kernel keeps for the server's user, whose names may tell much."""

STREAMS = 3
MOST_TREES = 2

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit codes of shells for a program that cannot be started."""

SIGNALLED = 128

CHANGED_SIGNALS = (
    *(signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ),
)

SAFE = kernel.NO_SETUID | kernel.NO_DEVICES


def wait_for_command(
    connection: socket.socket, joined: tuple[int, ...], user: int | None, closed: list[str]
) -> None:
    """Make what is the command's own, and start the command when it comes. Raises `OSError`.

    `joined` are the namespaces of the view, `user` is one without rights over it.
    """
    # Modules that are not loaded yet would be looked for in the view, where the agent may write.
    sys.meta_path.clear()
    signal.set_wakeup_fd(-1)
    for number in CHANGED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    # It tells the path of the server's programs.
    kernel.replace_command_line(NAME)
    # The rights over this process namespace end with the first step into the view.
    processes = kernel.open_processes(SAFE | kernel.READ_ONLY | kernel.NO_PROGRAMS)
    for namespace in joined:
        kernel.join(namespace)
    kernel.unshare(kernel.NEW_MOUNTS)
    kernel.attach_tree(processes, "/proc")
    kernel.close_files(keep={connection.fileno(), *([] if user is None else [user])})
    if _exists(MASKED):
        kernel.mount_file("/dev/null", MASKED)
        kernel.set_attributes(0, MASKED, SAFE | kernel.READ_ONLY)
    _tell_ready(connection)
    try:
        order = receive_message(connection, STREAMS)
        shown = receive_message(connection, MOST_TREES)
    except EOFError:
        os._exit(0)
    for tree, (path, is_folder) in zip(shown.descriptors, shown.message["trees"], strict=True):
        _make_place(path, is_folder=is_folder)
        kernel.attach_tree(tree, path)
    for path in closed:
        kernel.set_attributes(0, path, kernel.READ_ONLY)
    if user is not None:
        kernel.join(user)
    _run(order.message, order.descriptors, connection)


def _tell_ready(connection: socket.socket) -> None:
    mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    socket.send_fds(connection, [READY], [mounts])
    os.close(mounts)


def _run(order: Message, descriptors: list[int], connection: socket.socket) -> None:
    """Give up all rights, start the command, and exit as it does. Raises `OSError`."""
    enclosure, arguments, environment = (
        order[name] for name in ("enclosure", "arguments", "environment")
    )
    _limit(resource.RLIMIT_FSIZE, enclosure["largest_file_bytes"])
    _limit(resource.RLIMIT_NPROC, enclosure["threads"])
    _limit(resource.RLIMIT_CORE, 0)
    kernel.drop_rights(NAME)
    os.chdir(order["directory"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    # The program is searched for in the PATH of this process.
    os.putenv("PATH", environment.get("PATH", os.defpath))
    try:
        command = os.posix_spawnp(
            arguments[0], arguments, environment, setsid=True, setsigdef=CHANGED_SIGNALS
        )
    except OSError as error:
        os.write(2, f"{arguments[0]}: {os.strerror(error.errno or 0)}\n".encode())
        connection.close()
        os._exit(NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE)
    # Closing the connection tells that the command has started.
    kernel.close_files(lowest=0)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == command:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else SIGNALLED - code)


def _limit(kind: int, limit: int) -> None:
    resource.setrlimit(kind, (limit, limit))


def _make_place(path: str, *, is_folder: bool) -> None:
    """Create a file or folder to mount something on, unless it is there."""
    if _exists(path):
        return
    parent = path.rpartition("/")[0]
    if parent:
        _make_place(parent, is_folder=True)
    if is_folder:
        os.mkdir(path, 0o755)  # noqa: PTH102 - imports little
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _exists(path: str) -> bool:
    return os.path.lexists(path)
