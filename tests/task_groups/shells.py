"""An agent for groups: a shell that knows which agent it stands for, and can report its costs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.support.backends import SHELL_AGENT, Backend, Repository, Row
from tests.support.waiting import eventually
from utils.agents.scripted import ScriptedReader
from utils.agents.spec import AgentRequest
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

COSTS = "costs: "


class PricedReader(ScriptedReader):
    """Also reads a line with `costs: ` and a JSON object of details."""

    def read_line(self, stream: str, line: str) -> Iterator[tuple[str, Json]]:
        """See `StreamReader`."""
        if line.startswith(COSTS):
            self.details |= json.loads(line.removeprefix(COSTS))
        yield from super().read_line(stream, line)


def _command(paths: SandboxPaths, request: AgentRequest) -> list[str]:
    return ["sh", f"{paths.work}/prompt", request.name]


NAMED_SHELL = replace(SHELL_AGENT, command=_command, reader=PricedReader)
"""Runs the prompt as a shell script whose argument is the name of the agent."""


class Numbers:
    """Numbers for the tasks of each agent, each of which is given out once.

    They wait in pipes in a folder that the sandboxes of a test are shown, maybe read-only. `script`
    is the begin of a shell script: `$n` is the number that it was given, `$name` the agent with it.
    """

    def __init__(self, folder: Path, agents: Iterable[str]) -> None:
        self._descriptors = [_filled_pipe(folder / agent) for agent in agents]
        self.script = f"n=$(dd bs=1 count=1 2>/dev/null <'{folder}'/$1); name=$1-$n\n"

    def close(self) -> None:
        """Close the pipes; their numbers go with them."""
        for descriptor in self._descriptors:
            os.close(descriptor)


def _filled_pipe(path: Path) -> int:
    """Make a pipe with nine digits in it; return the descriptor that keeps them there."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(descriptor, b"123456789")
    return descriptor


def start_group(backend: Backend, prompt: str, repository: Repository, **body: object) -> Row:
    """Start a group; return the answer."""
    answer = backend.post("/start-task", prompt=prompt, repo_url=repository.url, **body)
    assert answer["http_status"] == 200, answer
    return answer


def group_of(backend: Backend, group_id: int) -> Row:
    """Return a group."""
    group: Row = backend.get(f"/task-groups/{group_id}")["group"]
    return group


def ended_group(backend: Backend, group_id: int) -> Row:
    """Wait until all tasks of a group have ended; return the group."""
    return eventually(
        lambda: group if (group := group_of(backend, group_id))["status"] == "ended" else None
    )
