"""What the backend knows of an agent program: data, and a reader for what it prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from utils.errors import AgentError
from utils.models.tasks import Json
from utils.sandboxes.protocol import EgressHeader, SandboxPaths

WAITING: Json = {"waiting": True}
"""Marks a `status` that is no sign of life: the agent tries again what has just failed."""


class StreamReader(Protocol):
    """Turns the lines an agent prints into events; one reader per run.

    Reading the same lines again with a fresh reader gives the same events and the same state.
    """

    summary: str | None
    """What the agent says it did, once it has said it."""

    finished: bool
    """Whether the agent has said that it is done; its process may take a moment longer."""

    details: Json
    """What is stored with the task: `agent_session_id`, `usage`, `cost_usd`, ... when known."""

    def read_line(self, stream: str, line: str) -> Iterable[tuple[str, Json]]:
        """Return kind and data of each event that a line of `stdout` or `stderr` stands for."""

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """Tell whether the agent failed. The exit code is None when it was ended after its result.

        Raises nothing; the error's message says what to do.
        """


@dataclass(frozen=True, slots=True)
class AgentAccess:
    """What one user's run of an agent is given to reach its model.

    `environment` is for the agent's process alone. `login_files` go below the sandbox's home, by
    relative path. `egress` is what the network adds to requests instead (`SECRETS_MODE=egress`).
    `secrets` are all values among these that must not leave the backend as text.
    """

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    login_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    egress: tuple[EgressHeader, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class AccessSources:
    """Where access comes from: the server's own keys, and `users.preferences` of the user."""

    anthropic_api_key: str | None = field(repr=False)
    openai_api_key: str | None = field(repr=False)
    preferences: Json = field(repr=False)
    egress: bool


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What a task asked for: an agent's name, and a model of that agent or None."""

    name: str
    model: str | None = None


def no_access(_sources: AccessSources) -> AgentAccess:
    """Return the access of an agent that calls no model."""
    return AgentAccess()


def no_files(_paths: SandboxPaths) -> Mapping[str, bytes]:
    """Return the files of an agent that needs none in the sandbox's home."""
    return {}


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent program.

    `command` gives the arguments, without anything that a user typed except a checked model name;
    the prompt waits in `work/prompt`, and comes on standard input with `prompt_on_stdin`.
    `access` raises `AgentError` (`agent_not_configured`) when a key is missing. `files` are
    uploaded to `work`, by name; `home_files` go below the sandbox's home, by relative path.
    """

    name: str
    command: Callable[[SandboxPaths, AgentRequest], list[str]]
    reader: Callable[[], StreamReader]
    access: Callable[[AccessSources], AgentAccess] = no_access
    files: Mapping[str, bytes] = field(default_factory=dict)
    home_files: Callable[[SandboxPaths], Mapping[str, bytes]] = no_files
    prompt_on_stdin: bool = False
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """Whether tasks may ask for an agent, and what then does the work."""

    name: str
    usable: bool
    simulated: bool
    reason: str | None = None
