"""What every run of a task needs; made once by the dispatcher."""

from __future__ import annotations

from dataclasses import dataclass

from database import Database
from utils.agents.registry import Agents
from utils.config.settings import Settings
from utils.credentials.vault import Vault
from utils.dispatcher.admission import AdmissionController
from utils.dispatcher.heartbeats import HeartbeatMonitor
from utils.dispatcher.result_outbox import ResultOutbox
from utils.pipeline.pipeline import PipelineLimits
from utils.redaction import Redactor
from utils.sandboxes.protocol import SandboxProvider
from utils.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class RunContext:
    """Shared by all runs of this process."""

    settings: Settings
    database: Database
    provider: SandboxProvider
    agents: Agents
    vault: Vault
    redactor: Redactor
    metrics: Metrics
    limits: PipelineLimits
    gate: AdmissionController
    kept: ResultOutbox
    neighbours: HeartbeatMonitor
