"""The contract of every database for users, projects and refresh tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import pytest

from database import Database
from tests.support.database.samples import (
    COMPLETED,
    IMPOSSIBLE_ID,
    LATER,
    LONG_AGO,
    NOBODY,
    STRANGER,
    USER,
    all_at_once,
    new_task,
    project_fields,
    running_task,
)
from utils.errors import Conflict, NotFound, Unauthenticated
from utils.models.users import REFRESH_RETRY_PERIOD, RefreshToken

NOW = LATER - timedelta(days=1)


def test_the_database_answers_and_says_what_it_is(database: Database) -> None:
    database.ping()
    assert database.kind in {"sqlite", "postgresql", "supabase"}
    assert database.is_shared == (database.kind != "sqlite")


def test_a_user_is_made_on_first_sight_and_then_left_alone(database: Database) -> None:
    made = database.ensure_user(NOBODY, "first@example.com")
    assert (made.id, made.email, made.is_test_user) == (NOBODY, "first@example.com", False)
    assert (made.metadata, made.expires_at) == ({}, None)
    assert database.ensure_user(NOBODY, "second@example.com") == made == database.get_user(NOBODY)


def test_a_user_that_arrives_many_times_at_once_is_made_once(database: Database) -> None:
    users = all_at_once([lambda: database.ensure_user(NOBODY)] * 8)
    assert all(user == users[0] for user in users)


@pytest.mark.parametrize("user_id", [NOBODY, "nonsense", ""])
def test_an_unknown_user_is_not_found(database: Database, user_id: str) -> None:
    with pytest.raises(NotFound):
        database.get_user(user_id)


def test_what_is_no_uuid_does_not_become_a_user(database: Database) -> None:
    with pytest.raises(NotFound):
        database.ensure_user("nonsense")


def test_a_test_user_carries_its_marks(database: Database) -> None:
    user = database.create_test_user(NOBODY, "test@example.com", {"role": "é"}, LATER)
    assert (user.is_test_user, user.expires_at, user.metadata) == (True, LATER, {"role": "é"})
    assert database.get_user(NOBODY) == user
    for taken in (NOBODY, USER):
        with pytest.raises(Conflict):
            database.create_test_user(taken, "test@example.com", {}, LATER)


def test_test_users_are_listed_newest_first(database: Database) -> None:
    assert database.list_test_users() == []
    ids = [f"00000000-0000-4000-8000-0000000001{number:02}" for number in (1, 0, 2)]
    made = [database.create_test_user(user_id, "t@example.com", {}, LATER) for user_id in ids]
    assert database.list_test_users() == made[::-1]


def test_a_test_user_is_deleted_with_everything_it_owns(database: Database) -> None:
    database.create_test_user(NOBODY, "test@example.com", {}, LATER)
    project = database.create_project(NOBODY, project_fields())
    task = database.create_task(NOBODY, new_task(project_id=project.id, encrypted_token=b"sealed"))
    database.add_refresh_token(RefreshToken("hash", "family", NOBODY, LATER))
    assert database.delete_test_user(NOBODY)
    assert not database.delete_test_user(NOBODY)
    with pytest.raises(NotFound):
        database.get_task(NOBODY, task.id)
    assert database.claim_task(task.id) is None
    with pytest.raises(Unauthenticated):
        database.rotate_refresh_token("hash", "next", LATER, NOW)


def test_a_real_user_is_not_deleted_as_a_test_user(database: Database) -> None:
    assert not database.delete_test_user(USER)
    assert database.get_user(USER).email == "user@example.com"


def test_a_new_project_has_what_was_given_and_counts_nothing(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    assert {name: getattr(project, name) for name in project_fields()} == project_fields()
    assert (project.user_id, project.is_active) == (USER, True)
    assert (project.task_count, project.completed_tasks, project.active_tasks) == (0, 0, 0)
    assert database.get_project(USER, project.id) == project


def test_a_user_has_one_project_for_a_repository(database: Database) -> None:
    database.create_project(USER, project_fields())
    other = database.create_project(USER, project_fields("other"))
    with pytest.raises(Conflict, match="project for this repository"):
        database.create_project(USER, project_fields())
    with pytest.raises(Conflict):
        database.update_project(USER, other.id, {"repo_url": project_fields()["repo_url"]})
    assert database.create_project(STRANGER, project_fields()).user_id == STRANGER


def test_a_project_needs_a_user(database: Database) -> None:
    with pytest.raises(Unauthenticated):
        database.create_project(NOBODY, project_fields())


def test_projects_come_newest_first_with_their_counters(database: Database) -> None:
    older = database.create_project(USER, project_fields("older"))
    newer = database.create_project(USER, project_fields("newer"))
    database.create_project(STRANGER, project_fields())
    database.create_task(USER, new_task(project_id=older.id))
    running_task(database, project_id=older.id)
    done = running_task(database, project_id=older.id)
    database.finish_task(done.id, COMPLETED, {}, None)
    assert [project.id for project in database.list_projects(USER)] == [newer.id, older.id]
    counted = database.get_project(USER, older.id)
    assert (counted.task_count, counted.completed_tasks, counted.active_tasks) == (3, 1, 2)
    assert database.list_projects(USER) == [newer, counted]


def test_a_project_changes_only_in_the_given_columns(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    changed = database.update_project(USER, project.id, {"name": "new", "settings": {}})
    assert (changed.name, changed.settings, changed.repo_url) == ("new", {}, project.repo_url)
    assert changed.updated_at > project.updated_at
    assert database.get_project(USER, project.id) == changed


def test_a_project_of_another_user_does_not_exist(database: Database) -> None:
    project = database.create_project(STRANGER, project_fields())
    for project_id in (project.id, 12345, IMPOSSIBLE_ID):
        with pytest.raises(NotFound):
            database.get_project(USER, project_id)
        with pytest.raises(NotFound):
            database.update_project(USER, project_id, {"name": "mine"})
        with pytest.raises(NotFound):
            database.delete_project(USER, project_id)
    assert database.get_project(STRANGER, project.id) == project


def test_a_deleted_project_takes_its_tasks_along(database: Database) -> None:
    project = database.create_project(USER, project_fields())
    inside = database.create_task(USER, new_task(project_id=project.id, encrypted_token=b"sealed"))
    outside = database.create_task(USER, new_task())
    database.delete_project(USER, project.id)
    assert [task.id for task in database.list_tasks(USER).tasks] == [outside.id]
    with pytest.raises(NotFound):
        database.get_task(USER, inside.id)
    with pytest.raises(NotFound):
        database.delete_project(USER, project.id)


def signed_in(database: Database) -> RefreshToken:
    token = RefreshToken("hash-0", "family", USER, LATER)
    database.add_refresh_token(token)
    return token


def test_a_refresh_token_is_replaced_in_its_family(database: Database) -> None:
    signed_in(database)
    for number in range(3):
        used, next_one = f"hash-{number}", f"hash-{number + 1}"
        assert database.rotate_refresh_token(used, next_one, LATER, NOW) == database.get_user(USER)


def refused(database: Database, *token_hashes: str, now: datetime = NOW) -> None:
    for token_hash in token_hashes:
        with pytest.raises(Unauthenticated):
            database.rotate_refresh_token(token_hash, "refused", LATER, now)


def test_a_token_used_again_later_revokes_its_whole_family(database: Database) -> None:
    signed_in(database)
    database.add_refresh_token(RefreshToken("other", "other family", USER, LATER))
    database.rotate_refresh_token("hash-0", "hash-1", LATER, NOW)
    refused(database, "hash-0", "hash-1", now=NOW + REFRESH_RETRY_PERIOD)
    assert database.rotate_refresh_token("other", "other-1", LATER, NOW).id == USER


def test_a_token_whose_replacement_was_used_revokes_its_whole_family(database: Database) -> None:
    signed_in(database)
    database.rotate_refresh_token("hash-0", "hash-1", LATER, NOW)
    database.rotate_refresh_token("hash-1", "hash-2", LATER, NOW)
    refused(database, "hash-0", "hash-2", "hash-1")


def test_a_token_that_was_not_answered_is_used_again(database: Database) -> None:
    signed_in(database)
    moments = (
        NOW,
        NOW + REFRESH_RETRY_PERIOD / 2,
        NOW + REFRESH_RETRY_PERIOD - timedelta(milliseconds=1),
    )
    for number, moment in enumerate(moments):
        database.rotate_refresh_token("hash-0", f"try-{number}", LATER, moment)
    assert database.rotate_refresh_token("try-2", "hash-2", LATER, NOW).id == USER
    assert database.rotate_refresh_token("hash-2", "hash-3", LATER, NOW).id == USER


def test_using_a_token_again_does_not_make_the_time_for_it_longer(database: Database) -> None:
    signed_in(database)
    database.rotate_refresh_token("hash-0", "hash-1", LATER, NOW)
    database.rotate_refresh_token("hash-0", "hash-2", LATER, NOW + REFRESH_RETRY_PERIOD / 2)
    refused(database, "hash-0", "hash-2", now=NOW + REFRESH_RETRY_PERIOD)


def test_a_replaced_replacement_revokes_its_whole_family(database: Database) -> None:
    signed_in(database)
    database.rotate_refresh_token("hash-0", "owners", LATER, NOW)
    database.rotate_refresh_token("hash-0", "thiefs", LATER, NOW)
    database.rotate_refresh_token("thiefs", "thiefs-2", LATER, NOW)
    refused(database, "owners", "thiefs-2", "thiefs", "hash-0")


def test_a_token_used_twice_at_once_leaves_one_live_token(database: Database) -> None:
    signed_in(database)

    def rotate(used: str, replacement: str) -> bool:
        try:
            return database.rotate_refresh_token(used, replacement, LATER, NOW).id == USER
        except Unauthenticated:
            return False

    sides = "left", "right"
    assert all_at_once([partial(rotate, "hash-0", side) for side in sides]) == [True, True]
    # The first attempt may use the token that is not valid, which revokes the other.
    assert [rotate(side, f"{side}-2") for side in sides] in ([True, False], [False, False])
    refused(database, "left-2", "right-2", *sides)


def test_a_token_is_extended_and_stays_in_use(database: Database) -> None:
    signed_in(database)
    end = LATER + timedelta(days=1)
    for now in (NOW, LATER - timedelta(seconds=1), LATER):
        assert database.extend_refresh_token("hash-0", end, now) == database.get_user(USER)
    assert database.extend_refresh_token("hash-0", end, end) is None
    assert database.rotate_refresh_token("hash-0", "hash-1", LATER, LATER).id == USER


def test_a_token_that_is_spent_or_came_from_supabase_is_not_extended(database: Database) -> None:
    signed_in(database)
    database.rotate_refresh_token("hash-0", "hash-1", LATER, NOW)
    database.add_refresh_token(RefreshToken("asked", "second", USER, LATER, session=""))
    database.add_refresh_token(RefreshToken("ends", "third", USER, LATER, ends_at=LATER))
    for token_hash in ("hash-0", "asked", "ends", "unknown"):
        assert database.extend_refresh_token(token_hash, LATER, NOW) is None
    database.revoke_refresh_family("hash-1")
    assert database.extend_refresh_token("hash-1", LATER, NOW) is None


def test_unknown_and_expired_tokens_are_refused(database: Database) -> None:
    signed_in(database)
    for token_hash, now in (("unknown", NOW), ("hash-0", LATER)):
        with pytest.raises(Unauthenticated):
            database.rotate_refresh_token(token_hash, "hash-1", LATER, now)
    assert database.rotate_refresh_token("hash-0", "hash-1", LATER, NOW).id == USER


def test_a_revoked_family_is_over(database: Database) -> None:
    signed_in(database)
    database.rotate_refresh_token("hash-0", "hash-1", LATER, NOW)
    database.revoke_refresh_family("hash-0")
    database.revoke_refresh_family("unknown")
    refused(database, "hash-1", "hash-0")


def test_a_token_needs_a_user(database: Database) -> None:
    with pytest.raises(Unauthenticated):
        database.add_refresh_token(RefreshToken("hash", "family", NOBODY, LATER))


def test_signing_in_clears_away_what_ran_out(database: Database) -> None:
    database.add_refresh_token(RefreshToken("old", "old family", USER, LONG_AGO))
    signed_in(database)
    # The id can be used again, so no row was stored.
    database.add_refresh_token(RefreshToken("old", "new family", USER, LATER))
    with pytest.raises(Conflict):
        database.add_refresh_token(RefreshToken("old", "third family", USER, LATER))
