"""What the backend knows of an agent program: data, not behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from utils.models import Json
from utils.sandbox import SandboxPaths

Report = Callable[[str, Json], None]
"""Called with an event's kind and its data; see `utils.models.Event`."""


class StreamReader(Protocol):
    """Turns the lines an agent prints into events; one reader per run."""

    summary: str | None
    """What the agent says it did, once it has said it."""

    def read_line(self, stream: str, line: str) -> tuple[str, Json]:
        """Return the kind and the data of the event that a line stands for."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent program.

    `command` gives the arguments, from the sandbox's paths and the name the task asked for;
    the prompt waits in `work/prompt`. `files` are uploaded next to it, by name.
    """

    name: str
    command: Callable[[SandboxPaths, str], list[str]]
    reader: Callable[[], StreamReader]
    files: Mapping[str, bytes] = field(default_factory=dict)
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """Whether tasks may ask for an agent, and what then does the work."""

    name: str
    usable: bool
    simulated: bool
    reason: str | None = None
