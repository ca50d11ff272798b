"""In a cloud sandbox the token is for the clone alone, and a key for the agent's process alone."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import E2BServerProcess
from tests.support.backends import USER, Backend, Repository, Row, open_backend
from tests.support.e2b.preloaded_cloud import PreloadedCloud
from tests.support.git.server import GitServer
from tests.support.stored_files import stored_files
from tests.support.waiting import eventually
from tests.turns.steps import follow_up, wait_for_turns

STAND_INS = Path(__file__).parents[2] / "fakes" / "agents"

TOKEN = "marked/token+1f9a4c7e"
SERVER_KEY = "sk-marked-server-key-77aa"
USER_KEY = "sk-marked-user-key-88bb"
USER_VALUE = "marked-user-value-99cc"
BASIC = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
ALL = (TOKEN, BASIC, SERVER_KEY, USER_KEY, USER_VALUE)

# The stand-in tells what it can see; the rest of the prompt is what a curious agent would try.
PROMPT = "environment\nsay hello\nwrite seen.txt yes"


@dataclass(frozen=True)
class Finished:
    """A finished task of one mode, and all that the cloud was asked for it."""

    backend: Backend
    task: Row
    requests: list[Row]
    egress: bool

    def starts(self) -> list[Row]:
        """Return the commands that were started, in order: clone, agent, capture."""
        return [request for request in self.requests if request["route"] == "process.Start"]


@pytest.fixture(scope="module")
def server() -> Iterator[E2BServerProcess]:
    with PreloadedCloud() as server:
        server.configure(tools=str(STAND_INS))
        yield server


@pytest.fixture(scope="module", params=["environment", "egress"])
def finished(
    request: pytest.FixtureRequest,
    server: E2BServerProcess,
    tmp_path_factory: pytest.TempPathFactory,
    sample: Repository,
    git_server: GitServer,
) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("cloud") / "data"
    # What the network would add in egress mode the fake does not; there the repository is open.
    secured = TOKEN if request.param == "environment" else None
    # A network rule is for a name, not for an address.
    url = git_server.publish(sample, f"cloud-{request.param}", secured)
    url = url.replace("127.0.0.1", "localhost")
    settings = {
        "e2b_api_key": server.environment["E2B_API_KEY"],
        "anthropic_api_key": SERVER_KEY,
        "secrets_mode": request.param,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        with open_backend(folder, **settings) as backend:
            backend.post("/auth/token", user_id=USER)
            set_preferences(folder, {"claudeCode": {"env": {"EXTRA": USER_VALUE}}})
            server.forget_requests()
            task = backend.perform(PROMPT, url, github_token=TOKEN, branch="main")
            requests = [entry for entry in server.requests() if entry["route"] != "list"]
            yield Finished(backend, task, requests, egress=request.param == "egress")


def set_preferences(folder: Path, preferences: Row) -> None:
    """Store what a front end writes to a user's row."""
    with closing(sqlite3.connect(folder / "async-code.db")) as connection, connection:
        connection.execute(
            "UPDATE users SET preferences = ? WHERE id = ?", (json.dumps(preferences), USER)
        )


def found_in(value: Any, secrets: Iterable[str] = ALL) -> set[str]:
    """Return the secrets that stand in a text, or in a value as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return {secret for secret in secrets if secret in text}


def process_of(start: Row) -> Row:
    """Return what a command was started with: one Connect envelope holds it as JSON."""
    process: Row = json.loads(start["body"][5:])["process"]
    return process


def test_the_real_agent_did_the_task(finished: Finished) -> None:
    assert finished.task["status"] == "completed", finished.task["error"]
    assert finished.task["execution_metadata"]["simulated"] is False
    assert finished.task["execution_metadata"]["agent_session_id"]
    assert finished.task["changed_files"] == ["seen.txt"]


def test_no_secret_is_in_shell_text_arguments_or_files(finished: Finished) -> None:
    for request in finished.requests:
        if request["route"] == "process.Start":
            process = process_of(request)
            assert found_in([process["cmd"], process["args"]]) == set()
        elif request["route"] == "create":
            body = json.loads(request["body"])
            assert found_in({**body, "network": None}) == set()
        elif request["route"] != "update_network":
            assert found_in([request["target"], request["body"]]) == set(), request["route"]


def test_each_process_has_what_it_needs_and_nothing_else(finished: Finished) -> None:
    clone, agent, capture = (found_in(process_of(start)["envs"]) for start in finished.starts())
    assert capture == set()
    if finished.egress:
        assert (clone, agent) == (set(), {USER_VALUE})
    else:
        assert (clone, agent) == ({TOKEN}, {SERVER_KEY, USER_VALUE})


def test_the_agent_is_shown_no_token_and_its_events_show_no_key(finished: Finished) -> None:
    seen = json.dumps(finished.backend.events(finished.task["id"]))
    assert "ANTHROPIC_API_KEY=" in seen
    assert "EXTRA=[redacted]" in seen
    assert ("ANTHROPIC_API_KEY=[redacted]" in seen) is not finished.egress
    assert found_in(seen) == set()


def test_the_network_adds_the_token_for_the_clone_and_the_key_for_the_agent(
    finished: Finished,
) -> None:
    create, *others = (one for one in finished.requests if one["route"] != "get_info")
    network = json.loads(create["body"]).get("network")
    if not finished.egress:
        assert network is None
        return
    anthropic = [{"transform": {"headers": {"x-api-key": SERVER_KEY}}}]
    git_host = [{"transform": {"headers": {"Authorization": f"Basic {BASIC}"}}}]
    assert network["rules"] == {"api.anthropic.com": anthropic, "localhost": git_host}
    routes = [request["route"] for request in others]
    assert {*routes[:2]} == {"files.write", "process.Start"}
    assert routes[2:4] == ["update_network", "process.Start"]
    assert json.loads(others[2]["body"])["rules"] == {"api.anthropic.com": anthropic}


def test_no_secret_is_in_a_row_an_answer_or_a_file_of_the_server(finished: Finished) -> None:
    for path in (f"/tasks/{finished.task['id']}", "/tasks"):
        assert found_in(finished.backend.get(path)) == set()
    # The row of the user holds what a front end wrote there.
    others = (TOKEN, BASIC, SERVER_KEY)
    for file, content in stored_files(finished.backend.folder).items():
        assert found_in(content.decode("latin-1"), others) == set(), file


def rules_set(requests: Iterable[Row], sandbox_id: str) -> list[Row]:
    """Return the network rules that were set for a sandbox after its creation, in order."""
    updates = [one for one in requests if one["route"] == "update_network"]
    return [json.loads(one["body"])["rules"] for one in updates if one["sandbox"] == sandbox_id]


def adds(name: str, value: str) -> list[Row]:
    """Return the network rule that adds a header."""
    return [{"transform": {"headers": {name: value}}}]


@pytest.fixture
def keeping(
    server: E2BServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """Provide a backend in egress mode that keeps sandboxes."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    settings: dict[str, Any] = {
        "e2b_api_key": server.environment["E2B_API_KEY"],
        "anthropic_api_key": SERVER_KEY,
        "secrets_mode": "egress",
        "workspace_ttl_seconds": 600,
    }
    server.forget_requests()
    with open_backend(tmp_path / "data", **settings) as backend:
        backend.post("/auth/token", user_id=USER)
        yield backend
    for sandbox in server.sandboxes():
        server.crash(sandbox["sandboxID"])


def test_a_kept_sandbox_has_the_keys_of_a_turn_while_it_runs_and_never_a_git_token_again(
    server: E2BServerProcess, keeping: Backend, sample: Repository, git_server: GitServer
) -> None:
    url = git_server.publish(sample, "kept", None).replace("127.0.0.1", "localhost")
    first, second = (
        {"api.anthropic.com": adds("x-api-key", key)} for key in (SERVER_KEY, USER_KEY)
    )
    task_id = keeping.start("write one.txt 1", url, github_token=TOKEN, branch="main")
    kept = kept_sandbox(server, keeping, task_id)
    assert rules_set(server.requests(), kept["sandboxID"]) == [first, {}]
    set_preferences(keeping.folder, {"claudeCode": {"env": {"ANTHROPIC_API_KEY": USER_KEY}}})
    follow_up(keeping, task_id, "write two.txt 2", github_token=TOKEN)
    kept = kept_sandbox(server, keeping, task_id)
    requests = server.requests()
    assert rules_set(requests, kept["sandboxID"]) == [first, {}, second, {}]
    # The key is there when the agent starts, and gone when the sandbox is paused.
    starts = [one for one in requests if one["route"] in {"update_network", "process.Start"}]
    agents = [place for place, one in enumerate(starts) if '"agent.sh"' in one["body"]]
    assert json.loads(starts[agents[-1] - 1]["body"])["rules"] == second
    # Its files are lost: they are made again elsewhere, where no agent has been.
    (Path(kept["home"], "repository", "two.txt")).unlink()
    server.forget_requests()
    follow_up(keeping, task_id, "write three.txt 3", github_token=TOKEN)
    other = kept_sandbox(server, keeping, task_id)
    assert other["sandboxID"] != kept["sandboxID"]
    assert rules_set(server.requests(), other["sandboxID"]) == [second, {}]
    of_kept = [one for one in server.requests() if one["sandbox"] == kept["sandboxID"]]
    assert found_in(of_kept) == set()


def kept_sandbox(server: E2BServerProcess, backend: Backend, task_id: int) -> Row:
    """Wait for the end of the turns of a task; return the only sandbox, which is kept."""
    row = wait_for_turns(backend, task_id)
    assert row["status"] == "completed", row["error"]
    [kept] = eventually(lambda: paused(server))
    return kept


def paused(server: E2BServerProcess) -> list[Row]:
    """Return the sandboxes that are kept, once no other one exists."""
    found = server.sandboxes()
    return found if found and all(one["state"] == "paused" for one in found) else []


def test_a_task_without_any_key_says_what_to_set(
    server: E2BServerProcess, tmp_path: Path, sample: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    created = server.stats()["sandboxes"]["created"]
    with open_backend(tmp_path / "data", e2b_api_key="e2b_fake") as backend:
        task = backend.perform(PROMPT, sample, model="codex")
    assert (task["status"], task["error_code"]) == ("failed", "agent_not_configured")
    assert "OPENAI_API_KEY" in task["error"]
    assert server.stats()["sandboxes"]["created"] == created
