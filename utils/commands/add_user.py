"""Adds a user and prints an API key: `./run.sh add-user NAME`.

The id of the user is made from the name, so the same name gives the same user another key.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from database import Database, open_database
from utils.auth.api_keys import ApiKeys
from utils.commands.command_line import CommandParser, ends_with_message
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.errors import NotFound
from utils.models.users import Scope, User, canonical_user_id
from utils.redaction import Redactor
from utils.telemetry import configure_logging

MAX_NAME_CHARACTERS = 100
MAX_DAYS = 3_650

_NAMESPACE = UUID("6f0b6c0e-5a0c-4b43-9d2c-2f8f6b3a7c11")


def add_user(database: Database, name: str) -> User:
    """Return the user with this name, or with this id; create the row of a new name.

    Raises `NotFound` for an id that no user has.
    """
    user_id = canonical_user_id(name)
    if user_id is not None:
        return database.get_user(user_id)
    user_id = str(uuid5(_NAMESPACE, name.casefold()))
    try:
        return database.get_user(user_id)
    except NotFound:
        user = database.ensure_user(user_id, name if "@" in name else None)
        database.update_profile(user.id, {"full_name": name})
        return user


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Add a user, print the key to standard output and its use to standard error."""
    options = _parser().parse_args(arguments)
    settings = read_settings()
    # Standard output is for the key alone.
    configure_logging(settings, Redactor().redact)
    database = open_database(settings)
    try:
        user = add_user(database, options.name)
        key, stored = ApiKeys(database).create(
            user.id, options.key_name, Scope(options.scope), _end(options.expires_in_days)
        )
    finally:
        database.close()
    sys.stderr.write(
        f"API key of {options.name}, user id {user.id}, scope {stored.scope}, stored in "
        f"{_place(settings, database)}.\n"
        "It is shown only now. Send it with every request:\n"
        "  Authorization: Bearer <key>\n"
    )
    sys.stderr.flush()
    sys.stdout.write(f"{key}\n")


def _place(settings: Settings, database: Database) -> str:
    if database.kind == "sqlite":
        return f"{settings.data_dir.absolute()}"
    return "the database of SUPABASE_URL" if settings.uses_supabase else "DATABASE_URL"


def _parser() -> CommandParser:
    parser = CommandParser(
        "add-user",
        "Add a user who signs in with an API key, and print the key. A name that was added before "
        "gets another key.",
    )
    parser.add_argument("name", type=_name, help="name, e-mail address, or id of a user")
    parser.add_argument(
        "--scope",
        choices=[scope.value for scope in Scope],
        default=Scope.ADMIN.value,
        help="what the key may do; the default is admin",
    )
    parser.add_argument(
        "--expires-in-days", type=_days, metavar="N", help="the key never expires by default"
    )
    parser.add_argument(
        "--key-name", type=_name, default="add-user", help="name of the key in the list"
    )
    return parser


def _name(text: str) -> str:
    name = text.strip()
    if not name or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise argparse.ArgumentTypeError(
            f"must have 1 to {MAX_NAME_CHARACTERS} printable characters"
        )
    return name


def _days(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_DAYS}")
    return int(text)


def _end(days: int | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) + timedelta(days=days)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
