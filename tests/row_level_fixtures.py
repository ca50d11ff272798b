"""Two users of one project, their clients, and a look at everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from httpx import Client
from sqlalchemy import Engine, create_engine

from tests.row_level_rows import Person, add_person, state
from utils.database_engine import postgresql_url

if TYPE_CHECKING:
    from tests.supabase_stack import SupabaseStack

pytest_plugins = ("tests.supabase_fixtures",)


@pytest.fixture(scope="module")
def engine(supabase_stack: SupabaseStack) -> Iterator[Engine]:
    """A connection that sees everything."""
    supabase_stack.clear()
    engine = create_engine(postgresql_url(supabase_stack.superuser_url))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def owner(supabase_stack: SupabaseStack, engine: Engine) -> Person:
    return add_person(engine, supabase_stack)


@pytest.fixture(scope="module")
def other(supabase_stack: SupabaseStack, engine: Engine) -> Person:
    return add_person(engine, supabase_stack)


@pytest.fixture(scope="module")
def clients(
    supabase_stack: SupabaseStack, owner: Person, other: Person
) -> Iterator[dict[str, Client]]:
    def sign_in(person: Person, **claims: Any) -> Client:
        return supabase_stack.as_user(supabase_stack.token_for(person.id, **claims))

    with ExitStack() as open_clients:
        made = {
            "anon": supabase_stack.as_anon(),
            "nobody": sign_in(owner, sub=None),
            "owner": sign_in(owner),
            "other": sign_in(other),
        }
        yield {name: open_clients.enter_context(client) for name, client in made.items()}


@pytest.fixture(params=["anon", "nobody", "other"])
def attacker(request: pytest.FixtureRequest, clients: dict[str, Client]) -> Client:
    return clients[request.param]


@pytest.fixture
def own(clients: dict[str, Client]) -> Client:
    return clients["owner"]


@pytest.fixture
def no_changes(engine: Engine, owner: Person, other: Person) -> Iterator[None]:
    """Nothing in the database changes while the test runs."""
    before = state(engine)
    yield
    assert state(engine) == before
