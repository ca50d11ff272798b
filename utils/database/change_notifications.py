"""Exchanges changes of tasks with the other servers of a PostgreSQL database: LISTEN and NOTIFY."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event
from uuid import uuid4

import psycopg
import structlog

from utils.database.change_polling import BackgroundThread
from utils.database.changes import Change, Changes

STOP_SECONDS = 1.0
"""Time after which a waiting thread looks whether it has to end."""

RECONNECT_SECONDS = 2.0
CHANNEL = "async_code_tasks"
MAX_CHANGES = 100
"""Changes in one notification. PostgreSQL refuses payloads of 8,000 bytes and more."""

_CHANGE = re.compile(r"([0-9]{1,18}) ([0-9a-f-]{36})?(\+)?")

log = structlog.get_logger(__name__)


class NotifySource:
    """Sends and receives changes through LISTEN and NOTIFY; `connect` opens a connection."""

    def __init__(self, changes: Changes, connect: Callable[[], psycopg.Connection]) -> None:
        self._changes = changes
        self._connect = connect
        # This server need not be told of its own changes.
        self._origin = uuid4().hex
        self._unsent: SimpleQueue[Change | None] = SimpleQueue()
        self._stopped = Event()
        self._receiver = BackgroundThread("task changes", self._receive)
        self._sender = BackgroundThread("task notifications", self._send)

    def listen(self) -> None:
        """See `ChangeSource`."""
        self._receiver.ensure()

    def send(self, change: Change) -> None:
        """See `ChangeSource`."""
        self._unsent.put(change)
        self._sender.ensure()

    def close(self) -> None:
        """See `ChangeSource`."""
        self._stopped.set()
        self._unsent.put(None)
        self._sender.join()
        self._receiver.join()

    def _receive(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    # What was announced while nobody listened is lost.
                    self._changes.wake_all()
                    while not self._stopped.is_set():
                        for notice in connection.notifies(timeout=STOP_SECONDS):
                            self._announce(notice.payload)
            except psycopg.Error as error:
                self._pause("changes not received", error)

    def _announce(self, payload: str) -> None:
        origin, _, changed = payload.partition(" ")
        if origin == self._origin:
            return
        for one in changed.split(","):
            match = _CHANGE.fullmatch(one)
            if match:
                task_id, user_id, only_events = match.groups()
                self._changes.announce_here(Change(int(task_id), user_id, bool(only_events)))

    def _send(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._connect() as connection:
                    while (first := self._unsent.get()) is not None:
                        for payload in self._payloads(first):
                            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
                    return
            except psycopg.Error as error:
                self._pause("changes not sent", error)

    def _payloads(self, first: Change) -> Iterator[str]:
        """Yield the waiting changes, each once, in few notifications."""
        changes = {first: None}
        while True:
            try:
                waiting = self._unsent.get_nowait()
            except Empty:
                break
            if waiting is None:
                self._unsent.put(None)
                break
            changes[waiting] = None
        texts = map(_text, changes)
        while some := list(islice(texts, MAX_CHANGES)):
            yield f"{self._origin} " + ",".join(some)

    def _pause(self, event: str, error: psycopg.Error) -> None:
        log.debug(event, action="changes.disconnected", reason=type(error).__name__)
        self._stopped.wait(RECONNECT_SECONDS)


def _text(change: Change) -> str:
    return f"{change.task_id} {change.user_id or ''}{'+' if change.only_events else ''}"
