"""A signal ends every command of run.sh in one way, at any moment, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from tests.fakes.e2b.control import E2BControl
from tests.support.source_files import ROOT
from tests.support.waiting import eventually, is_alive
from utils.commands.__main__ import COMMANDS, ENDING_SIGNALS
from utils.database.migrations import ADVISORY_LOCK

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="asks Linux for signals"
)

Command = subprocess.Popen[str]

# As a shell starts what is in the background.
IGNORING = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")

HELD_MODULE = """import os, pathlib, time
pathlib.Path(__file__).with_name(str(os.getpid())).touch()
time.sleep(600)
"""


@contextmanager
def started(command: Sequence[str | Path], folder: Path, **environment: str) -> Iterator[Command]:
    """Run a command in an empty environment and in a folder without .env."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def of_run_sh(name: str, *arguments: str) -> list[str]:
    """Return the command that run.sh becomes once the packages are installed."""
    return [sys.executable, "-m", "utils.commands", name, *arguments]


def stop(process: Command, number: signal.Signals, *, group: bool = False) -> str:
    """Send a signal; check how the process ends; return what it printed."""
    family = [process.pid, *(one.pid for one in psutil.Process(process.pid).children(True))]
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    assert "KeyboardInterrupt" not in output
    eventually(lambda: not any(map(is_alive, family)))
    return output


@pytest.fixture(scope="module")
def held_imports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder for PYTHONPATH in which a module that each command imports never ends."""
    folder = tmp_path_factory.mktemp("held")
    (folder / "argparse.py").write_text(HELD_MODULE)
    return folder


@pytest.mark.parametrize(
    ("name", "number"), list(zip(COMMANDS, cycle(ENDING_SIGNALS), strict=False))
)
def test_a_command_that_is_being_imported_ends(
    held_imports: Path, tmp_path: Path, name: str, number: signal.Signals
) -> None:
    path = f"{held_imports}:{ROOT}"
    with started([*IGNORING, *of_run_sh(name)], tmp_path, PYTHONPATH=path) as process:
        eventually((held_imports / str(process.pid)).exists)
        assert stop(process, number) == "\nStopped.\n"
    assert list(tmp_path.iterdir()) == []


def is_server(process: psutil.Process) -> bool:
    try:
        return "main.py" in str(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def test_a_benchmark_takes_its_servers_with_it(tmp_path: Path) -> None:
    with started(of_run_sh("bench", "task_small", "--quick", "--folder", "."), tmp_path) as process:
        family = psutil.Process(process.pid)
        eventually(lambda: any(map(is_server, family.children())))
        stop(process, signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_ends_a_sandbox_that_is_being_made(cloud: E2BControl, tmp_path: Path) -> None:
    cloud.configure(templates=["async-code"])
    cloud.add_fault("delay", route="create", seconds=0.5)
    with started(of_run_sh("doctor"), tmp_path, **cloud.environment) as process:
        eventually(lambda: cloud.requests("create"))
        stop(process, signal.SIGINT, group=True)
    assert cloud.stats()["sandboxes"]["created"] == 1
    assert cloud.sandboxes() == []


def test_a_migration_that_waits_ends_and_has_changed_nothing(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.create("interrupted")
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    with (
        psycopg.connect(url, autocommit=True) as other,
        started(of_run_sh("migrate"), tmp_path, DATABASE_URL=url) as process,
    ):
        other.execute(f"SELECT pg_advisory_lock({ADVISORY_LOCK})".encode())
        eventually(lambda: other.execute(waiting.encode()).fetchone() == (1,))
        stop(process, signal.SIGTERM)
        eventually(lambda: other.execute(waiting.encode()).fetchone() == (0,))
        assert other.execute(tables.encode()).fetchone() == (0,)


INSTALLER = """#!/bin/sh
case "$*" in
    *--version* | -c*) exit ;;
    *"venv --python"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && exit ;;
    *" requirements.txt"*) echo newer >requirements.lock && exit ;;
    *"pip compile"*) echo half >requirements-dev.lock ;;
esac
touch "$TMPDIR/pieces"
touch "$STARTED"
sleep 600
"""
"""An installer that hangs in its second step."""


@pytest.mark.parametrize(
    ("command", "number"),
    [("setup", signal.SIGINT), ("setup", signal.SIGTERM), ("lock", signal.SIGTERM)],
)
def test_an_interrupted_installation_leaves_nothing_half_made(
    tmp_path: Path, command: str, number: signal.Signals
) -> None:
    folder, programs, temporary = (tmp_path / name for name in ("folder", "bin", "temporary"))
    for made in (folder, programs, temporary):
        made.mkdir()
    shutil.copy(ROOT / "run.sh", folder)
    for name in ("requirements", "requirements-dev"):
        (folder / f"{name}.txt").write_text("flask\n")
        (folder / f"{name}.lock").write_text("flask==3.1.3\n")
    for name in ("uv", "python3.12"):
        (programs / name).write_text(INSTALLER)
        (programs / name).chmod(0o755)
    variables = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "TMPDIR": str(temporary),
        "STARTED": str(tmp_path / "started"),
    }
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with started([folder / "run.sh", command], folder, **variables) as process:
        eventually((tmp_path / "started").exists)
        assert stop(process, number).endswith("\nStopped.\n")
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert list(temporary.iterdir()) == []
