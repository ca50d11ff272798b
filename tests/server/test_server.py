"""Tests of the server process: start, address, error messages and stop."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.preloaded import complete_preloaded
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS
from utils.config.version import VERSION
from utils.dispatcher.sources.engine_queue import EngineQueue
from utils.dispatcher.sources.server_queue import ServerQueue
from utils.server.stop_signals import IGNORED_SIGNALS


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    process = subprocess.Popen(
        [sys.executable, ROOT / "main.py"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def complete(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a server that ends by itself."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    command = [str(ROOT / "main.py"), *arguments]
    return complete_preloaded(command, cwd=folder, env=environment, timeout=PATIENCE_SECONDS)


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    line = process.stdout.readline()
    match = re.match(r"Listening on http://127\.0\.0\.1:(\d+) \(.*sandbox: local.*sqlite", line)
    assert match, line
    return int(match[1])


def ping(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/api/ping")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    "stop",
    [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive("the same way"))],
)
def test_a_free_port_is_chosen_and_a_signal_ends_everything(
    tmp_path: Path, stop: signal.Signals
) -> None:
    with started(tmp_path, PORT="0", LOG_FORMAT="json") as process:
        assert ping(port_of(process)) == 200
        os.killpg(process.pid, stop)
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        assert process.stderr
        lines = [json.loads(line) for line in process.stderr if line.startswith("{")]
    (start,) = [line for line in lines if line.get("action") == "server.started"]
    assert (start["version"], start["database"]) == (VERSION, "sqlite")


def test_a_server_with_the_embedded_database_imports_nothing_of_the_task_engine(
    tmp_path: Path,
) -> None:
    # Python runs it before the program.
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, pathlib, sys\n"
        "atexit.register(lambda: pathlib.Path('imported').write_text('\\n'.join(sys.modules)))\n"
    )
    with started(tmp_path, PORT="0", PYTHONPATH=str(tmp_path)) as process:
        assert ping(port_of(process)) == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
    imported = set((tmp_path / "imported").read_text().split())
    assert ServerQueue.__module__ in imported
    assert imported.isdisjoint({EngineQueue.__module__, "absurdctl", "psycopg"})


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for signals")
def test_signals_that_other_servers_know_do_not_end_a_healthy_server(tmp_path: Path) -> None:
    with started(tmp_path, PORT="0") as process:
        port = port_of(process)
        for number in IGNORED_SIGNALS:
            process.send_signal(number)
        assert ping(port) == 200
        # Programs that it starts would inherit what it ignores.
        status = Path(f"/proc/{process.pid}/status").read_text()
        ignored = int(re.findall(r"^SigIgn:\s*(\w+)$", status, re.MULTILINE)[0], 16)
        assert not any(ignored >> (number - 1) & 1 for number in IGNORED_SIGNALS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_SECONDS) == 0


def test_connections_that_say_nothing_do_not_hold_up_the_stop(tmp_path: Path) -> None:
    with (
        started(tmp_path, PORT="0") as process,
        socket.create_connection(("127.0.0.1", port_of(process))),
    ):
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_SECONDS) == 0


def test_what_is_on_its_way_when_the_signal_comes_is_answered(tmp_path: Path) -> None:
    # Several tries, because a slow machine may pause for longer than the server waits.
    assert any(answered_while_stopping(tmp_path) for _ in range(3))


def answered_while_stopping(folder: Path) -> bool:
    with (
        started(folder, PORT="0") as process,
        socket.create_connection(("127.0.0.1", port_of(process))) as connection,
    ):
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        try:
            connection.sendall(b"GET /api/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return connection.recv(12) == b"HTTP/1.1 200"
        except ConnectionError:
            return False


@pytest.mark.parametrize(
    ("variables", "texts"),
    [
        ({"PORT": "many"}, ["PORT:", "TCP port to listen on."]),
        ({"JWT_SECRET": "short"}, ["JWT_SECRET:", "32 characters", "openssl rand -hex 32"]),
        ({"ENVIRONMENT": "production"}, ["SANDBOX=local"]),
        ({"LOG_LEVEL": "loud", "PORT": "-1"}, ["LOG_LEVEL:", "PORT:"]),
    ],
)
def test_wrong_settings_are_explained(
    tmp_path: Path, variables: dict[str, str], texts: list[str]
) -> None:
    ended = complete(tmp_path, **variables)
    errors = ended.stderr
    assert ended.returncode == 2
    assert "Traceback" not in errors
    assert "short" not in errors.replace("shorter", "")
    for text in texts:
        assert text in errors


def test_a_data_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = complete(tmp_path, DATA_DIR="file/data", PORT="0")
    errors = ended.stderr
    assert ended.returncode == 2
    assert f"The data folder {tmp_path / 'file/data'} cannot be used" in errors
    assert "set DATA_DIR to another folder" in errors
    assert "Traceback" not in errors


def test_the_document_is_printed_without_starting_anything(tmp_path: Path) -> None:
    ended = complete(tmp_path, "openapi")
    assert ended.returncode == 0
    assert ended.stdout == (ROOT / "openapi.json").read_text()
    assert list(tmp_path.iterdir()) == []
