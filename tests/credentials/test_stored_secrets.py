"""Stored secrets of a user reach that user's own runs and nothing else."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.agents.stored_access import agent_with_access, put, store
from tests.support.backends import (
    USER,
    Backend,
    Open,
    Repository,
    Row,
    open_backend,
    shell_agent,
)
from tests.support.database.samples import STRANGER
from tests.support.git.server import GitServer
from tests.support.stored_files import stored_bytes
from utils.commands.rotate_keys import main as rotate_keys
from utils.credentials.profiles import AGENT_ACCESS, GITHUB_TOKEN, stored_token_for
from utils.credentials.vault import Vault

LOCAL = pytest.mark.local_only("which token a task gets is decided before it has a sandbox")

TOKEN = "ghp_Marked0Stored1"
OWN = "ghp_Marked0Own2"
KEY = "sk-ant-marked-stored"
LOGIN = {"claudeAiOauth": {"accessToken": "marked-oauth-token"}}
SECRETS = (TOKEN, OWN, KEY, "marked-oauth-token")
FIRST, SECOND, THIRD = (f"key {name} of at least thirty-two characters" for name in "abc")
PROMPT = "script:\nprint hello"


def sealed(backend: Backend, purpose: str, text: str, user_id: str = USER) -> str:
    vault: Vault = backend.app.extensions["services"].vault
    return vault.seal(user_id, purpose, text)


def sent_to(git_server: GitServer) -> list[str]:
    """Return the passwords sent to the server, and clear them."""
    headers = [header for _, _, header in git_server.requests if header]
    git_server.requests.clear()
    sent = (base64.b64decode(header.removeprefix("Basic ")).decode() for header in headers)
    return sorted({text.partition(":")[2] for text in sent})


def shown(backend: Backend, *rows: Row) -> str:
    """Return all text about tasks that is readable over HTTP and on the disk."""
    answers = [backend.get(f"/tasks/{row['id']}{more}") for row in rows for more in ("", "/events")]
    return json.dumps(answers) + stored_bytes(backend.folder).decode(errors="replace")


@pytest.fixture
def private(git_server: GitServer, sample: Repository) -> str:
    """Provide the URL of a repository that requires the stored token."""
    url = git_server.publish(sample, "private", TOKEN)
    git_server.requests.clear()
    return url


@pytest.fixture
def on_github(open_with: Open, git_server: GitServer) -> Backend:
    """Provide a backend that treats the git server as GitHub."""
    return open_with(github_api_url=f"http://127.0.0.1:{git_server.port}")


def test_a_task_without_a_token_uses_the_stored_one_and_shows_it_nowhere(
    on_github: Backend, private: str, git_server: GitServer, capfd: pytest.CaptureFixture[str]
) -> None:
    put(on_github, github_token=TOKEN)
    half = len(TOKEN) // 2
    prints = f"a={TOKEN[:half]}; echo ${{a}}{TOKEN[half:]} | tee /dev/stderr; exit 2"
    task = on_github.complete(PROMPT, private)
    with shell_agent():
        failed = on_github.perform(prints, private)
    assert sent_to(git_server) == [TOKEN]
    assert (failed["status"], on_github.output(failed["id"])) == ("failed", "[redacted]\n")
    captured = capfd.readouterr()
    assert TOKEN not in shown(on_github, task, failed) + captured.out + captured.err


def test_the_stored_token_goes_to_no_other_host(
    open_with: Open, private: str, git_server: GitServer
) -> None:
    backend = open_with()
    put(backend, github_token=TOKEN)
    task = backend.perform(PROMPT, private)
    assert task["error_code"] == "clone_auth_failed"
    assert sent_to(git_server) == []


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://github.com/octo/demo", TOKEN),
        ("http://github.com/octo/demo", None),
        ("https://github.com:8443/octo/demo", None),
        ("https://github.com.example.org/octo/demo", None),
        ("https://example.org/github.com/demo", None),
        ("file:///github.com/demo", None),
    ],
)
def test_only_githubs_own_address_counts_as_github(url: str, token: str | None) -> None:
    vault = Vault(SecretStr(FIRST))
    stored = vault.seal(USER, GITHUB_TOKEN, TOKEN)
    assert stored_token_for(vault, USER, stored, url, "github.com") == token


@LOCAL
def test_the_tasks_own_token_wins(on_github: Backend, private: str, git_server: GitServer) -> None:
    put(on_github, github_token=TOKEN)
    task = on_github.perform(PROMPT, private, github_token=OWN)
    assert task["error_code"] == "clone_auth_failed"
    assert sent_to(git_server) == [OWN]


@LOCAL
def test_a_token_that_a_front_end_stored_in_the_clear_is_used(
    on_github: Backend, private: str
) -> None:
    store(on_github, github_token=f" {TOKEN}\n")
    on_github.complete(PROMPT, private)


@LOCAL
@pytest.mark.parametrize("junk", [" ", "one\nurl=https://evil", "é", "x" * 5_000], ids=range(4))
def test_a_stored_token_that_is_none_is_not_sent(
    on_github: Backend, private: str, git_server: GitServer, junk: str
) -> None:
    store(on_github, github_token=junk)
    assert on_github.perform(PROMPT, private)["error_code"] == "clone_auth_failed"
    assert sent_to(git_server) == []


@LOCAL
def test_a_sealed_token_that_a_page_sends_along_is_opened(
    open_with: Open, private: str, git_server: GitServer
) -> None:
    backend = open_with()
    backend.complete(PROMPT, private, github_token=sealed(backend, GITHUB_TOKEN, TOKEN))
    assert sent_to(git_server) == [TOKEN]


@LOCAL
@pytest.mark.parametrize("stored", ["enc:v1:lost", "another user's"])
def test_a_task_says_when_the_stored_token_cannot_be_read(
    on_github: Backend, private: str, sample: Repository, git_server: GitServer, stored: str
) -> None:
    if stored == "another user's":
        stored = sealed(on_github, GITHUB_TOKEN, TOKEN, STRANGER)
    store(on_github, github_token=stored)
    task = on_github.perform(PROMPT, private)
    assert (task["status"], task["error_code"]) == ("failed", "stored_secret_unreadable")
    assert "PUT /users/me" in task["error"]
    assert stored not in task["error"]
    assert sent_to(git_server) == []
    on_github.complete(PROMPT, private, github_token=TOKEN)


LOOK = """
echo "$ANTHROPIC_API_KEY"
printf '%s' "$ANTHROPIC_API_KEY" | wc -c >seen
cat ~/.claude/.credentials.json
wc -c <~/.claude/.credentials.json >>seen
"""


@pytest.mark.local_only("a real agent's access, in a folder of this machine")
@pytest.mark.parametrize("way", ["through the backend", "past the backend"])
def test_an_agent_gets_what_its_user_has_stored(
    open_with: Open, sample: Repository, way: str
) -> None:
    backend = open_with(simulate_with_real_agent=True)
    section = {"env": {"ANTHROPIC_API_KEY": KEY}, "credentials": LOGIN}
    if way == "through the backend":
        put(backend, preferences={"claudeCode": section})
    else:
        store(backend, preferences={"claudeCode": section})
    with agent_with_access():
        task = backend.complete(LOOK, sample)
    (change,) = task["execution_metadata"]["file_changes"]
    assert change["after"].split() == [str(len(KEY)), str(len(json.dumps(LOGIN)))]
    assert "[redacted]" in backend.output(task["id"])
    if way == "through the backend":
        assert not any(secret in shown(backend, task) for secret in SECRETS)


@pytest.mark.local_only("a real agent's access, in a folder of this machine")
def test_a_token_for_git_is_not_opened_for_an_agent(open_with: Open, sample: Repository) -> None:
    backend = open_with(simulate_with_real_agent=True)
    stolen = sealed(backend, GITHUB_TOKEN, TOKEN)
    store(backend, preferences={"claudeCode": {"env": {"X": stolen, "ANTHROPIC_API_KEY": KEY}}})
    with agent_with_access():
        task = backend.perform("echo x >x", sample)
    assert task["error_code"] == "stored_secret_unreadable"
    assert KEY not in json.dumps([task, backend.events(task["id"])])


@pytest.mark.local_only("the keys are this server's")
def test_a_key_is_changed_without_losing_what_it_encrypted(
    tmp_path: Path,
    private: str,
    git_server: GitServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    host: Row = {"github_api_url": f"http://127.0.0.1:{git_server.port}"}
    with open_backend(folder, secret_key=FIRST, **host) as backend:
        put(backend, github_token=TOKEN, preferences={"codex": {"env": {"X": KEY}}})
    with open_backend(folder, secret_key=SECOND, **host) as backend:
        task = backend.perform(PROMPT, private)
        assert task["error_code"] == "stored_secret_unreadable"
        assert put(backend)["has_github_token"]
    keys: Row = {"secret_key": SECOND, "secret_key_previous": FIRST}
    with open_backend(folder, **keys, **host) as backend:
        backend.complete(PROMPT, private)
        for name, value in {**keys, "data_dir": str(folder)}.items():
            monkeypatch.setenv(name.upper(), value)
        assert rotate_keys() == 0
    printed = capsys.readouterr().out
    assert "2 encrypted again with the newest key" in printed
    assert "no longer needed" in printed
    for name in keys:
        monkeypatch.delenv(name.upper())
    with open_backend(folder, secret_key=SECOND, **host) as backend:
        backend.complete(PROMPT, private)


@LOCAL
def test_a_sealed_text_that_holds_no_token_is_not_sent_as_one(
    open_with: Open, private: str, git_server: GitServer
) -> None:
    backend = open_with()
    junk = sealed(backend, GITHUB_TOKEN, "one\nurl=https://evil")
    answer = backend.post("/start-task", prompt=PROMPT, repo_url=private, github_token=junk)
    assert (answer["http_status"], answer["code"]) == (400, "invalid_request")
    assert sent_to(git_server) == []


@pytest.mark.local_only("a real agent's access, in a folder of this machine")
def test_an_agent_does_not_mind_what_is_stored_for_another_one(
    open_with: Open, sample: Repository
) -> None:
    backend = open_with(simulate_with_real_agent=True)
    # The login looks valid but is another sealed text of the same user.
    own = {"env": {"ANTHROPIC_API_KEY": KEY}, "credentials": sealed(backend, AGENT_ACCESS, KEY)}
    lost = {"env": {"OPENAI_API_KEY": "enc:v1:lost"}}
    store(backend, preferences={"claudeCode": own, "codex": lost})
    with agent_with_access():
        backend.complete("test -n $ANTHROPIC_API_KEY && ! test -e ~/.claude && echo x >x", sample)


@LOCAL
def test_a_sealed_preference_is_bound_to_its_user(open_with: Open) -> None:
    backend = open_with()
    foreign = sealed(backend, AGENT_ACCESS, KEY, STRANGER)
    store(backend, preferences={"codex": {"env": {"X": foreign}}})
    assert backend.get("/users/me")["user"]["preferences"]["codex"]["env"] == {"X": "[stored]"}
