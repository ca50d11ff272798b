"""Chooses how the agent of a demonstration runs: the real program, the cloud, or the script."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

AGENTS_PAGE = Path(__file__).resolve().parent.parent / "docs" / "agents.md"
"""The page with the table of agents, which is written from the server's registry."""

_ROW = re.compile(r"^\| `([^`|]+)`[^|]*\|[^|]*\| `([A-Z0-9_]+)`", re.MULTILINE)

CLOUD_KEY = "E2B_API_KEY"


def agent_keys(page: str) -> dict[str, str]:
    """Return the agents that call a model, with the variables of their keys, from the page."""
    return dict(_ROW.findall(page))


KEYS = agent_keys(AGENTS_PAGE.read_text(encoding="utf-8") if AGENTS_PAGE.is_file() else "")
"""The agents, with the variables of their keys. Nothing is imported from the server."""


class AgentError(Exception):
    """The chosen agent cannot run; the message tells what to do."""


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """The agent to ask for, variables for the server, and a line that says how it runs."""

    name: str | None
    variables: Mapping[str, str] = field(repr=False)
    note: str


def keys_of(environment: Mapping[str, str], env_file: Path) -> dict[str, str]:
    """Return the keys in the environment, else in `.env`."""
    stored = dotenv_values(env_file) if env_file.is_file() else {}
    found = {
        name: environment.get(name) or stored.get(name) for name in (CLOUD_KEY, *KEYS.values())
    }
    return {name: value for name, value in found.items() if value}


def _options() -> str:
    return " or ".join(f"--agent {name}" for name in KEYS)


def choose_agent(
    name: str | None, keys: Mapping[str, str], path: str | None, *, is_remote: bool
) -> AgentChoice:
    """Return how an agent runs. Raises `AgentError` for one that cannot.

    `path` is the search path of programs; `is_remote` tells that a cloud can reach the repository.
    """
    if name is None:
        note = ""
        if keys:
            note = (
                f"{' and '.join(keys)} {'is' if len(keys) == 1 else 'are'} set, but this run "
                f"simulates the agent. To run a real one: {_options()}"
            )
        return AgentChoice(None, {}, note)
    key = KEYS[name]
    if key not in keys:
        raise AgentError(f"{name} needs a key. Set {key} in the environment or in .env.")
    program = shutil.which(name, path=path)
    if program:
        variables = {key: keys[key], "SIMULATE_WITH_REAL_AGENT": "true"}
        return AgentChoice(name, variables, f"{name} runs on this machine: {program}")
    if CLOUD_KEY not in keys:
        raise AgentError(
            f"{name} is not on PATH. Install it, or set {CLOUD_KEY} to run it in a cloud sandbox."
        )
    if not is_remote:
        raise AgentError(
            f"{name} is not on PATH, and a cloud sandbox cannot read a folder of this machine. "
            f"Install {name}, or use --repo with a URL."
        )
    variables = {key: keys[key], CLOUD_KEY: keys[CLOUD_KEY], "SANDBOX": "e2b"}
    return AgentChoice(name, variables, f"{name} runs in a cloud sandbox of E2B")
