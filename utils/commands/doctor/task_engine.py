"""Checks for `./run.sh doctor` where the next start of a server will take its tasks from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from sqlalchemy.exc import ProgrammingError

from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.commands.doctor.gateway import open_gateway
from utils.config.groups.identity import SERVER_FILE_NAME
from utils.config.settings import Settings
from utils.database.engine_schema import INSTALL, is_usable
from utils.dispatcher.sources.choice import longest_silence
from utils.errors import AppError
from utils.models.engine import EngineChoice

OWN = "each server runs the tasks that it is sent"


def check_task_engine(settings: Settings) -> Iterator[Finding]:
    """Check that the task engine of a shared database can be used."""
    if not settings.shares_rows:
        return
    if settings.task_engine == "own":
        yield ok(f"task engine: not used, because of TASK_ENGINE=own; {OWN}")
        return
    try:
        file = settings.data_dir / SERVER_FILE_NAME
        server = file.read_text().strip() if file.exists() else ""
        with closing(open_gateway(settings, server)) as database:
            found = database.join_engine(None, longest_silence(settings), {}, None)
    except ProgrammingError:
        yield problem(
            "task engine: the user of DATABASE_URL may not call its functions",
            "Connect as the user who ran ./run.sh migrate, or GRANT EXECUTE ON ALL FUNCTIONS.",
        )
        return
    except (AppError, OSError):  # the checks of the database and the folder report it
        return
    yield _finding(settings, found)


def _finding(settings: Settings, found: EngineChoice) -> Finding:
    if not is_usable(found.version):
        must = settings.task_engine == "absurd" or not settings.work
        fault = f"version {found.version} is too old" if found.version else "not installed"
        return (problem if must else warning)(f"task engine: {fault}; {OWN}", INSTALL)
    name = f"task engine: version {found.version}"
    if settings.task_engine == "auto" and not found.uses_engine:
        return warning(
            f"{name} is not used beside servers that do without it ({len(found.servers)})",
            "If they are at work, stop all servers once: they use it when they start again.",
        )
    return ok(f"{name} gives the tasks to all servers and workers")
