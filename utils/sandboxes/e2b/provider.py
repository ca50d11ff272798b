"""Opens, finds and sweeps E2B's sandboxes for one deployment."""

from __future__ import annotations

import asyncio
import mimetypes
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import anyio
import stamina
import structlog
from e2b import E2B, AsyncSandbox, SandboxInfo, SandboxLifecycle, SandboxQuery, SandboxState
from e2b.client import E2BClientParams

from utils.config.groups.identity import deployment_name
from utils.config.settings import Settings
from utils.errors import SandboxError, SandboxLost, SandboxUnavailable
from utils.sandboxes.e2b.commands import REQUEST_SECONDS
from utils.sandboxes.e2b.errors import TEMPLATE_NOT_FOUND, translating
from utils.sandboxes.e2b.keys import KeyRing
from utils.sandboxes.e2b.kind import E2B_SANDBOX
from utils.sandboxes.e2b.lease import Lease, lease_seconds
from utils.sandboxes.e2b.network_rules import Reachable, network_options
from utils.sandboxes.e2b.sandbox import E2BSandbox, end_sandbox
from utils.sandboxes.e2b.snapshots import SnapshotCatalogue
from utils.sandboxes.e2b.tested_versions import compare_envd
from utils.sandboxes.protocol import KeyState, SandboxRequest, Template
from utils.sandboxes.snapshots import snapshot_limits
from utils.sandboxes.templates.e2b import E2BTemplates

APP = "async-code"
CREATE_ATTEMPTS = 3
CREATE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 4.0
PAUSE_JITTER_SECONDS = 1.0
CLOSE_WAIT_SECONDS = 20.0

log = structlog.get_logger(__name__)


class E2BSandboxProvider:
    """Opens the sandboxes of this deployment, which their metadata identifies."""

    kind = E2B_SANDBOX

    def __init__(self, settings: Settings) -> None:
        self._keys = KeyRing(settings.e2b_api_keys)
        # Its first use reads files of the system, and the SDK uses it on the event loop.
        mimetypes.init()
        # The SDK must not retry: it would send four requests before it reports a reached quota.
        options = E2BClientParams(api_key=self._keys.first, retries=0)
        if settings.e2b_domain:
            options["domain"] = settings.e2b_domain
        client = E2B(**options)
        self._sandboxes: type[AsyncSandbox] = client.AsyncSandbox
        self._templates = E2BTemplates(settings, self._keys)
        self._lifecycle = _lifecycle(settings)
        self._uses_egress = settings.secrets_mode == "egress"
        self._marks = {"app": APP, "deployment": deployment_name(settings)}
        # A clone may take long, and only then the sandbox is stored in the database.
        self._grace_seconds = settings.sweep_grace_seconds
        self._snapshots = SnapshotCatalogue(
            self._sandboxes, self._keys, self._marks["deployment"], snapshot_limits(settings)
        )
        self._process = uuid4().hex
        self._openings = 0
        self._opened_ids: set[str] = set()
        self._released: dict[str, float] = {}
        self._templates_seen: set[str] = set()
        self._endings: set[asyncio.Task[None]] = set()

    def key_states(self) -> Sequence[KeyState]:
        """See `SandboxProvider`."""
        return self._keys.states()

    async def templates(self) -> Sequence[Template]:
        """See `SandboxProvider`."""
        return await self._templates.read()

    async def open(self, request: SandboxRequest) -> E2BSandbox:
        """See `SandboxProvider`. A sandbox that arrives after a cancel is killed."""
        snapshot = await self._snapshots.find(request.snapshot) if request.snapshot else None
        if snapshot is None:
            return await self._open(request)
        try:
            opened = await self._open(replace(request, template_id=snapshot.id))
        except SandboxError as error:
            if error.code != TEMPLATE_NOT_FOUND:
                raise
            self._snapshots.forget(snapshot)
            return await self._open(request)
        age_seconds = round(time.time() - snapshot.made_at)
        log.info("snapshot used", action="snapshot.used", age_seconds=age_seconds)
        return opened

    async def _open(self, request: SandboxRequest) -> E2BSandbox:
        self._openings += 1
        # All attempts have the same key, so that a lost response creates no second sandbox. The
        # next opening has a new key, because the first sandbox may have ended by then.
        name = f"{self._process}/{request.task_id}/{request.attempt}/{self._openings}"
        key = str(uuid5(NAMESPACE_URL, name))
        async for attempt in _retries(CREATE_ATTEMPTS):
            with attempt:
                sandbox = await self._create_or_end(request, key)
                return self._opened(sandbox, request, is_new=True)
        raise AssertionError("the last attempt returns or raises")

    async def _create_or_end(self, request: SandboxRequest, key: str) -> AsyncSandbox:
        creation = asyncio.ensure_future(self._create(request, key))
        try:
            return await asyncio.shield(creation)
        except asyncio.CancelledError:
            self._end_later(creation)
            raise

    async def _create(self, request: SandboxRequest, key: str) -> AsyncSandbox:
        marks = {"task_id": str(request.task_id), "user_id": request.user_id}
        if request.record_id is not None:
            marks = {"record_id": str(request.record_id), "user_id": request.user_id}
        with translating():
            return await self._keys.call(
                self._sandboxes.create,
                self._templates.id_of(request.template_id),
                timeout=lease_seconds(request.lifetime_seconds),
                metadata={**self._marks, **marks},
                network=_network(request),
                # The time of a user's sandbox is over then, whatever the setting says of tasks.
                lifecycle=self._lifecycle if request.record_id is None else {"on_timeout": "kill"},
                idempotency_key=key,
                request_timeout=CREATE_SECONDS,
            )

    def _end_later(self, creation: asyncio.Task[AsyncSandbox]) -> None:
        async def end() -> None:
            try:
                sandbox = await creation
                await end_sandbox(partial(self._keys.call, sandbox.kill))
            except SandboxError as error:
                log.info(
                    "cancelled sandbox was not created",
                    action="sandbox.open_cancelled",
                    reason=error.message,
                )

        ending = asyncio.ensure_future(end())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def attach(self, sandbox_id: str, request: SandboxRequest) -> E2BSandbox:
        """See `SandboxProvider`."""
        with translating():
            sandbox = await self._keys.call(
                self._sandboxes.connect,
                sandbox_id,
                timeout=lease_seconds(request.lifetime_seconds),
                request_timeout=REQUEST_SECONDS,
            )
        return self._opened(sandbox, request, is_new=False)

    async def resume(self, sandbox_id: str, request: SandboxRequest) -> E2BSandbox:
        """See `SandboxProvider`."""
        sandbox = await self.attach(sandbox_id, request)
        try:
            await sandbox.forget_agent()
        except BaseException:
            self.release(sandbox.id)
            raise
        return sandbox

    async def prune(self, kept: Collection[str]) -> None:
        """See `SandboxProvider`. The sweep ends all that is not known."""

    async def is_paused(self, sandbox_id: str) -> bool | None:
        """See `SandboxProvider`."""
        try:
            with translating():
                info = await self._keys.call(
                    self._sandboxes.get_info, sandbox_id, request_timeout=REQUEST_SECONDS
                )
        except SandboxLost:
            return None
        return info.state is SandboxState.PAUSED

    async def extend(self, sandbox_id: str, seconds: float) -> None:
        """See `SandboxProvider`."""
        with translating():
            await self._keys.call(
                self._sandboxes.set_timeout,
                sandbox_id,
                lease_seconds(seconds),
                request_timeout=REQUEST_SECONDS,
            )

    async def list_existing(self) -> set[str]:
        """See `SandboxProvider`."""
        return {found.sandbox_id for found in await self._list()}

    async def end(self, sandbox_id: str) -> None:
        """See `SandboxProvider`."""
        with anyio.CancelScope(shield=True):
            await end_sandbox(partial(self._keys.call, self._sandboxes.kill, sandbox_id))

    def release(self, sandbox_id: str) -> None:
        """See `SandboxProvider`."""
        self._opened_ids.discard(sandbox_id)
        self._released[sandbox_id] = time.monotonic()

    def _opened(
        self, sandbox: AsyncSandbox, request: SandboxRequest, *, is_new: bool
    ) -> E2BSandbox:
        template = self._templates.id_of(request.template_id)
        inspect = None if template in self._templates_seen else self._warn_of_template
        self._templates_seen.add(template)
        lease = Lease(
            sandbox,
            self._keys,
            lease_seconds(request.lifetime_seconds),
            request.lifetime_seconds - request.age_seconds,
            inspect,
            is_new=is_new,
        )
        # An earlier process may have left the headers of other keys.
        is_known = is_new or not self._uses_egress
        opened = E2BSandbox(
            sandbox,
            self._keys,
            lease,
            request.egress if is_known else None,
            self._snapshots,
            self._opened_ids.discard,
            request,
            is_attached=not is_new,
        )
        self._opened_ids.add(opened.id)
        return opened

    def _warn_of_template(self, info: SandboxInfo) -> None:
        # E2B tells only the version of its daemon; the doctor checks the programs.
        for difference in compare_envd(info.envd_version):
            log.warning(difference.text, action="versions.untested")

    async def sweep(self, known: Collection[str]) -> int:
        """See `SandboxProvider`. After a failure the other sandboxes are still ended."""
        # What was released a moment ago may be missing in `known`, which was read before.
        since = time.monotonic() - self._grace_seconds
        self._released = {name: at for name, at in self._released.items() if at > since}
        listed = await self._list()
        spared = {*known, *self._released}
        ended = 0
        for found in listed:
            age = datetime.now(UTC) - found.started_at
            is_known = found.sandbox_id in spared or found.sandbox_id in self._opened_ids
            if not is_known and age.total_seconds() >= self._grace_seconds:
                ended += await self._end_unknown(found.sandbox_id)
        return ended

    async def _list(self) -> list[SandboxInfo]:
        listed: list[SandboxInfo] = []
        with translating():
            pages = self._sandboxes.list(query=SandboxQuery(metadata=self._marks))
            # Read all pages first: the start of a page may depend on the existing sandboxes.
            while pages.has_next:
                listed += await self._keys.call(pages.next_items)
        return listed

    async def _end_unknown(self, sandbox_id: str) -> bool:
        try:
            with translating():
                await self._keys.call(
                    self._sandboxes.kill, sandbox_id, request_timeout=REQUEST_SECONDS
                )
        except SandboxError as error:
            # The next sweep finds this sandbox again.
            log.warning("sandbox not ended", action="sweep.failed", reason=error.message)
            return False
        log.warning("unknown sandbox ended", action="sweep.sandbox_ended")
        return True

    async def close(self) -> None:
        """See `SandboxProvider`."""
        if self._endings:
            await asyncio.wait(self._endings, timeout=CLOSE_WAIT_SECONDS)


def _lifecycle(settings: Settings) -> SandboxLifecycle:
    """Return what E2B does at the end of a lease that nobody extends."""
    if settings.e2b_on_timeout == "kill":
        return {"on_timeout": "kill"}
    # Traffic from outside must not start it again: the next server does.
    return {"on_timeout": "pause", "auto_resume": False}


def _network(request: SandboxRequest) -> Any:
    return network_options(request.egress, Reachable.of(request)) or None


def _retries(attempts: int) -> Any:
    return stamina.retry_context(
        on=SandboxUnavailable,
        attempts=attempts,
        timeout=CREATE_SECONDS,
        wait_initial=FIRST_PAUSE_SECONDS,
        wait_max=LONGEST_PAUSE_SECONDS,
        wait_jitter=PAUSE_JITTER_SECONDS,
    )
