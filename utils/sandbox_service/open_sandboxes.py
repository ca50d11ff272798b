"""Finds the sandbox of a row, and tells when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime

import anyio

from utils.errors import AppError, Conflict, SandboxError, SandboxLost
from utils.models.sandboxes import LIVE_SANDBOXES, SandboxStatus, StoredSandbox
from utils.sandbox_service.context import ServiceContext, answer_of, gone
from utils.sandboxes.protocol import Sandbox, SandboxRequest

BUSY_WAIT_SECONDS = 5.0
"""Longest wait for the end of another command, before the caller is asked to try again."""


class OpenSandbox:
    """A sandbox that this process has open. Its commands run one at a time."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Sandbox]:
        """Provide the sandbox while no other command runs in it. Raises `Conflict`."""
        try:
            with anyio.fail_after(BUSY_WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise Conflict(
                "Another command runs in this sandbox. Try again when it has ended.",
                "sandbox_busy",
                retry_after_seconds=round(BUSY_WAIT_SECONDS),
            ) from None
        try:
            yield self.sandbox
        finally:
            self._turn.release()

    def for_files(self) -> AbstractAsyncContextManager[Sandbox]:
        """Provide the sandbox for changes of its files.

        In a folder of this machine a command that runs meanwhile could lead them out of it.
        """
        return nullcontext(self.sandbox) if self.sandbox.survives else self.alone()


class OpenSandboxes:
    """The sandboxes of users that this process has open; for use on the event loop."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._open: dict[int, OpenSandbox] = {}
        self._attaching: dict[int, asyncio.Lock] = {}

    def request(self, stored: StoredSandbox, seconds: float) -> SandboxRequest:
        """Return the request for the sandbox of a row that is to live so long from now."""
        return SandboxRequest(
            task_id=0,
            user_id=stored.user_id,
            attempt=1,
            lifetime_seconds=seconds,
            template_id=stored.template,
            repo_urls=tuple(one["repo_url"] for one in stored.repositories),
            record_id=stored.id,
        )

    def add(self, sandbox_id: int, sandbox: Sandbox) -> OpenSandbox:
        """Keep a sandbox that was opened."""
        opened = self._open[sandbox_id] = OpenSandbox(sandbox)
        return opened

    def pop(self, sandbox_id: int) -> Sandbox | None:
        """Forget a sandbox and return it, if it was open."""
        opened = self._open.pop(sandbox_id, None)
        return opened.sandbox if opened else None

    def ids(self) -> list[int]:
        """Return the rows whose sandboxes are open."""
        return list(self._open)

    @asynccontextmanager
    async def use(self, stored: StoredSandbox) -> AsyncIterator[OpenSandbox]:
        """Provide the sandbox of a row that runs.

        Raises `Conflict` (`sandbox_state`), `SandboxGone`, and `Unavailable`. A sandbox that turns
        out to be gone is terminated.
        """
        check_state(stored, {SandboxStatus.RUNNING})
        self.check_place(stored)
        async with self.noting_loss(stored):
            opened = await self._find(stored)
            yield opened
        # Where a sandbox is a folder, a command that ends with it looks like one that was killed.
        if self._open.get(stored.id) is not opened:
            raise gone()

    @asynccontextmanager
    async def noting_loss(self, stored: StoredSandbox) -> AsyncIterator[None]:
        """Turn errors of a sandbox into those of a request; store that it is gone."""
        try:
            yield
        except SandboxError as error:
            if isinstance(error, SandboxLost) or await self.is_gone(stored):
                await self.terminate(stored, error.message)
                raise gone() from error
            raise answer_of(error) from error

    async def is_gone(self, stored: StoredSandbox) -> bool:
        """Ask the provider whether a sandbox is gone; False when it does not answer."""
        try:
            return await self._context.provider.is_paused(stored.provider_id or "") is None
        except SandboxError:
            return False

    async def terminate(self, stored: StoredSandbox, reason: str | None = None) -> None:
        """End a sandbox, whatever it is doing, and store that it has ended."""
        fields = {"error": reason} if reason else {}
        move = self._context.database.move_sandbox
        with anyio.CancelScope(shield=True):
            try:
                # First, so that the row has this reason: others may notice the end meanwhile.
                await self._context.ask(
                    move, stored.id, LIVE_SANDBOXES, SandboxStatus.TERMINATED, fields
                )
            finally:
                await self._end(stored)

    async def _end(self, stored: StoredSandbox) -> None:
        sandbox = self.pop(stored.id)
        if sandbox is not None:
            await sandbox.close()
        if stored.provider_id is not None and self._context.is_here(stored):
            await self._context.provider.end(stored.provider_id)

    def check_place(self, stored: StoredSandbox) -> None:
        """Raise `Conflict` (`sandbox_elsewhere`) for a sandbox that this server cannot reach."""
        if not self._context.is_here(stored):
            raise Conflict(
                "This sandbox runs on another server, or in another kind of sandbox than this "
                "server uses now. Send the request there, or create another sandbox.",
                "sandbox_elsewhere",
            )

    async def _find(self, stored: StoredSandbox) -> OpenSandbox:
        lock = self._attaching.setdefault(stored.id, asyncio.Lock())
        async with lock:
            opened = self._open.get(stored.id)
            if opened is None:
                request = self.request(stored, seconds_left(stored))
                provider = self._context.provider
                sandbox = await provider.attach(stored.provider_id or "", request)
                opened = self.add(stored.id, sandbox)
        self._attaching.pop(stored.id, None)
        return opened


def seconds_left(stored: StoredSandbox) -> float:
    """Return the time until a sandbox ends."""
    if stored.expires_at is None:
        return 0.0
    return (stored.expires_at - datetime.now(UTC)).total_seconds()


def check_state(stored: StoredSandbox, statuses: set[SandboxStatus]) -> None:
    """Raise `SandboxGone` or `Conflict` unless a user may now do that with the sandbox."""
    problem: AppError | None = None
    if not stored.is_live:
        problem = gone()
    elif stored.task_id is not None:
        problem = Conflict(
            "This is the sandbox of a task, which only the task may use. Cancel the task to end "
            "it.",
            "sandbox_state",
        )
    elif stored.status not in statuses:
        wanted = " or ".join(sorted(statuses))
        problem = Conflict(
            f"The sandbox is {stored.status}, and this needs one that is {wanted}. GET "
            "/v1/sandboxes/<id> shows its status; POST .../resume wakes a paused one.",
            "sandbox_state",
        )
    if problem:
        raise problem
