"""The answer of the database to a new task is lost: the task is done all the same, and once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.backends import Repository, open_backend, wait_for
from tests.supabase_stack import SupabaseStack

pytest_plugins = ("tests.task_fixtures",)

LOST = "/rest/v1/rpc/backend_create_task"
HOP_HEADERS = {"connection", "transfer-encoding", "content-encoding", "content-length", "host"}


class LosingProxy:
    """Hands requests on to a project; of the chosen path it loses the answers, `losses` times."""

    def __init__(self, url: str) -> None:
        self.losses = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(url))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> LosingProxy:
        Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self, url: str) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _hand_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_HEADERS}
                answer = httpx.request(self.command, url + self.path, content=body, headers=headers)
                if self.path == LOST and proxy.losses > 0:
                    proxy.losses -= 1
                    self.close_connection = True
                    return
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in HOP_HEADERS:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do_PATCH = do_DELETE = _hand_on  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def proxy(supabase_stack: SupabaseStack) -> Iterator[LosingProxy]:
    supabase_stack.clear()
    with LosingProxy(supabase_stack.url) as running:
        yield running


def test_a_task_whose_creation_was_not_answered_is_found_and_done_once(
    proxy: LosingProxy, supabase_stack: SupabaseStack, tmp_path: Path, sample: Repository
) -> None:
    settings: dict[str, Any] = {
        "supabase_url": proxy.url,
        "supabase_service_role_key": supabase_stack.service_role_key,
        "trust_user_id": True,
        "server_silence_seconds": 2,
    }
    with open_backend(tmp_path / "data", **settings) as backend:
        before = backend.start(f"script:\nwrite a.txt {uuid.uuid4()}", sample)
        proxy.losses = 1
        answer = backend.post("/start-task", prompt="script:\nwrite b.txt b", repo_url=sample.url)
        assert (answer["http_status"], answer["code"]) == (503, "database_unavailable")

        def ended() -> list[dict[str, Any]]:
            tasks = backend.get("/tasks")["tasks"].values()
            return [task for task in tasks if task["status"] == "completed"]

        wait_for(lambda: len(ended()) == 2)
        (lost,) = (task["id"] for task in ended() if task["id"] != before)
        row = backend.wait(lost)
        assert row["execution_metadata"]["attempt"] == 1
        assert row["changed_files"] == ["b.txt"]
