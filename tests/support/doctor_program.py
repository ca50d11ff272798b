"""Runs `./run.sh doctor` as a user does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.preloaded import run_preloaded
from tests.support.source_files import ROOT


class Doctor:
    """Runs the command in its own process, in an empty folder."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "ALLOWED_GIT_HOSTS": host,
        }

    def ask(self, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run the command; return its exit code and its output."""
        code, printed = run_preloaded(
            ["-m", "utils.commands.doctor"],
            env={**self._environment, **(environment or {})},
            cwd=self.folder,
            timeout=100,
        )
        assert "Traceback" not in printed, printed
        return code, printed
