"""Runs a local Supabase project for development: `./run.sh supabase-local`."""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys

from pydantic import ValidationError

from tests.support.database.postgres_server import postgres_binaries, running_postgres
from tests.support.supabase.postgrest import MissingPostgrest
from tests.support.supabase.stack import SupabaseStack, open_supabase_stack
from utils.config.settings import explain_settings

EMAILS = ("first@example.com", "second@example.com")

TEXT = """\
A Supabase project on this machine. It is empty again with the next start.
Put these lines into .env:

{exports}

Its users:

{users}

With those variables set, this signs one in; access_token is what the backend takes as Bearer:

  curl -s "$SUPABASE_URL/auth/v1/token?grant_type=password" -H "apikey: $SUPABASE_ANON_KEY" \\
      -H 'Content-Type: application/json' -d '{example}'

Its database, for psql, and as DATABASE_URL for ./run.sh migrate:

  {database_url}

Now run ./run.sh in another terminal. Ctrl-C ends the project.
"""


def describe(stack: SupabaseStack, passwords: dict[str, str]) -> str:
    """Return the settings and accounts that a developer needs to use a stack."""
    exports = "\n".join(f"export {name}={value}" for name, value in stack.environment.items())
    users = "\n".join(f"  {email}  password {word}" for email, word in passwords.items())
    email, password = next(iter(passwords.items()))
    example = json.dumps({"email": email, "password": password})
    return TEXT.format(
        exports=exports, users=users, example=example, database_url=stack.database_url
    )


def run(port: int) -> None:
    """Run a migrated stack with two users until a signal raises."""
    binaries = postgres_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is missing: .venv/bin/pip install -r requirements-dev.txt")
    passwords = {email: secrets.token_urlsafe(9) for email in EMAILS}
    try:
        with (
            running_postgres(binaries) as server,
            open_supabase_stack(server, "supabase", port=port) as stack,
        ):
            stack.migrate()
            for email, password in passwords.items():
                stack.sign_up(email, password)
            sys.stdout.write(describe(stack, passwords))
            sys.stdout.flush()
            while True:
                signal.pause()
    except MissingPostgrest as error:
        raise SystemExit(str(error)) from None
    except ValidationError as error:
        raise SystemExit("\n".join(explain_settings(error))) from None


def main() -> None:
    """Run a stack with the options of the command line."""
    parser = argparse.ArgumentParser(prog="./run.sh supabase-local", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the URL; by default a free one")
    options = parser.parse_args()
    run(options.port)


if __name__ == "__main__":
    main()
