"""A secret that an agent writes into its changes is neither stored nor pushed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.backends import Repository, open_backend
from tests.support.github.names import TOKEN
from tests.support.pull_requests import SIMULATED, Hosted, Hub, open_hub

pytestmark = pytest.mark.local_only("the changes are searched alike wherever the task ran")

FORMS = {
    "plain": TOKEN,
    "url": quote(TOKEN, safe=""),
    "base64": base64.b64encode(TOKEN.encode()).decode(),
    "base64 of more": base64.b64encode(f"x{TOKEN}".encode()).decode(),
    "base64 for urls": base64.urlsafe_b64encode(f"xy{TOKEN}".encode()).decode(),
    "hex": TOKEN.encode().hex(),
    "json": json.dumps({"token": TOKEN}),
}


OTHER = "a-token-of-the-request-4711"


def typed(text: str) -> str:
    """Return shell text for a text, which does not stand in the prompt as a whole."""
    half = len(text) // 2
    return f"'{text[:half]}''{text[half:]}'"


def stored(hosted: Hosted, task_id: int) -> str:
    """Return everything that clients can read of a task."""
    paths = (f"/tasks/{task_id}", f"/task-status/{task_id}", f"/git-diff/{task_id}")
    return json.dumps([hosted.backend.get(path) for path in paths])


@pytest.mark.parametrize("form", FORMS)
def test_a_live_secret_in_a_file_is_named_and_not_pushed(hosted: Hosted, form: str) -> None:
    task_id = hosted.task(f"echo key = {typed(FORMS[form])} >config.txt; echo fine >other.txt")
    metadata = hosted.row(task_id)["execution_metadata"]
    assert metadata["secret_files"] == ["config.txt"]
    assert "secret that this server knows, in config.txt" in " ".join(metadata["notes"])
    text = stored(hosted, task_id)
    assert FORMS[form] not in text
    assert "[redacted]" in text
    answer = hosted.create(task_id)
    assert (answer["http_status"], answer["code"]) == (409, "secret_detected")
    assert "config.txt" in answer["error"]
    assert hosted.pulls == []


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("printf '\\0%s' $t >data.bin", "data.bin"),
        ("printf %s $t | sed 's/./&\\x00/g' >wide.txt", "wide.txt"),
        ("printf 'a\\r\\n%s\\r\\n' $t >dos.txt", "dos.txt"),
        ("printf 'caf\\351 %s' $t >latin.txt", "latin.txt"),
        ("echo $t >>one.txt; git commit -qam more; echo x >y", "one.txt"),
        (
            "echo $t >two; git add two; git commit -qm two; git rm -q two; echo x >y; "
            "git add y; git commit -qm y",
            "earlier commit",
        ),
        ('echo x >y; git add y; git commit -qm "with $t"; echo z >z', "commit messages"),
        ("echo x >$t.txt", "[redacted].txt"),
        (
            "{ head -c 300000 /dev/urandom; printf '\\0%s\\0' $t; head -c 9 /dev/urandom; } >large",
            "large",
        ),
    ],
)
def test_a_secret_is_found_wherever_the_agent_put_it(
    hosted: Hosted, script: str, name: str
) -> None:
    task_id = hosted.task(f"t={typed(TOKEN)}; {script}")
    assert TOKEN not in stored(hosted, task_id)
    answer = hosted.create(task_id)
    assert (answer["http_status"], answer["code"]) == (409, "secret_detected"), answer
    assert name in answer["error"]


def test_a_key_that_the_server_got_after_the_task_is_not_pushed(
    small_origin: Repository, tmp_path: Path
) -> None:
    key = "a-key-of-the-server-4711"
    with open_hub(tmp_path) as hub:
        task_id = hub.host(small_origin).task(f"echo {typed(key)} >late.txt; echo fine >other.txt")
    with open_backend(tmp_path / "data", anthropic_api_key=key) as later:
        answer = later.post(f"/api/create-pr/{task_id}", github_token=TOKEN, **SIMULATED)
    assert (answer["http_status"], answer["code"]) == (409, "secret_detected")
    assert "in late.txt. " in answer["error"]


def test_the_token_of_the_request_itself_is_not_pushed(
    small_origin: Repository, tmp_path: Path
) -> None:
    with open_hub(tmp_path) as hub:
        hosted = hub.host(small_origin)
        task_id = hosted.task(f"echo {typed(OTHER)} >late.txt")
        answer = hosted.create(task_id, github_token=OTHER)
        assert (answer["http_status"], answer["code"]) == (409, "secret_detected")
        assert "in late.txt. " in answer["error"]


KEYS = {
    "a GitHub token": "ghp_" + "0a" * 18,
    "a GitLab token": "glpat-" + "0a" * 10,
    "an AWS key": "AKIA" + "0A" * 8,
    "a Slack token": "xoxb-" + "0a" * 5,
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "a Google API key": "AIza" + "0a-_X" * 7,
    "an Anthropic key": "sk-ant-" + "0a" * 10,
    "an OpenAI key": "sk-proj-" + "0a" * 20,
    "a Stripe key": "rk_live_" + "0a" * 10,
    "an API key of this server": "ac_" + "0a" * 10,
    "an npm token": "npm_" + "0a" * 18,
}


def test_keys_of_others_are_notes_and_no_refusal(hosted: Hosted) -> None:
    keys = [f"echo 'key: {key} .' >key-{n}" for n, key in enumerate(KEYS.values())]
    words = [f"echo 'x{key}' >word-{n}" for n, key in enumerate(KEYS.values()) if key[0] != "-"]
    task_id = hosted.task("; ".join([*keys, *words]))
    metadata = hosted.row(task_id)["execution_metadata"]
    warned = [note for note in metadata["notes"] if "may contain" in note]
    # One key may have two forms.
    for number, kind in enumerate(KEYS):
        assert any(f"key-{number} may contain {kind}" in note for note in warned), (kind, warned)
    assert "word-" not in str(warned)
    assert "secret_files" not in metadata
    body = hosted.created(task_id)
    assert body["http_status"] == 200


def test_a_secret_that_the_repository_has_already_is_no_reason_to_refuse(
    hub: Hub, tmp_path: Path
) -> None:
    origin = Repository(tmp_path / "origin")
    origin.commit(f"printf '{TOKEN}\\nlast\\n' >kept.txt; echo {TOKEN} >removed.txt")
    hosted = hub.host(origin)
    task_id = hosted.task("echo more >>kept.txt; git rm -q removed.txt; printf '\\0' >new.bin")
    assert "secret_files" not in hosted.row(task_id)["execution_metadata"]
    hosted.created(task_id)


def test_a_change_without_secrets_has_no_such_note(hosted: Hosted) -> None:
    task_id = hosted.task("echo 'no key at all' >key.txt")
    metadata = hosted.row(task_id)["execution_metadata"]
    assert metadata["notes"] == []
    assert "secret_files" not in metadata
