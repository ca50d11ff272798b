"""`./run.sh doctor` opens an isolated sandbox and tells what this machine lacks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.doctor_program import Doctor
from tests.support.places import require_isolation

SETTINGS = {"SANDBOX": "isolated", "ANTHROPIC_API_KEY": "sk-ant-test-0123456789"}


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path, "127.0.0.1:1")


def test_a_machine_that_can_isolate_is_told_what_holds_and_which_agent_is_missing(
    doctor: Doctor, tmp_path: Path
) -> None:
    require_isolation()
    programs = tmp_path / "programs" / "node_modules" / ".bin"
    programs.mkdir(parents=True)
    (programs / "claude").write_text("#!/bin/sh\n")
    (programs / "claude").chmod(0o755)
    code, printed = doctor.ask({**SETTINGS, "AGENT_PROGRAMS_DIR": str(tmp_path / "programs")})
    assert "an isolated sandbox starts; its network: allow-list" in printed
    assert f"claude: {programs}/claude" in printed
    assert "codex is not where isolated sandboxes see it" in printed
    assert "./run.sh install-agents" in printed
    assert ("Run the server as an ordinary user" in printed) == (os.getuid() == 0)
    assert code == 1


def test_a_machine_without_bubblewrap_is_told_how_to_install_it(
    doctor: Doctor, tmp_path: Path
) -> None:
    found = tmp_path / "bin"
    found.mkdir()
    (found / "git").symlink_to(str(shutil.which("git")))
    code, printed = doctor.ask({**SETTINGS, "PATH": str(found)})
    assert "sudo apt install bubblewrap" in printed
    assert code == 1
