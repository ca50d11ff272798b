"""Tests that a command of a push may print any amount."""

from __future__ import annotations

import subprocess

import pytest

from utils.git.pipes import MAX_ERROR_BYTES, communicate

AMPLE_SECONDS = 60.0


def started(*command: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)


def test_input_and_output_pass_at_the_same_time() -> None:
    data = bytes(range(256)) * 10_000
    assert communicate(started("cat"), data, AMPLE_SECONDS) == (data, b"")


def test_input_that_nobody_reads_is_dropped() -> None:
    assert communicate(started("true"), b"x" * 1_000_000, AMPLE_SECONDS) == (b"", b"")


def test_the_end_of_the_errors_is_kept() -> None:
    flood = started("sh", "-c", "yes remote: x | head -c 5000000 >&2; echo fatal >&2; echo out")
    stdout, stderr = communicate(flood, b"", AMPLE_SECONDS)
    assert stdout == b"out\n"
    assert len(stderr) == MAX_ERROR_BYTES
    assert stderr.endswith(b"\nfatal\n")


def test_a_command_that_takes_too_long_is_an_error() -> None:
    process = started("sleep", "60")
    with pytest.raises(subprocess.TimeoutExpired):
        communicate(process, b"", 0.1)
    process.kill()
    process.wait()
    for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
        pipe.close()
