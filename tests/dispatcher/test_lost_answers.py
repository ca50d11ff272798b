"""Tests that each write is done exactly once when answers of Supabase are lost or refused."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import Repository, open_backend, shell_agent
from tests.support.supabase.faulty_proxy import FaultyProxy
from tests.support.supabase.settings import rows_in
from tests.support.supabase.stack import SupabaseStack
from tests.support.waiting import eventually

CREATION = "/rest/v1/rpc/backend_create_task"


@pytest.fixture
def proxy(supabase_stack: SupabaseStack) -> Iterator[FaultyProxy]:
    supabase_stack.clear()
    with FaultyProxy(supabase_stack.url) as running:
        yield running


def settings_for(proxy: FaultyProxy, project: SupabaseStack) -> dict[str, Any]:
    changes = {"supabase_url": proxy.url, "trust_user_id": True, "server_silence_seconds": 2}
    return rows_in(project, **changes)


def test_a_task_whose_creation_was_not_answered_is_found_and_done_once(
    proxy: FaultyProxy, supabase_stack: SupabaseStack, tmp_path: Path, sample: Repository
) -> None:
    with open_backend(tmp_path / "data", **settings_for(proxy, supabase_stack)) as backend:
        before = backend.start(f"script:\nwrite a.txt {uuid.uuid4()}", sample)
        proxy.lost[CREATION] = 1
        answer = backend.post("/start-task", prompt="script:\nwrite b.txt b", repo_url=sample.url)
        assert (answer["http_status"], answer["code"]) == (503, "database_unavailable")

        def ended() -> list[dict[str, Any]]:
            tasks = backend.get("/tasks")["tasks"].values()
            return [task for task in tasks if task["status"] == "completed"]

        eventually(lambda: len(ended()) == 2)
        (lost,) = (task["id"] for task in ended() if task["id"] != before)
        row = backend.wait(lost)
        assert row["execution_metadata"]["attempt"] == 1
        assert row["changed_files"] == ["b.txt"]


def test_a_task_that_was_found_before_its_creation_was_answered_is_started_once(
    proxy: FaultyProxy, supabase_stack: SupabaseStack, tmp_path: Path, sample: Repository
) -> None:
    answered, go = threading.Event(), tmp_path / "go"
    wait_for_go = f"echo begun; until [ -e {go} ]; do sleep 0.02; done"
    with (
        shell_agent(),
        open_backend(tmp_path / "data", **settings_for(proxy, supabase_stack)) as backend,
        ThreadPoolExecutor(1) as threads,
    ):
        proxy.held[CREATION] = answered
        started = threads.submit(backend.start, wait_for_go, sample)
        eventually(lambda: CREATION not in proxy.held)
        # A lost answer has the server look for tasks of its own that it does not know.
        proxy.lost[CREATION] = 1
        backend.post("/start-task", prompt="true", repo_url=sample.url)
        eventually(lambda: backend.get("/health/ready")["running"] == 1)
        answered.set()
        task_id = started.result()
        # It was queued once more, and the next task is taken after it.
        later = backend.wait(backend.start("true", sample))
        go.touch()
        row = backend.wait(task_id)
        assert (later["status"], row["status"]) == ("completed", "completed")
        assert row["execution_metadata"]["attempt"] == 1
        assert backend.output(task_id).count("begun") == 1
        assert backend.get("/health/ready")["status"] == "success"


def test_a_result_that_is_too_large_for_the_database_is_stored_without_the_contents(
    proxy: FaultyProxy, supabase_stack: SupabaseStack, tmp_path: Path, sample: Repository
) -> None:
    with open_backend(tmp_path / "data", **settings_for(proxy, supabase_stack)) as backend:
        proxy.most_bytes = 9_000
        row = backend.wait(backend.start(f"script:\nwrite a.txt {'long ' * 1_000}", sample))
        assert (row["status"], row["changed_files"]) == ("completed", ["a.txt"])
        assert row["execution_metadata"]["additions"] == 1
        assert "file_changes" not in row["execution_metadata"]
        assert not list((tmp_path / "data" / "results").glob("*"))


def test_a_result_that_neither_database_nor_disk_takes_is_stored_when_the_database_is_back(
    proxy: FaultyProxy, supabase_stack: SupabaseStack, tmp_path: Path, sample: Repository
) -> None:
    with open_backend(tmp_path / "data", **settings_for(proxy, supabase_stack)) as backend:
        (tmp_path / "data" / "results").write_text("not a folder")
        task_id = backend.start("script:\nprint begun\nsleep 0.5\nwrite a.txt a", sample)
        eventually(lambda: "begun" in backend.output(task_id))
        proxy.is_cut = True
        eventually(lambda: backend.sandboxes == [])
        proxy.is_cut = False
        row = backend.wait(task_id)
        assert (row["status"], row["changed_files"]) == ("completed", ["a.txt"])
        assert row["execution_metadata"]["attempt"] == 1
