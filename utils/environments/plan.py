"""Turns the environment of a project into what one task gets of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from utils.config.settings import Settings
from utils.credentials.project_secrets import OpenSecrets
from utils.environments.schema import Environment, read_environment
from utils.errors import TaskError
from utils.git.hosts import Place
from utils.models.environments import McpServer, NetworkPolicy, Preparation
from utils.models.runs import ClaimedTask
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxKind
from utils.sandboxes.registry import choose_sandbox
from utils.sandboxes.snapshots import SnapshotKey

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds what a task gets of the environment of its project.

    `variables` are those of the agent and the check. `hidden` are the values of all secrets.
    """

    preparation: Preparation
    mcp_servers: tuple[McpServer, ...]
    variables: Mapping[str, str] = field(repr=False)
    hidden: Collection[str] = field(repr=False)
    check_command: str | None
    template_id: str | None
    network: NetworkPolicy | None
    memory_bytes: int | None
    cpus: int | None

    @property
    def snapshot(self) -> SnapshotKey | None:
        """The snapshot that the sandbox may start from."""
        preparation = self.preparation
        if not preparation.digest:
            return None
        return SnapshotKey(preparation.project_id, preparation.digest)

    @property
    def server_hosts(self) -> Iterator[str]:
        """The hosts of the agent's servers, as `host` or `host:port`."""
        places = (Place.of(server.url) for server in self.mcp_servers if server.url)
        yield from (place.authority for place in places if place)


def plan_environment(
    claimed: ClaimedTask, secrets: OpenSecrets, settings: Settings, *, has_token: bool
) -> Plan:
    """Return the plan of a task. Raises `TaskError` for an environment that cannot be had here."""
    environment, kind = read_environment(claimed.project_settings), choose_sandbox(settings)
    variables = {**environment.variables, **secrets.for_agent}
    # None of its programs may run beside a token.
    is_safe = not (has_token and kind.shares_programs)
    has_snapshots = environment.has_setup and settings.max_snapshots > 0 and is_safe
    return Plan(
        preparation=Preparation(
            setup=environment.setup,
            maintenance=environment.maintenance,
            from_repository=environment.setup_from_repository,
            timeout_seconds=environment.setup_timeout_seconds,
            environment={**environment.variables, **secrets.for_setup},
            project_id=claimed.task.project_id or 0,
            digest=_digest(claimed, environment, secrets) if has_snapshots else "",
        ),
        mcp_servers=_mcp_servers(environment, variables),
        variables=variables,
        hidden=tuple(secrets.for_setup.values()),
        check_command=claimed.task.check_command or environment.check_command or None,
        template_id=environment.template or _older_template(claimed.project_settings),
        network=_network(environment, kind),
        memory_bytes=_memory_bytes(environment, kind),
        cpus=_cpus(environment, kind),
    )


def _digest(claimed: ClaimedTask, environment: Environment, secrets: OpenSecrets) -> str:
    task = claimed.task
    parts = [
        *(task.user_id, task.repo_url, environment.template, environment.setup),
        *(environment.setup_from_repository, sorted(environment.variables.items())),
        sorted(secrets.versions.items()),
        *filter(None, [claimed.pushed_commit]),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _mcp_servers(environment: Environment, variables: Mapping[str, str]) -> tuple[McpServer, ...]:
    """Return the servers. They get variables of the project only, and no key of the agent."""
    servers = environment.servers
    if not all(name in variables for server in servers for name in server.needed):
        raise TaskError(
            "A server in mcp_servers of the project needs a variable that the agent does not have. "
            "Add it to variables, or store it as a secret with for_agent.",
            "environment_invalid",
        )
    # Claude Code reads a header twice, and would put the key of the server there.
    if any("${" in variables[name] for server in servers for name in server.needed):
        raise TaskError(
            "A variable of a server in mcp_servers has ${ in its value, which the agent's program "
            "would replace. Store the value itself.",
            "environment_invalid",
        )
    return servers


def _network(environment: Environment, kind: SandboxKind) -> NetworkPolicy | None:
    policy = environment.network_policy
    if policy is None or "network" in kind.enforces:
        return policy
    if policy.mode == "open":
        return None
    raise TaskError(
        f"The project limits the network of its sandboxes, and tasks run in {kind.place}, where "
        "nothing can. Remove network from its environment, or have the operator set "
        "SANDBOX=isolated.",
        "network_policy_refused",
    )


def _memory_bytes(environment: Environment, kind: SandboxKind) -> int | None:
    megabytes = environment.memory_megabytes
    if megabytes is None:
        return None
    if "memory" not in kind.enforces:
        raise TaskError(
            "The memory of cloud sandboxes is that of their template. Remove memory_megabytes from "
            "the environment of the project, and name a template that has it.",
            "environment_invalid",
        )
    return megabytes * MEGABYTE


def _cpus(environment: Environment, kind: SandboxKind) -> int | None:
    if environment.cpus is not None and "cpus" not in kind.enforces:
        raise TaskError(
            f"Tasks run in {kind.place}, where cpus does not limit the processors. Remove it from "
            "the environment of the project. In cloud sandboxes the template decides.",
            "environment_invalid",
        )
    return environment.cpus


def _older_template(project_settings: Json) -> str | None:
    chosen = project_settings.get("template_id")
    return chosen if isinstance(chosen, str) and chosen else None
