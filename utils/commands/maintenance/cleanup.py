"""Cleans up once: `./run.sh cleanup`. The server does the same by itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from database import Database, open_database
from utils.commands.command_line import CommandParser, ends_with_message, run_async
from utils.config.private_folder import make_files_private
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.maintenance.cleanup import Cleanup
from utils.redaction import Redactor
from utils.sandboxes.registry import open_provider
from utils.telemetry import configure_logging


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Clean up and print what was done."""
    CommandParser(
        "cleanup",
        "End sandboxes that are too old or belong to nobody, make their rows agree with the "
        "provider, and remove tasks older than RETENTION_DAYS.",
        epilog="Run it with the settings of the server. It works while the server runs.",
    ).parse_args(arguments)
    settings = read_settings()
    make_files_private()
    redactor = Redactor()
    redactor.add(*settings.secrets)
    configure_logging(settings, redactor.redact)
    database = open_database(settings)
    try:
        lines = run_async(_clean_up(settings, database))
    finally:
        database.close()
    sys.stdout.write("".join(f"{line}\n" for line in lines))


async def _clean_up(settings: Settings, database: Database) -> list[str]:
    provider = open_provider(settings)
    cleanup = Cleanup(provider, database, settings)
    try:
        lines = []
        # Sandboxes of this machine belong to the process of the server, which looks after them.
        if provider.kind.survives:
            old = await cleanup.end_old()
            lines += [
                f"{old} sandboxes older than SANDBOX_MAX_AGE_SECONDS ended",
                f"{await cleanup.sweep()} sandboxes that belong to nobody ended",
                f"{await cleanup.check_existing()} rows of sandboxes that are gone corrected",
            ]
        lines += [
            f"{await cleanup.forget_old()} rows of ended sandboxes deleted",
            f"{await cleanup.remove_old_tasks()} tasks older than RETENTION_DAYS removed",
        ]
    finally:
        await provider.close()
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
