"""Runs a fixed piece of work, so that processor times of different machines can be compared.

The work resembles that of the server: documents, texts, objects, calls and small system calls. Its
processor time changes with the speed of the machine as that of the server does, so their ratio
hardly does.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from threading import Event, Thread

import psutil

ROUNDS = 10
"""Rounds of one piece of the work, which then takes some milliseconds."""

_IS_LINUX = sys.platform == "linux"
_WORDS = re.compile(r"(?P<key>[a-z_]+)=(?P<value>[^ ]+)")
_LINE = "action=task.started task_id=17 agent=scripted attempt=1 status=running " * 4
_DOCUMENT = {
    "id": 17,
    "status": "completed",
    "messages": [{"role": "user", "content": "Write it down. " * 8} for _ in range(12)],
    "stage_seconds": {"queued": 0.01, "cloning": 0.2, "agent": 0.3, "capturing": 0.1},
}


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    name: str
    fields: dict[str, str]


def processor_seconds(process: psutil.Process) -> float:
    """Return the user and system time of a process, without its children."""
    if _IS_LINUX:
        # The clock of the process counts nanoseconds; /proc counts hundredths of seconds.
        return time.clock_gettime(~process.pid << 3 | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


class Reference:
    """Repeats the work in a thread as long as the block runs.

    So it is slowed down by all that slows down the block: other programs, a lower clock.
    """

    def __init__(self) -> None:
        self._pieces: list[float] = []
        self._is_over = Event()
        self._thread = Thread(target=self._repeat)

    def __enter__(self) -> Reference:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """The processor time of one piece of the work, the mean of all."""
        return statistics.mean(self._pieces)

    def _repeat(self) -> None:
        sender, receiver = socket.socketpair()
        with sender, receiver:
            while not self._is_over.is_set():
                started = time.thread_time()
                for number in range(ROUNDS):
                    _work(number, sender, receiver)
                self._pieces.append(time.thread_time() - started)


def _work(number: int, sender: socket.socket, receiver: socket.socket) -> None:
    text = json.dumps(_DOCUMENT | {"id": number})
    sender.sendall(text.encode())
    document = json.loads(receiver.recv(65_536))
    for _ in range(8):
        found = {match["key"]: match["value"] for match in _WORDS.finditer(_LINE)}
        rows = [_Row(place, name, found) for place, name in enumerate(found)]
        changed = [replace(row, name=row.name.upper()) for row in rows]
        texts = [str(asdict(row)) for row in changed]
        document["texts"] = sorted(texts, key=len)
        hashlib.sha256("".join(texts).encode()).hexdigest()
