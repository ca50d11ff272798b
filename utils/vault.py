"""Encryption of tokens at rest, and the keys that the server makes for itself."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from utils.errors import TaskError
from utils.settings import Settings


class Vault:
    """Encrypts short texts with one key (Fernet: AES-128-CBC and HMAC-SHA256)."""

    def __init__(self, key: SecretStr) -> None:
        digest = hashlib.sha256(key.get_secret_value().encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(digest))

    @classmethod
    def open(cls, settings: Settings) -> Vault:
        """Return the vault of this deployment: `SECRET_KEY`, else a key made once in DATA_DIR."""
        return cls(settings.secret_key or load_or_make_key(settings.data_dir / "secret_key"))

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


def load_or_make_key(path: Path) -> SecretStr:
    """Return the key in a file that only this user can read; made with 256 random bits if absent.

    The file appears complete or not at all, so two servers that start at once agree on one key.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return SecretStr(path.read_text().strip())
