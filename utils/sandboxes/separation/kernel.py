"""Calls functions of the kernel that Python does not have. With few imports: the supervisor forks.

Every function raises `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import os
import signal
import struct
from collections.abc import Collection

NEW_MOUNTS, NEW_IPC, NEW_PROCESSES = 0x0002_0000, 0x0800_0000, 0x2000_0000
READ_ONLY, NO_SETUID, NO_DEVICES, NO_PROGRAMS = 0x1, 0x2, 0x4, 0x8
"""Attributes of a mount."""

DIE_WITH_PARENT, CLEAR_AMBIENT = (1, 9), (47, 4)
SET_DUMPABLE, SET_NAME, DROP_FROM_BOUND, NO_NEW_PRIVILEGES = 4, 15, 24, 38
"""First arguments of `prctl`."""

MOST_CAPABILITIES = 64

COMMAND_LINE = slice(45, 47)
"""The place of its begin and end in memory among the values after the name of a process."""

_OPEN_TREE, _MOVE_MOUNT, _OPEN_SYSTEM, _CONFIGURE, _MOUNT_SYSTEM = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _MOUNT_SETATTR = 435, 436, 442
"""Numbers of system calls, the same on all kinds of processors."""

_HERE, _EMPTY_PATH, _WHOLE_TREE = -100, 0x1000, 0x8000
_CLONE, _FROM_DESCRIPTOR, _CLOSE_ON_EXEC, _CREATE = 0x1, 0x4, 0x1, 6
_BIND = 0x1000
_OWNER = 0xB701
_CAPABILITIES_VERSION = 0x2008_0522

# Calls keep the lock of the interpreter, which a forked process could not take.
_library = ctypes.PyDLL(None, use_errno=True)
# Each command makes dozens of these calls, so their arguments are converted in the fastest way.
_control = _library["prctl"]
_control.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _system_call(number: int, *arguments: int | bytes) -> int:
    values = (ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)
    return _check(_library.syscall(ctypes.c_long(number), *values))


def fork(kinds: int) -> int:
    """Fork a process into new namespaces, as `os.fork` does. There must be no other thread."""
    arguments = struct.pack("=11Q", kinds, 0, 0, 0, signal.SIGCHLD, *[0] * 6)
    return _system_call(_CLONE3, arguments, len(arguments))


def unshare(kinds: int) -> None:
    """Enter new namespaces; a new one of processes is for the children."""
    _check(_library.unshare(kinds))


def join(namespace: int) -> None:
    """Enter the namespace of a descriptor."""
    _check(_library.setns(namespace, 0))


def owner_of(namespace: int) -> int:
    """Return a descriptor of the user namespace that another namespace belongs to."""
    return fcntl.ioctl(namespace, _OWNER)


def process_control(operation: int, *arguments: int) -> None:
    """Call `prctl`."""
    _check(_control(operation, *[*arguments, 0, 0, 0, 0][:4]))


def drop_rights(name: bytes) -> None:
    """Give up all capabilities for good, those of programs that are started later as well.

    The process gets a name, and no other one without capabilities can look into it.
    """
    process_control(*CLEAR_AMBIENT)
    for capability in range(MOST_CAPABILITIES):
        try:
            process_control(DROP_FROM_BOUND, capability)
        except OSError as error:
            # The kernel has no more of them.
            if error.errno == errno.EINVAL:
                break
            raise
    _check(_library.capset(struct.pack("=Ii", _CAPABILITIES_VERSION, 0), bytes(24)))
    process_control(NO_NEW_PRIVILEGES, 1)
    _check(_library.prctl(SET_NAME, name, 0, 0, 0))
    process_control(SET_DUMPABLE, 0)
    process_control(*DIE_WITH_PARENT)


def replace_command_line(text: bytes) -> None:
    """Replace what others read as the command line of this process, and not its name."""
    with io.FileIO("/proc/self/stat") as file:
        values = file.read(4096).rpartition(b")")[2].split()
    begin, end = (int(value) for value in values[COMMAND_LINE])
    # The last byte has to stay zero.
    ctypes.memmove(begin, text[: end - begin - 1].ljust(end - begin, b"\0"), end - begin)


def open_processes(attributes: int) -> int:
    """Return a descriptor of a tree that shows the processes of the present namespace."""
    system = _system_call(_OPEN_SYSTEM, b"proc", _CLOSE_ON_EXEC)
    try:
        _system_call(_CONFIGURE, system, _CREATE, 0, 0, 0)
        return _system_call(_MOUNT_SYSTEM, system, _CLOSE_ON_EXEC, attributes)
    finally:
        os.close(system)


def mount_file(source: str, target: str) -> None:
    """Mount a file at the place of another one."""
    _check(_library.mount(source.encode(), target.encode(), None, ctypes.c_ulong(_BIND), None))


def open_tree(path: str, attributes: int) -> int:
    """Return a descriptor of a copy of a mounted tree, with more attributes."""
    flags = _CLONE | os.O_CLOEXEC | _WHOLE_TREE
    tree = _system_call(_OPEN_TREE, _HERE, os.fsencode(path), flags)
    set_attributes(tree, "", attributes, _EMPTY_PATH | _WHOLE_TREE)
    return tree


def attach_tree(tree: int, path: str) -> None:
    """Mount a tree at a place that exists."""
    _system_call(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(path), _FROM_DESCRIPTOR)


def set_attributes(folder: int, path: str, attributes: int, flags: int = 0) -> None:
    """Give a mount more attributes."""
    what = struct.pack("=QQQQ", attributes, 0, 0, 0)
    _system_call(_MOUNT_SETATTR, folder, os.fsencode(path), flags, what, len(what))


def close_files(lowest: int = 3, keep: Collection[int] = ()) -> None:
    """Close all open files from a number upwards, except some."""
    for kept in sorted(keep):
        if kept > lowest:
            _system_call(_CLOSE_RANGE, lowest, kept - 1, 0)
        lowest = kept + 1
    _system_call(_CLOSE_RANGE, lowest, 2**32 - 1, 0)
