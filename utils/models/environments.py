"""Frozen values of the environment that a task's sandbox gets before the agent starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Preparation:
    """The scripts that prepare a sandbox, and their variables.

    `setup` runs after a clone, and so does the script of the repository if `from_repository`;
    `maintenance` runs instead in a sandbox that was kept. All share `timeout_seconds`. `digest` is
    that of all that the setup depends on; empty when no snapshot may be used.
    """

    setup: str = ""
    maintenance: str = ""
    from_repository: bool = False
    timeout_seconds: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    project_id: int = 0
    digest: str = ""

    @property
    def longest_seconds(self) -> float:
        """The time that the scripts may take; 0 without any."""
        has_any = self.setup or self.maintenance or self.from_repository
        return self.timeout_seconds if has_any else 0.0

    def is_needed(self, *, is_kept: bool) -> bool:
        """Tell whether anything has to run, in a sandbox that was kept or in another one."""
        return bool(self.maintenance if is_kept else self.setup or self.from_repository)


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server of tools for the agent: a program in the sandbox, or a web address.

    `variables` are the names of those that the program gets; `token_variable` holds the token that
    is sent to the address.
    """

    name: str
    command: str = ""
    arguments: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    url: str = ""
    token_variable: str | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of all variables that it needs."""
        return (*self.variables, *([self.token_variable] if self.token_variable else []))


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """The hosts that a sandbox may reach: `none`, `allow-list` or `open`.

    The hosts of the repository and of the agent's model are always among them.
    """

    mode: str
    hosts: tuple[str, ...] = ()


NOTHING_TO_PREPARE = Preparation()


@dataclass(frozen=True, slots=True)
class ProjectSecret:
    """A row of `project_secrets`: a variable whose value is sealed.

    The scripts that prepare a sandbox get it, and the agent and the check only `for_agent`.
    """

    project_id: int
    name: str
    sealed: str = field(repr=False)
    for_agent: bool
    updated_at: datetime
