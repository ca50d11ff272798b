"""Tests how an agent in the cloud is started and followed, whatever it does to our files."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from utils.sandboxes.e2b.shell import agent_arguments

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


def call(folder: Path, agent: list[str]) -> list[str]:
    """Return the command that starts an agent in a folder, or follows it."""
    return agent_arguments(str(folder / "work"), str(folder), "/dev/null", ["1", "1"], agent)


@pytest.mark.parametrize(
    "damage",
    [
        'rm -rf "$WORK"',
        'rm -rf "$WORK/agent" && touch "$WORK/agent"',
        'rm "$WORK"/agent/* && mkfifo "$WORK/agent/out" "$WORK/agent/err" "$WORK/agent/lock"',
        'rm "$WORK"/agent/code && mkfifo "$WORK/agent/code"',
        'chmod 000 "$WORK"/agent/* "$WORK/agent" "$WORK"',
    ],
)
def test_an_agent_that_damages_the_files_of_its_output_is_followed_and_not_started_again(
    tmp_path: Path, damage: str
) -> None:
    (tmp_path / "work").mkdir()
    agent = ["sh", "-c", f"echo first; {damage}; echo $$ >>started; sleep 0.3; echo last; exit 7"]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "WORK": str(tmp_path / "work"),
    }
    results = [
        subprocess.run(
            call(tmp_path, agent),
            env=variables,
            capture_output=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
        for _ in range(2)
    ]
    assert (results[0].stdout, results[0].returncode) == (b"first\nlast\n", 7)
    assert len((tmp_path / "started").read_text().splitlines()) == 1
    if results[1].returncode != 7:
        assert results[1].returncode == 137
        assert b"has removed or replaced the files of its output" in results[1].stderr


def test_an_agent_is_followed_to_its_end_without_inotify(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    agent = ["sh", "-c", "echo first; echo aside >&2; sleep 0.5; echo last; exit 7"]
    with no_inotify_left():
        followed = subprocess.run(
            call(tmp_path, agent),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
    assert followed.stdout == b"first\nlast\n"
    assert followed.stderr == b"aside\n"
    assert followed.returncode == 7
