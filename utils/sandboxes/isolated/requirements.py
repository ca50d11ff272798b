"""Names what this machine lacks for isolated sandboxes."""

from __future__ import annotations

import os
import shutil
import sys

from utils.sandboxes.isolated.view import PROGRAM
from utils.sandboxes.local.system_calls import NUMBERS

_PACKAGES = {PROGRAM: "bubblewrap", "prlimit": "util-linux"}
"""The programs that start a command, with their packages."""


def missing_requirements() -> list[tuple[str, str]]:
    """Return what is missing, each with the remedy."""
    if sys.platform != "linux" or os.uname().machine not in NUMBERS:
        fault = "SANDBOX=isolated needs Linux on an x86-64 or ARM64 processor"
        return [(fault, "Set E2B_API_KEY, or SANDBOX=local.")]
    return [
        (
            f"{name} is not installed",
            f"On Debian and Ubuntu: sudo apt install {package}. On Fedora: sudo dnf install "
            f"{package}.",
        )
        for name, package in _PACKAGES.items()
        if shutil.which(name) is None
    ]
