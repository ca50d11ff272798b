"""Tests that operators learn why a database cannot be used, and that readiness knows it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.fixtures.database import settings_for
from tests.support.database.postgres_server import PostgresServer
from utils.database.migrations import migrate
from utils.database.sql.database import open_sql_database
from utils.database.sql.reasons import explain
from utils.errors import DatabaseUnavailable


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ('FATAL:  password authentication failed for user "u"', "the user or the password"),
        ('FATAL:  role "u" does not exist', "the user or the password"),
        ("FATAL:  Tenant or user not found", "the user or the password"),
        ('FATAL:  database "d" does not exist', "named in DATABASE_URL does not exist"),
        ("could not translate host name", "has no address"),
        ("connection failed: Connection refused", "Nothing accepts connections"),
        ("FATAL:  sorry, too many clients already", "no free connection"),
        ("server does not support SSL, but SSL was required", "sslmode"),
        ("database or disk is full", "disk of the database is full"),
        ("attempt to write a readonly database", "cannot be written"),
        ("permission denied for table tasks", "may not use the tables"),
        ("file is not a database", "is damaged"),
        ("connection timeout expired", "did not answer in time"),
        ("something new", "something new"),
    ],
)
def test_each_reason_is_explained_with_what_to_do(driver: str, said: str) -> None:
    error = DatabaseUnavailable("The database did not respond.")
    error.__cause__ = Exception(f"{driver}\nsecond line")
    assert said in explain(error)
    assert "second line" not in explain(error)


def test_a_database_that_became_read_only_is_not_ready_until_it_is_writable(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = postgres_server.create("reasons")
    settings = settings_for(tmp_path_factory.mktemp("reasons"), url)
    migrate(settings)
    database = open_sql_database(settings)
    try:
        for mode, is_ready in (("on", False), ("off", True)):
            with database.engines.writers.connect() as connection:
                connection.execute(text("SET default_transaction_read_only = off"))
                connection.execute(text("SET transaction_read_only = off"))
                statement = f"ALTER DATABASE reasons SET default_transaction_read_only = {mode}"
                connection.execute(text(statement))
                connection.commit()
            database.engines.writers.dispose()
            try:
                database.record_heartbeat()
            except DatabaseUnavailable:
                assert not is_ready
            database.ping()
            assert (database.write_failure is None) == is_ready
            assert is_ready or "cannot be written" in str(database.write_failure)
    finally:
        database.close()
