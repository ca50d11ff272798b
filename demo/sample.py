"""Creates a small sample repository for the first task."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

BRANCH = "main"

_README = """\
# Basket

Adds up a shopping basket.

    python -m unittest
"""

_MODULE = '''\
"""A shopping basket."""


class Basket:
    """Items with their prices in cents."""

    def __init__(self) -> None:
        self._prices: dict[str, int] = {}

    def add(self, name: str, price: int) -> None:
        """Put an item in, or change its price."""
        self._prices[name] = price

    def total(self) -> int:
        """Return the sum in cents."""
        # TODO: take off ten per cent from 100.00 upwards
        return sum(self._prices.values())
'''

_TEST = """\
import unittest

from basket import Basket


class BasketTest(unittest.TestCase):
    def test_adds_up(self) -> None:
        basket = Basket()
        basket.add("tea", 450)
        basket.add("milk", 120)
        self.assertEqual(basket.total(), 570)
"""

_COMMITS = (
    ("Describe the project", {"README.md": _README, ".gitignore": "__pycache__/\n"}),
    ("Add the basket", {"basket.py": _MODULE}),
    ("Test that it adds up", {"test_basket.py": _TEST}),
)

# Fixed values make the commits the same on every machine, whatever git configuration it has.
_IDENTITY = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Sample Author",
    "GIT_AUTHOR_EMAIL": "sample@example.com",
    "GIT_AUTHOR_DATE": "2026-01-05T09:00:00Z",
    "GIT_COMMITTER_NAME": "Sample Author",
    "GIT_COMMITTER_EMAIL": "sample@example.com",
    "GIT_COMMITTER_DATE": "2026-01-05T09:00:00Z",
}


def ensure_sample(folder: Path, path_variable: str) -> Path:
    """Create the sample repository unless it exists; return its folder."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Create it elsewhere and rename it, so that an interrupt leaves no partial repository.
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            _make(aside, {**_IDENTITY, "PATH": path_variable})
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _make(folder: Path, environment: dict[str, str]) -> None:
    _git(folder, environment, "init", "--quiet", f"--initial-branch={BRANCH}")
    # A later `git am` in this folder needs an identity, which the user may not have configured.
    _git(folder, environment, "config", "user.name", "Sample Author")
    _git(folder, environment, "config", "user.email", "sample@example.com")
    for message, files in _COMMITS:
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        _git(folder, environment, "add", "--all")
        _git(folder, environment, "commit", "--quiet", f"--message={message}")


def _git(folder: Path, environment: dict[str, str], *arguments: str) -> None:
    subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
