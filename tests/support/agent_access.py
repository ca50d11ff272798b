"""Asks for the access of an agent's run, with the server's keys and what a user prefers."""

from __future__ import annotations

from utils.agents.spec import AccessSources, Agent, AgentAccess
from utils.models.tasks import Json

ANTHROPIC, OPENAI = "sk-ant-server", "sk-server"


def access(
    agent: Agent, preferences: object = None, *, server: bool = True, egress: bool = False
) -> AgentAccess:
    """Return what a run is given; `server` is whether the server has keys."""
    sources = AccessSources(
        anthropic_api_key=ANTHROPIC if server else None,
        openai_api_key=OPENAI if server else None,
        preferences=preferences,  # type: ignore[arg-type]  # what a user stored is anything
        egress=egress,
    )
    return agent.access(sources)


def claude_env(**variables: object) -> Json:
    """Return preferences with variables for Claude Code."""
    return {"claudeCode": {"env": variables, "credentials": None}}
