"""The units of systemd are valid, start what exists and wait for what is running."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, UNITS, seconds_to_stop, unit
from tests.support.source_files import ROOT
from utils.server.web_server import EXIT_CONFIGURATION

ISOLATED = DEPLOY / "systemd" / "isolated.conf"
# Where a unit itself differs from the other.
OWN = frozenset({"Environment", "ExecStart", "StateDirectory"})


def test_the_units_differ_in_what_they_start_only() -> None:
    server, worker = (dict(unit(path)["Service"]) for path in UNITS)
    differing = {name for name in server.keys() | worker if server.get(name) != worker.get(name)}
    assert differing == OWN


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_fits_the_program(path: Path) -> None:
    service = unit(path)["Service"]
    program, script, *_ = service["ExecStart"].split()
    assert program == f"{service['WorkingDirectory']}/.venv/bin/python"
    assert (ROOT / script).exists()
    assert f"DATA_DIR=/var/lib/{service['StateDirectory']}" in service["Environment"].split()
    assert int(service["TimeoutStopSec"]) >= seconds_to_stop()
    assert int(service["RestartPreventExitStatus"]) == EXIT_CONFIGURATION
    # What the drop-in takes back is there.
    taken_back = dict(unit(ISOLATED)["Service"]).keys() - {"MemoryMax", "TasksMax"}
    assert taken_back <= dict(service).keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    for path in UNITS:
        # This machine has no installation in /opt.
        program = unit(path)["Service"]["ExecStart"].split()[0]
        text = path.read_text(encoding="utf-8").replace(f"={program} ", f"={sys.executable} ")
        (tmp_path / path.name).write_text(text)
        folder = tmp_path / f"{path.name}.d"
        folder.mkdir()
        shutil.copy(ISOLATED, folder)
    assert faults(tmp_path) == ""
    with (folder / ISOLATED.name).open("a") as file:
        file.write("PrivateDevice=false\n")
    assert "'PrivateDevice'" in faults(tmp_path)


def faults(folder: Path) -> str:
    """Return what systemd says to the units of a folder."""
    units = [str(folder / path.name) for path in UNITS]
    command = ["systemd-analyze", "verify", "--man=no", *units]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False).stderr
