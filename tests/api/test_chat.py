"""Fifty concurrent messages to one task are all stored, in order, after the prompt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from tests.support.live_server import Json, LiveServer

pytestmark = pytest.mark.cloud_with_all("a conversation is stored alike, wherever the task ran")

MESSAGES = 50
THREADS = 10


def post_messages(server: LiveServer, user_id: str, task_id: int) -> None:
    clients = [server.client(user_id) for _ in range(THREADS)]

    def post(thread: int) -> None:
        for number in range(thread, MESSAGES, THREADS):
            body = {"role": "user", "content": f"Message {number}"}
            assert clients[thread].post(f"/tasks/{task_id}/chat", body).code == 200

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(post, range(THREADS)))


def contents(messages: list[Json]) -> list[str]:
    return [message["content"] for message in messages]


@pytest.mark.parametrize(
    "script", ["sleep 300", "sleep 0.2", ""], ids=["runs", "ends meanwhile", "ended"]
)
def test_messages_that_come_together_are_all_kept_in_order(
    server: LiveServer, small_repository: str, script: str
) -> None:
    client = server.client()
    prompt = f"script:\n{script}"
    task_id = client.start(prompt, small_repository)
    client.wait_for(task_id, "agent" if script else "completed", "completed")
    post_messages(server, client.user_id, task_id)
    if script == "sleep 300":
        assert client.post(f"/tasks/{task_id}/cancel").code == 200
    client.wait_for(task_id)
    messages = client.task(task_id)["chat_messages"]
    assert messages[0]["content"] == prompt
    posted = [message for message in messages[1:] if message["role"] == "user"]
    assert sorted(contents(posted)) == sorted(f"Message {number}" for number in range(MESSAGES))
    stamps = [datetime.fromisoformat(message["timestamp"]) for message in messages]
    assert stamps == sorted(stamps)
    assert all(stamp.tzinfo for stamp in stamps)
    for thread in range(THREADS):
        expected = [f"Message {number}" for number in range(thread, MESSAGES, THREADS)]
        assert [text for text in contents(posted) if text in expected] == expected
    assistant = [message for message in messages if message["role"] == "assistant"]
    # The summary, or that the task was cancelled.
    assert len(assistant) == 1
