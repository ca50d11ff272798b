"""Row-level security: users can do nothing to other users' rows or to the backend's."""

from __future__ import annotations

import pytest
from httpx import Client, Response
from sqlalchemy import Engine, text

from tests.support.database.row_level_rows import (
    HIDDEN,
    OWN_PROFILE,
    OWN_PROJECT,
    SHARED,
    TABLES,
    Person,
    row_of,
)

REFUSED = {401, 403, 404}
REPRESENTATION = {"Prefer": "return=representation"}
UPSERT = {"Prefer": "resolution=merge-duplicates,return=representation"}

# `attacker` knows the keys of all rows of `owner`; the database does not change during the tests.
every_table = pytest.mark.parametrize("table", TABLES)
unchanged = pytest.mark.usefixtures("no_changes")

MAY = {("projects", "DELETE"), *((table, "SELECT") for table in SHARED)}
MAY_BY_COLUMN = {
    *(("users", "UPDATE", column) for column in OWN_PROFILE),
    *(("projects", "UPDATE", column) for column in OWN_PROJECT),
    *(("projects", "INSERT", column) for column in {*OWN_PROJECT, "user_id"}),
}


def is_without_effect(answer: Response) -> bool:
    return answer.status_code in REFUSED or (answer.is_success and answer.json() == [])


def test_every_table_is_looked_at_here_and_has_its_rows_guarded(engine: Engine) -> None:
    query = text(
        "SELECT relname, relrowsecurity FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f')"
    )
    with engine.connect() as connection:
        found = {row.relname: row.relrowsecurity for row in connection.execute(query)}
    assert found == dict.fromkeys(TABLES, True)


def test_the_roles_of_the_browser_have_these_rights_and_no_others(engine: Engine) -> None:
    on_tables = text(
        "SELECT grantee::regrole::text, relname, privilege_type FROM pg_class,"
        " aclexplode(relacl) WHERE relnamespace = 'public'::regnamespace"
        " AND grantee IN (0, 'anon'::regrole, 'authenticated'::regrole)"
    )
    on_columns = text(
        "SELECT grantee::regrole::text, relname, privilege_type, attname FROM pg_attribute"
        " JOIN pg_class ON pg_class.oid = attrelid, aclexplode(attacl)"
        " WHERE relnamespace = 'public'::regnamespace"
    )
    with engine.connect() as connection:
        assert {tuple(row) for row in connection.execute(on_tables)} == {
            ("authenticated", *right) for right in MAY
        }
        assert {tuple(row) for row in connection.execute(on_columns)} == {
            ("authenticated", *right) for right in MAY_BY_COLUMN
        }


@unchanged
@every_table
def test_somebody_else_reads_nothing(attacker: Client, owner: Person, table: str) -> None:
    assert is_without_effect(attacker.get(table, params=owner.keys[table]))
    assert owner.id not in attacker.get(table).text


@unchanged
@every_table
def test_somebody_else_inserts_nothing(
    attacker: Client, engine: Engine, owner: Person, table: str
) -> None:
    row = row_of(engine, owner, table)
    assert row
    for name in ("id", "sequence", "token_hash"):
        assert attacker.post(table, json=row).status_code in REFUSED
        assert attacker.post(table, json=row, headers=UPSERT).status_code in REFUSED
        row.pop(name, None)


@unchanged
@every_table
def test_somebody_else_changes_nothing(
    attacker: Client, engine: Engine, owner: Person, table: str
) -> None:
    for column, value in row_of(engine, owner, table).items():
        answer = attacker.patch(
            table, params=owner.keys[table], json={column: value}, headers=REPRESENTATION
        )
        assert is_without_effect(answer), column


@unchanged
@every_table
def test_somebody_else_deletes_nothing(attacker: Client, owner: Person, table: str) -> None:
    answer = attacker.delete(table, params=owner.keys[table], headers=REPRESENTATION)
    assert is_without_effect(answer)


@unchanged
@every_table
@pytest.mark.parametrize("who", ["anon", "nobody"])
def test_who_has_no_rows_changes_and_deletes_none_without_a_filter(
    clients: dict[str, Client], engine: Engine, owner: Person, who: str, table: str
) -> None:
    # A filter reads the row, so the policies for reading apply as well.
    for column, value in row_of(engine, owner, table).items():
        clients[who].patch(table, json={column: value})
    clients[who].delete(table)


@unchanged
@pytest.mark.parametrize("table", HIDDEN)
def test_what_is_the_backends_is_hidden_from_its_owner_too(
    own: Client, engine: Engine, owner: Person, table: str
) -> None:
    row, key = row_of(engine, owner, table), owner.keys[table]
    answers = [
        own.get(table),
        own.get(table, params={"select": "count"}),
        own.post(table, json=row),
        own.post(table, json=row, headers=UPSERT),
        own.patch(table, params=key, json=row),
        own.delete(table, params=key),
    ]
    assert [answer.status_code for answer in answers if answer.status_code not in REFUSED] == []


@pytest.mark.parametrize(("who", "tables"), [("anon", set()), ("owner", set(SHARED))])
def test_the_description_names_only_what_may_be_read(
    clients: dict[str, Client], who: str, tables: set[str]
) -> None:
    description = clients[who].get("").json()
    assert set(description.get("definitions", {})) == tables
    assert {path.strip("/") for path in description["paths"]} - {""} == tables


@pytest.mark.parametrize("table", SHARED)
def test_embedding_shows_nothing_of_somebody_else(
    clients: dict[str, Client], owner: Person, table: str
) -> None:
    for embedded in TABLES:
        query = {"select": f"*,{embedded}(*)"}
        answer = clients["other"].get(table, params=query)
        assert owner.id not in answer.text
        assert embedded in SHARED or not answer.is_success
        assert not clients["anon"].get(table, params=query).is_success


@unchanged
@pytest.mark.parametrize("who", ["anon", "owner"])
def test_no_function_can_be_called(clients: dict[str, Client], engine: Engine, who: str) -> None:
    query = text(
        r"SELECT proname, proargnames[1\:pronargs], has_function_privilege('anon', oid, 'EXECUTE')"
        " OR has_function_privilege('authenticated', oid, 'EXECUTE')"
        " FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    with engine.connect() as connection:
        functions = connection.execute(query).all()
    assert len(functions) >= 3
    for name, arguments, is_open in functions:
        assert not is_open, name
        answer = clients[who].post(f"rpc/{name}", json=dict.fromkeys(arguments or (), None))
        assert answer.status_code in REFUSED, name
