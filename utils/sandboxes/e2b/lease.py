"""Keeps one cloud sandbox alive for as long as its task may take and its plan allows.

A plan has a longest time that a sandbox may run in one piece, and E2B shortens a longer lease
without an error (docs/e2b.md section 11), so the end is read after each extension. A sandbox that
was paused and resumed may run that long again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import anyio
import structlog
from e2b import AsyncSandbox, SandboxInfo

from utils.errors import SandboxError, SandboxLost, SandboxUnavailable
from utils.sandboxes.e2b.commands import REQUEST_SECONDS
from utils.sandboxes.e2b.errors import SANDBOX_TIMEOUT, translating
from utils.sandboxes.e2b.keys import KeyRing
from utils.sandboxes.e2b.reconnection import retries

RESERVE_SECONDS = 120.0
"""Time before the end of a sandbox in which it is paused and resumed, or its changes captured."""

RESERVE_SHARE = 0.25
"""The largest part of a sandbox's life that this reserve may take."""

PAUSE_SECONDS = 60.0
"""Limit for the request that pauses a sandbox: E2B stores its memory meanwhile."""

LONGEST_LEASE_SECONDS = 3600
"""The longest timeout of the smallest plan (docs/e2b.md section 3); it is extended again."""

CLOCK_SECONDS = 5.0
"""Tolerance between a requested end and the one that E2B tells."""

JITTER_SECONDS = 1.0
"""The same end of a sandbox is computed anew for each answer, and differs by less than this."""

log = structlog.get_logger(__name__)


def lease_seconds(lifetime_seconds: float) -> int:
    """Return the timeout to request for a sandbox that lives so long; it is extended."""
    return max(1, min(math.ceil(lifetime_seconds), LONGEST_LEASE_SECONDS))


class Lease:
    """The lease of one sandbox, in which a task runs for `lifetime_seconds` at most.

    `inspect` is called once with the description of the sandbox. `is_new` is False for a sandbox
    that an earlier process created.
    """

    def __init__(
        self,
        sandbox: AsyncSandbox,
        keys: KeyRing,
        seconds: int,
        lifetime_seconds: float,
        inspect: Callable[[SandboxInfo], None] | None,
        *,
        is_new: bool,
    ) -> None:
        now = anyio.current_time()
        self._sandbox = sandbox
        self._keys = keys
        self._inspect = inspect
        self._seconds = seconds
        self._needed_until = now + lifetime_seconds
        self._is_new = is_new
        self._began_at = now if is_new else None
        self._started_at: datetime | None = None
        self._ends_at = math.inf
        self._life_seconds = math.inf
        self._resumed_at = now
        self._is_renewing = False
        self._renewals = 0

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Translate the SDK's exceptions; one that a pause has caused passes by itself."""
        renewals = self._renewals
        try:
            with translating():
                yield
        except SandboxLost as error:
            if not self._is_renewing and self._renewals == renewals:
                raise
            raise SandboxUnavailable("The sandbox was paused for a moment.") from error

    async def keep(self, report: Callable[[str], None]) -> float:
        """Extend the lease until cancelled; see `Sandbox.keep_alive`."""
        await self._inspect_once()
        pause_seconds = self._seconds / 2
        needed_seconds = self._needed_until - anyio.current_time()
        if needed_seconds > self._seconds and await self._extend(needed_seconds) and self._is_new:
            self._report_limit(needed_seconds, report)
        while True:
            await anyio.sleep(max(min(pause_seconds, self._until_reserve), 0))
            if self._until_reserve <= 0:
                if not await self._renew():
                    return max(self._ends_at - anyio.current_time(), 0.0)
                pause_seconds = self._seconds / 2
            elif await self._extend(self._seconds):
                pause_seconds = self._seconds / 2
            else:
                # Half of the lease is left, which is enough for several more attempts.
                pause_seconds = self._seconds / 10

    async def _inspect_once(self) -> None:
        if self._inspect is None:
            return
        with suppress(SandboxError), self.translating():
            self._inspect(await self._read_info())

    async def _read_info(self) -> SandboxInfo:
        return await self._keys.call(self._sandbox.get_info, request_timeout=REQUEST_SECONDS)

    @property
    def _until_reserve(self) -> float:
        """The seconds until the plan's end has to be dealt with; infinite if it comes too late."""
        if self._ends_at >= self._needed_until - CLOCK_SECONDS:
            return math.inf
        reserve = min(RESERVE_SECONDS, self._life_seconds * RESERVE_SHARE)
        return self._ends_at - reserve - anyio.current_time()

    def _report_limit(self, needed_seconds: float, report: Callable[[str], None]) -> None:
        if self._until_reserve == math.inf:
            return
        life_seconds = round(self._life_seconds)
        log.warning(
            "the plan ends sandboxes before their tasks",
            action="sandbox.life_limited",
            life_seconds=life_seconds,
            task_seconds=round(needed_seconds),
        )
        report(
            f"The plan of this E2B account lets a sandbox run for {life_seconds} s in one piece, "
            f"and this task may take {round(needed_seconds)} s. Before that time is over the "
            "sandbox is paused and resumed, which gives it the same time again. If E2B refuses, "
            "the task ends then, and the changes made until then are stored."
        )

    async def _extend(self, seconds: float) -> bool:
        """Ask for an end `seconds` from now and read the one that E2B grants."""
        try:
            async for attempt in retries(None):
                with attempt, self.translating():
                    await self._keys.call(
                        self._sandbox.set_timeout,
                        math.ceil(seconds),
                        request_timeout=REQUEST_SECONDS,
                    )
                    self._read_end(await self._read_info(), seconds)
        except SandboxError as error:
            # E2B took this lease before, so that not its length is refused.
            if error.code == SANDBOX_TIMEOUT and seconds <= self._seconds:
                self._ends_at = anyio.current_time()
                return True
            log.warning("lease not extended", action="sandbox.lease_failed", reason=error.message)
            return False
        return True

    def _read_end(self, info: SandboxInfo, asked_seconds: float) -> None:
        now = anyio.current_time()
        if self._started_at not in {None, info.started_at}:
            self._ends_at = math.inf
            self._began_at = self._resumed_at
        self._started_at = info.started_at
        life_seconds = (info.end_at - info.started_at).total_seconds()
        # Without the clock of this machine, which may be wrong, as long as that is possible.
        if self._began_at is not None:
            ends_at = self._began_at + life_seconds
        else:
            ends_at = now + (info.end_at - datetime.now(UTC)).total_seconds()
        if ends_at < now + asked_seconds - CLOCK_SECONDS:
            self._ends_at, self._life_seconds = ends_at, life_seconds

    async def _renew(self) -> bool:
        """Pause and resume the sandbox; return True when it may run longer than before."""
        before = self._ends_at
        self._is_renewing = True
        try:
            # Nothing can be read from a sandbox that stays paused.
            with anyio.CancelScope(shield=True):
                await self._pause_and_resume()
        finally:
            self._is_renewing = False
            self._renewals += 1
        left_seconds = self._needed_until - anyio.current_time()
        extended = await self._extend(max(left_seconds, self._seconds)) or await self._extend(
            self._seconds
        )
        is_renewed = (
            extended and self._ends_at > before + JITTER_SECONDS and self._until_reserve > 0
        )
        log.info("sandbox paused and resumed", action="sandbox.renewed", lives_longer=is_renewed)
        return is_renewed

    async def _pause_and_resume(self) -> None:
        try:
            with translating():
                # Strict: a sandbox whose daemon does not answer could only be started anew.
                await self._keys.call(
                    self._sandbox.pause, strict=True, request_timeout=PAUSE_SECONDS
                )
        except SandboxError as error:
            # When only the answer was lost it is paused all the same.
            log.warning("sandbox not paused", action="sandbox.renewal_failed", reason=error.message)
        self._resumed_at = anyio.current_time()
        try:
            async for attempt in retries(None):
                with attempt, translating():
                    await self._keys.call(
                        self._sandbox.connect,
                        timeout=self._seconds,
                        request_timeout=REQUEST_SECONDS,
                    )
        except SandboxError as error:
            log.warning(
                "sandbox not resumed", action="sandbox.renewal_failed", reason=error.message
            )
