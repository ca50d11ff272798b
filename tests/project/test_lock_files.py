"""The lock files pin every package of the requirements files, and run.sh installs from them."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS

SERVER = "requirements"
TESTS = "requirements-dev"

PYTHON = """#!/bin/sh
case "$*" in
    --version) echo Python 3.12.0 ;;
    *" install "*) echo "$*" >>calls ;;
esac
"""
"""A Python that records the installations it is asked for."""


class Locked(NamedTuple):
    """A package of a lock file."""

    version: str
    marker: str
    hashes: frozenset[str]
    extras: frozenset[str]


def read_requirements(name: str) -> list[Requirement]:
    """Return the packages that a requirements file lists itself."""
    lines = (ROOT / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def read_lock(name: str) -> dict[str, Locked]:
    """Return the packages of a lock file by their normalized names."""
    text = (ROOT / f"{name}.lock").read_text(encoding="utf-8")
    packages: dict[str, Locked] = {}
    for entry in re.findall(r"^[^ #].*(?:\n    --hash=.*)*", text, re.MULTILINE):
        first, *options = entry.replace("\\\n", "\n").split("\n")
        requirement = Requirement(first)
        (pin,) = requirement.specifier
        assert pin.operator == "==", first
        hashes = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", " ".join(options)))
        package = canonicalize_name(requirement.name)
        assert package not in packages, f"two entries of {package}"
        packages[package] = Locked(
            pin.version, str(requirement.marker or ""), hashes, frozenset(requirement.extras)
        )
    return packages


@pytest.mark.parametrize("name", [SERVER, TESTS])
def test_each_required_package_is_locked_at_a_version_in_its_range(name: str) -> None:
    locked = read_lock(name)
    required = [*read_requirements(SERVER), *(read_requirements(name) if name != SERVER else ())]
    assert len(required) > 15
    missing = [str(one) for one in required if canonicalize_name(one.name) not in locked]
    assert missing == [], "run ./run.sh lock"
    outside = [
        f"{one} is locked at {locked[canonicalize_name(one.name)].version}"
        for one in required
        if not one.specifier.contains(locked[canonicalize_name(one.name)].version)
    ]
    assert outside == [], "run ./run.sh lock"


@pytest.mark.parametrize("name", [SERVER, TESTS])
def test_each_package_that_a_locked_package_needs_here_is_locked(name: str) -> None:
    locked = read_lock(name)
    missing = [
        f"{package} needs {need}"
        for package, entry in locked.items()
        for need in needs_of_installed(package, entry.extras)
        if not is_met(need, locked)
    ]
    assert missing == [], "run ./run.sh lock"


def needs_of_installed(package: str, extras: frozenset[str]) -> list[Requirement]:
    """Return the packages that an installed one needs here; none when it is not installed."""
    try:
        needs = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        need
        for need in map(Requirement, needs)
        if need.marker is None
        or any(need.marker.evaluate({"extra": extra}) for extra in (*extras, ""))
    ]


def is_met(need: Requirement, locked: dict[str, Locked]) -> bool:
    found = locked.get(canonicalize_name(need.name))
    return found is not None and need.specifier.contains(found.version, prereleases=True)


def test_tests_run_with_the_packages_of_the_server() -> None:
    server, tests = read_lock(SERVER), read_lock(TESTS)
    assert {name: tests.get(name) for name in server} == server, "run ./run.sh lock"


@pytest.mark.parametrize("name", [SERVER, TESTS])
def test_each_locked_package_has_hashes(name: str) -> None:
    locked = read_lock(name)
    assert [package for package, entry in locked.items() if not entry.hashes] == []


@pytest.mark.parametrize("name", [SERVER, TESTS])
def test_a_lock_file_names_no_server_and_no_option(name: str) -> None:
    text = (ROOT / f"{name}.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert re.findall(r"^-.*", text, re.MULTILINE) == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Provide a folder with run.sh, a lock file, and a Python that records installations."""
    shutil.copy(ROOT / "run.sh", tmp_path)
    (tmp_path / "requirements.lock").write_text("flask==3.1.3\n")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(PYTHON)
    (programs / "python").chmod(0o755)
    return tmp_path


def installations(copy: Path) -> list[str]:
    """Run `./run.sh setup` without uv; return the arguments of each installation so far."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(copy)}
    command = ["./run.sh", "setup"]
    subprocess.run(command, cwd=copy, env=environment, check=True, timeout=PATIENCE_SECONDS)
    return (copy / "calls").read_text().splitlines()


def test_packages_are_installed_once_for_each_lock_file_and_by_their_hashes(copy: Path) -> None:
    (first,) = installations(copy)
    assert "--require-hashes" in first
    assert first.endswith("-r requirements.lock")
    assert installations(copy) == [first]
    (copy / "requirements.lock").write_text("flask==3.1.4\n")
    assert installations(copy) == [first, first]
