"""Names the folders of repositories that are cloned side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_NAME_CHARACTERS = 100

_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+")


def folder_name(url: str) -> str:
    """Return the name of a repository at a canonical address, as the name of a folder."""
    name = url.rstrip("/").rpartition("/")[2].removesuffix(".git")
    usual = _UNUSUAL.sub("-", name.replace("%20", "-")).strip(".-")
    return usual[:MAX_NAME_CHARACTERS] or "repository"


def folder_names(urls: Sequence[str]) -> list[str]:
    """Return different names for all addresses; the first one has its own name."""
    taken: dict[str, str] = {}
    for url in urls:
        base = name = folder_name(url)
        number = 1
        # Some file systems take names for equal that differ in their case.
        while name.lower() in taken:
            number += 1
            name = f"{base}-{number}"
        taken[name.lower()] = name
    return list(taken.values())
