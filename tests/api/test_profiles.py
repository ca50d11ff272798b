"""The profile under `/users/me`; responses never contain its secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from database import Database
from tests.conftest import Headers
from tests.support.database.samples import all_at_once
from tests.support.stored_files import stored_bytes
from utils.credentials.profiles import AGENT_ACCESS, GITHUB_TOKEN
from utils.credentials.vault import Vault, is_sealed
from utils.models.tasks import Json

TOKEN = "ghp_Marked0Token1"
KEY = "sk-ant-marked-key"
LOGIN = {"claudeAiOauth": {"accessToken": "marked-oauth-token", "expiresAt": 5}}
SECRETS = (TOKEN, KEY, "marked-oauth-token")

EVERYTHING = {
    "full_name": "Ada Lovelace",
    "avatar_url": "https://example.com/ada.png",
    "github_username": "ada",
    "github_token": TOKEN,
    "preferences": {
        "claudeCode": {"env": {"ANTHROPIC_API_KEY": KEY}, "credentials": LOGIN},
        "codex": {"env": {"OPENAI_API_KEY": KEY, "EXTRA": ""}},
    },
}

Put = Callable[..., Json]


@pytest.fixture
def put(client: FlaskClient, headers: Headers) -> Put:
    """Provide a function that changes the profile and returns it."""

    def change(**body: Any) -> Json:
        answer = client.put("/users/me", json=body, headers=headers)
        assert answer.status_code == 200, answer.get_data()
        changed: Json = answer.get_json()["user"]
        return changed

    return change


@pytest.fixture
def database(app: Flask) -> Database:
    gateway: Database = app.extensions["services"].database
    return gateway


@pytest.fixture
def vault(app: Flask) -> Vault:
    opened: Vault = app.extensions["services"].vault
    return opened


def test_a_new_user_has_an_empty_profile(client: FlaskClient, headers: Headers, user: str) -> None:
    answer = client.get("/api/users/me", headers=headers).get_json()
    shown = answer["user"]
    assert (answer["status"], shown["id"], shown["has_github_token"]) == ("success", user, False)
    empty: Json = {"env": {}, "credentials": None}
    assert shown["preferences"] == {"claudeCode": empty, "codex": empty}
    assert shown["full_name"] is shown["avatar_url"] is shown["github_username"] is None


def test_secrets_are_named_and_never_shown(put: Put, client: FlaskClient, headers: Headers) -> None:
    changed = put(**EVERYTHING)
    answer = client.get("/users/me", headers=headers)
    assert answer.get_json()["user"] == changed
    assert "github_token" not in changed
    assert changed["has_github_token"] is True
    assert [changed[name] for name in ("full_name", "avatar_url", "github_username")] == [
        "Ada Lovelace",
        "https://example.com/ada.png",
        "ada",
    ]
    assert changed["preferences"] == {
        "claudeCode": {"env": {"ANTHROPIC_API_KEY": "[stored]"}, "credentials": "[stored]"},
        "codex": {"env": {"OPENAI_API_KEY": "[stored]", "EXTRA": "[stored]"}, "credentials": None},
    }
    assert not any(secret in answer.get_data(as_text=True) for secret in SECRETS)


def test_secrets_are_nowhere_on_disk_in_the_clear(quiet: None, put: Put, app_folder: Path) -> None:
    put(**EVERYTHING)
    stored = stored_bytes(app_folder)
    assert b"Ada Lovelace" in stored
    assert b"enc:v1:" in stored
    assert [secret for secret in SECRETS if secret.encode() in stored] == []


def test_the_row_keeps_the_shape_that_pages_read(put: Put, database: Database, user: str) -> None:
    database.update_profile(user, {"preferences": {"theme": "dark", "claudeCode": {"env": {}}}})
    put(**EVERYTHING)
    stored = database.get_profile(user)
    assert is_sealed(stored.github_token)
    claude, codex = stored.preferences["claudeCode"], stored.preferences["codex"]
    assert stored.preferences.keys() == {"theme", "claudeCode", "codex"}
    assert stored.preferences["theme"] == "dark"
    assert list(claude["env"]) == ["ANTHROPIC_API_KEY"]
    assert all(map(is_sealed, (*claude["env"].values(), *codex["env"].values())))
    assert is_sealed(claude["credentials"])
    assert codex["credentials"] is None


def test_what_is_not_sent_stays_and_null_removes(put: Put) -> None:
    before = put(**EVERYTHING)
    assert put() | {"updated_at": None} == before | {"updated_at": None}
    put(full_name=None, github_token=None, preferences={"claudeCode": {"credentials": None}})
    after = put()
    assert (after["full_name"], after["has_github_token"]) == (None, False)
    assert after["avatar_url"] == before["avatar_url"]
    assert after["preferences"]["claudeCode"] == {
        "env": {"ANTHROPIC_API_KEY": "[stored]"},
        "credentials": None,
    }
    assert after["preferences"]["codex"] == before["preferences"]["codex"]


def test_an_empty_token_removes_the_stored_one(put: Put) -> None:
    assert put(github_token="ghp_secret")["has_github_token"] is True
    assert put(github_token="")["has_github_token"] is False


def test_a_profile_sent_back_as_it_was_shown_keeps_its_secrets(
    put: Put, database: Database, user: str
) -> None:
    shown = put(**EVERYTHING)
    before = database.get_profile(user).preferences
    claude = {"env": {"ANTHROPIC_API_KEY": "[stored]", "NEW": "1"}, "credentials": "[stored]"}
    changed = put(preferences={"claudeCode": claude, "codex": {"env": {"EXTRA": "[stored]"}}})
    assert changed["preferences"]["codex"]["env"] == {"EXTRA": "[stored]"}
    assert changed["preferences"]["claudeCode"]["credentials"] == "[stored]"
    after = database.get_profile(user).preferences
    assert after["claudeCode"]["env"].pop("NEW") != "1"
    assert after["claudeCode"] == before["claudeCode"]
    assert after["codex"]["env"] == {"EXTRA": before["codex"]["env"]["EXTRA"]}
    assert shown["preferences"]["claudeCode"]["env"].keys() == after["claudeCode"]["env"].keys()


@pytest.mark.parametrize(
    "stored",
    [
        {"claudeCode": {"KEY": KEY}, "codexCLI": {"env": {"OLD": KEY}}},
        {"claudeCode": {"env": {"KEY": KEY}}, "codex": {"env": {}}, "codexCLI": {"OLD": KEY}},
    ],
    ids=["flat", "nested"],
)
def test_older_shapes_are_shown_and_become_the_present_one(
    put: Put, database: Database, vault: Vault, user: str, stored: Json
) -> None:
    database.update_profile(user, {"preferences": stored})
    shown = put()["preferences"]
    assert (shown["claudeCode"]["env"], shown["codex"]["env"]) == (
        {"KEY": "[stored]"},
        {"OLD": "[stored]"},
    )
    put(preferences=shown)
    after = database.get_profile(user).preferences
    assert after.keys() == {"claudeCode", "codex"}
    for section, name in (("claudeCode", "KEY"), ("codex", "OLD")):
        sealed = after[section]["env"][name]
        assert is_sealed(sealed)
        assert vault.unseal(user, AGENT_ACCESS, sealed).get_secret_value() == KEY


def test_sealed_values_that_a_page_read_in_its_row_may_be_sent_back(
    put: Put, database: Database, user: str
) -> None:
    largest = {"env": {"LARGE": "\N{GRINNING FACE}" * 8_192}, "credentials": {"a": "x" * 16_000}}
    put(**EVERYTHING | {"preferences": {"claudeCode": largest}})
    before = database.get_profile(user)
    put(github_token=before.github_token, preferences=before.preferences)
    after = database.get_profile(user)
    assert (after.github_token, after.preferences) == (before.github_token, before.preferences)


def test_what_is_sealed_for_somebody_else_is_refused(
    client: FlaskClient, headers: Headers, vault: Vault, user: str, repository: Path
) -> None:
    theirs = "00000000-0000-4000-8000-0000000000ff"
    foreign = [vault.seal(theirs, purpose, TOKEN) for purpose in (GITHUB_TOKEN, AGENT_ACCESS)]
    mine = vault.seal(user, GITHUB_TOKEN, TOKEN)
    bodies = (
        {"github_token": foreign[0]},
        {"preferences": {"claudeCode": {"env": {"KEY": foreign[1]}}}},
        {"preferences": {"codex": {"credentials": foreign[1]}}},
        # Nor is a token for git given to an agent.
        {"preferences": {"codex": {"env": {"KEY": mine}}}},
    )
    task = {"prompt": "Hello", "repo_url": str(repository), "github_token": foreign[0]}
    answers = [client.put("/users/me", json=body, headers=headers) for body in bodies]
    for answer in (*answers, client.post("/start-task", json=task, headers=headers)):
        assert answer.status_code == 400
        assert answer.get_json()["code"] == "stored_secret_unreadable"
        assert "enc:v1" not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "body",
    [
        {"github_token": f"{TOKEN} {TOKEN}"},
        {"github_token": TOKEN * 400},
        {"github_username": f"{TOKEN}/.."},
        {"avatar_url": f"javascript:{TOKEN}"},
        {"full_name": TOKEN * 20},
        {"is_test_user": TOKEN},
        {"preferences": {TOKEN: {}}},
        {"preferences": {"claudeCode": {"env": {"PATH": TOKEN}}}},
        {"preferences": {"claudeCode": {"env": {f"{TOKEN}-": "x"}}}},
        {"preferences": {"claudeCode": {"env": {"KEY": TOKEN * 1_000}}}},
        {"preferences": {"claudeCode": {"env": {"KEY": f"{TOKEN}\0"}}}},
        {"preferences": {"claudeCode": {"env": {"KEY": [TOKEN]}}}},
        {
            "preferences": {
                "claudeCode": {"env": dict.fromkeys((f"K{n}" for n in range(51)), TOKEN)}
            }
        },
        {"preferences": {"claudeCode": {"env": dict.fromkeys("ABC", TOKEN * 400)}}},
        {"preferences": {"codex": {"credentials": TOKEN}}},
        {"preferences": {"codex": {"credentials": {"token": TOKEN * 1_000}}}},
        {"preferences": {"codex": {"env": {"NOTHING": "[stored]"}}}},
        {"preferences": None},
    ],
    ids=lambda body: str(body)[:60],
)
def test_what_cannot_be_stored_is_refused_without_repeating_it(
    client: FlaskClient, headers: Headers, body: Json
) -> None:
    answer = client.put("/users/me", json=body, headers=headers)
    assert answer.status_code == 400, answer.get_data()
    assert "Marked" not in answer.get_data(as_text=True)


def test_sections_that_change_at_once_are_both_kept(put: Put) -> None:
    def change(section: str) -> Json:
        return put(preferences={section: {"env": {"KEY": KEY}}})

    all_at_once([lambda: change("claudeCode"), lambda: change("codex")])
    shown = put()["preferences"]
    assert [shown[name]["env"] for name in ("claudeCode", "codex")] == [{"KEY": "[stored]"}] * 2


def test_what_no_key_reads_is_still_shown_kept_and_replaced(
    put: Put, database: Database, user: str
) -> None:
    lost = {"env": {"KEY": "enc:v1:lost"}, "credentials": "enc:v1:lost"}
    database.update_profile(user, {"github_token": "enc:v1:lost", "preferences": {"codex": lost}})
    shown = put()
    assert shown["has_github_token"]
    put(preferences=shown["preferences"], full_name="Ada")
    assert database.get_profile(user).preferences["codex"] == lost
    put(github_token=TOKEN, preferences={"codex": {"env": {"KEY": KEY}, "credentials": LOGIN}})
    stored = database.get_profile(user)
    assert "enc:v1:lost" not in str((stored.github_token, stored.preferences))


def test_nobody_else_sees_a_profile(
    put: Put, client: FlaskClient, stranger: Headers, secure_client: FlaskClient
) -> None:
    put(**EVERYTHING)
    assert client.get("/users/me", headers=stranger).get_json()["user"]["full_name"] is None
    for ask in (secure_client.get, secure_client.put):
        assert ask("/users/me", json={}).status_code == 401
