"""Installs the real agent programs that this release was tested with.

They go to `.cache/real-agents`, or to the folder that REAL_AGENTS_FOLDER names, about 770 MB per
pair of versions; the next run finds them there. `npm` has to be on PATH, and node for `codex`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.source_files import ROOT
from utils.agents.registry import PROGRAMS

INSTALL_SECONDS = 900
START_SECONDS = 60


class NotInstalled(Exception):
    """The programs could not be installed; says why."""


def install() -> Path:
    """Return the folder of the programs; install them when they are not there yet."""
    cache = Path(os.environ.get("REAL_AGENTS_FOLDER") or ROOT / ".cache" / "real-agents")
    folder = cache / "-".join(f"{one.command}-{one.version}" for one in PROGRAMS)
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Only a finished installation gets the name that is looked for.
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            new = Path(unfinished, "new")
            _install_into(new)
            if not folder.exists():
                new.rename(folder)
    return _programs(folder)


def _install_into(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstalled("npm is needed to install the agent programs; it comes with node")
    folder.mkdir()
    packages = [f"{one.package}@{one.version}" for one in PROGRAMS]
    options = ["--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts"]
    _run([npm, "install", "--prefix", str(folder), *options, *packages], INSTALL_SECONDS)
    # Newer versions of npm leave install scripts out; they put the binary in its place.
    for script in (folder / "node_modules" / one.package / "install.cjs" for one in PROGRAMS):
        if script.exists():
            _run(["node", str(script)], INSTALL_SECONDS)
    for one in PROGRAMS:
        found = _run([str(_programs(folder) / one.command), "--version"], START_SECONDS)
        if one.version not in found:
            raise NotInstalled(f"{one.command} {one.version} is needed, found {found.strip()}")


def _programs(folder: Path) -> Path:
    return folder / "node_modules" / ".bin"


def _run(command: list[str], seconds: float) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]} did not run: {error}") from error
    if result.returncode:
        raise NotInstalled(f"{' '.join(command)} failed:\n{result.stderr}{result.stdout}")
    return result.stdout
