"""Installs the real agent programs that this release was tested with.

They go to `.cache/real-agents`, or to the folder that REAL_AGENTS_FOLDER names, about 770 MB per
pair of versions; the next run finds them there. `npm` has to be on PATH, and node for `codex`.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.source_files import ROOT
from utils.agents.registry import PROGRAMS
from utils.commands.install_agents import install_programs

INSTALL_SECONDS = 900


def install() -> Path:
    """Return the folder of the programs; install them when they are not there yet."""
    cache = Path(os.environ.get("REAL_AGENTS_FOLDER") or ROOT / ".cache" / "real-agents")
    folder = cache / "-".join(f"{one.command}-{one.version}" for one in PROGRAMS)
    install_programs(folder)
    return folder / "node_modules" / ".bin"
