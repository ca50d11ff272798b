"""Creates databases like those of Supabase projects, without the other services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.support.database.postgres_server import PostgresServer
from tests.support.database.schema_snapshot import Snapshot, rows, snapshot
from utils.commands.supabase_sql import FILE
from utils.config.settings import Settings
from utils.database.migrations import migrate

FOLDER = Path(__file__).parents[2] / "data"
ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
OLDER = ("older_schema.sql", "older_schema_untyped.sql")
TABLES = ("users", "projects", "tasks")

Rows = dict[str, dict[Any, dict[str, Any]]]


class Project:
    """The database of a Supabase project, used as its owner."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.superuser_url = server.create(name)
        self.url = server.url(name, "project_owner")
        self.sign_in_url = server.url(name, "supabase_auth_admin")
        self.name = name
        with psycopg.connect(self.superuser_url) as connection:
            connection.execute((FOLDER / "supabase_project.sql").read_bytes())
        self.settings = Settings.model_validate({"database_url": self.url})

    def run(self, statements: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statements.encode())

    def change_accounts(self, statements: str) -> None:
        """Run SQL as the sign-in service, which has no privileges in schema public."""
        with psycopg.connect(self.sign_in_url) as connection:
            connection.execute(statements.encode())

    def make_older(self, file: str) -> Rows:
        users = f"INSERT INTO auth.users (id, email) VALUES ('{ONE}', 'one@x'), ('{TWO}', 'two@x');"
        self.run(users + (FOLDER / file).read_text(encoding="utf-8"))
        return self.rows()

    def migrate(self) -> None:
        migrate(self.settings)

    def paste(self) -> None:
        self.run(FILE.read_text(encoding="utf-8"))

    def snapshot(self) -> Snapshot:
        with psycopg.connect(self.url) as connection:
            return snapshot(connection)

    def rows(self) -> Rows:
        with psycopg.connect(self.url) as connection:
            return {table: rows(connection, table) for table in TABLES}

    def query(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()


WAYS: dict[str, Callable[[Project], None]] = {"migrate": Project.migrate, "paste": Project.paste}
