"""Reads the files below a folder in which servers still work."""

from __future__ import annotations

import os
from pathlib import Path


def stored_files(folder: Path) -> dict[Path, bytes]:
    """Return the content of each regular file; what is removed meanwhile is left out."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            try:
                if path.is_file():
                    found[path] = path.read_bytes()
            except FileNotFoundError:
                continue
    return found


def stored_bytes(folder: Path) -> bytes:
    """Return the contents of all regular files together."""
    return b"\n".join(stored_files(folder).values())
