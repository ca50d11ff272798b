"""Offers sandboxes to synchronous callers; the work is done on the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import BoundedSemaphore
from typing import Concatenate, ParamSpec, TypeVar

import anyio

from utils.errors import Unavailable
from utils.models.sandboxes import StoredSandbox
from utils.sandbox_service.commands import Executed, UserCommand
from utils.sandbox_service.context import RETRY_SECONDS, ServiceContext
from utils.sandbox_service.git import GitWork
from utils.sandbox_service.git_service import GitService
from utils.sandbox_service.leases import Leases
from utils.sandbox_service.lifecycle import Lifecycle, SandboxOptions
from utils.sandbox_service.open_sandboxes import OpenSandboxes
from utils.sandbox_service.output_stream import OutputStream
from utils.sandbox_service.publishing import Publisher
from utils.sandbox_service.work import Work
from utils.sandboxes.protocol import FileEntry, SandboxUsage

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class SandboxService:
    """Creates sandboxes for users and works in them.

    Its methods may be called from any thread. The sandbox of another user raises `NotFound`.
    """

    def __init__(self, context: ServiceContext, publisher: Publisher) -> None:
        self._context = context
        self._bridge = context.bridge
        opened = OpenSandboxes(context)
        self._lifecycle = Lifecycle(context, opened)
        self._work = Work(context, opened)
        self._leases = Leases(context, opened)
        self.git = GitService(context, GitWork(context, opened, self._work), publisher)
        # The other threads answer requests that are short.
        self._places = BoundedSemaphore(max(1, context.settings.request_threads // 2))
        self._scope: anyio.CancelScope | None = None
        self._keeper: Future[None] | None = None

    def start(self) -> None:
        """Store what has ended with an earlier process, and begin to look after leases."""
        self._bridge.run(self._leases.end_earlier)
        self._keeper = self._bridge.start_soon(self._keep)

    def stop(self) -> None:
        """End the sandboxes that do not survive this process."""
        if self._keeper is not None:
            self._bridge.call_soon(self._cancel)
            self._keeper.result()
        self._bridge.run(self._leases.end_all)

    async def _keep(self) -> None:
        with anyio.CancelScope() as self._scope:
            await self._leases.run()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def create(self, user_id: str, asked: SandboxOptions) -> StoredSandbox:
        """See `Lifecycle.create`."""
        return self._bridge.run(self._lifecycle.create, user_id, asked)

    def get(self, user_id: str, sandbox_id: int) -> StoredSandbox:
        """Return a sandbox, ended if the provider no longer has it."""
        return self._of(user_id, sandbox_id, self._lifecycle.checked)

    def pause(self, user_id: str, sandbox_id: int) -> StoredSandbox:
        """See `Lifecycle.pause`."""
        return self._logged(user_id, sandbox_id, "pause", self._lifecycle.pause)

    def resume(self, user_id: str, sandbox_id: int) -> StoredSandbox:
        """See `Lifecycle.resume`."""
        return self._logged(user_id, sandbox_id, "resume", self._lifecycle.resume)

    def extend(self, user_id: str, sandbox_id: int, seconds: float | None) -> StoredSandbox:
        """See `Lifecycle.extend`."""
        return self._logged(user_id, sandbox_id, "extend", self._lifecycle.extend, seconds)

    def destroy(self, user_id: str, sandbox_id: int) -> None:
        """See `Lifecycle.destroy`."""
        stored = self._context.database.get_sandbox(user_id, sandbox_id)
        if stored.is_live:
            self._logged(user_id, sandbox_id, "destroy", self._lifecycle.destroy)

    def usage(self, user_id: str, sandbox_id: int) -> SandboxUsage:
        """See `Work.usage`."""
        return self._of(user_id, sandbox_id, self._work.usage)

    def execute(self, user_id: str, sandbox_id: int, command: UserCommand) -> Executed:
        """See `Work.execute`. Raises `Unavailable` when too many requests wait for commands."""
        if not self._places.acquire(blocking=False):
            raise Unavailable(
                "Half of the threads of this server wait for commands. Send Accept: "
                "text/event-stream, which needs no thread, or try again later.",
                "sandbox_unavailable",
                retry_after_seconds=RETRY_SECONDS,
            )
        try:
            return self._of(user_id, sandbox_id, self._work.execute, command)
        finally:
            self._places.release()

    def follow(self, user_id: str, sandbox_id: int, command: UserCommand) -> OutputStream:
        """Begin a command whose output is streamed. Raises what `execute` raises before it runs."""
        stored = self._context.database.get_sandbox(user_id, sandbox_id)
        self._work.check_command(command)
        stream = OutputStream(self._context.redactor)
        self._bridge.start_soon(stream.run, self._work, stored, command)
        stream.wait_for_start()
        return stream

    def read_file(self, user_id: str, sandbox_id: int, path: str) -> bytes:
        """See `Work.read_file`."""
        return self._of(user_id, sandbox_id, self._work.read_file, path)

    def write_file(self, user_id: str, sandbox_id: int, path: str, content: bytes) -> None:
        """See `Work.write_file`."""
        self._of(user_id, sandbox_id, self._work.write_file, path, content)

    def remove_file(self, user_id: str, sandbox_id: int, path: str) -> None:
        """See `Work.remove_file`."""
        self._of(user_id, sandbox_id, self._work.remove_file, path)

    def list_files(self, user_id: str, sandbox_id: int, path: str) -> list[FileEntry]:
        """See `Work.list_files`."""
        return self._of(user_id, sandbox_id, self._work.list_files, path)

    def _of(
        self,
        user_id: str,
        sandbox_id: int,
        work: Callable[Concatenate[StoredSandbox, Arguments], Awaitable[Result]],
        *arguments: Arguments.args,
        **_options: Arguments.kwargs,
    ) -> Result:
        stored = self._context.database.get_sandbox(user_id, sandbox_id)
        return self._bridge.run(work, stored, *arguments)

    def _logged(
        self,
        user_id: str,
        sandbox_id: int,
        kind: str,
        work: Callable[Concatenate[StoredSandbox, Arguments], Awaitable[Result]],
        *arguments: Arguments.args,
        **_options: Arguments.kwargs,
    ) -> Result:
        async def run(stored: StoredSandbox) -> Result:
            async with self._work.logged(stored, kind):
                return await work(stored, *arguments, **_options)

        return self._of(user_id, sandbox_id, run)
