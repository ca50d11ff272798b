"""What a user's run of an agent is given to reach its model: keys, variables, login files."""

from __future__ import annotations

from utils.agents.base import AccessSources, AgentAccess
from utils.errors import AgentError


def claude_access(sources: AccessSources) -> AgentAccess:
    """See `Agent.access`."""
    if not sources.anthropic_api_key:
        raise AgentError("Set ANTHROPIC_API_KEY.", "agent_not_configured")
    key = sources.anthropic_api_key
    return AgentAccess({"ANTHROPIC_API_KEY": key}, secrets=(key,))


def codex_access(sources: AccessSources) -> AgentAccess:
    """See `Agent.access`."""
    if not sources.openai_api_key:
        raise AgentError("Set OPENAI_API_KEY.", "agent_not_configured")
    key = sources.openai_api_key
    return AgentAccess({"CODEX_API_KEY": key}, secrets=(key,))
