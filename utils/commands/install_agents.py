"""Installs the programs of the agents for isolated sandboxes: `./run.sh install-agents`.

They come from npm, in the versions that this release was tested with.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from utils.agents.registry import PROGRAMS
from utils.commands.command_line import CommandParser, ends_with_message
from utils.config.startup import read_settings
from utils.errors import ConfigurationError

INSTALL_SECONDS = 900
START_SECONDS = 60

_OPTIONS = ("--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts")
_STAMP = "versions"


def install_programs(folder: Path) -> bool:
    """Install the programs into a folder; return False when they are there already.

    Raises `ConfigurationError` when they cannot be installed.
    """
    wanted = "".join(f"{one.package}@{one.version}\n" for one in PROGRAMS)
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Only a finished installation takes the place of an older one.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".agents-") as unfinished:
        new = Path(unfinished, "new")
        _install_into(new, wanted.split())
        (new / _STAMP).write_text(wanted)
        if folder.exists():
            folder.rename(Path(unfinished, "old"))
        new.rename(folder)
    return True


def _install_into(folder: Path, packages: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError("npm is needed to install the agents. It comes with Node.js.")
    folder.mkdir()
    _run([npm, "install", "--prefix", str(folder), *_OPTIONS, *packages], INSTALL_SECONDS)
    modules = folder / "node_modules"
    # Newer versions of npm leave install scripts out; these put the program in its place.
    for script in (modules / one.package / "install.cjs" for one in PROGRAMS):
        if script.exists():
            _run(["node", str(script)], INSTALL_SECONDS)
    for one in PROGRAMS:
        found = _run([str(modules / ".bin" / one.command), "--version"], START_SECONDS)
        if one.version not in found:
            raise ConfigurationError(
                f"{one.command} {one.version} is needed, and npm has installed {found.strip()}."
            )


def _run(command: Sequence[str], seconds: float) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{command[0]} did not run: {error}.") from error
    if result.returncode:
        raise ConfigurationError(
            f"{' '.join(command)} failed:\n{result.stderr}{result.stdout}".rstrip()
        )
    return result.stdout


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Install the programs where isolated sandboxes find them."""
    parser = CommandParser(
        "install-agents",
        "Install the programs of the agents for isolated sandboxes (SANDBOX=isolated), into "
        "AGENT_PROGRAMS_DIR.",
    )
    parser.parse_args(arguments)
    folder = read_settings().programs_path.absolute()
    is_new = install_programs(folder)
    names = ", ".join(f"{one.title} {one.version}" for one in PROGRAMS)
    sys.stdout.write(f"{names}: {'installed' if is_new else 'already'} in {folder}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
