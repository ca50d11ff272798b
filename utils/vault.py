"""Encryption of tokens at rest, and the keys that the server makes for itself."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from utils.errors import ConfigurationError, TaskError
from utils.settings import MINIMUM_KEY_CHARACTERS, Settings


class Vault:
    """Encrypts short texts with one key (Fernet: AES-128-CBC and HMAC-SHA256)."""

    def __init__(self, key: SecretStr) -> None:
        digest = hashlib.sha256(key.get_secret_value().encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(digest))

    @classmethod
    def open(cls, settings: Settings) -> Vault:
        """Return the vault of this deployment."""
        return cls(encryption_key(settings))

    def encrypt(self, text: SecretStr) -> bytes:
        """Return the ciphertext of a text."""
        return self._fernet.encrypt(text.get_secret_value().encode())

    def decrypt(self, ciphertext: bytes) -> SecretStr:
        """Return the text. Raises `TaskError` when another key encrypted it."""
        try:
            return SecretStr(self._fernet.decrypt(ciphertext).decode())
        except InvalidToken:
            raise TaskError(
                "The stored token cannot be decrypted because SECRET_KEY has changed. "
                "Start the task again with its github_token.",
                "token_unreadable",
            ) from None


def signing_key(settings: Settings) -> SecretStr:
    """Return the key of access tokens: `JWT_SECRET`, else one made once in DATA_DIR."""
    return settings.jwt_secret or load_or_make_key(settings.data_dir / "jwt_secret")


def encryption_key(settings: Settings) -> SecretStr:
    """Return the key of tokens at rest: `SECRET_KEY`, else one made once in DATA_DIR."""
    return settings.secret_key or load_or_make_key(settings.data_dir / "secret_key")


def load_or_make_key(path: Path) -> SecretStr:
    """Return the key in a file that only this user can read; made with 256 random bits if absent.

    The file appears complete or not at all, so two servers that start at once agree on one key.
    Raises `ConfigurationError` when the file holds no usable key.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    key = path.read_text().strip()
    if len(key) < MINIMUM_KEY_CHARACTERS:
        raise ConfigurationError(
            f"The key in {path} is shorter than {MINIMUM_KEY_CHARACTERS} characters. Restore "
            "the file, or remove it to have a new key made; what the old key protected is lost."
        )
    return SecretStr(key)
