"""Breaks one kind of change in a database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from flask import Flask

from tests.support.github.app import services_of
from utils.database.sql.engine import SQLITE_FILE


@contextmanager
def broken(app: Flask, change: str) -> Iterator[None]:
    """Make a change, such as `INSERT ON tasks`, fail until the block ends."""
    file = services_of(app).settings.data_dir / SQLITE_FILE
    with closing(sqlite3.connect(file, 60, isolation_level=None)) as connection:
        connection.execute(
            f"CREATE TRIGGER broken AFTER {change} BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER broken")
