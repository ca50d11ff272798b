"""Creates, pauses, resumes, extends and ends the sandboxes of users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import anyio
import structlog

from utils.errors import (
    AppError,
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    SandboxError,
    Unavailable,
)
from utils.models.sandboxes import NewSandbox, SandboxStatus, StoredSandbox
from utils.sandbox_service.commands import variables_text
from utils.sandbox_service.context import ServiceContext, answering, gone
from utils.sandbox_service.open_sandboxes import (
    OpenSandboxes,
    check_state,
    seconds_left,
)
from utils.sandbox_service.repositories import RepositorySource, clone_into
from utils.sandboxes.protocol import Sandbox

CREATED, RUNNING, PAUSED = SandboxStatus.CREATED, SandboxStatus.RUNNING, SandboxStatus.PAUSED

INTERRUPTED = "The server stopped while this sandbox was being opened. Create another one."

NOT_SHARED = (
    "This server has several web processes (HTTP_PROCESSES), and a sandbox on its machine belongs "
    "to one of them. Ask its operator to set E2B_API_KEY, or HTTP_PROCESSES=1."
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """A sandbox that a user asks for."""

    template: str | None
    repository: RepositorySource | None
    timeout_seconds: float | None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def variables_path(sandbox: Sandbox) -> str:
    """Return the path of the file with the variables of a sandbox."""
    return f"{sandbox.paths.work}/variables.sh"


class Lifecycle:
    """Moves sandboxes between their states; for use on the event loop."""

    def __init__(self, context: ServiceContext, opened: OpenSandboxes) -> None:
        self._context = context
        self._opened = opened

    async def create(self, user_id: str, asked: SandboxOptions) -> StoredSandbox:
        """Open a sandbox with a repository. Nothing is left of one that cannot be made.

        Raises `SandboxLimitReached`, `Conflict` (`clone_failed`, `sandbox_refused`), `Unavailable`,
        `BudgetExceeded`.
        """
        settings = self._context.settings
        if settings.http_processes > 1 and not self._context.provider.kind.survives:
            raise Unavailable(NOT_SHARED, "sandbox_unavailable")
        await self._context.ask(self._context.usage.budgets.check_start, user_id, None)
        seconds = self._lease(asked.timeout_seconds)
        wanted = asked.repository
        new = NewSandbox(
            provider=self._context.provider.kind.name,
            expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
            template=asked.template,
            repositories=[wanted.row] if wanted else [],
        )
        add = self._context.database.add_sandbox
        most = settings.max_sandboxes_per_user
        stored = await self._context.ask(add, user_id, new, most)
        try:
            async with answering():
                return await self._open(stored, asked, seconds)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._give_up(stored, error)
            raise

    async def _open(
        self, stored: StoredSandbox, asked: SandboxOptions, seconds: float
    ) -> StoredSandbox:
        request = self._opened.request(stored, seconds)
        sandbox = await self._context.provider.open(request)
        opened = self._opened.add(stored.id, sandbox)
        async with opened.alone():
            named = {"provider_id": sandbox.id}
            running = await self._move(stored, CREATED, RUNNING, named)
            if running is None:
                raise gone("It was ended while it was being opened.")
            if asked.environment:
                text = variables_text(asked.environment).encode()
                await sandbox.write_files({variables_path(sandbox): text})
            if asked.repository:
                clone = await clone_into(self._context, sandbox, asked.repository)
                entry = {**asked.repository.row, "branch": clone.branch}
                fields = {"repositories": [{**entry, "base_commit": clone.base_commit}]}
                running = await self._move(stored, RUNNING, RUNNING, fields) or running
        log.info("sandbox opened", action="sandboxes.opened", sandbox_id=sandbox.id)
        return running

    async def _give_up(self, stored: StoredSandbox, error: BaseException) -> None:
        sandbox = self._opened.pop(stored.id)
        if sandbox is not None:
            await sandbox.close()
        reason = error.message if isinstance(error, AppError) else INTERRUPTED
        try:
            await self._context.ask(
                self._context.database.move_sandbox,
                stored.id,
                {CREATED, RUNNING},
                SandboxStatus.ERROR,
                {"error": self._context.redactor.redact(reason)},
            )
        except DatabaseUnavailable as failure:
            # The row is found by the next start, or when its time is over.
            log.warning(
                "sandbox not recorded", action="sandboxes.not_recorded", reason=failure.message
            )

    async def pause(self, stored: StoredSandbox) -> StoredSandbox:
        """End the processes of a sandbox and keep its files. Raises as `OpenSandboxes.use`."""
        async with self._opened.use(stored) as opened, opened.alone() as sandbox:
            if not await sandbox.pause():
                raise SandboxError("The sandbox could not be paused. Try again.")
        self._opened.pop(stored.id)
        return await self._move(stored, RUNNING, PAUSED) or stored

    async def resume(self, stored: StoredSandbox) -> StoredSandbox:
        """Have a paused sandbox run again; one that runs stays as it is.

        Raises `BudgetExceeded`.
        """
        check_state(stored, {PAUSED, RUNNING})
        self._opened.check_place(stored)
        if stored.status is RUNNING:
            return stored
        await self._context.ask(self._context.usage.budgets.check_start, stored.user_id, None)
        async with self._opened.noting_loss(stored):
            request = self._opened.request(stored, seconds_left(stored))
            provider = self._context.provider
            sandbox = await provider.resume(stored.provider_id or "", request)
        self._opened.add(stored.id, sandbox)
        moved = await self._move(stored, PAUSED, RUNNING)
        if moved is None:
            # It was ended, or another request has resumed it.
            raise Conflict("The sandbox was changed by another request.", "sandbox_state")
        return moved

    async def extend(self, stored: StoredSandbox, seconds: float | None) -> StoredSandbox:
        """Have a sandbox end so many seconds from now."""
        check_state(stored, {RUNNING, PAUSED})
        self._opened.check_place(stored)
        lease = self._lease(seconds)
        if stored.status is RUNNING:
            async with self._opened.noting_loss(stored):
                await self._context.provider.extend(stored.provider_id or "", lease)
        end = datetime.now(UTC) + timedelta(seconds=lease)
        moved = await self._move(stored, stored.status, stored.status, {"expires_at": end})
        if moved is None:
            raise Conflict("The sandbox was changed by another request.", "sandbox_state")
        return moved

    async def destroy(self, stored: StoredSandbox) -> None:
        """End a sandbox; nothing happens to one that has ended."""
        if not stored.is_live:
            return
        if stored.task_id is not None:
            check_state(stored, set())
        if stored.status is CREATED:
            check_state(stored, {RUNNING})
        self._opened.check_place(stored)
        await self._opened.terminate(stored)

    async def checked(self, stored: StoredSandbox) -> StoredSandbox:
        """Return the row of a sandbox, ended if the provider no longer has it."""
        if not stored.is_live or stored.provider_id is None or not self._context.is_here(stored):
            return stored
        is_over = stored.task_id is None and seconds_left(stored) <= 0
        if not is_over and not await self._opened.is_gone(stored):
            return stored
        await self._opened.terminate(stored)
        return await self._context.ask(
            self._context.database.get_sandbox, stored.user_id, stored.id
        )

    async def _move(
        self,
        stored: StoredSandbox,
        before: SandboxStatus,
        to: SandboxStatus,
        fields: Mapping[str, object] | None = None,
    ) -> StoredSandbox | None:
        move = self._context.database.move_sandbox
        return await self._context.ask(move, stored.id, {before}, to, fields or {})

    def _lease(self, seconds: float | None) -> float:
        settings = self._context.settings
        most = settings.max_sandbox_lease_seconds
        if seconds is None:
            return min(settings.sandbox_lease_seconds, most)
        if seconds > most:
            raise InvalidInput(
                f"timeout_seconds: must be at most {most:g} (MAX_SANDBOX_LEASE_SECONDS)."
            )
        return seconds
