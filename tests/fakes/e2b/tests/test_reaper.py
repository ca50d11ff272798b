"""Tests of how the fake cloud finds the processes of a sandbox."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fakes.e2b.reaper import MARKER, signal_marked

NO_SIGNAL = 0
LOOKS = 200


@pytest.mark.exhaustive("one look in twenty of the faulty reaper missed it: it takes many")
def test_a_process_that_becomes_another_program_all_the_time_is_never_missed(
    tmp_path: Path,
) -> None:
    again, server = tmp_path / "again", uuid4().hex
    again.write_text('#!/bin/sh\nexec "$0"\n')
    again.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], MARKER: f"{server}/one"}
    with subprocess.Popen([again], env=environment) as process:
        try:
            for _ in range(LOOKS):
                found, unclear = signal_marked(server, frozenset(["one"]), NO_SIGNAL)
                assert str(process.pid) in found | unclear
        finally:
            process.kill()
