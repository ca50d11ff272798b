"""Puts together what a run needs to know of its task, its user and the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from database import Database
from utils import git
from utils.agents import Agents
from utils.agents.base import AgentAccess
from utils.errors import NotFound, TaskError
from utils.models import Job, Task
from utils.sandbox import EgressHeader, SandboxRequest
from utils.settings import Settings
from utils.task_attempt import Assignment
from utils.vault import Vault

CAPTURE_PASSES = 4
"""Times that reading the changes may take the limit of one command, with room for the rest."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that is ours to do, its token, and what is to be done or why it cannot be."""

    task: Task
    token: str | None = field(repr=False)
    prepared: Assignment | TaskError


def prepare(
    task: Task,
    ciphertext: bytes | None,
    vault: Vault,
    settings: Settings,
    database: Database,
    agents: Agents,
) -> Claim:
    """Return everything that is needed to do a task, blocking."""
    text = None
    try:
        token = vault.decrypt(ciphertext) if ciphertext else None
        text = token.get_secret_value() if token else None
        return Claim(task, text, _assignment(task, text, settings, database, agents))
    except TaskError as error:
        return Claim(task, text, error)


def _assignment(
    task: Task, token: str | None, settings: Settings, database: Database, agents: Agents
) -> Assignment:
    agent = agents.choose(task.agent)
    preferences = {} if agent.simulated else database.get_preferences(task.user_id)
    access = agents.access(agent, preferences)
    job = Job(
        task_id=task.id,
        prompt=task.prompt,
        repo_url=task.repo_url,
        branch=task.target_branch,
        agent=task.agent,
        agent_model=task.agent_model or agents.default_model(task.agent),
        git_token=None if settings.uses_egress else token,
    )
    request = SandboxRequest(
        task_id=task.id,
        user_id=task.user_id,
        attempt=task.attempt,
        lifetime_seconds=settings.sandbox_timeout_seconds
        + CAPTURE_PASSES * settings.command_timeout_seconds,
        template_id=_template_id(task, settings, database),
        egress=_egress(task, token, access) if settings.uses_egress else (),
    )
    return Assignment(job, agent, access, request)


def _template_id(task: Task, settings: Settings, database: Database) -> str | None:
    if not settings.uses_e2b or task.project_id is None:
        return None
    try:
        chosen = database.get_project(task.user_id, task.project_id).settings.get("template_id")
    except NotFound:
        return None
    return chosen if isinstance(chosen, str) and chosen else None


def _egress(task: Task, token: str | None, access: AgentAccess) -> tuple[EgressHeader, ...]:
    host = urlsplit(task.repo_url).hostname
    if not token or not host:
        return access.egress
    value = git.authorization_header(task.repo_url, token)
    return (*access.egress, EgressHeader(host, "Authorization", value))
