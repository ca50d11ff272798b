"""Gives the keeper of an isolated sandbox a network of its own, in which only a proxy listens.

It also takes from it the system calls that would lead around namespaces.

The keeper has administrator's rights there and over nothing else; the programs that it starts have
none. A socket stays in the network that it was made in, so the server accepts the connections of
the sandbox through the socket that is made here, and nothing has to run in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct

from utils.sandboxes.local.namespace import NEW_MOUNTS, NEW_USER, write
from utils.sandboxes.separation.system_calls import refuse_shared_calls

NEW_NETWORK = 0x40000000

PROXY_ADDRESS = ("127.0.0.1", 3128)
"""The address of the proxy in each of these networks."""

BACKLOG = 64

SET_INTERFACE_FLAGS = 0x8914
INTERFACE = struct.Struct("16sH14x")
UP, RUNNING = 0x1, 0x40


def enter_private_network(connection: socket.socket) -> None:
    """Enter a new network; send the listening socket of its proxy. Raises `OSError`."""
    library = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    # With mounts that belong to it, it may show a command a folder that the view does not have.
    if library.unshare(NEW_USER | NEW_NETWORK | NEW_MOUNTS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # It is set already where the supervisor has a namespace for users.
    with contextlib.suppress(OSError):
        write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{user} {user} 1")
    write("/proc/self/gid_map", f"{group} {group} 1")
    with connection, socket.socket() as listening:
        start_loopback(library, listening)
        listening.bind(PROXY_ADDRESS)
        listening.listen(BACKLOG)
        refuse_shared_calls(library)
        socket.send_fds(connection, [b"l"], [listening.fileno()])


def start_loopback(library: ctypes.CDLL, any_socket: socket.socket) -> None:
    """Turn on the loopback interface. Raises `OSError`."""
    request = ctypes.create_string_buffer(INTERFACE.pack(b"lo", UP | RUNNING), 40)
    if library.ioctl(any_socket.fileno(), SET_INTERFACE_FLAGS, request):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
