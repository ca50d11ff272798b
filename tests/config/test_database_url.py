"""Tests that addresses of databases are understood as dashboards and tools print them."""

from __future__ import annotations

import re
import socket
import socketserver
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import make_url, text

from tests.support.database.postgres_server import PostgresServer
from utils.config.database_url import database_address
from utils.config.settings import Settings
from utils.database.sql.engine import open_postgresql, postgresql_url


@pytest.mark.parametrize(
    ("given", "password", "host", "query"),
    [
        ("postgres://u:pw@h:5432/db", "pw", "h", {}),
        ("postgresql+asyncpg://u:pw@h/db", "pw", "h", {}),
        ("postgresql://u:p@w#1/2?3@h/db", "p@w#1/2?3", "h", {}),
        ("postgresql://u:p%40w@h/db", "p@w", "h", {}),
        ("postgresql://u:100%@h/db", "100%", "h", {}),
        ("postgresql://u:a:b@h/db", "a:b", "h", {}),
        ("postgresql://u:pw@h/db?application_name=a@b", "pw", "h", {"application_name": "a@b"}),
        ("'postgresql://u:pw@h/db?sslmode=require'\n", "pw", "h", {"sslmode": "require"}),
        (
            "psql 'postgresql://u:pw@ep-a-pooler.eu.neon.tech/db?sslmode=require'",
            "pw",
            "ep-a-pooler.eu.neon.tech",
            {"sslmode": "require", "pgbouncer": "true"},
        ),
        (
            "postgresql://u:pw@h/db?pgbouncer=true&connection_limit=1&schema=public&pool_timeout=0",
            "pw",
            "h",
            {"pgbouncer": "true", "connection_limit": "1"},
        ),
        (
            "postgresql://postgres.abc:pw@aws-0-eu.pooler.supabase.com:6543/postgres",
            "pw",
            "aws-0-eu.pooler.supabase.com",
            {"pgbouncer": "true"},
        ),
        ("jdbc:postgresql://h/db?user=u&password=pw&ssl=true", "pw", "h", {"sslmode": "require"}),
        ("postgresql://u:pw@h/db?ssl=no-verify", "pw", "h", {"sslmode": "require"}),
        ("host=h port=5433 dbname=db user=u password='p w'", "p w", "h", {}),
        ("postgresql://u:pw@[::1]:5432/db", "pw", "::1", {}),
        ("postgresql://u:pw@/db?host=/var/run", "pw", None, {"host": "/var/run"}),
        ("postgresql://u:pw@a:1,b:2/db", "pw", None, {"host": ("a:1", "b:2")}),
    ],
)
def test_each_usual_form_names_the_same_database(
    given: str, password: str, host: str | None, query: dict[str, object]
) -> None:
    url = postgresql_url(given)
    assert (url.username, url.password, url.host, url.database, dict(url.query)) == (
        "postgres.abc" if "supabase" in given else "u",
        password,
        host,
        "postgres" if "supabase" in given else "db",
        query,
    )
    assert database_address(database_address(given)) == database_address(given)
    secrets = Settings.model_validate({"database_url": given}).secrets
    assert password in secrets


# The message with the process that cancels a query, as PostgreSQL sends it at the start.
NAMED_PROCESS = re.compile(rb"(K\0\0\0\x0c).{4}", re.DOTALL)


class Pooler(socketserver.ThreadingTCPServer):
    """Relays connections to a PostgreSQL, and names itself as the process that answers."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server: PostgresServer) -> None:
        self.path = str(server.folder / ".s.PGSQL.5432")
        super().__init__(("127.0.0.1", 0), PooledConnection)


class PooledConnection(socketserver.BaseRequestHandler):
    """A connection of a client."""

    def handle(self) -> None:
        """Relay in both directions until the client has closed."""
        assert isinstance(self.server, Pooler)
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(self.server.path)
            Thread(target=self.answer, args=(other,), daemon=True).start()
            while received := self.request.recv(65_536):
                other.sendall(received)

    def answer(self, other: socket.socket) -> None:
        """Relay answers; change the process in the message that names it."""
        # The client closes without waiting for the last answer.
        with suppress(OSError):
            while received := other.recv(65_536):
                named = NAMED_PROCESS.sub(lambda found: found[1] + b"\0\0\0\1", received)
                self.request.sendall(named)


def test_a_pooler_is_recognised_and_gets_no_prepared_statement(
    postgres_server: PostgresServer,
) -> None:
    name = make_url(postgres_server.create("behind_a_pooler")).database
    with Pooler(postgres_server) as pooler:
        Thread(target=pooler.serve_forever, daemon=True).start()
        port = pooler.server_address[1]
        engines = open_postgresql(
            f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable", 4
        )
        with engines.writers.connect() as connection:
            for _ in range(8):
                connection.execute(text("SELECT :a"), {"a": 1})
            prepared = text("SELECT count(*) FROM pg_prepared_statements")
            assert connection.execute(prepared).scalar_one() == 0
        engines.close()
        pooler.shutdown()


def test_a_transaction_pooler_gets_no_prepared_statement(postgres_server: PostgresServer) -> None:
    counts = {}
    for name, extra in (("direct", {}), ("pooled", {"pgbouncer": "true", "connection_limit": "2"})):
        address = postgresql_url(postgres_server.create(f"pooled_{name}")).update_query_dict(extra)
        engines = open_postgresql(address.render_as_string(hide_password=False), 4)
        with engines.writers.connect() as connection:
            for _ in range(8):
                connection.execute(text("SELECT :a"), {"a": 1})
            prepared = text("SELECT count(*) FROM pg_prepared_statements")
            counts[name] = connection.execute(prepared).scalar_one()
        size = engines.writers.pool.size()  # type: ignore[attr-defined]
        engines.close()
    assert counts["direct"] > 0
    assert (counts["pooled"], size) == (0, 2)


def test_a_data_folder_below_home_is_not_made_where_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings.model_validate({"data_dir": "~/data"}).data_dir == tmp_path / "data"
