"""Resolves the access of an agent's run from the server's keys and a user's preferences."""

from __future__ import annotations

from utils.agents.access import grant_access
from utils.agents.spec import AccessSources, AgentAccess, AgentSpec
from utils.models.tasks import Json

ANTHROPIC, OPENAI = "sk-ant-server", "sk-server"
SERVER_KEYS = {"anthropic_api_key": ANTHROPIC, "openai_api_key": OPENAI}


def access(
    agent: AgentSpec, preferences: object = None, *, server: bool = True, egress: bool = False
) -> AgentAccess:
    """Return the access of a run; `server` tells whether the server has keys."""
    sources = AccessSources(
        server_keys=SERVER_KEYS if server else {},
        preferences=preferences,  # type: ignore[arg-type]  # what a user stored is anything
        egress=egress,
    )
    return grant_access(agent.program, sources)


def claude_env(**variables: object) -> Json:
    """Return preferences with variables for Claude Code."""
    return {"claudeCode": {"env": variables, "credentials": None}}
