"""What this release was tested with, and how an installation is compared with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

E2B_SDK = "2.63.0"
ENVD = "0.6.13"
CLAUDE_CODE = "2.1.329"
CODEX = "0.169.0"

_MISSING = "missing"
_NUMBER = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True)
class Program:
    """A program that a sandbox has to have. Nothing is said of versions that do not matter.

    `tested` is the only version tried, `oldest` the first that will do, and `kind` a word that its
    version line has to have.
    """

    name: str
    tested: str | None = None
    oldest: str | None = None
    kind: str = ""


# node is what codex starts with; bwrap is what claude keeps its key away from commands with.
PROGRAMS = (
    Program("claude", tested=CLAUDE_CODE),
    Program("codex", tested=CODEX),
    Program("git", oldest="2.30"),
    Program("node", oldest="22"),
    Program("rg"),
    Program("bash"),
    Program("bwrap"),
    Program("curl"),
    Program("ps"),
    Program("flock"),
    Program("setsid"),
    Program("tail", kind="GNU"),
    Program("truncate", kind="GNU"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as tested; a `problem` keeps tasks from working."""

    level: Literal["warning", "problem"]
    text: str


def version_warnings() -> Sequence[str]:
    """Return a warning when the installed SDK is not the tested version. Sends no request."""
    try:
        installed = version("e2b")
    except PackageNotFoundError:
        return ["The package e2b is not installed: run ./run.sh setup"]
    if installed == E2B_SDK:
        return []
    return [
        f"The package e2b is installed as {installed}; this release was tested with {E2B_SDK}. "
        "Run ./run.sh setup"
    ]


def versions_command() -> str:
    """Return the shell command that prints `name: version line` for each program of a sandbox."""
    names = " ".join(program.name for program in PROGRAMS)
    return (
        f"for name in {names}; do "
        'if command -v "$name" >/dev/null; then '
        'line=$("$name" --version 2>&1 </dev/null | head -n 1); '
        f'else line={_MISSING}; fi; printf "%s: %s\\n" "$name" "$line"; done'
    )


def found_versions(output: str) -> dict[str, str]:
    """Return the version lines that `versions_command` printed, by program."""
    return {
        name: line.strip()
        for name, separator, line in (text.partition(": ") for text in output.splitlines())
        if separator
    }


def compare_programs(output: str) -> list[Difference]:
    """Compare what `versions_command` printed in a sandbox with what was tested."""
    found = found_versions(output)
    return [item for program in PROGRAMS for item in _compare(program, found.get(program.name))]


def compare_envd(found: str) -> list[Difference]:
    """Compare the version of E2B's daemon in a sandbox with the tested one."""
    if _numbers(found)[:2] == _numbers(ENVD)[:2]:
        return []
    text = f"E2B's daemon in the sandbox is {found}; {ENVD} was tested. Build the template again"
    return [Difference("warning", text)]


def _compare(program: Program, line: str | None) -> Iterator[Difference]:
    name = program.name
    if line is None or line == _MISSING:
        yield Difference("problem", f"{name} is missing in the template")
        return
    match = _NUMBER.search(line)
    found = match[0] if match else line
    if program.tested is not None and found != program.tested:
        yield Difference("warning", f"{name} is {found}; {program.tested} was tested")
    if program.oldest is not None and _numbers(found) < _numbers(program.oldest):
        yield Difference("problem", f"{name} is {found}; {program.oldest} or newer is needed")
    if program.kind not in line:
        yield Difference("problem", f"{name} is not the one of {program.kind}: {line}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
