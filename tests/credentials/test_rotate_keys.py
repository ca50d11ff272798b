"""`./run.sh rotate-keys` encrypts all secrets with the newest key and loses none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from database import Database
from tests.support.database.samples import NOBODY, STRANGER, USER
from utils.commands import rotate_keys as program
from utils.commands.rotate_keys import (
    CURRENT,
    RENEWED,
    SEALED,
    UNREADABLE,
    UNSETTLED,
    report,
    rotate_keys,
)
from utils.credentials.profiles import AGENT_ACCESS, GITHUB_TOKEN, readable_preferences
from utils.credentials.vault import Vault, is_sealed
from utils.database.sql.database import SqlDatabase
from utils.models.tasks import Json
from utils.models.users import Profile

OLD, NEW = (SecretStr(f"key {name} of at least thirty-two characters") for name in "ab")
LOGIN = {"tokens": {"access": "marked-login"}}

AFTERWARDS, MEANWHILE, BEFORE = Vault(NEW), Vault(NEW, OLD), Vault(OLD)


def token_of(database: Database, user_id: str) -> str:
    stored = database.get_profile(user_id).github_token
    assert is_sealed(stored)
    return AFTERWARDS.unseal(user_id, GITHUB_TOKEN, stored or "").get_secret_value()


def test_everything_is_sealed_with_the_newest_key_page_by_page(database: Database) -> None:
    plain: Json = {
        "theme": "dark",
        "claudeCode": {"env": {"KEY": "plain", "FLAG": True}, "credentials": LOGIN},
        "codexCLI": {"OLD": "plain"},
    }
    older = {"codex": {"env": {"KEY": BEFORE.seal(STRANGER, AGENT_ACCESS, "older")}}}
    database.update_profile(USER, {"github_token": "ghp_plain", "preferences": plain})
    database.update_profile(
        STRANGER,
        {"github_token": BEFORE.seal(STRANGER, GITHUB_TOKEN, "ghp_old"), "preferences": older},
    )
    counts = rotate_keys(database, MEANWHILE, page_profiles=1)
    assert counts == {SEALED: 4, RENEWED: 2}
    assert (token_of(database, USER), token_of(database, STRANGER)) == ("ghp_plain", "ghp_old")
    stored = database.get_profile(USER).preferences
    assert stored["theme"] == "dark"
    assert stored["claudeCode"]["env"]["FLAG"] is True
    assert is_sealed(stored["claudeCode"]["credentials"])
    for user_id, agent, before in (
        (USER, "claude", plain["claudeCode"]),
        (USER, "codex", plain["codexCLI"]),
        (STRANGER, "codex", {"env": {"KEY": "older"}}),
    ):
        kept = database.get_profile(user_id).preferences
        (section,) = readable_preferences(AFTERWARDS, user_id, kept, agent).values()
        assert section == before
    assert rotate_keys(database, MEANWHILE) == {CURRENT: 6}
    assert database.get_profile(USER).preferences == stored


def test_what_cannot_be_read_stays_as_it_is(sqlite_database: SqlDatabase) -> None:
    database = sqlite_database
    for user_id in (USER, STRANGER):
        database.ensure_user(user_id)
    foreign = BEFORE.seal(NOBODY, GITHUB_TOKEN, "ghp_foreign")
    lost = {"claudeCode": {"env": {"KEY": "enc:v1:lost"}, "credentials": "enc:v1:lost"}}
    database.update_profile(USER, {"github_token": foreign, "preferences": lost})
    database.update_profile(STRANGER, {"github_token": "ghp_plain"})
    counts = rotate_keys(database, MEANWHILE)
    assert counts == {UNREADABLE: 3, SEALED: 1}
    profile = database.get_profile(USER)
    assert (profile.github_token, profile.preferences) == (foreign, lost)
    assert "3 not readable" in report(counts, 0)
    assert "users must store them again" in report(counts, 0)


class Meddling:
    """Wraps a database and changes the profile just before each of our changes."""

    def __init__(self, database: SqlDatabase, times: int) -> None:
        self._database = database
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def replace_profile(
        self, user_id: str, seen: Profile, fields: Mapping[str, Any]
    ) -> Profile | None:
        if self._times:
            self._times -= 1
            self._database.update_profile(user_id, {"github_token": f"ghp_{self._times}"})
        return self._database.replace_profile(user_id, seen, fields)


@pytest.mark.parametrize(("times", "counts"), [(2, {SEALED: 1}), (100, {UNSETTLED: 1})])
def test_what_a_user_changes_meanwhile_is_not_overwritten(
    sqlite_database: SqlDatabase, times: int, counts: dict[str, int]
) -> None:
    sqlite_database.ensure_user(USER)
    sqlite_database.update_profile(USER, {"github_token": "ghp_first"})
    found = rotate_keys(Meddling(sqlite_database, times), MEANWHILE)
    assert found == counts
    if times == 2:
        assert token_of(sqlite_database, USER) == "ghp_0"
    assert ("still needed" in report(found, 0)) is (UNSETTLED in counts)


def test_the_key_before_is_kept_for_tasks_that_have_not_ended(
    sqlite_database: SqlDatabase,
) -> None:
    counts = rotate_keys(sqlite_database, MEANWHILE)
    assert "no longer needed" in report(counts, 0)
    assert "keep it" in report(counts, 2)


def test_no_key_is_made_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(SystemExit, match="Set SECRET_KEY to the value that the server uses"):
        program.main()
    assert not (tmp_path / "data").exists()
