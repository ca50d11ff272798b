"""Malformed documents that a front end wrote directly are refused or do no harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
from httpx import Client
from pydantic import SecretStr

from database import Database
from tests.support.database.samples import NOBODY, STRANGER, USER, project_fields
from tests.support.supabase.stack import SupabaseStack
from utils.commands.rotate_keys import CURRENT, SEALED, UNFIT, UNREADABLE, report, rotate_keys
from utils.credentials.profiles import change_profile
from utils.credentials.vault import Vault
from utils.errors import InvalidInput, RowUnreadable

VAULT = Vault(SecretStr("a key of at least thirty-two characters"))
BOTH = pytest.mark.parametrize("kind", ["postgresql", "supabase"])
RULES = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE contype = 'c' AND conrelid IN ('users'::regclass, 'projects'::regclass)"
)
JSON_TYPE = {"Content-Type": "application/json"}

LONG_NUMBER = '{"x": 1e5000}'
DEEP = '{"x": ' + "[" * 3_000 + "]" * 3_000 + "}"
LARGE = json.dumps({"x": "long" * 70_000})
PRECISE = '{"x": 0.12345678901234567890123, "codex": {"env": {"KEY": "plain"}}}'

Write = Callable[..., None]


@pytest.fixture
def database(kind: str, request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"{kind}_database")
    for user_id in (USER, STRANGER, NOBODY):
        found.ensure_user(user_id)
    return found


@pytest.fixture
def write_older(kind: str, request: pytest.FixtureRequest) -> Iterator[Write]:
    """Provide a function that writes preferences or settings without their constraints."""
    url = {
        "postgresql": lambda: request.getfixturevalue("postgres_server").url("contract"),
        "supabase": lambda: request.getfixturevalue("supabase_stack").superuser_url,
    }[kind]()
    with psycopg.connect(url) as connection:

        def write(statement: str, *values: str) -> None:
            with connection.transaction():
                rules = connection.execute(RULES).fetchall()
                for table, rule, _ in rules:
                    connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {rule}".encode())
                connection.execute(statement.encode(), values)
                for table, rule, text in rules:
                    added = f"ALTER TABLE {table} ADD CONSTRAINT {rule} {text}"
                    connection.execute(added.encode())

        connection.autocommit = True
        yield write


@pytest.fixture
def own(supabase_stack: SupabaseStack, supabase_database: Database) -> Iterator[Client]:
    supabase_database.ensure_user(USER)
    with supabase_stack.as_user(supabase_stack.token_for(USER)) as client:
        yield client


@pytest.mark.parametrize("document", [LONG_NUMBER, DEEP, LARGE], ids=["number", "deep", "large"])
def test_users_cannot_store_what_cannot_be_read(own: Client, document: str) -> None:
    profile = own.patch("users", content=f'{{"preferences": {document}}}', headers=JSON_TYPE)
    project = {**project_fields(), "user_id": USER, "settings": "SETTINGS"}
    body = json.dumps(project).replace('"SETTINGS"', document)
    assert profile.status_code == own.post("projects", content=body, headers=JSON_TYPE).status_code
    assert (profile.status_code, profile.json()["code"]) == (400, "23514")
    assert own.patch("users", json={"full_name": "long" * 70_000}).status_code == 400


def test_users_store_what_is_large_deep_and_exact_but_can_be_read(own: Client) -> None:
    lists = "[" * 31 + "1e299" + "]" * 31
    document = f'{{"x": {lists}, "y": 1e-5000, "z": -1e299, "text": "{"9" * 200_000}"}}'
    answer = own.patch("users", content=f'{{"preferences": {document}}}', headers=JSON_TYPE)
    assert answer.status_code == 204


@BOTH
def test_the_backend_says_why_it_cannot_store_it(database: Database) -> None:
    for document in (LONG_NUMBER.replace("1e5000", "1" * 400), LARGE):
        with pytest.raises(InvalidInput, match="too large, nested too deeply"):
            database.update_profile(USER, {"preferences": json.loads(document)})


@BOTH
@pytest.mark.parametrize("document", [LONG_NUMBER, DEEP], ids=["number", "deep"])
def test_a_document_that_was_there_before_is_its_own_users_trouble(
    database: Database, write_older: Write, document: str
) -> None:
    project = database.create_project(USER, project_fields())
    write_older("UPDATE projects SET settings = %s WHERE id = %s", document, str(project.id))
    write_older("UPDATE users SET preferences = %s WHERE id = %s", document, USER)
    database.update_profile(STRANGER, {"github_token": "ghp_plain"})
    with pytest.raises(RowUnreadable):
        database.get_profile(USER)
    with pytest.raises(RowUnreadable):
        database.list_projects(USER)
    counts = rotate_keys(database, VAULT)
    assert counts == {SEALED: 1, UNREADABLE: 1}
    assert rotate_keys(database, VAULT) == {CURRENT: 1, UNREADABLE: 1}


@BOTH
def test_secrets_that_grow_out_of_their_row_stand_in_nobodys_way(
    database: Database,
) -> None:
    database.update_profile(USER, {"preferences": {"codex": {"KEY": "x" * 250_000}}})
    database.update_profile(STRANGER, {"github_token": "ghp_plain"})
    counts = rotate_keys(database, VAULT)
    assert counts == {SEALED: 1, UNFIT: 1}
    assert "smaller" in report(counts, 0)


@BOTH
def test_a_number_that_python_rounds_is_in_nobodys_way(
    database: Database, write_older: Write
) -> None:
    write_older("UPDATE users SET preferences = %s WHERE id = %s", PRECISE, USER)
    sections = {"claudeCode": {"env": {"NAME": "value"}}}
    changed = change_profile(database, VAULT, USER, {}, sections)
    assert changed.preferences["x"] == pytest.approx(0.1234567890123456)
    write_older("UPDATE users SET preferences = %s WHERE id = %s", PRECISE, USER)
    assert rotate_keys(database, VAULT) == {SEALED: 1}
