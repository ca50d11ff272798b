"""Encrypts secrets at rest and manages the keys of the server."""

from __future__ import annotations

import base64
import hashlib
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from utils.config.groups.server import MINIMUM_KEY_CHARACTERS
from utils.config.private_folder import data_folder_unusable, write_once
from utils.config.settings import Settings
from utils.errors import ConfigurationError, TaskError

SEAL = "enc:v1:"
"""Prefix of every sealed text."""


class Vault:
    """Encrypts short texts (Fernet: AES-128-CBC and HMAC-SHA256).

    The newest key encrypts; all keys decrypt. A sealed text is bound to its user and its purpose,
    so it cannot be decrypted when somebody copies it to another row or column.
    """

    def __init__(self, newest: SecretStr, *previous: SecretStr) -> None:
        self._newest = _fernet(newest)
        self._all = MultiFernet([self._newest, *map(_fernet, previous)])

    @classmethod
    def open(cls, settings: Settings) -> Vault:
        """Create the vault with the keys of the settings."""
        return cls(*encryption_keys(settings))

    def encrypt(self, text: SecretStr) -> bytes:
        """Encrypt a text."""
        return self._newest.encrypt(text.get_secret_value().encode())

    def decrypt(self, ciphertext: bytes) -> SecretStr:
        """Decrypt a text. Raises `TaskError` when it was encrypted with another key."""
        try:
            return SecretStr(self._all.decrypt(ciphertext).decode())
        except InvalidToken:
            raise TaskError(
                "The stored token cannot be decrypted: SECRET_KEY has changed, or this worker has "
                "another one than the server. Start the task again with its github_token.",
                "token_unreadable",
            ) from None

    def seal(self, user_id: str, purpose: str, text: str) -> str:
        """Encrypt a text for a column, bound to a user and a purpose."""
        bound = _binding(user_id, purpose) + text.encode(errors="surrogatepass")
        return SEAL + self._newest.encrypt(bound).decode()

    def unseal(self, user_id: str, purpose: str, stored: str) -> SecretStr:
        """Decrypt the value of a column; return a value that is not sealed unchanged.

        Raises `TaskError` when it was sealed with another key or for another user or purpose.
        """
        if not is_sealed(stored):
            return SecretStr(stored)
        binding = _binding(user_id, purpose)
        bound = _decrypted(self._all, stored)
        if bound is None or not bound.startswith(binding):
            raise TaskError(
                "A secret that you have stored cannot be decrypted: SECRET_KEY has changed, this "
                "worker has another one than the server, or it is of another user. Store it again "
                "with PUT /users/me, or have the server started with the previous key as "
                "SECRET_KEY_PREVIOUS.",
                "stored_secret_unreadable",
            )
        return SecretStr(bound.removeprefix(binding).decode(errors="surrogatepass"))

    def renew(self, user_id: str, purpose: str, stored: str) -> str:
        """Seal a value with the newest key, unless it is already. Raises the errors of `unseal`."""
        text = self.unseal(user_id, purpose, stored).get_secret_value()
        if is_sealed(stored) and _decrypted(self._newest, stored) is not None:
            return stored
        return self.seal(user_id, purpose, text)


def is_sealed(stored: object) -> bool:
    """Tell whether a value has the format of `Vault.seal`."""
    return isinstance(stored, str) and stored.startswith(SEAL)


def signing_key(settings: Settings) -> SecretStr:
    """Return the key of access tokens: `JWT_SECRET`, else a generated one in `DATA_DIR`."""
    return settings.jwt_secret or load_or_create_key(settings.data_dir / "jwt_secret")


def encryption_keys(settings: Settings) -> list[SecretStr]:
    """Return the keys of secrets at rest, the newest first.

    The newest is `SECRET_KEY`, else a generated key in `DATA_DIR`. A generated key is still used
    for decryption after `SECRET_KEY` was set. Raises `ConfigurationError`.
    """
    path = _key_file(settings)
    keys = [settings.secret_key, settings.secret_key_previous]
    if settings.secret_key is None:
        keys.insert(0, load_or_create_key(path))
    elif path.exists():
        keys.append(load_or_create_key(path))
    return [key for key in keys if key is not None]


def has_key(settings: Settings) -> bool:
    """Tell whether this deployment already has a key for secrets at rest."""
    return settings.secret_key is not None or _key_file(settings).exists()


def load_or_create_key(path: Path) -> SecretStr:
    """Return the key of a file; if it is missing, generate 256 random bits readable by the owner.

    The file is created atomically, so two servers that start at once use the same key. Raises
    `ConfigurationError` when the file holds no valid key.
    """
    try:
        return _stored_key(path)
    except OSError as error:
        raise data_folder_unusable(path.parent, error) from error


def _stored_key(path: Path) -> SecretStr:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_once(path, secrets.token_hex(32))
    key = path.read_text().strip()
    if len(key) < MINIMUM_KEY_CHARACTERS:
        raise ConfigurationError(
            f"The key in {path} is shorter than {MINIMUM_KEY_CHARACTERS} characters. Restore "
            "the file, or delete it to generate a new key; data of the old key is then lost."
        )
    return SecretStr(key)


def _key_file(settings: Settings) -> Path:
    return settings.data_dir / "secret_key"


def _fernet(key: SecretStr) -> Fernet:
    digest = hashlib.sha256(key.get_secret_value().encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))


def _binding(user_id: str, purpose: str) -> bytes:
    # Neither contains a line end, so no binding is a prefix of another.
    return f"{user_id}\n{purpose}\n".encode()


def _decrypted(fernet: Fernet | MultiFernet, stored: str) -> bytes | None:
    try:
        return fernet.decrypt(stored.removeprefix(SEAL).encode())
    except (InvalidToken, UnicodeEncodeError):
        return None
