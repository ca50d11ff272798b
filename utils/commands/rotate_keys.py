"""Encrypts all stored secrets of users with the newest key: `./run.sh rotate-keys`.

Encrypts plain text that front ends stored as well. Safe to run repeatedly and while the server
runs. Afterwards only unfinished tasks may still need `SECRET_KEY_PREVIOUS`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from database import Database, open_database
from utils.commands.command_line import CommandParser, ends_with_message
from utils.config.startup import read_settings
from utils.credentials.profiles import (
    AGENT_ACCESS,
    ATTEMPTS,
    GITHUB_TOKEN,
    login_text,
    with_secrets,
)
from utils.credentials.project_secrets import purpose_of
from utils.credentials.vault import Vault, has_key, is_sealed
from utils.errors import (
    ConfigurationError,
    InvalidInput,
    NotFound,
    RowUnreadable,
    TaskError,
)
from utils.models.tasks import ACTIVE_STATUSES, Json
from utils.models.users import Profile

SEALED, RENEWED = "encrypted for the first time", "encrypted again with the newest key"
CURRENT, UNREADABLE = "already encrypted with the newest key", "not readable with any key"
UNSETTLED = "skipped because their user changed them at the same time"
UNFIT = "skipped because they are too large for their row when encrypted"


def rotate_keys(database: Database, vault: Vault, *, page_profiles: int = 200) -> Counter[str]:
    """Seal every stored secret with the newest key; return the number of secrets per result.

    Concurrent changes by users are not overwritten. Secrets that cannot be decrypted are left
    unchanged. Ids are listed in pages and profiles are read one by one, so that an unreadable
    profile does not stop the others.
    """
    counts: Counter[str] = Counter()
    ids = database.list_profile_ids(limit=page_profiles)
    while ids:
        for user_id in ids:
            counts += _renew_profile(database, vault, user_id)
        ids = database.list_profile_ids(ids[-1], limit=page_profiles)
    projects = database.list_secret_projects(limit=page_profiles)
    while projects:
        for project_id, user_id in projects:
            counts += _renew_project(database, vault, user_id, project_id)
        projects = database.list_secret_projects(projects[-1][0], limit=page_profiles)
    return counts


def _renew_project(database: Database, vault: Vault, user_id: str, project_id: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    try:
        stored = database.list_project_secrets(user_id, project_id)
    except NotFound:
        return counts
    for secret in stored:
        try:
            renewed = vault.renew(user_id, purpose_of(project_id, secret.name), secret.sealed)
        except TaskError:
            counts[UNREADABLE] += 1
            continue
        if renewed == secret.sealed:
            counts[CURRENT] += 1
        elif database.reseal_project_secret(secret, renewed):
            counts[RENEWED] += 1
        # Otherwise somebody has just stored another value, with the newest key.
    return counts


def _renew_profile(database: Database, vault: Vault, user_id: str) -> Counter[str]:
    try:
        for _ in range(ATTEMPTS):
            seen = database.get_profile(user_id)
            renewal = _Renewal(vault, seen)
            fields = renewal.fields()
            if not fields or database.replace_profile(user_id, seen, fields):
                return renewal.counts
    except NotFound:
        return Counter()
    except RowUnreadable:
        return Counter({UNREADABLE: 1})
    except InvalidInput:
        return Counter({UNFIT: renewal.counts.total()})
    return Counter({UNSETTLED: renewal.counts.total()})


class _Renewal:
    """Seals the secrets of one user with the newest key and counts the results."""

    def __init__(self, vault: Vault, profile: Profile) -> None:
        self.counts: Counter[str] = Counter()
        self._vault = vault
        self._profile = profile

    def fields(self) -> Json:
        """Return the changed columns."""
        profile = self._profile
        renewed: Json = {
            "preferences": with_secrets(
                profile.preferences, self._renewer(AGENT_ACCESS), self._renew_login
            )
        }
        if profile.github_token:
            renewed["github_token"] = self._renewer(GITHUB_TOKEN)(profile.github_token)
        return {name: new for name, new in renewed.items() if new != getattr(profile, name)}

    def _renewer(self, purpose: str) -> Callable[[str], str]:
        return lambda stored: self._renew(purpose, stored)

    def _renew_login(self, stored: Any) -> str:
        return self._renew(AGENT_ACCESS, stored if is_sealed(stored) else login_text(stored))

    def _renew(self, purpose: str, stored: str) -> str:
        try:
            renewed = self._vault.renew(self._profile.id, purpose, stored)
        except TaskError:
            self.counts[UNREADABLE] += 1
            return stored
        if not is_sealed(stored):
            self.counts[SEALED] += 1
        else:
            self.counts[CURRENT if renewed == stored else RENEWED] += 1
        return renewed


def report(counts: Counter[str], unfinished_tasks: int) -> str:
    """Return a report: the results, and whether the previous key is still needed."""
    shown = [SEALED, RENEWED, CURRENT, *filter(counts.get, (UNREADABLE, UNFIT, UNSETTLED))]
    lines = ["Stored secrets of users:", *(f"  {counts[kind]} {kind}" for kind in shown)]
    if counts[UNREADABLE]:
        lines.append(
            "For secrets that are not readable, set SECRET_KEY_PREVIOUS to the key that encrypted "
            "them and run this again. If that key is lost, their users must store them again."
        )
    if counts[UNFIT]:
        lines.append("Users must store secrets that are too large again, with smaller values.")
    if counts[UNSETTLED]:
        lines.append("Run this again. SECRET_KEY_PREVIOUS is still needed.")
    elif unfinished_tasks:
        lines.append(
            f"{unfinished_tasks} tasks have not ended. Their tokens may need SECRET_KEY_PREVIOUS; "
            "keep it until they have."
        )
    else:
        lines.append("The present SECRET_KEY_PREVIOUS is no longer needed.")
    return "\n".join(lines) + "\n"


def _unfinished_tasks(database: Database) -> int:
    active = {status.value for status in ACTIVE_STATUSES}
    return sum(count for (status, _), count in database.count_tasks().items() if status in active)


@ends_with_message
def main(arguments: Sequence[str]) -> int:
    """Rotate the keys and print a report; return 1 if secrets were skipped."""
    CommandParser(
        "rotate-keys", "Encrypt the stored secrets of all users with the newest SECRET_KEY."
    ).parse_args(arguments)
    settings = read_settings()
    if not has_key(settings):
        raise ConfigurationError(
            "There is no key yet. Set SECRET_KEY to the value that the server uses."
        )
    vault = Vault.open(settings)
    database = open_database(settings)
    try:
        counts = rotate_keys(database, vault)
        text = report(counts, _unfinished_tasks(database))
    finally:
        database.close()
    sys.stdout.write(text)
    return 1 if counts[UNSETTLED] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
