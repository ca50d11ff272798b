"""The contract of every database for profiles and their secrets."""

from __future__ import annotations

from typing import Any

import pytest

from database import Database
from tests.support.database.samples import NOBODY, STRANGER, USER, all_at_once
from utils.errors import NotFound

PREFERENCES = {"claudeCode": {"env": {"NAME": "värde"}, "credentials": None}, "n": [1, 0.5]}


def test_a_profile_is_replaced_as_long_as_it_is_the_one_that_was_seen(database: Database) -> None:
    seen = database.update_profile(USER, {"github_token": "first", "preferences": PREFERENCES})
    fields = {"full_name": "Ada", "github_token": None, "preferences": {"n": 2}}
    changed = database.replace_profile(USER, seen, fields)
    assert changed is not None
    assert {name: getattr(changed, name) for name in fields} == fields
    assert (changed.email, changed.created_at) == (seen.email, seen.created_at)
    assert changed.updated_at > seen.updated_at
    assert database.get_profile(USER) == changed
    assert database.replace_profile(USER, seen, {"full_name": "Eve"}) is None
    assert database.get_profile(USER) == changed


CHANGES = [{"github_token": "next"}, {"preferences": {"n": 3}}, {"full_name": "Ada"}]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_change_in_the_meantime_is_seen(database: Database, change: dict[str, Any]) -> None:
    seen = database.update_profile(USER, {"github_token": "first", "preferences": PREFERENCES})
    now = database.update_profile(USER, change)
    assert database.replace_profile(USER, seen, {"github_token": "lost"}) is None
    assert database.get_profile(USER) == now


@pytest.mark.parametrize("stored", [None, {}, [], "text", 5], ids=repr)
def test_preferences_that_are_no_object_are_replaced(database: Database, stored: object) -> None:
    seen = database.update_profile(USER, {"preferences": stored})
    changed = database.replace_profile(USER, seen, {"preferences": PREFERENCES})
    assert changed is not None
    assert changed.preferences == PREFERENCES


def test_one_of_two_changes_at_once_is_refused(database: Database) -> None:
    seen = database.get_profile(USER)

    def change(text: str) -> bool:
        return database.replace_profile(USER, seen, {"github_token": text}) is not None

    assert sorted(all_at_once([lambda: change("left"), lambda: change("right")])) == [False, True]


def test_a_profile_of_nobody_is_not_replaced(database: Database) -> None:
    seen = database.get_profile(USER)
    with pytest.raises(NotFound):
        database.replace_profile(NOBODY, seen, {"full_name": "Eve"})


def test_profiles_with_secrets_are_listed_in_pages(database: Database) -> None:
    assert database.list_profile_ids() == []
    database.update_profile(USER, {"github_token": "secret"})
    database.update_profile(STRANGER, {"preferences": PREFERENCES})
    database.ensure_user(NOBODY)
    assert database.list_profile_ids() == [USER, STRANGER]
    assert database.list_profile_ids(limit=1) == [USER]
    assert database.list_profile_ids(USER, limit=1) == [STRANGER]
    assert database.list_profile_ids(STRANGER) == []
