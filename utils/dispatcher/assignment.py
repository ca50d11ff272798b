"""Prepares a claimed task for its run: the job, the credentials and the sandbox request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
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
from utils.git.credentials import authorization_header, secret_parts
from utils.git.folder_names import folder_name
from utils.git.hosts import Place
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


Tokens = Mapping[str, str | None]
"""The git tokens by the address of a repository."""


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

    The turn `is_interrupted` when a message has asked for its end. `tokens` are the git tokens by
    repository: that of the task, else that of the user's profile if it is for this host.
    """

    task: Task
    turn: Turn
    is_interrupted: bool
    tokens: Tokens = field(repr=False)
    prepared: Assignment | TaskError

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must be hidden."""
        return tuple(part for token in self.tokens.values() for part in secret_parts(token))


def storable(new: NewTask, git_token: SecretStr | None, vault: Vault, agents: Agents) -> NewTask:
    """Return a new task as it is stored: with an allowed model, and with the token encrypted.

    Raises `InvalidInput` for a model that the agent does not allow.
    """
    model = agents.check_model(new.agent, new.agent_model)
    encrypted = vault.encrypt(git_token) if git_token else None
    return replace(new, encrypted_token=encrypted, agent_model=model)


def completed_claim(claimed: ClaimedTask, database: Database) -> ClaimedTask:
    """Return a claim with the rows that only some tasks need."""
    task, is_later = claimed.task, claimed.running_turn.number > 1
    if is_later:
        # With the patch and all metadata, which the result of this turn adds to.
        task = database.get_task(task.user_id, task.id)
    if not task.has_further_repositories:
        return replace(claimed, task=task)
    further = database.list_repositories(task.user_id, task.id, with_texts=is_later)
    return replace(claimed, task=task, further=tuple(further))


def prepare(
    claimed: ClaimedTask, database: Database, vault: Vault, settings: Settings, agents: Agents
) -> Claim:
    """Return the claim with everything that the run needs. Raises `DatabaseUnavailable`."""
    tokens: Tokens = {}
    prepared: Assignment | TaskError
    try:
        tokens = _tokens(claimed, vault, settings)
        secrets = _secrets(claimed.task, database, vault)
        prepared = _assignment(claimed, tokens, secrets, vault, settings, agents)
    except TaskError as error:
        prepared = error
    return Claim(claimed.task, claimed.running_turn, claimed.is_interrupted, tokens, prepared)


def _secrets(task: Task, database: Database, vault: Vault) -> OpenSecrets:
    if task.project_id is None:
        return OpenSecrets()
    try:
        stored = database.list_project_secrets(task.user_id, task.project_id)
    except NotFound:  # deleted, and the task with it
        return OpenSecrets()
    return open_secrets(vault, task.user_id, stored)


def _tokens(claimed: ClaimedTask, vault: Vault, settings: Settings) -> Tokens:
    """Return the tokens. That of the task is for the host of its first repository only."""
    task, stored, own = claimed.task, claimed.user_token, None
    if claimed.ciphertext:
        own = vault.decrypt(claimed.ciphertext).get_secret_value()
    tokens: dict[str, str | None] = {}
    for url in (task.repo_url, *(one.repo_url for one in claimed.further)):
        if own and Place.of(url) == Place.of(task.repo_url):
            tokens[url] = own
        else:
            host = settings.github_host
            tokens[url] = stored_token_for(vault, task.user_id, stored, url, host)
    return tokens


def _assignment(
    claimed: ClaimedTask,
    tokens: Tokens,
    secrets: OpenSecrets,
    vault: Vault,
    settings: Settings,
    agents: Agents,
) -> Assignment:
    task = claimed.task
    agent = agents.choose(task.agent)
    stored = {} if agent.simulated else claimed.preferences
    preferences = readable_preferences(vault, task.user_id, stored, task.agent)
    has_token = any(tokens.values())
    plan = plan_environment(claimed, secrets, settings, has_token=has_token)
    access = agents.access(agent, preferences, plan.variables)
    hidden = sorted(printed_forms(set(plan.hidden)))
    access = replace(access, secrets=(*access.secrets, *hidden))
    job = _job(claimed, {} if uses_egress(settings) else tokens, plan, agents)
    request = _request(task, plan, settings, len(tokens))
    hosts = (*model_hosts(agent.program, access), *plan.server_hosts)
    egress = _egress(tokens, access) if uses_egress(settings) else ()
    request = replace(request, model_hosts=hosts, egress=egress, repo_urls=tuple(tokens))
    if claimed.further:
        # A snapshot holds the files of one repository.
        request = replace(request, snapshot=None)
    kept = task.container_id if job.earlier and task.workspace_until else None
    keeps = settings.workspace_ttl_seconds > 0 and settings.max_workspaces > 0
    return Assignment(job, agent, access, request, kept or "", keeps)


def _request(task: Task, plan: Plan, settings: Settings, repositories: int) -> SandboxRequest:
    check_seconds = settings.check_timeout_seconds if plan.check_command else 0.0
    more_seconds = check_seconds + plan.preparation.longest_seconds
    return SandboxRequest(
        task_id=task.id,
        user_id=task.user_id,
        attempt=task.attempt,
        lifetime_seconds=lifetime_seconds(settings, repositories) + more_seconds,
        template_id=plan.template_id,
        snapshot=plan.snapshot,
        network=plan.network,
        memory_bytes=plan.memory_bytes,
        cpus=plan.cpus,
    )


def _job(claimed: ClaimedTask, tokens: Tokens, plan: Plan, agents: Agents) -> Job:
    task, turn = claimed.task, claimed.running_turn
    metadata = task.execution_metadata or {}
    earlier = (metadata.get("base_commit"), metadata.get("tree_hash"), task.git_patch)
    first = Job(
        task_id=task.id,
        title=task.prompt,
        prompt=turn.prompt,
        mode=turn.mode,
        earlier=_earlier_turns(task, turn, *earlier),
        repo_url=task.repo_url,
        branch=task.target_branch,
        agent=task.agent,
        agent_model=task.agent_model or agents.default_model(task.agent),
        git_token=tokens.get(task.repo_url),
        generated_folders=generated_folders(claimed.project_settings),
        check_command=plan.check_command,
        preparation=replace(plan.preparation, digest="") if claimed.further else plan.preparation,
        mcp_servers=plan.mcp_servers,
        folder=folder_name(task.repo_url) if claimed.further else "",
    )
    further = (
        replace(
            first,
            repo_url=one.repo_url,
            branch=one.target_branch,
            git_token=tokens.get(one.repo_url),
            earlier=_earlier_turns(task, turn, one.base_commit, one.tree_hash, one.git_patch),
            folder=one.name,
        )
        for one in claimed.further
    )
    return replace(first, further=tuple(further))


def _earlier_turns(
    task: Task, turn: Turn, base_commit: object, tree: object, patch: str | None
) -> EarlierTurns | None:
    """Return the result of the turns before a later one, None when they have none."""
    base, end = str(base_commit), str(tree)
    if turn.number == 1 or not (_OBJECT.fullmatch(base) and _OBJECT.fullmatch(end)):
        return None
    session = (task.execution_metadata or {}).get("agent_session_id")
    return EarlierTurns(
        base_commit=base,
        tree=end,
        patch=patch,
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


def lifetime_seconds(settings: Settings, repositories: int = 1) -> float:
    """Return the time for which a task may need its sandbox: with the capture, without a check."""
    passes = CAPTURE_PASSES * repositories
    return settings.sandbox_timeout_seconds + passes * settings.command_timeout_seconds


def _egress(tokens: Tokens, access: AgentAccess) -> tuple[EgressHeader, ...]:
    headers: dict[str, EgressHeader] = {}
    for url, token in tokens.items():
        host = urlsplit(url).hostname
        if token and host and host not in headers:
            value = authorization_header(url, token)
            headers[host] = EgressHeader(host, "Authorization", value)
    return (*access.egress, *headers.values())
