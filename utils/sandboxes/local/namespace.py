"""Starts the supervisor of local sandboxes in a namespace of its own, where the system allows it.

A program, `namespace.py PROJECT DESCRIPTOR`, with as few imports as the supervisor has. In a
process namespace (Linux) nothing can signal a process outside, the supervisor cannot be killed from
inside, and the kernel kills all that is left when the supervisor ends. Containers and some systems
do not allow namespaces; then the supervisor starts without one. The exit code tells which it is.
"""

from __future__ import annotations

import ctypes
import os
import sys

NEW_MOUNTS, NEW_USER, NEW_PROCESSES = 0x00020000, 0x10000000, 0x20000000
PRIVATE_SLAVE = 1 << 19 | 1 << 14
"""Flags of `mount`: later mounts of the system are seen here, and none of here outside."""

SUPERVISOR = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from utils.sandboxes.local.supervisor import main; main(sys.argv[2], int(sys.argv[3]))"
)

SEPARATE = 3
"""The exit code when the supervisor runs in a namespace."""


def main(project: str, descriptor: str) -> None:
    """Start the supervisor, which moves to the background; return when it has begun."""
    if sys.platform == "linux" and is_started_separately(project, descriptor):
        os._exit(SEPARATE)
    run(project, "background", descriptor)


def is_started_separately(project: str, descriptor: str) -> bool:
    """Start the supervisor in a namespace; return False when that is not possible."""
    # In a process of its own, because what was separated cannot be joined again.
    attempt = os.fork()
    if attempt == 0:
        try:
            code = separate(project, descriptor)
        except OSError:
            code = 1
        os._exit(code)
    _, status = os.waitpid(attempt, 0)
    return status == 0


def separate(project: str, descriptor: str) -> int:
    """Start the supervisor as the first process of a namespace; return 0 when it has begun."""
    library = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    # An administrator needs no namespace for users, in which other users' files have no owner.
    if library.unshare(NEW_PROCESSES | NEW_MOUNTS):
        if library.unshare(NEW_USER | NEW_PROCESSES | NEW_MOUNTS):
            return 1
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{user} {user} 1")
        write("/proc/self/gid_map", f"{group} {group} 1")
    answer, begun = os.pipe()
    if os.fork() == 0:
        # Otherwise programs would look for themselves under the numbers of the other processes.
        if library.mount(b"none", b"/", None, PRIVATE_SLAVE, None) or library.mount(
            b"proc", b"/proc", b"proc", 0, None
        ):
            os._exit(1)
        os.write(begun, b"1")
        run(project, "foreground", descriptor)
    os.close(begun)
    return 0 if os.read(answer, 1) else 1


def write(path: str, text: str) -> None:
    """Write a file of the kernel."""
    with open(path, "w") as file:  # noqa: PTH123 - imports little
        file.write(text)


def run(project: str, *arguments: str) -> None:
    """Become the supervisor."""
    options = ("-I", "-S", "-X", "utf8", "-c", SUPERVISOR)
    os.execv(sys.executable, [sys.executable, *options, project, *arguments])  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
