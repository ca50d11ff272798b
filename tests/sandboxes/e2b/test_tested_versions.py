"""Versions are compared with the tested ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.e2b.template_tools import VERSION_LINES
from tests.support.source_files import ROOT
from utils.commands.doctor.cloud import TEMPLATE_PROGRAMS as PROGRAMS
from utils.config.settings import Settings
from utils.sandboxes.e2b.tested_versions import (
    E2B_SDK,
    ENVD,
    Difference,
    compare_envd,
    compare_programs,
    version_warnings,
    versions_command,
)
from utils.sandboxes.registry import choose_sandbox

LINES = "".join(
    f"{program.name}: {VERSION_LINES.get(program.name, f'{program.kind} {program.name} 9.1')}\n"
    for program in PROGRAMS
)


def test_what_the_sandbox_prints_is_compared_with_what_was_tested() -> None:
    assert compare_programs(PROGRAMS, LINES) == []
    assert compare_programs(PROGRAMS, LINES.replace("GNU tail", "BusyBox")) == [
        Difference("problem", "tail is not that of GNU: BusyBox 9.1")
    ]
    assert compare_programs(PROGRAMS, LINES.replace("git:  git 9.1", "git: missing")) == [
        Difference("problem", "git is missing in the template")
    ]
    assert [item.level for item in compare_programs(PROGRAMS, "")] == ["problem"] * len(PROGRAMS)
    assert compare_envd(ENVD) == []
    assert [item.level for item in compare_envd("0.1.0")] == ["warning"]


def test_a_program_that_is_not_installed_is_printed_as_missing(tmp_path: Path) -> None:
    shell = subprocess.run(
        ["/bin/bash", "-c", versions_command(PROGRAMS)],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.splitlines() == [f"{program.name}: missing" for program in PROGRAMS]


def test_the_installed_sdk_is_the_tested_one() -> None:
    assert version_warnings() == []
    assert f"e2b=={E2B_SDK}\n" in (ROOT / "requirements.txt").read_text()


def test_another_sdk_is_warned_of_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "e2b-1.0.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: e2b\nVersion: 1.0.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with_cloud = Settings.model_validate({"e2b_api_key": "e2b_of_the_test"})
    (warning,) = choose_sandbox(with_cloud).version_warnings()
    assert "e2b is installed as 1.0.0" in warning
    assert E2B_SDK in warning
    local = Settings.model_validate({"sandbox": "local", "e2b_api_key": "e2b_of_the_test"})
    assert choose_sandbox(local).version_warnings() == ()
