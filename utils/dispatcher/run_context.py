"""Holds the services that the dispatcher and its runs share, built once at start-up."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from database import Database
from utils.agents.registry import Agents
from utils.config.settings import Settings, has_proxy, proxies_with_password
from utils.credentials.vault import Vault
from utils.dispatcher.admission import AdmissionController, LoginTurns
from utils.dispatcher.async_bridge import AsyncBridge
from utils.dispatcher.result_outbox import ResultOutbox
from utils.dispatcher.sources.source import Source
from utils.git.hosts import HostRules
from utils.pipeline.agent_run import AgentLimits
from utils.pipeline.capture.capture import CaptureLimits
from utils.pipeline.clone import CloneLimits
from utils.pipeline.pipeline import PipelineLimits
from utils.redaction import Redactor
from utils.sandboxes.protocol import SandboxKind, SandboxProvider
from utils.telemetry import Metrics
from utils.usage.tracker import UsageContext


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The services of this process that run tasks.

    `pull_is_due` is set when a task has completed that asks for a pull request.
    """

    settings: Settings
    database: Database
    bridge: AsyncBridge
    provider: SandboxProvider
    agents: Agents
    vault: Vault
    redactor: Redactor
    metrics: Metrics
    limits: PipelineLimits
    admission: AdmissionController
    outbox: ResultOutbox
    source: Source
    usage: UsageContext
    login_turns: LoginTurns = field(default_factory=LoginTurns)
    pull_is_due: threading.Event = field(default_factory=threading.Event)

    @property
    def uses_engine(self) -> bool:
        """True when the tasks are runs of the task engine of the database."""
        return self.settings.task_engine == "absurd"


def max_running(settings: Settings, sandbox: SandboxKind) -> int:
    """Return the number of tasks that this process runs at the same time."""
    if not settings.work:
        return 0
    return settings.max_concurrent_tasks or sandbox.default_concurrency


def pipeline_limits(settings: Settings, sandbox: SandboxKind) -> PipelineLimits:
    """Return the limits of one run as the settings define them."""
    return PipelineLimits(
        total_seconds=settings.sandbox_timeout_seconds,
        clone=CloneLimits(
            seconds=settings.clone_timeout_seconds,
            depth=settings.clone_depth,
            # The proxies of this machine cannot be reached from other networks, and their
            # passwords must not leave this machine.
            environment=proxies_with_password() if sandbox.sees_this_machine else {},
            rules=HostRules(settings.allowed_git_hosts, settings.local_repos_allowed),
            resolves_here=sandbox.sees_this_machine,
            behind_proxy=has_proxy(),
        ),
        agent=AgentLimits(
            settings.agent_timeout_seconds,
            settings.agent_idle_seconds,
            settings.max_output_bytes,
        ),
        capture=CaptureLimits(
            patch_bytes=settings.max_patch_bytes,
            files=settings.max_file_changes,
            file_bytes=settings.max_file_change_bytes,
            new_file_bytes=settings.max_new_file_bytes,
            timeout_seconds=settings.command_timeout_seconds,
        ),
        check_seconds=settings.check_timeout_seconds,
    )
