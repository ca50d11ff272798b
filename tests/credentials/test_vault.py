"""Encryption at rest: the keys that decrypt a value, and the users it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from utils.config.settings import Settings
from utils.credentials.vault import Vault, is_sealed
from utils.errors import TaskError

FIRST, SECOND, THIRD = (f"key {name} of at least thirty-two characters" for name in "abc")
USER = "00000000-0000-4000-8000-00000000000a"
STRANGER = "00000000-0000-4000-8000-00000000000b"


def vault(*keys: str) -> Vault:
    return Vault(*map(SecretStr, keys))


def deployed(folder: Path, **keys: str) -> Vault:
    return Vault.open(Settings.model_validate({"data_dir": folder, **keys}))


def read(opened: Vault, stored: str, user_id: str = USER, purpose: str = "token") -> str:
    return opened.unseal(user_id, purpose, stored).get_secret_value()


@given(st.text(st.characters(), max_size=50))
def test_every_text_comes_back_for_its_user(text: str) -> None:
    stored = vault(FIRST).seal(USER, "token", text)
    assert is_sealed(stored)
    assert stored.isascii()
    assert read(vault(FIRST), stored) == text


def test_what_older_clients_stored_in_the_clear_is_read_as_it_is() -> None:
    assert read(vault(FIRST), "ghp_plain") == "ghp_plain"
    assert not is_sealed("ghp_plain")
    assert not is_sealed(None)


def test_the_newest_key_encrypts_and_both_decrypt() -> None:
    old = vault(FIRST).seal(USER, "token", "secret")
    both = vault(SECOND, FIRST)
    assert read(both, old) == "secret"
    assert read(vault(SECOND), both.seal(USER, "token", "secret")) == "secret"
    ciphertext = vault(FIRST).encrypt(SecretStr("secret"))
    assert both.decrypt(ciphertext).get_secret_value() == "secret"
    assert vault(SECOND).decrypt(both.encrypt(SecretStr("new"))).get_secret_value() == "new"


@pytest.mark.parametrize(
    ("user_id", "purpose", "key"),
    [(STRANGER, "token", FIRST), (USER, "agent", FIRST), (USER, "token", THIRD)],
    ids=["another user", "another purpose", "another key"],
)
def test_a_sealed_text_is_not_opened_elsewhere(user_id: str, purpose: str, key: str) -> None:
    stored = vault(FIRST).seal(USER, "token", "secret")
    for ask in (vault(key).unseal, vault(key).renew):
        with pytest.raises(TaskError, match="SECRET_KEY_PREVIOUS") as caught:
            ask(user_id, purpose, stored)
        assert caught.value.code == "stored_secret_unreadable"


@pytest.mark.parametrize("rest", ["", "x", "gAAAAA==", "\ud800"])
def test_what_only_looks_sealed_is_refused(rest: str) -> None:
    with pytest.raises(TaskError):
        read(vault(FIRST), f"enc:v1:{rest}")


def test_only_what_the_newest_key_did_not_seal_is_renewed() -> None:
    both = vault(SECOND, FIRST)
    for stored in ("plain", vault(FIRST).seal(USER, "token", "plain")):
        renewed = both.renew(USER, "token", stored)
        assert renewed != stored
        assert read(vault(SECOND), renewed) == "plain"
        assert both.renew(USER, "token", renewed) == renewed


def test_the_key_file_still_counts_when_a_key_is_set(tmp_path: Path) -> None:
    stored = deployed(tmp_path).seal(USER, "token", "secret")
    now = deployed(tmp_path, secret_key=FIRST)
    assert read(now, stored) == "secret"
    renewed = now.renew(USER, "token", stored)
    (tmp_path / "secret_key").unlink()
    assert read(deployed(tmp_path, secret_key=SECOND, secret_key_previous=FIRST), renewed)
    assert not (tmp_path / "secret_key").exists()


def test_a_previous_key_is_as_long_as_any_other() -> None:
    with pytest.raises(ValidationError, match="at least 32"):
        Settings(_env_file=None, secret_key_previous=SecretStr("short"))
