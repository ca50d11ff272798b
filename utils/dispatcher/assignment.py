"""Prepares a claimed task for its run: the job, the credentials and the sandbox request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from pydantic import SecretStr

from database import Database
from utils.agents.access import model_hosts, printed_forms
from utils.agents.registry import Agents
from utils.agents.spec import AgentAccess, AgentSpec
from utils.config.settings import Settings
from utils.credentials.profiles import readable_preferences, stored_token_for
from utils.credentials.project_secrets import OpenSecrets, open_secrets
from utils.credentials.vault import Vault
from utils.environments.plan import Plan, plan_environment
from utils.errors import NotFound, TaskError
from utils.git.credentials import authorization_header
from utils.models.runs import ClaimedTask, EarlierTurns, Job
from utils.models.tasks import Json, NewTask, Task
from utils.models.turns import Turn
from utils.pipeline.capture.generated_folders import generated_folders
from utils.sandboxes.protocol import EgressHeader, SandboxRequest
from utils.sandboxes.registry import uses_egress

# The rows of older backends may have anything in its place.
_OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

CAPTURE_PASSES = 4
"""Command timeouts that the lifetime of a sandbox includes for the capture, with a reserve."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job with its agent, the agent's credentials and the sandbox to request.

    `workspace` is the kept sandbox of the turn before, empty without one. With `keeps_workspace`
    the sandbox is kept for the next turn.
    """

    job: Job
    agent: AgentSpec
    access: AgentAccess
    request: SandboxRequest
    workspace: str = ""
    keeps_workspace: bool = False

    @property
    def sent_login(self) -> Json:
        """The login that the sandbox gets; empty without one."""
        program = self.agent.program
        content = self.access.login_files.get(program.login_file) if program else None
        login: Json = json.loads(content) if content else {}
        return login


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed task with its turn and its assignment, or with the error that prevents its run.

    The turn `is_interrupted` when a message has asked for its end.
    `token` is the git token of the task, else that of the user's profile if it is for this host.
    """

    task: Task
    turn: Turn
    is_interrupted: bool
    token: str | None = field(repr=False)
    prepared: Assignment | TaskError


def storable(new: NewTask, git_token: SecretStr | None, vault: Vault, agents: Agents) -> NewTask:
    """Return a new task as it is stored: with an allowed model, and with the token encrypted.

    Raises `InvalidInput` for a model that the agent does not allow.
    """
    model = agents.check_model(new.agent, new.agent_model)
    encrypted = vault.encrypt(git_token) if git_token else None
    return replace(new, encrypted_token=encrypted, agent_model=model)


def prepare(
    claimed: ClaimedTask, database: Database, vault: Vault, settings: Settings, agents: Agents
) -> Claim:
    """Return the claim with everything that the run needs. Raises `DatabaseUnavailable`."""
    text = None
    prepared: Assignment | TaskError
    try:
        text = _token(claimed, vault, settings)
        secrets = _secrets(claimed.task, database, vault)
        prepared = _assignment(claimed, text, secrets, vault, settings, agents)
    except TaskError as error:
        prepared = error
    return Claim(claimed.task, claimed.running_turn, claimed.is_interrupted, text, prepared)


def _secrets(task: Task, database: Database, vault: Vault) -> OpenSecrets:
    if task.project_id is None:
        return OpenSecrets()
    try:
        stored = database.list_project_secrets(task.user_id, task.project_id)
    except NotFound:  # deleted, and the task with it
        return OpenSecrets()
    return open_secrets(vault, task.user_id, stored)


def _token(claimed: ClaimedTask, vault: Vault, settings: Settings) -> str | None:
    if claimed.ciphertext:
        return vault.decrypt(claimed.ciphertext).get_secret_value()
    task, stored = claimed.task, claimed.user_token
    return stored_token_for(vault, task.user_id, stored, task.repo_url, settings.github_host)


def _assignment(
    claimed: ClaimedTask,
    token: str | None,
    secrets: OpenSecrets,
    vault: Vault,
    settings: Settings,
    agents: Agents,
) -> Assignment:
    task = claimed.task
    agent = agents.choose(task.agent)
    stored = {} if agent.simulated else claimed.preferences
    preferences = readable_preferences(vault, task.user_id, stored, task.agent)
    plan = plan_environment(claimed, secrets, settings, has_token=token is not None)
    access = agents.access(agent, preferences, plan.variables)
    hidden = sorted(printed_forms(set(plan.hidden)))
    access = replace(access, secrets=(*access.secrets, *hidden))
    job = Job(
        task_id=task.id,
        title=task.prompt,
        prompt=claimed.running_turn.prompt,
        mode=claimed.running_turn.mode,
        earlier=_earlier_turns(task, claimed.running_turn),
        repo_url=task.repo_url,
        branch=task.target_branch,
        agent=task.agent,
        agent_model=task.agent_model or agents.default_model(task.agent),
        git_token=None if uses_egress(settings) else token,
        generated_folders=generated_folders(claimed.project_settings),
        check_command=plan.check_command,
        preparation=plan.preparation,
        mcp_servers=plan.mcp_servers,
    )
    request = _request(task, plan, settings)
    hosts = (*model_hosts(agent.program, access), *plan.server_hosts)
    egress = _egress(task, token, access) if uses_egress(settings) else ()
    request = replace(request, model_hosts=hosts, egress=egress)
    kept = task.container_id if job.earlier and task.workspace_until else None
    keeps = settings.workspace_ttl_seconds > 0 and settings.max_workspaces > 0
    return Assignment(job, agent, access, request, kept or "", keeps)


def _request(task: Task, plan: Plan, settings: Settings) -> SandboxRequest:
    check_seconds = settings.check_timeout_seconds if plan.check_command else 0.0
    more_seconds = check_seconds + plan.preparation.longest_seconds
    return SandboxRequest(
        task_id=task.id,
        user_id=task.user_id,
        attempt=task.attempt,
        lifetime_seconds=lifetime_seconds(settings) + more_seconds,
        template_id=plan.template_id,
        repo_url=task.repo_url,
        snapshot=plan.snapshot,
        network=plan.network,
        memory_bytes=plan.memory_bytes,
    )


def _earlier_turns(task: Task, turn: Turn) -> EarlierTurns | None:
    """Return the result of the turns before a later one, None when they have none."""
    metadata = task.execution_metadata or {}
    base_commit, tree = str(metadata.get("base_commit")), str(metadata.get("tree_hash"))
    if turn.number == 1 or not (_OBJECT.fullmatch(base_commit) and _OBJECT.fullmatch(tree)):
        return None
    session = metadata.get("agent_session_id")
    return EarlierTurns(
        base_commit=base_commit,
        tree=tree,
        patch=task.git_patch,
        session_id=session if isinstance(session, str) else None,
        conversation=tuple(_before(task.chat_messages, turn)),
    )


def _before(messages: Sequence[Json], turn: Turn) -> Iterator[Json]:
    """Yield the messages before that of the turn."""
    for place, message in enumerate(messages):
        # Each turn before it has a message of the user.
        if place >= turn.number - 1 and (message.get("role"), message.get("content")) == (
            "user",
            turn.prompt,
        ):
            return
        yield message


def lifetime_seconds(settings: Settings) -> float:
    """Return the time for which a task may need its sandbox: with the capture, without a check."""
    return settings.sandbox_timeout_seconds + CAPTURE_PASSES * settings.command_timeout_seconds


def _egress(task: Task, token: str | None, access: AgentAccess) -> tuple[EgressHeader, ...]:
    host = urlsplit(task.repo_url).hostname
    if not token or not host:
        return access.egress
    value = authorization_header(task.repo_url, token)
    return (*access.egress, EgressHeader(host, "Authorization", value))
