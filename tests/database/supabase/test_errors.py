"""Unexpected responses of a Supabase project become errors of the backend."""

from __future__ import annotations

import re
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import postgrest.exceptions
import pytest
from pytest_httpserver import HTTPServer

from tests.support.canned_server import Answer, CannedServer, json_response
from tests.support.database.samples import LATER, USER, new_task, project_fields
from utils.database.supabase.client import Supabase
from utils.database.supabase.database import SupabaseDatabase
from utils.database.supabase.errors import translating
from utils.errors import (
    AppError,
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    RowUnreadable,
    Unauthenticated,
)
from utils.models.events import Event, EventBatch

KEY = "sb_secret_of_the_project"
HTML = b"<html><body>Bad gateway at secret-host</body></html>"
USER_ROW = {"id": USER, "email": None, "created_at": LATER.isoformat()}
FOUND = json_response(200, [USER_ROW])
CLOSED = None
EVENTS = (Event("output", {}, LATER),)

Verb = Callable[[SupabaseDatabase], object]
Answering = Callable[..., AbstractContextManager[tuple[SupabaseDatabase, CannedServer]]]


def refusal(status: int, code: str, message: str = "private text") -> Answer:
    """Return an error response of PostgREST whose details quote the row."""
    return json_response(
        status, {"code": code, "message": message, "details": "(private row)", "hint": None}
    )


@pytest.fixture(scope="module")
def http_server() -> Iterator[HTTPServer]:
    """Provide a server for the tests of this file."""
    with HTTPServer("127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture
def answering(http_server: HTTPServer) -> Answering:
    """Provide a function that opens a database whose project gives the passed answers."""

    @contextmanager
    def answer_with(*answers: Answer | None) -> Iterator[tuple[SupabaseDatabase, CannedServer]]:
        server = CannedServer(http_server)
        server.set_answers(*answers)
        supabase = Supabase(server.url, KEY, 2)
        yield SupabaseDatabase(supabase, "server"), server
        supabase.close()

    return answer_with


def get_user(database: SupabaseDatabase) -> object:
    return database.get_user(USER)


def create_task(database: SupabaseDatabase) -> object:
    return database.create_task(USER, new_task())


UNAVAILABLE = {
    "a page of a proxy": Answer(502, HTML, "text/html"),
    "a page that says it is well": Answer(200, HTML, "text/html; charset=utf-8"),
    "a page called JSON": Answer(200, HTML),
    "half an answer": Answer(200, b'[{"id": '),
    "a refusal by the way to PostgREST": json_response(401, {"message": "Invalid API key"}),
    "an expired key": refusal(401, "PGRST301"),
    "no rights": refusal(403, "42501"),
    "too many requests": json_response(429, {"message": "Too many"}),
    "a full disk": refusal(405, "25006"),
    "a lock that is held": refusal(400, "55P03"),
    "a slow statement": refusal(500, "57014"),
    "a server that shuts down": refusal(500, "57P01"),
    "a database that is away": refusal(503, "PGRST001"),
    "a full pool": refusal(504, "PGRST003"),
    "a function that is missing": refusal(404, "PGRST202"),
    "a table that is missing": refusal(404, "42P01"),
    "another site": Answer(404, HTML, "text/html"),
    "a way elsewhere": Answer(308, b"", "text/plain"),
    "another kind of JSON": json_response(500, ["odd"]),
}


@pytest.mark.parametrize("answer", UNAVAILABLE.values(), ids=UNAVAILABLE.keys())
def test_a_database_that_cannot_be_used_is_unavailable(
    answering: Answering, answer: Answer
) -> None:
    with answering(answer) as (database, _), pytest.raises(DatabaseUnavailable) as failure:
        create_task(database)
    text = "".join(traceback.format_exception(failure.value))
    assert not re.search("private|secret-host|" + KEY, text.partition("Traceback")[0])
    assert "private" not in text.replace("private text", "")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(409, "23505", 'breaks "projects_user_id_repo_url_key"'), Conflict),
        (refusal(409, "23503"), Unauthenticated),
        (refusal(400, "22003"), NotFound),
        (refusal(400, "23514"), InvalidInput),
        (Answer(200, b'[{"preferences": ' + b"9" * 5_000 + b"}]"), RowUnreadable),
        (Answer(200, b"[" * 5_000 + b"]" * 5_000), RowUnreadable),
        (refusal(400, "22P05"), InvalidInput),
        (Answer(413, HTML, "text/html"), InvalidInput),
    ],
)
def test_a_row_that_does_not_fit_is_told_as_on_every_database(
    answering: Answering, answer: Answer, error: type[AppError]
) -> None:
    with answering(answer) as (database, _), pytest.raises(error) as failure:
        database.create_project(USER, project_fields())
    assert "private" not in "".join(traceback.format_exception(failure.value))


@pytest.mark.parametrize(
    "answer",
    [
        refusal(400, "23502"),
        refusal(400, "42703"),
        refusal(400, "PGRST100"),
        refusal(400, "P0001"),
    ],
)
def test_a_mistake_of_this_program_stays_one_and_hides_the_row(
    answering: Answering, answer: Answer
) -> None:
    with answering(answer) as (database, _), pytest.raises(RuntimeError) as failure:
        create_task(database)
    assert "private" not in "".join(traceback.format_exception(failure.value))


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (refusal(404, "PGRST202"), "migrate"),
        (refusal(401, "PGRST301"), "SUPABASE_SERVICE_ROLE_KEY"),
        (json_response(401, {"message": "Invalid API key"}), "SUPABASE_SERVICE_ROLE_KEY"),
        (Answer(200, HTML, "text/html"), "SUPABASE_URL"),
        (Answer(404, HTML, "text/html"), "SUPABASE_URL"),
    ],
)
def test_a_wrong_project_is_told_at_the_start(
    answering: Answering, answer: Answer, advice: str
) -> None:
    with (
        answering(answer) as (database, _),
        pytest.raises(ConfigurationError, match=advice) as failure,
    ):
        database.supabase.revision()
    assert KEY not in str(failure.value)


def test_nobody_at_the_address_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        database = SupabaseDatabase(Supabase(url, KEY, 1), "server")
        for call in (get_user, create_task, lambda one: one.supabase.revision()):
            with pytest.raises(DatabaseUnavailable):
                call(database)


PASSING: dict[str, Answer | None] = {
    "closed": CLOSED,
    "bad gateway": Answer(502, HTML, "text/html"),
    "starting": refusal(503, "PGRST002"),
    "full": refusal(504, "PGRST003"),
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING.keys())
def test_a_read_is_tried_again(answering: Answering, answer: Answer | None) -> None:
    with answering(answer, answer, FOUND) as (database, server):
        assert database.get_user(USER).id == USER
        assert server.requests == 3


def test_a_read_is_not_tried_for_ever(answering: Answering) -> None:
    answers = [CLOSED] * 4
    with answering(*answers) as (database, server), pytest.raises(DatabaseUnavailable):
        get_user(database)
    assert server.requests == 3


ONCE: dict[str, Verb] = {
    "create_task": create_task,
    "create_project": lambda one: one.create_project(USER, project_fields()),
    "delete_project": lambda one: one.delete_project(USER, 1),
    "delete_task": lambda one: one.delete_task(USER, 1),
    "append_chat_message": lambda one: one.append_chat_message(USER, 1, "user", "Hello"),
    "rotate": lambda one: one.rotate_refresh_token("hash", "next", LATER, LATER),
    "record_resume": lambda one: one.record_resume(1),
    "claim": lambda one: one.claim_task(1),
    "events without a number": lambda one: one.save_progress(1, EventBatch(EVENTS)),
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING.keys())
@pytest.mark.parametrize("verb", ONCE.values(), ids=ONCE.keys())
def test_what_may_have_been_done_is_not_done_again(
    answering: Answering, verb: Verb, answer: Answer | None
) -> None:
    with answering(answer, FOUND) as (database, server), pytest.raises(DatabaseUnavailable):
        verb(database)
    assert server.requests == 1


AGAIN: dict[str, tuple[Verb, Any]] = {
    "ensure_user": (lambda one: one.ensure_user(USER), USER_ROW),
    "record_heartbeat": (
        lambda one: one.record_heartbeat(),
        {"others": {}, "stops": [], "interrupted": []},
    ),
    "claim_unfinished_tasks": (lambda one: one.claim_unfinished_tasks(["gone"]), []),
    "claim again": (lambda one: one.claim_task(1, again=True), None),
    "numbered events": (lambda one: one.save_progress(1, EventBatch(EVENTS, after=0)), False),
    "columns": (lambda one: one.save_progress(1, EventBatch(), fields={"stage": "agent"}), True),
    "sign out": (lambda one: one.revoke_refresh_family("hash"), None),
}


@pytest.mark.parametrize(("verb", "value"), AGAIN.values(), ids=AGAIN.keys())
def test_what_may_be_done_twice_is_tried_again(
    answering: Answering, verb: Verb, value: object
) -> None:
    with answering(CLOSED, json_response(200, value)) as (database, server):
        verb(database)
    assert server.requests == 2


def test_what_was_undone_is_tried_again_by_every_verb(answering: Answering) -> None:
    with answering(refusal(500, "40P01"), json_response(200, None)) as (database, server):
        with pytest.raises(NotFound):
            create_task(database)
        assert server.requests == 2


def every_exception() -> list[type[Exception]]:
    modules = (httpx, postgrest.exceptions)
    values = [value for module in modules for value in vars(module).values()]
    return [one for one in values if isinstance(one, type) and issubclass(one, Exception)]


@pytest.mark.parametrize("kind", every_exception())
def test_every_error_of_the_client_becomes_one_of_ours(kind: type[Exception]) -> None:
    with pytest.raises(DatabaseUnavailable), translating():
        raise kind.__new__(kind)
