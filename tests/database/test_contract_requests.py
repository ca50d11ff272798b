"""The contract of every database for requests with an Idempotency-Key."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine

from database import Database
from tests.support.database.samples import NOBODY, STRANGER, USER, all_at_once, new_task
from utils.database.rows import now
from utils.database.shared import REQUEST_KEY_LEASE, REQUEST_KEY_RETENTION
from utils.errors import Conflict, Unauthenticated
from utils.models.tasks import Json

KEY, BODY = "key ~1", "fingerprint"
ANSWER: Json = {"task_id": 7, "text": "Größe"}


def begin(database: Database, key: str = KEY, body: str = BODY, user_id: str = USER) -> object:
    """Begin a request; return its stored answer, or the code of the refusal."""
    try:
        return database.begin_request(user_id, key, body)
    except Conflict as error:
        return error.code


def test_a_stored_answer_is_returned_again(database: Database) -> None:
    assert begin(database) is None
    database.store_answer(USER, KEY, ANSWER)
    assert begin(database) == ANSWER
    assert begin(database, body="other") == "idempotency_key_reused"
    assert begin(database, user_id=STRANGER) is None
    assert begin(database, key="key ~2") is None


def test_a_running_request_is_not_run_again(database: Database) -> None:
    assert begin(database) is None
    with pytest.raises(Conflict) as refused:
        database.begin_request(USER, KEY, BODY)
    assert refused.value.code == "idempotency_key_in_use"
    assert refused.value.retry_after_seconds
    assert begin(database, body="other") == "idempotency_key_reused"


def test_of_requests_at_the_same_time_one_runs(database: Database) -> None:
    begun = all_at_once([lambda: begin(database)] * 4)
    assert sorted(map(str, begun)) == ["None"] + ["idempotency_key_in_use"] * 3


def test_a_refused_request_may_run_again(database: Database) -> None:
    assert begin(database) is None
    database.release_request(USER, KEY)
    assert begin(database, body="other") is None
    database.store_answer(USER, KEY, ANSWER)
    database.release_request(USER, KEY)
    assert begin(database, body="other") == ANSWER


def test_a_task_is_stored_with_the_answer(database: Database) -> None:
    assert begin(database) is None
    task = database.create_task(USER, new_task(request_key=KEY))
    assert begin(database) == {"task_id": task.id}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_request_that_was_broken_off_runs_again_after_a_while(database: Database) -> None:
    assert begin(database) is None
    with time_machine.travel(now() + REQUEST_KEY_LEASE + timedelta(seconds=1)):
        assert begin(database) is None
        assert begin(database) == "idempotency_key_in_use"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_answers_are_forgotten_after_a_day(database: Database) -> None:
    begin(database)
    database.store_answer(USER, KEY, ANSWER)
    begin(database, user_id=STRANGER)
    with time_machine.travel(now() + REQUEST_KEY_RETENTION + timedelta(seconds=1)):
        assert begin(database, body="other") is None


def test_a_user_who_does_not_exist_has_no_requests(database: Database) -> None:
    with pytest.raises(Unauthenticated):
        database.begin_request(NOBODY, KEY, BODY)
