"""Writes a backup of the embedded database: `./run.sh backup FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from utils.commands.command_line import CommandParser, ends_with_message
from utils.config.private_folder import make_files_private
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.errors import ConfigurationError
from utils.maintenance.backup import write_backup


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Write the database and the keys of the data folder into a file."""
    parser = CommandParser(
        "backup",
        "Write the embedded database and the keys of DATA_DIR into one file. The server may run "
        "meanwhile.",
    )
    add_file_arguments(parser, "replace a file of this name")
    options = parser.parse_args(arguments)
    settings = embedded_settings()
    file = Path(options.start_folder, options.file)
    if file.exists() and not options.overwrite:
        raise ConfigurationError(f"{file} exists already. Choose another name, or add --overwrite.")
    write_backup(settings.data_dir, file)
    sys.stdout.write(
        f"{file} is written. Keep it as safe as the data folder: it holds the same keys.\n"
    )


def embedded_settings() -> Settings:
    """Return the settings. Raises `ConfigurationError` unless the database is a file."""
    settings = read_settings()
    if settings.shares_rows:
        raise ConfigurationError(
            "This command is for the embedded database. Copy PostgreSQL and Supabase with pg_dump, "
            "and the key files of DATA_DIR with it: docs/operations.md."
        )
    make_files_private()
    return settings


def add_file_arguments(parser: CommandParser, overwrite: str) -> None:
    """Add the arguments that the commands for backups share."""
    parser.add_argument("file", metavar="FILE", help="the backup")
    parser.add_argument("--overwrite", action="store_true", help=overwrite)
    # run.sh has left the folder that FILE is relative to.
    parser.add_argument("--from", dest="start_folder", default=".", help=argparse.SUPPRESS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
