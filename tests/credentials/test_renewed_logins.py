"""A login that a program renews in a sandbox is stored, once, for the next task."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from tests.support.agents.stored_access import agent_with_access, put, store
from tests.support.backends import USER, Backend, Open, Repository, Row
from tests.support.stored_files import stored_bytes
from tests.support.waiting import eventually
from utils.agents.claude import CLAUDE_CODE
from utils.agents.codex import CODEX_CLI
from utils.agents.logins import LoginFormat, renewed_login
from utils.credentials.profiles import readable_preferences
from utils.models.tasks import Json

LOCAL = pytest.mark.local_only("a real agent's access, in a folder of this machine")


def login(number: int, **more: Any) -> Json:
    return {
        "claudeAiOauth": {
            "accessToken": f"marked-access-{number}",
            "refreshToken": f"marked-refresh-{number}",
            "expiresAt": 1_764_000_000_000 + number,
            "scopes": ["user:inference"],
            **more,
        }
    }


def renew(number: int, **more: Any) -> str:
    """Return the script of an agent whose program renews the login.

    The prompt is stored as it is, so it must not contain the tokens.
    """
    content = json.dumps(login(number, **more)).replace("marked-", "mark''ed-")
    return f"printf '%s' '{content}' >~/.claude/.credentials.json\n"


def stored_login(backend: Backend, section: str = "claudeCode", agent: str = "claude") -> Any:
    services = backend.app.extensions["services"]
    row = services.database.get_profile(USER)
    found = readable_preferences(services.vault, USER, row.preferences, agent)
    return found[section]["credentials"]


@pytest.fixture
def backend(open_with: Open) -> Backend:
    """Provide a backend on which the user has stored the login 1."""
    backend = open_with(simulate_with_real_agent=True)
    put(backend, preferences={"claudeCode": {"env": {"FLAG": "on-on-on"}, "credentials": login(1)}})
    return backend


def shown(backend: Backend, task: Row) -> str:
    events, row = backend.events(task["id"]), backend.get(f"/tasks/{task['id']}")
    return json.dumps([events, row]) + stored_bytes(backend.folder).decode(errors="replace")


@LOCAL
@pytest.mark.parametrize("ending", ["exit 0", "exit 3", "cancel"])
def test_a_renewed_login_is_stored_however_the_task_ends(
    backend: Backend, sample: Repository, ending: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with agent_with_access():
        if ending == "cancel":
            task_id = backend.start(f"{renew(2)}echo ready; sleep 600", sample)
            eventually(lambda: "ready" in backend.output(task_id))
            backend.post(f"/tasks/{task_id}/cancel")
            task = backend.wait(task_id)
        else:
            task = backend.perform(f"{renew(2)}{ending}", sample)
        assert stored_login(backend) == login(2)
        script = "grep -c refresh-2 ~/.claude/.credentials.json >seen; echo $FLAG >>seen"
        after = backend.complete(script, sample)
    (change,) = after["execution_metadata"]["file_changes"]
    assert change["after"].split()[0] == "1"
    assert len(change["after"].split()) == 2
    captured = capfd.readouterr()
    assert "marked-" not in shown(backend, task) + captured.out + captured.err


@LOCAL
def test_a_login_that_the_user_changed_meanwhile_is_kept(
    backend: Backend, sample: Repository
) -> None:
    with agent_with_access():
        task_id = backend.start(
            f"{renew(2)}echo ready; while ! test -e go; do sleep 0.1; done", sample
        )
        eventually(lambda: "ready" in backend.output(task_id))
        put(backend, preferences={"claudeCode": {"credentials": login(9)}})
        (backend.sandboxes[0].repository / "go").touch()
        backend.wait(task_id)
    assert stored_login(backend) == login(9)


@LOCAL
def test_one_task_at_a_time_uses_a_login_and_the_next_gets_the_renewed_one(
    backend: Backend, sample: Repository
) -> None:
    wait = "echo ready; while ! test -e go; do sleep 0.1; done"
    with agent_with_access():
        first = backend.start(f"{renew(2)}{wait}", sample)
        eventually(lambda: "ready" in backend.output(first))
        others = [
            backend.start("grep -c refresh-2 ~/.claude/.credentials.json >seen", sample)
            for _ in range(2)
        ]
        cancelled = others.pop()
        eventually(lambda: all(backend.status(one)["status"] == "running" for one in others))
        assert backend.post(f"/tasks/{cancelled}/cancel")["http_status"] == 200
        assert backend.wait(cancelled)["status"] == "cancelled"
        assert len(backend.sandboxes) == 1
        (backend.sandboxes[0].repository / "go").touch()
        ended = [backend.wait(task_id) for task_id in (first, *others)]
    assert [task["status"] for task in ended] == ["completed"] * 2
    assert ended[1]["execution_metadata"]["file_changes"][0]["after"] == "1\n"
    waited = [event["data"].get("text", "") for event in backend.events(others[0])]
    assert any("same sign-in" in text for text in waited)


@LOCAL
@pytest.mark.parametrize(
    "odd",
    [
        "rm ~/.claude/.credentials.json",
        "printf x >~/.claude/.credentials.json",
        "rm ~/.claude/.credentials.json; mkfifo ~/.claude/.credentials.json",
        "rm ~/.claude/.credentials.json; ln -s /dev/zero ~/.claude/.credentials.json",
        "head -c 9000000 /dev/zero >~/.claude/.credentials.json",
        renew(2, refreshToken=""),
        renew(0),
    ],
)
def test_a_file_that_is_no_renewed_login_changes_nothing(
    backend: Backend, sample: Repository, odd: str
) -> None:
    with agent_with_access():
        backend.complete(odd, sample)
    assert stored_login(backend) == login(1)


@LOCAL
def test_the_login_of_codex_is_stored_too(open_with: Open, sample: Repository) -> None:
    backend = open_with(simulate_with_real_agent=True)
    store(backend, preferences={"codexCLI": {"credentials": codex_login(1)}})
    script = f"printf '%s' '{json.dumps(codex_login(2))}' >~/.codex/auth.json"
    with agent_with_access(CODEX_CLI):
        backend.complete(script, sample, model="codex")
    assert stored_login(backend, "codexCLI", "codex") == codex_login(2)


def codex_login(number: int, subject: str = "user-1", account: str = "account-1") -> Json:
    token = jwt.encode({"sub": subject, "n": number}, "a secret of thirty-two characters")
    tokens = {
        "id_token": token,
        "access_token": token,
        "refresh_token": f"marked-refresh-{number}",
        "account_id": account,
    }
    return {
        "OPENAI_API_KEY": None,
        "tokens": tokens,
        "last_refresh": f"2026-01-0{number}T00:00:00.000000Z",
    }


CLAUDE_FORMAT, CODEX_FORMAT = CLAUDE_CODE.login_format, CODEX_CLI.login_format
assert CLAUDE_FORMAT
assert CODEX_FORMAT


@pytest.mark.parametrize(
    ("login_format", "sent", "found"),
    [
        (CLAUDE_FORMAT, login(1), login(1)),
        (CLAUDE_FORMAT, login(1), {}),
        (CLAUDE_FORMAT, login(1), []),
        (CLAUDE_FORMAT, login(1), {"claudeAiOauth": []}),
        (CLAUDE_FORMAT, login(1), login(2, refreshToken="a b")),
        (CLAUDE_FORMAT, login(1), login(2, refreshToken="x" * 20_000)),
        (CLAUDE_FORMAT, login(1), login(2, accessToken=7)),
        (CLAUDE_FORMAT, login(1), login(2, expiresAt="tomorrow")),
        (CLAUDE_FORMAT, login(1), login(2, expiresAt=10**20)),
        (CLAUDE_FORMAT, login(1), login(0)),
        (CODEX_FORMAT, codex_login(1), codex_login(2, account="account-2")),
        (CODEX_FORMAT, codex_login(1), codex_login(2, subject="user-2")),
        (CODEX_FORMAT, codex_login(2), codex_login(1)),
    ],
)
def test_what_is_no_renewal_is_not_taken(
    login_format: LoginFormat, sent: Json, found: object
) -> None:
    assert renewed_login(login_format, sent, json.dumps(found).encode()) is None


def test_only_the_renewed_fields_are_taken() -> None:
    assert CLAUDE_FORMAT
    assert CODEX_FORMAT
    keyed = codex_login(2) | {"OPENAI_API_KEY": "sk-other"}
    taken = renewed_login(CODEX_FORMAT, codex_login(1), json.dumps(keyed).encode())
    assert taken == codex_login(2)
    found = login(2, scopes=["everything"], more="x") | {"mcpOAuth": {"a": "b"}}
    assert renewed_login(CLAUDE_FORMAT, login(1), json.dumps(found).encode()) == login(2)
    assert renewed_login(CLAUDE_FORMAT, login(1), b"[" * 100_000) is None
    assert renewed_login(CLAUDE_FORMAT, login(1), b"\xff") is None
