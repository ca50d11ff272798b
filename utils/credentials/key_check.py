"""Checks that what users have stored can be decrypted, before their tasks fail for want of it."""

from __future__ import annotations

from collections.abc import Iterator

from database import Database
from utils.credentials.profiles import GITHUB_TOKEN
from utils.credentials.project_secrets import purpose_of
from utils.credentials.vault import Vault, is_sealed
from utils.errors import NotFound, RowUnreadable, TaskError

SAMPLE = 50
"""The users and the projects that are looked at."""

KEY_DIFFERS = "Nothing that users have stored can be decrypted with this SECRET_KEY"
KEY_REMEDY = (
    "Set SECRET_KEY to that of the server. After a change of the key, set SECRET_KEY_PREVIOUS to "
    "the old one."
)


def reads_no_secret(database: Database, vault: Vault) -> bool:
    """Tell whether users have stored secrets and none of a sample can be decrypted.

    Some may be of a key that was lost long ago. Raises `DatabaseUnavailable`.
    """
    readable = [_is_readable(vault, *stored) for stored in _sample(database)]
    return bool(readable) and not any(readable)


def _sample(database: Database) -> Iterator[tuple[str, str, str]]:
    """Yield the user, the purpose and the sealed text of stored secrets."""
    for user_id in database.list_profile_ids(limit=SAMPLE):
        try:
            token = database.get_profile(user_id).github_token
        except (NotFound, RowUnreadable):
            continue
        if token and is_sealed(token):
            yield user_id, GITHUB_TOKEN, token
    for project_id, user_id in database.list_secret_projects(limit=SAMPLE):
        try:
            secrets = database.list_project_secrets(user_id, project_id)
        except NotFound:
            continue
        for secret in secrets:
            yield user_id, purpose_of(project_id, secret.name), secret.sealed


def _is_readable(vault: Vault, user_id: str, purpose: str, sealed: str) -> bool:
    try:
        vault.unseal(user_id, purpose, sealed)
    except TaskError:
        return False
    return True
