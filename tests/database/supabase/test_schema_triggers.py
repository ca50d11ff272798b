"""Triggers of the database that react to changes of accounts and rows."""

from __future__ import annotations

import pytest

from tests.support.database.schema_projects import ONE, Project


def test_a_user_appears_with_the_account_and_goes_with_it(project: Project) -> None:
    project.migrate()
    details = '{"full_name": "One", "avatar_url": "https://x/y.png", "user_name": "one"}'
    project.change_accounts(
        "INSERT INTO auth.users (id, email, raw_user_meta_data)"
        f" VALUES ('{ONE}', 'one@x', '{details}')"
    )
    profile = "SELECT email, full_name, avatar_url, github_username FROM users"
    assert project.query(profile) == [("one@x", "One", "https://x/y.png", "one")]
    project.run("UPDATE users SET full_name = 'Mine'")
    project.change_accounts("UPDATE auth.users SET email = 'new@x'")
    assert project.query(profile) == [("new@x", "Mine", "https://x/y.png", "one")]
    project.run(f"INSERT INTO tasks (user_id, repo_url) VALUES ('{ONE}', '')")
    project.change_accounts("DELETE FROM auth.users")
    assert project.query("SELECT id FROM users") == []
    assert project.query("SELECT id FROM tasks") == []


@pytest.mark.parametrize(
    "details", ["NULL", "'null'", "'[1]'", "'7'", '\'{"full_name": {"first": [1]}}\'']
)
def test_no_profile_makes_a_sign_up_fail(migrated_project: Project, details: str) -> None:
    migrated_project.change_accounts(
        "DELETE FROM auth.users; INSERT INTO auth.users (id, raw_user_meta_data)"
        f" VALUES ('{ONE}', {details})"
    )
    assert migrated_project.query("SELECT id::text FROM users") == [(ONE,)]


def test_a_sign_up_goes_through_when_the_row_cannot_be_made(project: Project) -> None:
    project.migrate()
    project.run("ALTER TABLE users ADD CHECK (email <> 'odd')")
    project.change_accounts(f"INSERT INTO auth.users (id, email) VALUES ('{ONE}', 'odd')")
    assert project.query("SELECT email FROM auth.users") == [("odd",)]


def test_accounts_that_were_there_before_get_their_row(project: Project) -> None:
    project.run(f"INSERT INTO auth.users (id, email) VALUES ('{ONE}', 'one@x')")
    project.paste()
    assert project.query("SELECT id::text, email FROM users") == [(ONE, "one@x")]


def test_a_change_moves_updated_at_unless_it_says_when(migrated_project: Project) -> None:
    migrated_project.run(
        f"DELETE FROM users; INSERT INTO users (id, updated_at) VALUES ('{ONE}', '2020-01-01Z');"
        "UPDATE users SET full_name = 'One'"
    )
    moved = "SELECT updated_at = '2020-01-01Z', updated_at = '2021-01-01Z' FROM users"
    assert migrated_project.query(moved) == [(False, False)]
    migrated_project.run("UPDATE users SET updated_at = '2021-01-01Z'")
    assert migrated_project.query(moved) == [(False, True)]
