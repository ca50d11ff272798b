"""Tests follow.sh on a machine without free inotify instances."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "utils" / "pipeline" / "scripts"
WAIT_SECONDS = 60


@contextmanager
def no_inotify_left() -> Iterator[None]:
    """Use all inotify instances of this user, as hundreds of local sandboxes do."""
    library = ctypes.CDLL(None, use_errno=True)
    taken: list[int] = []
    try:
        while (descriptor := library.inotify_init()) >= 0:
            taken.append(descriptor)
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)


def test_an_agent_is_followed_to_its_end_without_inotify(tmp_path: Path) -> None:
    (tmp_path / "follow.sh").symlink_to(SCRIPTS / "follow.sh")
    agent = ["sh", "-c", "echo first; echo aside >&2; sleep 0.5; echo last; exit 7"]
    with no_inotify_left():
        followed = subprocess.run(
            ["sh", SCRIPTS / "agent.sh", tmp_path, tmp_path, "/dev/null", "1", "1", *agent],
            capture_output=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
    assert followed.stdout == b"first\nlast\n"
    assert followed.stderr == b"aside\n"
    assert followed.returncode == 7
