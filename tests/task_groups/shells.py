"""An agent for groups: a shell that knows which agent it stands for, and can report its costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


def numbered(folder: Path) -> str:
    """Return the begin of a script: `$name` is the agent with a number that is used once."""
    return f'n=1; until mkdir "{folder}/$1-$n" 2>/dev/null; do n=$((n + 1)); done; name="$1-$n"\n'


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
