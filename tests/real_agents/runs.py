"""Runs one real program as a sandbox does, and reads what it prints as the product does."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from utils.agents.access import grant_access
from utils.agents.spec import AccessSources, AgentRequest, AgentSpec, StreamReader
from utils.errors import AgentError
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

KEY = "sk-marked-3f9a1c7e5b"
RUN_SECONDS = 90

MODELS = {"claude": "sonnet", "codex": "gpt-6.1-sol"}


@dataclass(frozen=True, slots=True)
class RealRun:
    """A finished run of a program."""

    exit_code: int
    stdout: str
    stderr: str
    reader: StreamReader
    events: list[tuple[str, Json]]

    @property
    def lines(self) -> list[Any]:
        """The lines of standard output, which all have to be JSON."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def error(self) -> AgentError | None:
        """The error of the run as the backend reports it, None for a success."""
        last = next(reversed(self.stderr.splitlines()), "")
        return self.reader.judge(self.exit_code, last)

    def of_kind(self, kind: str) -> list[Json]:
        """Return the data of the events of a kind."""
        return [data for found, data in self.events if found == kind]


class Perform(Protocol):
    """See the fixture `run`."""

    def __call__(
        self, agent: AgentSpec, prompt: str, *more: str, model: str | None = None
    ) -> RealRun: ...


def make_launchers(folder: Path, programs: Path, url: str) -> Path:
    """Write programs that start the real ones with another address of the model.

    Codex takes no address from its environment: OPENAI_BASE_URL has no effect on it.
    """
    folder.mkdir()
    claude, codex = (shlex.quote(str(programs / name)) for name in ("claude", "codex"))
    scripts = {
        "claude": f'export ANTHROPIC_BASE_URL="${{ANTHROPIC_BASE_URL:-{url}}}"\n'
        f'exec {claude} "$@"\n',
        "codex": f'exec {codex} -c \'openai_base_url="{url}/v1"\' "$@"\n',
    }
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)
    return folder


def perform(
    agent: AgentSpec,
    prompt: str,
    *more: str,
    launchers: Path,
    home: Path,
    folder: Path,
    model: str | None = None,
) -> RealRun:
    """Run a program with the product's command line and environment, and `more` arguments."""
    assert agent.program is not None
    sources = AccessSources({agent.program.key_setting: KEY}, {}, egress=False)
    access = grant_access(agent.program, sources)
    paths = SandboxPaths(str(home), str(folder), str(home / "work"))
    for name, content in agent.home_files(paths).items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    command, *arguments = agent.command(
        paths, AgentRequest(agent.name, model or MODELS[agent.name])
    )
    result = subprocess.run(
        [str(launchers / command), *arguments, *more],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            **access.environment,
        },
        input=agent.prompt_text(prompt).encode(),
        capture_output=True,
        check=False,
        timeout=RUN_SECONDS,
    )
    return _read(agent, result.returncode, result.stdout.decode(), result.stderr.decode())


def _read(agent: AgentSpec, exit_code: int, stdout: str, stderr: str) -> RealRun:
    reader = agent.reader()
    streams = (("stdout", stdout), ("stderr", stderr))
    events = [
        event
        for stream, text in streams
        for line in text.splitlines(keepends=True)
        for event in reader.read_line(stream, line)
    ]
    return RealRun(exit_code, stdout, stderr, reader, events)
