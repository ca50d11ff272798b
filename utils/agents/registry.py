"""The registry of agents: which names a task may ask for, and which program then does the work."""

from __future__ import annotations

from collections.abc import Mapping

from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.agents.scripted import SCRIPTED
from utils.agents.spec import AccessSources, Agent, AgentAccess, AgentStatus
from utils.config.settings import Settings
from utils.errors import AgentError, InvalidInput
from utils.models.tasks import Json
from utils.sandboxes.registry import choose_sandbox, uses_egress

AGENT_NAMES = ("claude", "codex", "scripted")
"""What a task's `model` may be."""

_REAL: Mapping[str, Agent] = {"claude": CLAUDE, "codex": CODEX}


class Agents:
    """Which program works for which name in this deployment."""

    def __init__(self, settings: Settings) -> None:
        is_isolated = not choose_sandbox(settings).sees_this_machine
        self._real = settings.simulate_with_real_agent or (
            is_isolated and not settings.e2b_smoke_test
        )
        self._settings = settings
        self._models = {"claude": settings.claude_models, "codex": settings.codex_models}

    @property
    def are_simulated(self) -> bool:
        """True when the scripted agent does the work of every other one."""
        return not self._real

    def choose(self, name: str) -> Agent:
        """Return the program that does the work of a requested agent. Raises `KeyError`."""
        if name not in AGENT_NAMES:
            raise KeyError(name)
        return _REAL.get(name, SCRIPTED) if self._real else SCRIPTED

    def check_model(self, name: str, model: str | None) -> str | None:
        """Return the model if tasks may ask the agent for it. Raises `InvalidInput`."""
        if model is None:
            return None
        allowed = self._models.get(name, ())
        if model not in allowed:
            raise InvalidInput(
                f"agent_model: {name} takes one of {', '.join(allowed)}."
                if allowed
                else f"agent_model: {name} has no models to choose from.",
                "unknown_model",
            )
        return model

    def default_model(self, name: str) -> str | None:
        """Return the model that an agent uses when a task names none."""
        return next(iter(self._models.get(name, ())), None)

    def access(self, agent: Agent, preferences: Json) -> AgentAccess:
        """Return what a user's run is given. Raises `AgentError` (`agent_not_configured`)."""
        settings = self._settings
        anthropic, openai = settings.anthropic_api_key, settings.openai_api_key
        return agent.access(
            AccessSources(
                anthropic_api_key=anthropic.get_secret_value() if anthropic else None,
                openai_api_key=openai.get_secret_value() if openai else None,
                preferences=preferences,
                egress=uses_egress(settings),
            )
        )

    def statuses(self) -> list[AgentStatus]:
        """Tell for each name what a task that asks for it gets."""
        return [self._status(name) for name in AGENT_NAMES]

    def _status(self, name: str) -> AgentStatus:
        agent = self.choose(name)
        if agent.simulated:
            reason = f"simulated by the {agent.name} agent: no AI is called"
            return AgentStatus(name, usable=True, simulated=True, reason=reason)
        try:
            self.access(agent, {})
        except AgentError as error:
            return AgentStatus(name, usable=False, simulated=False, reason=error.message)
        return AgentStatus(name, usable=True, simulated=False)
