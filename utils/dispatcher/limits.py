"""The settings that bound one run."""

from __future__ import annotations

from utils.config.settings import Settings, proxies_with_password
from utils.pipeline.agent_run import AgentLimits
from utils.pipeline.capture import CaptureLimits
from utils.pipeline.pipeline import PipelineLimits
from utils.sandboxes.protocol import SandboxKind


def pipeline_limits(settings: Settings, sandbox: SandboxKind) -> PipelineLimits:
    """Return the settings that bound one run."""
    return PipelineLimits(
        total_seconds=settings.sandbox_timeout_seconds,
        clone_seconds=settings.clone_timeout_seconds,
        agent=AgentLimits(
            settings.agent_timeout_seconds,
            settings.agent_idle_seconds,
            settings.max_output_bytes,
        ),
        clone_depth=settings.clone_depth,
        # Other networks have other proxies, and this machine's passwords stay here.
        clone_environment=proxies_with_password() if sandbox.sees_this_machine else {},
        capture=CaptureLimits(
            patch_bytes=settings.max_patch_bytes,
            files=settings.max_file_changes,
            file_bytes=settings.max_file_change_bytes,
            timeout_seconds=settings.command_timeout_seconds,
        ),
    )
