"""Keeps connections to an SQLite file at hand, beside the pool that they come from.

To check a connection out of SQLAlchemy's pool and in again takes several times as long as SQLite
needs to read a row. A kept connection stays checked out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine

Result = TypeVar("Result")


class KeptConnections:
    """Lends connections of an engine to one thread each, and keeps up to `most` of them open.

    The pool of the engine must have `most` places more than are needed otherwise.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine = engine
        self._most = most
        self._idle: deque[Connection] = deque()

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Return the result of the work on a connection; keep none on which it raises."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        try:
            result = work(connection)
            if connection.in_transaction():
                connection.rollback()
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < self._most:
            self._idle.append(connection)
        else:
            connection.close()
        return result

    def close(self) -> None:
        """Give the connections back, those in use at the end of their work."""
        self._most = 0
        while self._idle:
            self._idle.pop().close()
