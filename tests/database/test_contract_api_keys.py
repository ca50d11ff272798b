"""The contract of every database for API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import pytest

from database import Database
from tests.support.database.samples import (
    IMPOSSIBLE_ID,
    LATER,
    LONG_AGO,
    NOBODY,
    STRANGER,
    USER,
    all_at_once,
)
from utils.database.shared import KEY_USE_PERIOD, MAX_API_KEYS
from utils.errors import Conflict, NotFound, Unauthenticated
from utils.models.users import ApiKey, NewApiKey, Scope


def add(database: Database, prefix: str = "ac_1", user: str = USER, **changes: object) -> ApiKey:
    fields = {"name": "Laptop é", "key_hash": f"hash of {prefix}", "scope": Scope.RUN}
    new = NewApiKey(prefix=prefix, **({"expires_at": None} | fields | changes))  # type: ignore[arg-type]
    return database.add_api_key(user, new)


def test_a_key_is_found_by_its_prefix_as_it_was_stored(database: Database) -> None:
    added = add(database, expires_at=LATER)
    assert (added.user_id, added.name, added.scope) == (USER, "Laptop é", Scope.RUN)
    assert (added.expires_at, added.last_used_at, added.is_blocked) == (LATER, None, False)
    assert isinstance(added.scope, Scope)
    assert database.find_api_key("ac_1") == added
    for unknown in ("ac_", "ac_11", "AC_1", "", "%", 'ac_1"),or(id.gt.0', "é"):
        assert database.find_api_key(unknown) is None


def test_a_prefix_belongs_to_one_key(database: Database) -> None:
    add(database)
    with pytest.raises(Conflict):
        add(database, user=STRANGER)


def test_a_user_sees_the_own_keys_newest_first(database: Database) -> None:
    older, newer = add(database, "ac_1"), add(database, "ac_2")
    add(database, "ac_3", STRANGER)
    assert database.list_api_keys(USER) == [newer, older]
    assert database.list_api_keys(NOBODY) == []


def test_a_key_is_revoked_by_its_user_only(database: Database) -> None:
    key = add(database)
    for user, key_id in ((STRANGER, key.id), (USER, key.id + 1), (USER, IMPOSSIBLE_ID)):
        with pytest.raises(NotFound):
            database.delete_api_key(user, key_id)
    assert database.delete_api_key(USER, key.id) == key
    assert database.find_api_key(key.prefix) is None
    with pytest.raises(NotFound):
        database.delete_api_key(USER, key.id)


def last_use(database: Database) -> datetime | None:
    [key] = database.list_api_keys(USER)
    return key.last_used_at


def test_the_last_use_is_written_once_in_its_period(database: Database) -> None:
    key = add(database)
    moments = (
        LONG_AGO,
        LONG_AGO + KEY_USE_PERIOD / 2,
        LONG_AGO + KEY_USE_PERIOD - timedelta(milliseconds=1),
    )
    for moment in moments:
        database.record_key_use(key.id, moment)
        assert last_use(database) == LONG_AGO
    database.record_key_use(key.id, LONG_AGO + KEY_USE_PERIOD)
    assert last_use(database) == LONG_AGO + KEY_USE_PERIOD
    database.record_key_use(key.id + 1, LATER)


def test_a_database_tells_whether_a_key_is_valid(database: Database) -> None:
    assert not database.has_api_key(LONG_AGO)
    ending = add(database, expires_at=LATER)
    assert database.has_api_key(LATER - timedelta(seconds=1))
    assert not database.has_api_key(LATER)
    add(database, "ac_2")
    assert database.has_api_key(LATER)
    database.delete_api_key(USER, ending.id)
    assert database.has_api_key(LATER)


def test_a_key_needs_a_user_and_ends_with_it(database: Database) -> None:
    with pytest.raises(Unauthenticated):
        add(database, user=NOBODY)
    database.create_test_user(NOBODY, "test@example.com", {}, LATER)
    key = add(database, user=NOBODY)
    database.delete_test_user(NOBODY)
    assert database.find_api_key(key.prefix) is None


def test_a_user_has_a_limited_number_of_keys(database: Database) -> None:
    for number in range(MAX_API_KEYS - 1):
        add(database, f"ac_{number:03}")

    def one_more(prefix: str) -> bool:
        try:
            return add(database, prefix) is not None
        except Conflict:
            return False

    assert sorted(all_at_once([partial(one_more, prefix) for prefix in "abc"])) == [0, 0, 1]
    with pytest.raises(Conflict, match="Revoke one"):
        add(database, "ac_last")
    assert add(database, "ac_other", STRANGER).user_id == STRANGER
