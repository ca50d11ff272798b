"""Brings the configured database up to date: `./run.sh migrate`."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from utils.config.settings import Settings, explain_settings
from utils.database.migrations import migrate
from utils.errors import AppError


def main() -> None:
    """Migrate the database of the settings and print its revision."""
    try:
        revision = migrate(Settings())
    except ValidationError as error:
        raise SystemExit("\n".join(explain_settings(error))) from None
    except AppError as error:
        raise SystemExit(error.message) from None
    sys.stdout.write(f"The database is at revision {revision}.\n")


if __name__ == "__main__":
    main()
