"""The image holds the server and nothing else, and starts it as an operator would."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.markdown import blocks, read_page
from tests.support.source_files import ROOT
from utils.config.settings import Settings

STOP_SECONDS = 10
"""Seconds that a container is given to stop by default."""

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments, in order."""
    lines = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    pairs = [line.partition(" ") for line in lines.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, _, rest in pairs]


def only(name: str) -> str:
    """Return the arguments of the only instruction of a kind."""
    (found,) = [rest for kind, rest in instructions() if kind == name]
    return found


def variables(text: str) -> dict[str, str]:
    """Return what an instruction such as ENV or LABEL sets."""
    pairs = [word.partition("=") for word in shlex.split(text)]
    return {name: value for name, _, value in pairs}


def test_it_runs_as_a_user_without_a_name_below_an_init_that_passes_signals_on() -> None:
    kinds = [kind for kind, _ in instructions()]
    user, _, group = only("USER").partition(":")
    assert user.isdecimal()
    assert group.isdecimal()
    assert int(user) > 0
    assert kinds.index("USER") > max(place for place, kind in enumerate(kinds) if kind == "RUN")
    entry, command = json.loads(only("ENTRYPOINT")), json.loads(only("CMD"))
    installed = next(rest for kind, rest in instructions() if "apt-get install" in rest)
    assert entry == ["/usr/bin/tini", "--"]
    assert {"git", "tini"} <= set(installed.split())
    assert command == ["./run.sh", "serve"]
    assert "STOPSIGNAL" not in kinds
    # The rest is for closing connections.
    assert Settings.model_fields["shutdown_grace_seconds"].default <= STOP_SECONDS / 2
    assert json.loads(only("HEALTHCHECK").partition("CMD ")[2])[0] == ".venv/bin/python"
    labels = variables(only("LABEL"))
    assert labels.keys() >= {f"org.opencontainers.image.{name}" for name in ("title", "licenses")}


def test_the_command_to_run_it_gives_all_that_a_server_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = re.findall(r"^#   (docker run (?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    words = shlex.split(line.replace("\\\n#", " ").replace("$(openssl rand -hex 32)", "0" * 64))
    shown = [block.text for block in blocks(read_page("docs/operations.md"), "sh")]
    assert any(line.replace("\n#   ", "\n") in text for text in shown)
    # The places for keys are refused as what they are.
    words = [word.replace("...", "0a1b2c3d4e5f") for word in words]
    options = list(pairwise(words))
    given = variables(shlex.join(value for option, value in options if option == "-e"))
    inside = variables(only("ENV"))
    volume = next(value for option, value in options if option == "-v")
    port = next(value for option, value in options if option == "-p")
    assert volume.partition(":")[2] == inside["DATA_DIR"] == only("VOLUME")
    assert port.partition(":")[2] == only("EXPOSE")
    monkeypatch.chdir(tmp_path)
    for name, value in {**inside, **given}.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.is_production
    assert settings.sandbox_kind == "e2b"
    assert settings.port == int(only("EXPOSE"))


def test_what_is_copied_is_enough_for_every_command_and_holds_no_tests(tmp_path: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        parents = [name, *(str(folder) for folder in Path(name).parents)]
        if not any(fnmatchcase(parent, entry) for parent in parents for entry in IGNORED):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    assert {"tests", "benchmarks", ".git", ".ci"}.isdisjoint(
        path.name for path in tmp_path.iterdir()
    )
    assert {".env", ".venv", "data"} <= set(IGNORED)
    imports = "import main, demo.__main__, utils.commands.__main__ as commands, importlib\n"
    every = "[importlib.import_module(one) for one in commands.COMMANDS.values() if 'utils' in one]"
    command = [sys.executable, "-c", f"{imports}{every}"]
    environment = {"PATH": os.environ["PATH"], "ENVIRONMENT": "production"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
