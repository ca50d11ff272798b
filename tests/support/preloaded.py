"""Python programs of this project as processes that begin with everything imported.

Importing the application takes a second of processor time, and half of a server's start is what its
libraries make at their first use. A process of its own does both once and then forks for each
program: what runs is `python FILE` or `python -m MODULE` with its arguments, environment, folder
and streams. The process ends with the one that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tests.support.source_files import ROOT

SERVER = ROOT / "main.py"
PAUSE_SECONDS = 0.01
REQUEST_BYTES = 1_000_000

WAITING = 100
"""Orders that wait at once, at most, while everything is imported."""

ADDRESS = "PRELOADED_ADDRESS"
"""The variable with the address of a forker that another process has started."""


class PreloadedProcess:
    """A program that was started; a part of what `subprocess.Popen` offers."""

    def __init__(self, report: socket.socket) -> None:
        self._report = report.makefile("r")
        report.close()
        self.returncode: int | None = None
        self.pid = int(self._report.readline())

    def poll(self) -> int | None:
        """Return the exit code, None while the program runs."""
        if self.returncode is None and _readable(0, self._report):
            self.returncode = int(self._report.readline())
            self._report.close()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit code."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a preloaded program", timeout)
            time.sleep(PAUSE_SECONDS)
        return code

    def terminate(self) -> None:
        """Send SIGTERM, if it still runs."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        self._send(signal.SIGKILL)

    def kill_group(self) -> None:
        """Send SIGKILL to it and to all that is in its process group, as long as any of it runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _readable(milliseconds: int | None, *sources: TextIO | socket.socket) -> set[int]:
    # `select.select` refuses descriptors above 1,023, and a process of tests may have so many.
    poller = select.poll()
    for source in sources:
        poller.register(source, select.POLLIN)
    return {descriptor for descriptor, _ in poller.poll(milliseconds)}


class _Forker:
    """The process that has everything imported, seen from the one that started it.

    It listens on a socket at `address`, and ends with this process.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp()
        self.address = f"{self._folder}/socket"
        self._life_line, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.address)
            listening.listen(WAITING)
            passed = (theirs.fileno(), listening.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.preloaded", *map(str, passed)],
                cwd=ROOT,
                # Read when the SDK is imported; the value of the tests' clouds.
                env={**_plain_environment(), "E2B_MAX_CONNECTIONS": "5000"},
                pass_fds=passed,
                start_new_session=True,
            )
        atexit.register(self._stop)

    def _stop(self) -> None:
        self._life_line.close()
        self._process.wait()
        shutil.rmtree(self._folder)


def share_forker() -> None:
    """Start a forker for this process and for those that it starts."""
    os.environ[ADDRESS] = _Forker().address


_forker: _Forker | None = None


def start_preloaded(
    program: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    output: int,
    errors: int | None = None,
    stdin: int | None = None,
    start_new_session: bool = False,
    is_elsewhere: bool = False,
) -> PreloadedProcess:
    """Start what `python *program` would run; both streams go to `output` unless there is `errors`.

    Without `stdin` it has nothing to read. `is_elsewhere` is for another copy of the project: its
    modules are imported from there.
    """
    order = {
        "program": list(program),
        "cwd": str(cwd),
        "env": dict(env),
        "session": start_new_session,
        "is_elsewhere": is_elsewhere,
    }
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        read = nothing.fileno() if stdin is None else stdin
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(_address())
        request = json.dumps(order).encode()
        socket.send_fds(connection, [request], [read, output, output if errors is None else errors])
        return PreloadedProcess(connection)


def _address() -> str:
    global _forker  # noqa: PLW0603
    if ADDRESS in os.environ:
        return os.environ[ADDRESS]
    _forker = _forker or _Forker()
    return _forker.address


def run_preloaded(
    program: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> tuple[int, str]:
    """Run what `python *program` would run; return the exit code and what it printed."""
    with tempfile.TemporaryFile() as output:
        process = start_preloaded(program, cwd=cwd, env=env, output=output.fileno())
        code = _end(process, timeout)
        output.seek(0)
        return code, output.read().decode()


def complete_preloaded(
    program: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run what `python *program` would run; return the exit code and both streams."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start_preloaded(
            program, cwd=cwd, env=env, output=output.fileno(), errors=errors.fileno()
        )
        code = _end(process, timeout)
        output.seek(0)
        errors.seek(0)
        printed, complained = output.read().decode(), errors.read().decode()
        return subprocess.CompletedProcess(program, code, printed, complained)


def _end(process: PreloadedProcess, timeout: float) -> int:
    """Wait for the end and return the exit code; kill what takes longer."""
    try:
        return process.wait(timeout)
    finally:
        process.kill()


def _plain_environment() -> dict[str, str]:
    names = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in names if name in os.environ}


def _serve(life_line: socket.socket, listening: socket.socket) -> dict[str, Any] | None:
    """Fork for each connection; return what to run in the child, None at the end of the life line.

    A connection brings one order with the three streams, and takes the number of the process and
    later its exit code.
    """
    children: dict[int, socket.socket] = {}
    awake, wake = socket.socketpair()
    awake.setblocking(False)
    wake.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    while True:
        ready = _readable(None, life_line, listening, awake)
        if life_line.fileno() in ready:
            return None
        if awake.fileno() in ready:
            awake.recv(REQUEST_BYTES)
            _report_ends(children)
        if listening.fileno() not in ready:
            continue
        connection, _ = listening.accept()
        text, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 3)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            for other in (life_line, listening, connection, awake, wake, *children.values()):
                other.close()
            for descriptor in descriptors:
                os.close(descriptor)
            order: dict[str, Any] = json.loads(text)
            return order
        for descriptor in descriptors:
            os.close(descriptor)
        children[pid] = connection
        _tell(connection, pid)


def _report_ends(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as connection:
            _tell(connection, os.waitstatus_to_exitcode(status))


def _tell(connection: socket.socket, number: int) -> None:
    # The process that asked may have ended, also by a crash.
    with contextlib.suppress(ConnectionError):
        connection.sendall(b"%d\n" % number)


def _become(order: dict[str, Any]) -> None:
    """Run a program in this process as if it had been started for it."""
    if order["session"]:
        os.setsid()
    os.chdir(order["cwd"])
    if order["is_elsewhere"]:
        os.execve(sys.executable, [sys.executable, *order["program"]], order["env"])
    os.environ.clear()
    os.environ.update(order["env"])
    tempfile.tempdir = None
    # As Python opens them when they are no terminal.
    sys.stdin = os.fdopen(0, "r", closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    flag, *rest = order["program"]
    if flag == "-m":
        sys.argv = rest
        # Only what it imports is preloaded: a program that is there already makes runpy warn.
        sys.modules.pop(f"{rest[0]}.__main__", None)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return
    sys.argv = [flag, *rest]
    if Path(flag) == SERVER:
        import main

        # The same, with the routes that this module has compiled already.
        main.main(rest)
    else:
        runpy.run_path(flag, run_name="__main__")


def _run(order: dict[str, Any]) -> None:
    """Run a program and end this process as Python does, but let the kernel free the memory."""
    try:
        _become(order)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    else:
        code = 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # To take everything that is imported apart takes longer than most of these programs.
    os._exit(code)


def _import_everything() -> None:
    import e2b  # noqa: F401

    import main  # noqa: F401
    import utils.commands.doctor.__main__
    import utils.database.supabase.database
    import utils.sandboxes.e2b.provider  # noqa: F401


def _use_everything() -> None:
    """Build an application and stop it, so that whatever is made at its first use is there."""
    from main import create_app, stop_app
    from utils.config.settings import Settings

    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nothing:  # noqa: PTH123
        # Not in this folder, where a developer may have a file with settings.
        os.chdir(folder)
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            app = create_app(Settings.model_validate({"data_dir": Path(folder, "data")}))
            app.test_client().get("/health/ready")
            stop_app(app)
        os.chdir(ROOT)


if __name__ == "__main__":
    _import_everything()
    _use_everything()
    # No child searches what is imported for garbage, which would copy all of it.
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, "a fork would leave the other threads behind"
    work = _serve(*(socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[1:3]))
    if work is not None:
        _run(work)
