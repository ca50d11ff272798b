"""Prints an archived task: `./run.sh archive <task id>`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from database import Database, open_database
from utils.commands.command_line import CommandParser, ends_with_message
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.errors import NotFound
from utils.maintenance.archive import Archive
from utils.models.tasks import Json


def read_archived_task(database: Database, settings: Settings, task_id: int) -> Json:
    """Return the record of an archived task. Raises `NotFound`."""
    found = database.find_archived_tasks(task_id)
    if not found:
        raise NotFound(f"Task {task_id} is not in the archive.")
    [task] = found
    if task.server != database.server:
        raise NotFound(
            f"Task {task_id} is in the file {task.file} of the archive of another server, "
            f"{task.server}. Run this command there."
        )
    return Archive(settings.data_dir).find(task.file, task_id)


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Print the record of a task as JSON."""
    parser = CommandParser(
        "archive",
        "Print a task that was archived, with its turns and events, as JSON.",
        epilog="Run it with the settings of the server. It works while the server runs.",
    )
    parser.add_argument("task_id", type=int, metavar="ID", help="the number of the task")
    options = parser.parse_args(arguments)
    settings = read_settings()
    database = open_database(settings)
    try:
        record = read_archived_task(database, settings, options.task_id)
    finally:
        database.close()
    json.dump(record, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
