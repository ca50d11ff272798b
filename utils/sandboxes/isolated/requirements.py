"""Names what this machine lacks for isolated sandboxes."""

from __future__ import annotations

import os
import shutil
import sys

from utils.sandboxes.isolated.view import PROGRAM
from utils.sandboxes.separation.system_calls import NUMBERS

PACKAGE = "bubblewrap"


def missing_requirements() -> list[tuple[str, str]]:
    """Return what is missing, each with the remedy."""
    if sys.platform != "linux" or os.uname().machine not in NUMBERS:
        fault = "SANDBOX=isolated needs Linux on an x86-64 or ARM64 processor"
        return [(fault, "Set E2B_API_KEY, or SANDBOX=local.")]
    if shutil.which(PROGRAM) is None:
        install = f"On Debian and Ubuntu: sudo apt install {PACKAGE}. On Fedora: sudo dnf install "
        return [(f"{PROGRAM} is not installed", f"{install}{PACKAGE}.")]
    return []
