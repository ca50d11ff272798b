"""Restores a backup of the embedded database: `./run.sh restore FILE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from utils.commands.command_line import CommandParser, ends_with_message
from utils.commands.maintenance.backup import add_file_arguments, embedded_settings
from utils.maintenance.backup import restore_backup
from utils.maintenance.data_lock import lock_data_folder


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Put the files of a backup into the data folder."""
    parser = CommandParser("restore", "Put a backup into DATA_DIR. Stop the server first.")
    add_file_arguments(parser, "restore although there is a database, which is kept beside it")
    options = parser.parse_args(arguments)
    settings = embedded_settings()
    file = Path(options.start_folder, options.file)
    with lock_data_folder(settings.data_dir, wait_seconds=0):
        kept = restore_backup(file, settings.data_dir, overwrite=options.overwrite)
    sys.stdout.write(f"The backup is restored into {settings.data_dir.absolute()}.\n")
    if kept is not None:
        sys.stdout.write(
            f"The earlier files are in {kept.absolute()}. Delete it when all is well.\n"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
