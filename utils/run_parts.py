"""What every run of a task needs; made once by the dispatcher."""

from __future__ import annotations

from dataclasses import dataclass

from database import Database
from utils.agents import Agents
from utils.kept_results import KeptResults
from utils.neighbours import Neighbours
from utils.pipeline import PipelineLimits
from utils.redaction import Redactor
from utils.sandbox import SandboxProvider
from utils.settings import Settings
from utils.start_gate import StartGate
from utils.telemetry import Metrics
from utils.vault import Vault


@dataclass(frozen=True, slots=True)
class RunParts:
    """Shared by all runs of this process."""

    settings: Settings
    database: Database
    provider: SandboxProvider
    agents: Agents
    vault: Vault
    redactor: Redactor
    metrics: Metrics
    limits: PipelineLimits
    gate: StartGate
    kept: KeptResults
    neighbours: Neighbours
