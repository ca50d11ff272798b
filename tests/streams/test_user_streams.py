"""Tests the stream of the changes of all tasks of a user."""

from __future__ import annotations

from tests.streams.test_task_streams import stream, waiting_task
from tests.support.live_server import LiveServer, ServerFactory


def test_a_user_hears_of_each_task_from_its_start_to_its_deletion(
    server: LiveServer, small_repository: str
) -> None:
    client = server.client()
    with stream(server, client, "/events") as opened:
        assert opened.until("ready").data == {}
        server.client().start("Say something else", small_repository)
        task_id = client.start("Say hello", small_repository)
        seen = []
        for sent in opened:
            assert sent.name in {"task", "queue"}
            if sent.name == "task":
                assert sent.data["id"] == task_id
                seen.append(sent.data["status"])
                if seen[-1] == "completed":
                    break
        # What is over before it is read is not told.
        expected = [one for one in ("pending", "running", "completed") if one in seen]
        assert list(dict.fromkeys(seen)) == expected
        assert client.post(f"/tasks/{task_id}/chat", {"role": "user", "content": "Thanks"})
        assert opened.until("task").data["status"] == "completed"


def test_a_stream_begins_with_the_active_tasks_and_their_places_in_the_queue(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server(MAX_CONCURRENT_TASKS=1)
    server.start()
    client = server.client()
    running = waiting_task(client, small_repository)
    second, third = (client.start("Say hello", small_repository) for _ in range(2))
    listed = client.get("/events").body
    assert [task["id"] for task in listed["tasks"]] == [running, second, third]
    assert listed["queue_positions"] == {str(second): 1, str(third): 2}
    with stream(server, client, "/events") as opened:
        first = [opened.until("task").data for _ in range(3)]
        assert [(one["id"], one["status"]) for one in first] == [
            (running, "running"),
            (second, "pending"),
            (third, "pending"),
        ]
        assert first[0]["stage"] == "agent"
        assert opened.until("queue").data["positions"] == {str(second): 1, str(third): 2}
        fourth = client.start("script:\nsleep 600", small_repository)
        opened.until("task", id=fourth, status="pending")
        client.post(f"/tasks/{running}/cancel")
        assert opened.until("task", id=third, status="completed").data["has_patch"]
        opened.until("task", id=fourth, status="running")
        client.post(f"/tasks/{fourth}/cancel")
