"""Tests the stream of a task's events over a socket, beside the same events as JSON."""

from __future__ import annotations

import http.client

import pytest

from tests.streams.event_stream import EventStream, refusal
from tests.support.live_server import Client, LiveServer, ServerFactory
from tests.support.waiting import eventually


def stream(server: LiveServer, client: Client, path: str, **headers: str) -> EventStream:
    return EventStream(server.port, path, {"X-User-ID": client.user_id, **headers})


def waiting_task(client: Client, repository: str, seconds: int = 600) -> int:
    """Start a task that says something and waits; return its id once it has said it."""
    script = f"script:\nprint begun\nsleep {seconds}\nprint gone on"
    task_id = client.start(script, repository)
    client.wait_for_output(task_id, "begun")
    return task_id


def can_open(server: LiveServer, client: Client, path: str) -> bool:
    opened = stream(server, client, path)
    opened.close()
    return opened.answer.status == http.HTTPStatus.OK


def test_a_stream_tells_what_was_then_what_comes_then_the_end(
    server: LiveServer, small_repository: str
) -> None:
    client = server.client()
    task_id = waiting_task(client, small_repository, seconds=1)
    with stream(server, client, f"/tasks/{task_id}/events") as opened:
        headers = opened.answer.headers
        assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
        sent = list(opened)
    *events, end = sent
    assert [one.data for one in events] == client.events(task_id)
    assert [one.number for one in events] == list(range(1, len(events) + 1))
    assert all(one.name == one.data["kind"] for one in events)
    assert end == ("end", {"status": "completed"}, None)


@pytest.mark.cloud_with_all("streams read rows, which are the same everywhere")
def test_a_stream_goes_on_after_the_last_event_that_the_client_has(
    server: LiveServer, small_repository: str
) -> None:
    client = server.client()
    task_id = client.start("Say hello", small_repository)
    client.wait_for(task_id)
    path = f"/tasks/{task_id}/events"
    last = len(client.events(task_id))
    for after, asked in (
        (0, stream(server, client, path)),
        (3, stream(server, client, f"{path}?after=3")),
        (last - 1, stream(server, client, f"{path}?after=1", **{"Last-Event-ID": str(last - 1)})),
        (last, stream(server, client, f"{path}?after={last}")),
        (last, stream(server, client, f"{path}?after={last + 7}")),
    ):
        with asked as opened:
            numbers = [one.number for one in opened]
        assert numbers == [*range(after + 1, last + 1), None]


@pytest.mark.cloud_with_all("streams read rows, which are the same everywhere")
def test_a_stream_ends_when_its_task_is_cancelled(
    server: LiveServer, small_repository: str
) -> None:
    client = server.client()
    task_id = waiting_task(client, small_repository)
    with stream(server, client, f"/tasks/{task_id}/events") as opened:
        opened.until("output")
        assert client.post(f"/tasks/{task_id}/cancel").code == http.HTTPStatus.OK
        assert opened.until("end").data == {"status": "cancelled"}


@pytest.mark.local_only
def test_an_odd_number_of_the_last_event_is_refused(server: LiveServer) -> None:
    client = server.client()
    for number in ("x", "-1", "1.5", "9" * 16, "\u0663"):
        header = number.encode().decode("latin-1")
        headers = {"X-User-ID": client.user_id, "Last-Event-ID": header}
        status, text = refusal(server.port, "/tasks/1/events", headers)
        assert (status, b"Last-Event-ID" in text) == (400, True)


def test_a_ticket_opens_one_stream_and_nothing_else(
    server: LiveServer, small_repository: str
) -> None:
    client = server.client()
    task_id = client.start("Say hello", small_repository)
    answer = client.post("/events/ticket").body
    assert answer["expires_in"] == 60
    path = f"/tasks/{task_id}/events?ticket={answer['ticket']}"
    with EventStream(server.port, path) as opened:
        assert opened.until("end").data == {"status": "completed"}
    status, text = refusal(server.port, path)
    assert (status, b"ticket_invalid" in text) == (401, True)
    unused = client.post("/events/ticket").body["ticket"]
    assert refusal(server.port, f"/tasks/{task_id}?ticket={unused}")[0] == 401
    foreign = server.client().post("/events/ticket").body["ticket"]
    assert refusal(server.port, f"/tasks/{task_id}/events?ticket={foreign}")[0] == 404
    assert refusal(server.port, "/events")[0] == 401


def test_the_stream_of_another_user_is_not_found(server: LiveServer, small_repository: str) -> None:
    task_id = server.client().start("Say hello", small_repository)
    stranger = {"X-User-ID": server.client().user_id}
    assert refusal(server.port, f"/tasks/{task_id}/events", stranger)[0] == 404


@pytest.mark.local_only
def test_no_more_streams_are_open_than_the_server_allows(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_STREAMS=2)
    server.start()
    client = server.client()
    task_id = waiting_task(client, small_repository)
    path = f"/tasks/{task_id}/events"
    with stream(server, client, path) as first:
        first.until("status")
        with stream(server, client, path) as second:
            second.until("status")
            status, text = refusal(server.port, path, {"X-User-ID": client.user_id})
            assert (status, b"too_many_streams" in text) == (503, True)
        eventually(lambda: can_open(server, client, path))
        client.post(f"/tasks/{task_id}/cancel")
        assert first.until("end").data == {"status": "cancelled"}
