"""Clients that send the ETag of a task's row get it again only when it has changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.api.test_tasks import Caller
from tests.conftest import Headers, MakeApp
from tests.support.waiting import eventually

PATHS = ("/task-status/{}", "/tasks/{}")


@pytest.fixture
def caller(client: FlaskClient, headers: Headers, repository: Path) -> Caller:
    return Caller(client, headers, repository)


@pytest.mark.parametrize("path", PATHS)
def test_a_row_is_sent_again_only_after_a_change(
    caller: Caller, client: FlaskClient, headers: Headers, stranger: Headers, path: str
) -> None:
    task_id = caller.start()
    caller.finish(task_id)
    address = path.format(task_id)
    first = client.get(address, headers=headers)
    asking = {"If-None-Match": first.headers["ETag"]}

    same = client.get(address, headers=headers | asking)
    assert (same.status_code, same.data) == (304, b"")
    assert same.headers["ETag"] == first.headers["ETag"]
    assert "Content-Type" not in same.headers
    assert client.get(address, headers=stranger | asking).status_code == 404
    assert client.get(address, headers=asking).status_code == 401

    caller.post(f"/tasks/{task_id}/chat", {"role": "user", "content": "Thank you"})
    changed = client.get(address, headers=headers | asking)
    assert changed.status_code == 200
    assert changed.get_json()["task"]["chat_messages"][-1]["content"] == "Thank you"
    assert changed.headers["ETag"] != first.headers["ETag"]

    caller.delete(f"/tasks/{task_id}")
    gone = {"If-None-Match": changed.headers["ETag"]}
    assert client.get(address, headers=headers | gone).status_code == 404


def test_a_running_task_is_unchanged_until_it_ends(
    caller: Caller, client: FlaskClient, headers: Headers
) -> None:
    task_id = caller.start("script:\nsleep 60")
    address = f"/task-status/{task_id}"
    eventually(lambda: caller.get(address)["task"].get("stage") == "agent")

    def unchanged() -> Headers | None:
        # What is known of the agent is written in the moment after its start.
        etag = client.get(address, headers=headers).headers["ETag"]
        asking = headers | {"If-None-Match": etag}
        return asking if client.get(address, headers=asking).status_code == 304 else None

    asking = eventually(unchanged)
    caller.post(f"/tasks/{task_id}/cancel")
    ended = client.get(address, headers=asking)
    assert ended.get_json()["task"]["status"] == "cancelled"


def test_the_etag_of_a_queued_task_changes_with_its_place(
    make_app: MakeApp, user: str, repository: Path
) -> None:
    app = make_app(max_concurrent_tasks=1, shutdown_grace_seconds=0)
    client, headers = app.test_client(), {"X-User-ID": user}
    caller = Caller(client, headers, repository)
    running = caller.start("script:\nsleep 60")
    # Until then it has a place of its own in the queue.
    eventually(lambda: caller.get(f"/task-status/{running}")["task"]["status"] == "running")
    first, second = (caller.start("script:\nsleep 60") for _ in range(2))
    address = f"/task-status/{second}"
    status = client.get(address, headers=headers)
    assert status.get_json()["task"]["queue_position"] == 2
    asking = headers | {"If-None-Match": status.headers["ETag"]}
    assert client.get(address, headers=asking).status_code == 304
    caller.post(f"/tasks/{first}/cancel")
    moved = client.get(address, headers=asking)
    assert moved.get_json()["task"]["queue_position"] == 1
    for task_id in (second, running):
        caller.post(f"/tasks/{task_id}/cancel")


def test_only_messages_that_a_client_does_not_have_are_sent(
    caller: Caller, client: FlaskClient, headers: Headers
) -> None:
    task_id = caller.start()
    caller.finish(task_id)
    content = "x" * 20_000

    def say(text: str) -> None:
        caller.post(f"/tasks/{task_id}/chat", {"role": "user", "content": text})

    for path in PATHS:
        whole = caller.get(path.format(task_id))
        assert whole.keys() == {"status", "task"}
        address = f"{path.format(task_id)}?since="
        first = caller.get(f"{address}0")
        assert first["task"] == whole["task"]
        assert first["messages_from"] == 0
        say(content)
        say("Thank you")  # the second time the conversation is too long for a status
        second = caller.get(address + first["next_since"])
        assert [one["content"] for one in second["task"]["chat_messages"]] == [content, "Thank you"]
        assert second["messages_from"] == len(first["task"]["chat_messages"])
        third = caller.get(address + second["next_since"])
        assert third["task"]["chat_messages"] == []
        assert third["next_since"] == second["next_since"]

        number, _, mark = second["next_since"].partition("-")
        for other in (f"{int(number) + 1}-{mark}", f"{number}-{'0' * len(mark)}"):
            again = caller.get(address + other)
            assert again["messages_from"] == 0
            assert len(again["task"]["chat_messages"]) == int(number)
        refused = client.get(f"{address}1", headers=headers)
        assert (refused.status_code, "next_since" in refused.text) == (400, True)
