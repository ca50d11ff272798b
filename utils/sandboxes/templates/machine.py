"""Describes the machine of the server, which local and isolated sandboxes share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from utils.sandboxes.local.processors import usable_processors
from utils.sandboxes.protocol import Template
from utils.sandboxes.templates.definitions import read_definitions

MACHINE = "machine"
MEGABYTE = 1 << 20


def describe_machine(folder: Path, environment: Mapping[str, str]) -> Template:
    """Return the only template of local and isolated sandboxes.

    `folder` is where they are made, and `environment` what their commands get. It reads files.
    """
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    return Template(
        name=MACHINE,
        id=MACHINE,
        origin="machine",
        status="ready",
        description="The machine of the server: its programs, processors and memory, which all "
        "tasks share.",
        is_default=True,
        cpu_count=len(usable_processors()) or os.cpu_count() or 1,
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEGABYTE,
        disk_mb=shutil.disk_usage(existing).total // MEGABYTE,
        programs=tuple(
            name for name in _programs() if shutil.which(name, path=environment.get("PATH", ""))
        ),
    )


def _programs() -> list[str]:
    """Return the programs that the project's own templates have."""
    names = (name for one in read_definitions().values() for name in one.programs)
    return [*dict.fromkeys(names)]
