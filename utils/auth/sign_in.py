"""Tells an operator when nobody can sign in, and when anybody can."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from database import Database
from utils.config.addresses import LOOPBACK_HOSTS
from utils.config.settings import Settings
from utils.errors import Unavailable

ADD_USER = "Add a user with ./run.sh add-user <name>, which prints an API key."

NOBODY = "nobody can sign in: there is no API key, and no Supabase project is set."


def trust_warnings(settings: Settings) -> Iterator[str]:
    """Yield a warning for each setting that lets others act as any user."""
    is_reachable = settings.listen_host not in LOOPBACK_HOSTS
    if settings.trusts_user_id and (is_reachable or settings.is_production):
        yield (
            "TRUST_USER_ID is on: everybody who reaches this server can act as any user, without a "
            f"password. Set TRUST_USER_ID=false. {ADD_USER}"
        )
    if settings.test_users_enabled and is_reachable:
        yield (
            "ENABLE_TEST_USERS is on: everybody who reaches this server can create a user and run "
            "tasks. Set ENABLE_TEST_USERS=false."
        )


def nobody_can_sign_in(settings: Settings, database: Database) -> bool:
    """Tell whether the server accepts no credentials at all. Raises `DatabaseUnavailable`."""
    if settings.trusts_user_id or settings.verifies_supabase or settings.test_users_enabled:
        return False
    return not database.has_api_key(datetime.now(UTC))


def sign_in_warnings(settings: Settings, database: Database) -> list[str]:
    """Return the warnings about sign-in that a server writes when it starts."""
    warnings = list(trust_warnings(settings))
    try:
        if nobody_can_sign_in(settings, database):
            warnings.append(f"{NOBODY[:1].upper()}{NOBODY[1:]} {ADD_USER}")
    except Unavailable:  # the first request tells more
        pass
    return warnings
