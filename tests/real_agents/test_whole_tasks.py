"""The real programs through the whole product: a request in, the stored changes out."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.models.server import Model
from tests.real_agents.runs import KEY
from tests.support.backends import USER, Backend, Open, Repository, Row, git
from tests.support.places import Place
from tests.support.stored_files import stored_bytes
from tests.support.waiting import eventually

pytest_plugins = ("tests.fixtures.tasks",)
pytestmark = [
    pytest.mark.local_only("the programs are installed on this machine"),
    pytest.mark.isolated_too("the programs do not know where they may write and connect to"),
]

PROMPT = "do write hello.txt Hello\ndo shell echo more >>README.md\ndo say I wrote it."
OWN_KEY = "sk-users-own-7c2d9b4e1f"
BOTH = pytest.mark.parametrize("agent", ["claude", "codex"])


@pytest.fixture
def open_real(
    launchers: Path,
    programs: Path,
    model: Model,
    place: Place,
    open_with: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> Open:
    """Provide a function that opens a backend with the real programs."""
    monkeypatch.setenv("PATH", str(launchers), prepend=":")
    settings = {
        "sandbox": place.settings.get("sandbox", "local"),
        "simulate_with_real_agent": True,
        "e2b_smoke_test": False,
        "anthropic_api_key": KEY,
        "openai_api_key": KEY,
        "isolated_readable_paths": (str(launchers), str(programs.parents[1])),
        "isolated_allowed_hosts": (urlsplit(model.url).netloc,),
    }
    return lambda **more: open_with(**settings, **more)


@pytest.fixture
def backend(open_real: Open) -> Backend:
    """Provide a backend with the default limits."""
    return open_real()


def prefer(backend: Backend, preferences: Row) -> None:
    """Store what a user prefers, as the pages do: straight into the database."""
    # A user's row appears with their first request.
    backend.get("/tasks")
    with closing(sqlite3.connect(backend.folder / "async-code.db")) as database, database:
        changed = database.execute(
            "UPDATE users SET preferences = ? WHERE replace(id, '-', '') = ?",
            (json.dumps(preferences), USER.replace("-", "")),
        )
        assert changed.rowcount == 1


@BOTH
def test_a_task_is_done_by_the_real_program(
    agent: str, backend: Backend, repository: Repository, model: Model
) -> None:
    task = backend.complete(PROMPT, repository, model=agent)
    assert task["changed_files"] == ["README.md", "hello.txt"]
    assert "+Hello" in task["git_diff"]
    assert task["chat_messages"][-1]["content"] == "I wrote it."
    metadata = task["execution_metadata"]
    assert metadata["simulated"] is False
    assert metadata["agent_program"] == agent
    assert metadata["agent_exit_code"] == 0
    assert metadata["agent_session_id"]
    assert metadata["usage"]["output_tokens"] == 30
    assert {request.key for request in model.requests} == {KEY}


@BOTH
def test_what_the_repository_tells_agents_reaches_the_model(
    agent: str, backend: Backend, repository: Repository, model: Model
) -> None:
    repository.commit("echo 'Use tabs, always.' >AGENTS.md; echo '@AGENTS.md' >CLAUDE.md")
    backend.complete(PROMPT, repository, model=agent)
    assert "Use tabs, always." in str(model.requests[0].body)


@BOTH
def test_what_the_program_does_can_be_followed(
    agent: str, backend: Backend, repository: Repository
) -> None:
    task = backend.complete(PROMPT, repository, model=agent)
    events = backend.events(task["id"])
    kinds = [event["kind"] for event in events]
    assert {"status", "tool", "message", "usage", "result"} <= set(kinds)
    assert kinds.index("tool") < kinds.index("usage")
    calls = [event["data"] for event in events if event["kind"] == "tool"]
    assert any("echo more" in call.get("input", "") for call in calls)


@BOTH
def test_the_stored_patch_gives_what_the_program_made(
    agent: str, backend: Backend, repository: Repository, tmp_path: Path
) -> None:
    task = backend.complete(PROMPT, repository, model=agent)
    copy = repository.clone(tmp_path / "copy")
    patch = tmp_path / "patch"
    patch.write_bytes(backend.patch(task["id"]))
    git(copy, "am", "--quiet", str(patch))
    assert (copy / "hello.txt").read_text() == "Hello\n"


@BOTH
def test_a_key_that_the_program_prints_is_stored_nowhere(
    agent: str, backend: Backend, repository: Repository
) -> None:
    task = backend.complete("do shell env | sort\ndo write a.txt A", repository, model=agent)
    events = json.dumps(backend.events(task["id"]))
    assert "API_KEY=[redacted]" in events
    assert KEY not in events
    assert KEY not in json.dumps(task)
    assert KEY.encode() not in stored_bytes(backend.folder)


@BOTH
def test_a_refused_key_fails_the_task_with_advice(
    agent: str, backend: Backend, repository: Repository, model: Model
) -> None:
    model.key = "another"
    task = backend.perform(PROMPT, repository, model=agent)
    assert (task["status"], task["error_code"]) == ("failed", "agent_auth_failed")
    assert "API_KEY" in task["error"]
    assert len(model.requests) < 10


def test_a_user_brings_their_own_key_and_address(
    backend: Backend, repository: Repository, model: Model
) -> None:
    own = {"ANTHROPIC_BASE_URL": f"{model.url}/", "ANTHROPIC_API_KEY": OWN_KEY}
    prefer(backend, {"claudeCode": {"env": own}})
    task = backend.complete("do shell env", repository, model="claude")
    assert {request.key for request in model.requests} == {OWN_KEY}
    assert OWN_KEY not in json.dumps([task, backend.events(task["id"])])


def test_a_user_brings_their_own_key_for_codex(
    backend: Backend, repository: Repository, model: Model
) -> None:
    prefer(backend, {"codex": {"env": {"OPENAI_API_KEY": OWN_KEY}}})
    backend.complete(PROMPT, repository, model="codex")
    assert {request.key for request in model.requests} == {OWN_KEY}


@BOTH
def test_a_program_that_waits_for_its_model_can_be_cancelled(
    agent: str, backend: Backend, repository: Repository, model: Model
) -> None:
    model.hanging = True
    task_id = backend.start(PROMPT, repository, model=agent)
    eventually(lambda: model.requests)
    assert backend.post(f"/tasks/{task_id}/cancel")["http_status"] == 200
    task = backend.wait(task_id)
    assert (task["status"], task["error_code"]) == ("cancelled", "cancelled")


@BOTH
def test_a_program_whose_model_hangs_is_ended(
    agent: str, open_real: Open, repository: Repository, model: Model
) -> None:
    backend = open_real(agent_idle_seconds=5)
    model.hanging = True
    task = backend.perform(PROMPT, repository, model=agent)
    assert (task["status"], task["error_code"]) == ("failed", "agent_timeout")
    assert "AGENT_IDLE_SECONDS" in task["error"]
