"""Takes system calls from the commands of isolated sandboxes that no namespace separates.

They reach what all processes of a machine share: the kernel's keys and its log, other machines
through a virtual one's host, and parts of the kernel whose faults have let programs out. A filter
that the keeper sets is inherited by everything that it starts, and cannot be removed. The calls
fail as on a kernel that does not have them, for which programs are prepared.

With few imports, because the supervisor forks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

LARGEST_SEGMENT_BYTES = 65_536
"""Size of a segment of System V. Its memory belongs to no process; at most 4096 of them exist."""

FAMILIES = (0, 1, 2, 10, 16)
"""Kinds of sockets: none, of this machine, IPv4, IPv6, and with the kernel about the network.

All others, such as those between a virtual machine and its host, know no network namespaces.
"""

SET_FILTER = (22, 2)
"""Arguments of `prctl` for PR_SET_SECCOMP and SECCOMP_MODE_FILTER."""

OTHER_INTERFACE = 0x4000_0000
"""The lowest number of calls of the interface x32."""

ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0000
LOAD, IF_EQUAL, IF_ABOVE, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
CALL, INTERFACE, FIRST, SECOND, SECOND_UPPER = 0, 4, 16, 24, 28
"""Places of what is decided on, as a little-endian machine has it: number, interface, arguments."""

INSTRUCTION = struct.Struct("<HBBI")
_NOT_THERE = INSTRUCTION.pack(RETURN, 0, 0, REFUSE | errno.ENOSYS)
_ALLOWED = INSTRUCTION.pack(RETURN, 0, 0, ALLOW)


class Numbers(NamedTuple):
    """The numbers of system calls on one kind of processor.

    `interface` tells programs of this kind from others, such as those of 32 bits, whose calls have
    other numbers. `refused` are io_uring, which does the work of other calls, add_key, request_key,
    keyctl, syslog, perf_event_open, bpf and userfaultfd.
    """

    interface: int
    socket: int
    shmget: int
    set_affinity: int
    refused: tuple[int, ...]


NUMBERS = {
    "x86_64": Numbers(0xC000_003E, 41, 29, 203, (425, 426, 427, 248, 249, 250, 103, 298, 321, 323)),
    "aarch64": Numbers(
        0xC000_00B7, 198, 194, 122, (425, 426, 427, 217, 218, 219, 116, 241, 280, 282)
    ),
}


class Program(ctypes.Structure):
    """A filter as the kernel takes it."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_shared_calls(library: ctypes.CDLL) -> None:
    """Take the calls from this process, which needs rights over its namespace. Raises `OSError`."""
    _set_filter(library, call_filter(_numbers()))


def fix_processors(library: ctypes.CDLL) -> None:
    """Keep this process on its processors, which has called `refuse_shared_calls` before.

    Raises `OSError`.
    """
    call = _numbers().set_affinity
    code = [_load(CALL), *_when(IF_EQUAL, call, _refuse(errno.EPERM)), _ALLOWED]
    _set_filter(library, b"".join(code))


def _numbers() -> Numbers:
    numbers = NUMBERS.get(os.uname().machine)
    if numbers is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return numbers


def _set_filter(library: ctypes.CDLL, code: bytes) -> None:
    program = Program(len(code) // INSTRUCTION.size, code)
    if library.prctl(*SET_FILTER, ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def call_filter(numbers: Numbers) -> bytes:
    """Return the program that decides about each system call."""
    refused = [*_unless(IF_EQUAL, numbers.interface, _NOT_THERE), _load(CALL)]
    refused += _when(IF_AT_LEAST, OTHER_INTERFACE, _NOT_THERE)
    for number in numbers.refused:
        refused += _when(IF_EQUAL, number, _NOT_THERE)
    families = [_load(FIRST)]
    for family in FAMILIES:
        families += _when(IF_EQUAL, family, _ALLOWED)
    families.append(_refuse(errno.EAFNOSUPPORT))
    sizes = [
        _load(SECOND_UPPER),
        *_unless(IF_EQUAL, 0, _refuse(errno.ENOMEM)),
        _load(SECOND),
        *_when(IF_ABOVE, LARGEST_SEGMENT_BYTES, _refuse(errno.ENOMEM)),
        _ALLOWED,
    ]
    return b"".join(
        [
            _load(INTERFACE),
            *refused,
            *_when(IF_EQUAL, numbers.socket, *families),
            *_when(IF_EQUAL, numbers.shmget, *sizes),
            _ALLOWED,
        ]
    )


def _load(place: int) -> bytes:
    return INSTRUCTION.pack(LOAD, 0, 0, place)


def _refuse(number: int) -> bytes:
    return INSTRUCTION.pack(RETURN, 0, 0, REFUSE | number)


def _when(test: int, value: int, *then: bytes) -> list[bytes]:
    """Return the instructions that are done when what was loaded passes a test."""
    return [INSTRUCTION.pack(test, 0, len(then), value), *then]


def _unless(test: int, value: int, *then: bytes) -> list[bytes]:
    return [INSTRUCTION.pack(test, len(then), 0, value), *then]
