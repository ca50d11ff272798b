"""Installs fake programs of the sandbox template, which only print their versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utils.agents.claude import CLAUDE_CODE
from utils.agents.codex import CODEX_CLI
from utils.agents.spec import Program

VERSION_LINES = {
    "claude": f"{CLAUDE_CODE.version} (Claude Code)",
    "codex": f"codex-cli {CODEX_CLI.version}",
    "node": "v22.22.2",
    "rg": "ripgrep 13.0.0",
    "bwrap": "bubblewrap 0.8.0",
    "curl": "curl 7.88.1",
}
"""The version line of each program."""


def missing_in_template(program: Program, steps: Sequence[str]) -> list[str]:
    """Return what the steps of a template lack for a program: its version, install and check."""
    version = f"ENV {program.build_argument} {program.version}"
    package = f"{program.package}@${program.build_argument}"
    check = f"{program.command} --version"
    missing = [] if version in steps else [version]
    if not any("npm install" in step and package in step for step in steps):
        missing.append(package)
    if not any(check in step for step in steps):
        missing.append(check)
    return missing


def install(folder: Path, name: str, line: str) -> None:
    """Create a program that prints a line, whatever its arguments are."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{line}'\n")
    program.chmod(0o755)
