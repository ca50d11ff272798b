"""Compares the versions of an installation with those that this release was tested with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

E2B_SDK = "2.63.0"
ENVD = "0.6.13"

_MISSING = "missing"
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){1,9}")


@dataclass(frozen=True, slots=True)
class TemplateProgram:
    """A program that every sandbox needs.

    `tested` is the tested version, `oldest` the oldest one that works; None when any version will
    do. `kind` is a word that its version line must contain.
    """

    name: str
    tested: str | None = None
    oldest: str | None = None
    kind: str = ""


# The agents' own programs are not here: their registry has them. They are installed with node, and
# bwrap confines the commands they run.
TOOLS = (
    TemplateProgram("git", oldest="2.30"),
    TemplateProgram("node", oldest="22"),
    TemplateProgram("rg"),
    TemplateProgram("bash"),
    TemplateProgram("bwrap"),
    TemplateProgram("curl"),
    TemplateProgram("ps"),
    TemplateProgram("flock"),
    TemplateProgram("setsid"),
    TemplateProgram("tail", kind="GNU"),
    TemplateProgram("truncate", kind="GNU"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference from the tested versions; with a `problem` tasks cannot work."""

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


def versions_command(programs: Sequence[TemplateProgram]) -> str:
    """Return the shell command that prints `name: version line` for each program."""
    names = " ".join(program.name for program in programs)
    return (
        f"for name in {names}; do "
        'if command -v "$name" >/dev/null; then '
        'line=$("$name" --version 2>&1 </dev/null | head -n 1); '
        f'else line={_MISSING}; fi; printf "%s: %s\\n" "$name" "$line"; done'
    )


def found_versions(output: str) -> dict[str, str]:
    """Return the version lines in the output of `versions_command`, by program."""
    return {
        name: line.strip()
        for name, separator, line in (text.partition(": ") for text in output.splitlines())
        if separator
    }


def compare_programs(programs: Sequence[TemplateProgram], output: str) -> list[Difference]:
    """Return the differences between the output of `versions_command` and the tested versions."""
    found = found_versions(output)
    return [item for program in programs for item in _compare(program, found.get(program.name))]


def compare_envd(found: str) -> list[Difference]:
    """Return the difference between E2B's daemon in a sandbox and the tested version, if any."""
    if _numbers(found)[:2] == _numbers(ENVD)[:2]:
        return []
    text = f"E2B's daemon in the sandbox is {found}; {ENVD} was tested. Build the template again"
    return [Difference("warning", text)]


def _compare(program: TemplateProgram, line: str | None) -> Iterator[Difference]:
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
        yield Difference("problem", f"{name} is not that of {program.kind}: {line}")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
