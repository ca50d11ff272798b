"""The `supabase_stack` fixture: a migrated Supabase project of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.postgres_server import PostgresServer
from tests.postgrest import MissingPostgrest, postgrest_program
from tests.supabase_stack import NewStack, SupabaseStack, open_supabase_stack

pytest_plugins = ("tests.database_fixtures",)


@pytest.fixture(scope="session")
def postgrest() -> None:
    """Skip where PostgREST cannot be had."""
    try:
        postgrest_program()
    except MissingPostgrest as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def supabase_stack(postgres_server: PostgresServer, postgrest: None) -> Iterator[SupabaseStack]:
    """A migrated project that all tests share; `clear` empties it."""
    with open_supabase_stack(postgres_server, "supabase") as stack:
        stack.migrate()
        yield stack


@pytest.fixture
def new_supabase_stack(postgres_server: PostgresServer, postgrest: None) -> Iterator[NewStack]:
    """Return a function that starts a fresh, unmigrated project in a database of this name."""
    with ExitStack() as running:
        yield lambda name: running.enter_context(open_supabase_stack(postgres_server, name))
