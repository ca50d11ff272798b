"""The registry of agents: which names a task may ask for, and which program then does the work."""

from __future__ import annotations

from utils.agents.base import Agent, AgentStatus
from utils.agents.scripted import SCRIPTED

AGENT_NAMES = ("claude", "codex", "scripted")
"""What a task's `model` may be."""


def choose_agent(name: str) -> Agent:
    """Return the program that does the work of a requested agent: for now always the scripted."""
    if name not in AGENT_NAMES:
        raise KeyError(name)
    return SCRIPTED


def agent_statuses() -> list[AgentStatus]:
    """Tell for each name what a task that asks for it gets."""
    return [_status(name) for name in AGENT_NAMES]


def _status(name: str) -> AgentStatus:
    agent = choose_agent(name)
    reason = f"simulated by the {agent.name} agent: no AI is called" if agent.simulated else None
    return AgentStatus(name, usable=True, simulated=agent.simulated, reason=reason)
