"""Brings the configured database up to date: `./run.sh migrate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from utils.commands.command_line import CommandParser, ends_with_message
from utils.config.startup import read_settings
from utils.database.migrations import migrate
from utils.redaction import Redactor
from utils.telemetry import configure_logging


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Migrate the database of the settings and print its revision."""
    parser = CommandParser("migrate", "Update the tables of the configured database.")
    parser.add_argument(
        "--engine", action="store_true", help="fail where the task engine cannot be installed"
    )
    options = parser.parse_args(arguments)
    settings = read_settings()
    # Standard output is for the revision alone.
    configure_logging(settings, Redactor().redact)
    revision = migrate(settings, engine=options.engine or None)
    sys.stdout.write(f"The database is at revision {revision}.\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
