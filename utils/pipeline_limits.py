"""The settings that bound one run."""

from __future__ import annotations

from utils.capture import CaptureLimits
from utils.follow_agent import AgentLimits
from utils.pipeline import PipelineLimits
from utils.settings import Settings, proxies_with_password


def pipeline_limits(settings: Settings) -> PipelineLimits:
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
        # This machine's proxies are not the cloud's, and their passwords stay here.
        clone_environment={} if settings.uses_e2b else proxies_with_password(),
        capture=CaptureLimits(
            patch_bytes=settings.max_patch_bytes,
            files=settings.max_file_changes,
            file_bytes=settings.max_file_change_bytes,
            timeout_seconds=settings.command_timeout_seconds,
        ),
    )
