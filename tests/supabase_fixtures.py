"""The `supabase_stack` fixture: a migrated Supabase project of the tests' own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.postgres_server import PostgresServer
from tests.supabase_stack import SupabaseStack, open_supabase_stack

pytest_plugins = ("tests.database_fixtures",)

NewStack = Callable[[str], SupabaseStack]


@pytest.fixture(scope="session")
def supabase_stack(postgres_server: PostgresServer) -> Iterator[SupabaseStack]:
    """A migrated project that all tests share; `clear` empties it."""
    with open_supabase_stack(postgres_server, "supabase") as stack:
        stack.migrate()
        yield stack


@pytest.fixture
def new_supabase_stack(postgres_server: PostgresServer) -> Iterator[NewStack]:
    """Return a function that starts a fresh, unmigrated project in a database of this name."""
    with ExitStack() as running:
        yield lambda name: running.enter_context(open_supabase_stack(postgres_server, name))
