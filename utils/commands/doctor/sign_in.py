"""Checks for `./run.sh doctor` who can sign in: nobody, everybody, or users with API keys."""

from __future__ import annotations

from collections.abc import Iterator

from utils.auth.sign_in import ADD_USER, NOBODY, nobody_can_sign_in, trust_warnings
from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.config.settings import Settings
from utils.database.migrations import head_revision, stored_revision
from utils.database.sql.database import SqlDatabase
from utils.database.sql.engine import SQLITE_FILE, open_engines
from utils.errors import AppError


def check_users(settings: Settings) -> Iterator[Finding]:
    """Check that somebody can sign in, and not everybody."""
    for text in trust_warnings(settings):
        yield warning(f"sign-in: {text}")
    if settings.trusts_user_id:
        yield ok("sign-in: any user id is accepted without a token, because TRUST_USER_ID is on")
    elif _is_closed(settings):
        yield problem(f"sign-in: {NOBODY}", ADD_USER)


def _is_closed(settings: Settings) -> bool:
    if settings.verifies_supabase or settings.test_users_enabled:
        return False
    if settings.database_url is None and not (settings.data_dir / SQLITE_FILE).exists():
        return True
    try:
        engines = open_engines(settings)
        try:
            # An older database has no table for keys, and the doctor does not migrate.
            if engines.read(stored_revision) != head_revision():
                return True
            return nobody_can_sign_in(settings, SqlDatabase(engines, "doctor"))
        finally:
            engines.close()
    except AppError:  # the check of the database reports it
        return False
