"""Lists the agents that a task may request, and chooses the program that runs for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from utils.agents.access import grant_access
from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.agents.scripted import SCRIPTED, scripted_agent
from utils.agents.spec import AccessSources, AgentAccess, AgentSpec, AgentStatus, Program
from utils.config.settings import Settings
from utils.errors import AgentError, InvalidInput
from utils.models.tasks import Json
from utils.sandboxes.registry import choose_sandbox, uses_egress

AGENTS: tuple[AgentSpec, ...] = (
    CLAUDE,
    CODEX,
    SCRIPTED,
)

AGENT_NAMES = tuple(agent.name for agent in AGENTS)
"""The values of a task's `model`."""

DEFAULT_AGENT = AGENTS[0].name
"""The agent of a task that requests none."""

PROGRAMS: tuple[Program, ...] = tuple(agent.program for agent in AGENTS if agent.program)
"""The programs that call a model."""

KEY_SETTINGS = tuple(program.key_setting.upper() for program in PROGRAMS)
"""The settings with the server's keys, as the environment names them."""

SECTIONS: Mapping[str, Sequence[str]] = {one.sections[0]: one.sections for one in PROGRAMS}
"""The sections of `users.preferences` with all their names; only the first name is written."""


def find_agent(name: str) -> AgentSpec:
    """Return the record of an agent. Raises `KeyError`."""
    for agent in AGENTS:
        if agent.name == name:
            return agent
    raise KeyError(name)


def sections_of(name: str) -> Sequence[str]:
    """Return the sections of `users.preferences` for an agent; none for an unknown agent."""
    programs = (agent.program for agent in AGENTS if agent.name == name)
    return tuple(chain.from_iterable(one.sections for one in programs if one))


class Agents:
    """Chooses the program, the model and the access of a task's agent in this deployment."""

    def __init__(self, settings: Settings) -> None:
        is_isolated = not choose_sandbox(settings).sees_this_machine
        self._real = settings.simulate_with_real_agent or (
            is_isolated and not settings.e2b_smoke_test
        )
        self._runs_scripts = settings.scripted_prompts_enabled
        self._step_seconds = settings.scripted_step_seconds
        self._egress = uses_egress(settings)
        self._models: dict[str, tuple[str, ...]] = {}
        self._server_keys: dict[str, str] = {}
        for name, program in ((one.name, one.program) for one in AGENTS):
            if program is not None:
                self._models[name] = getattr(settings, program.models_setting)
                if key := getattr(settings, program.key_setting):
                    self._server_keys[program.key_setting] = key.get_secret_value()

    @property
    def are_simulated(self) -> bool:
        """True when the scripted agent replaces every other one."""
        return not self._real

    def choose(self, name: str) -> AgentSpec:
        """Return the agent that runs for the requested one. Raises `KeyError`."""
        agent = find_agent(name)
        if self._real and not agent.simulated:
            return agent
        return scripted_agent(runs_scripts=self._runs_scripts, step_seconds=self._step_seconds)

    def check_model(self, name: str, model: str | None) -> str | None:
        """Return the model if tasks may request it for this agent. Raises `InvalidInput`."""
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

    def models(self, name: str) -> tuple[str, ...]:
        """Return the models that tasks may request for an agent."""
        return self._models.get(name, ())

    def default_model(self, name: str) -> str | None:
        """Return the model of a task that names none; None for an agent without models."""
        return next(iter(self._models.get(name, ())), None)

    def access(
        self, agent: AgentSpec, preferences: Json, variables: Mapping[str, str] = {}
    ) -> AgentAccess:
        """Return the access of a user's run, with the variables of a project.

        Raises `AgentError` (`agent_not_configured`).
        """
        sources = AccessSources(self._server_keys, preferences, self._egress, variables)
        return grant_access(agent.program, sources)

    def statuses(self) -> list[AgentStatus]:
        """Return for each agent whether tasks may request it, with the reason if not."""
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
