"""Holds what the parts of the service share, and tells its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import to_thread

from database import Database
from utils.config.settings import Settings
from utils.dispatcher.async_bridge import AsyncBridge
from utils.errors import (
    AppError,
    Conflict,
    SandboxError,
    SandboxGone,
    SandboxQuotaExceeded,
    SandboxUnavailable,
    Unavailable,
)
from utils.models.sandboxes import StoredSandbox
from utils.pipeline.capture.capture import CaptureLimits
from utils.pipeline.clone import CloneLimits
from utils.redaction import Redactor
from utils.sandboxes.protocol import SandboxProvider
from utils.usage.tracker import UsageContext

RETRY_SECONDS = 10

OF_USER = frozenset({"disk_full", "egress_unavailable", "e2b_template_not_found",
                     "sandbox_limit_exceeded", "sandbox_timeout"})  # fmt: skip
"""Codes of errors of a sandbox that its user can do something about."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContext:
    """The services of this process that open sandboxes for users."""

    settings: Settings
    database: Database
    bridge: AsyncBridge
    provider: SandboxProvider
    redactor: Redactor
    clone: CloneLimits
    capture: CaptureLimits
    usage: UsageContext

    async def ask(self, verb: Callable[..., Result], *arguments: Any) -> Result:
        """Call a verb of the database in a thread."""
        return await to_thread.run_sync(verb, *arguments)

    def is_here(self, stored: StoredSandbox) -> bool:
        """Tell whether this server can reach a sandbox."""
        kind = self.provider.kind
        is_ours = kind.survives or stored.server == self.database.server
        return stored.provider == kind.name and is_ours


def gone(reason: str = "") -> SandboxGone:
    """Return the error for a sandbox that has ended."""
    return SandboxGone(f"The sandbox has ended. {reason or 'Create another one.'}")


def answer_of(error: SandboxError) -> AppError:
    """Return what a request gets for an error of a sandbox that still exists."""
    if isinstance(error, SandboxQuotaExceeded):
        return Unavailable(
            f"{error.message} is reached. Try again when another sandbox has ended.",
            "sandbox_unavailable",
            retry_after_seconds=RETRY_SECONDS,
        )
    if isinstance(error, SandboxUnavailable):
        return Unavailable(error.message, "sandbox_unavailable", retry_after_seconds=RETRY_SECONDS)
    if error.code in OF_USER:
        return Conflict(error.message, "sandbox_refused")
    return Unavailable(error.message, "sandbox_unavailable")


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Turn errors of sandboxes into those of requests."""
    try:
        yield
    except SandboxError as error:
        raise answer_of(error) from error
