"""Encrypts all that users have stored with the newest key: `./run.sh rotate-keys`.

Also what front ends wrote in the clear. May run beside the server, again and again. Afterwards
the key before, `SECRET_KEY_PREVIOUS`, is needed only by tasks that have not ended yet.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from database import Database, open_database
from utils.config.settings import Settings, explain_settings
from utils.credentials.profiles import AGENT_ACCESS, GITHUB_TOKEN, TRIES, login_text, with_secrets
from utils.credentials.vault import Vault, has_key, is_sealed
from utils.errors import (
    AppError,
    ConfigurationError,
    InvalidInput,
    NotFound,
    RowUnreadable,
    TaskError,
)
from utils.models.tasks import ACTIVE_STATUSES, Json
from utils.models.users import Profile

SEALED, RENEWED = "encrypted for the first time", "encrypted anew"
CURRENT, UNREADABLE = "up to date already", "not readable with any key"
UNSETTLED = "left because their user was changing them"
UNFIT = "left because they do not fit in their row when they are encrypted"


def rotate_keys(database: Database, vault: Vault, *, page_profiles: int = 200) -> Counter[str]:
    """Seal every stored secret with the newest key; return how many there were of each kind.

    What a user changes meanwhile is not overwritten. What cannot be read stays as it is. Profiles
    are found in pages of a size and read one by one, so that an odd one stands in nobody's way.
    """
    counts: Counter[str] = Counter()
    ids = database.list_profile_ids(limit=page_profiles)
    while ids:
        for user_id in ids:
            counts += _renew_profile(database, vault, user_id)
        ids = database.list_profile_ids(ids[-1], limit=page_profiles)
    return counts


def _renew_profile(database: Database, vault: Vault, user_id: str) -> Counter[str]:
    try:
        for _ in range(TRIES):
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
    """The result of the rotation for one user's secrets."""

    def __init__(self, vault: Vault, profile: Profile) -> None:
        self.counts: Counter[str] = Counter()
        self._vault = vault
        self._profile = profile

    def fields(self) -> Json:
        """Return the columns that change."""
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
    """Return what was done, and what it means for the key before, in lines of text."""
    shown = [SEALED, RENEWED, CURRENT, *filter(counts.get, (UNREADABLE, UNFIT, UNSETTLED))]
    lines = ["Secrets that users have stored:", *(f"  {counts[kind]} {kind}" for kind in shown)]
    if counts[UNREADABLE]:
        lines.append(
            "Set SECRET_KEY_PREVIOUS to the key that they were encrypted with and run this again; "
            "if it is lost, their users store them again."
        )
    if counts[UNFIT]:
        lines.append("What does not fit its user stores again, smaller.")
    if counts[UNSETTLED]:
        lines.append("Run this again: SECRET_KEY_PREVIOUS is still needed.")
    elif unfinished_tasks:
        lines.append(
            f"{unfinished_tasks} tasks have not ended. Their tokens may need SECRET_KEY_PREVIOUS: "
            "keep it until they have."
        )
    else:
        lines.append("SECRET_KEY_PREVIOUS, as it is now, is not needed any more.")
    return "\n".join(lines) + "\n"


def _unfinished_tasks(database: Database) -> int:
    active = {status.value for status in ACTIVE_STATUSES}
    return sum(count for (status, _), count in database.count_tasks().items() if status in active)


def main() -> None:
    """Rotate as the environment says, and say what was done; exit with 1 when not all is done."""
    try:
        settings = Settings()
        if not has_key(settings):
            raise ConfigurationError("There is no key yet. Set SECRET_KEY as the server has it.")
        vault = Vault.open(settings)
        database = open_database(settings)
        try:
            counts = rotate_keys(database, vault)
            text = report(counts, _unfinished_tasks(database))
        finally:
            database.close()
    except ValidationError as error:
        raise SystemExit("\n".join(explain_settings(error))) from None
    except AppError as error:
        raise SystemExit(error.message) from None
    sys.stdout.write(text)
    sys.exit(1 if counts[UNSETTLED] else 0)


if __name__ == "__main__":
    main()
