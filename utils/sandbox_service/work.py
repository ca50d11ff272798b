"""Runs commands in the sandboxes of users, and reads and writes their files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio
import structlog

from utils.errors import (
    AppError,
    CommandTimedOut,
    DatabaseUnavailable,
    Forbidden,
    InvalidInput,
    NotFound,
    TooLarge,
)
from utils.models.sandboxes import SandboxOperation, StoredSandbox
from utils.sandbox_service.commands import (
    MAX_LOGGED_CHARACTERS,
    Executed,
    UserCommand,
    call_of,
    executed,
    variables_text,
)
from utils.sandbox_service.context import ServiceContext
from utils.sandbox_service.lifecycle import variables_path
from utils.sandbox_service.open_sandboxes import OpenSandboxes
from utils.sandbox_service.policy import CommandPolicy, absolute_path
from utils.sandboxes.protocol import FileEntry, OutputHandler, Sandbox, SandboxUsage

MAX_ENTRIES = 1_000
"""Entries of a folder that are listed."""

NO_FILE = "The sandbox has no such file. GET /v1/sandboxes/<id>/files lists its home folder."

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Operation:
    """An operation that is being carried out, for the log."""

    kind: str
    command: str | None = None
    exit_code: int | None = None


class Work:
    """Carries out operations in the sandboxes of users; for use on the event loop."""

    def __init__(self, context: ServiceContext, opened: OpenSandboxes) -> None:
        self._context = context
        self._opened = opened
        self._policy = CommandPolicy(context.settings.sandbox_command_policy)

    @asynccontextmanager
    async def logged(
        self, stored: StoredSandbox, kind: str, command: str | None = None
    ) -> AsyncIterator[Operation]:
        """Add an operation to the log of a sandbox at the end of the block, however it ends."""
        began, error_code = time.monotonic(), None
        operation = Operation(kind, command)
        try:
            yield operation
        except AppError as error:
            error_code = error.code
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._record(stored, operation, time.monotonic() - began, error_code)

    async def _record(
        self, stored: StoredSandbox, operation: Operation, seconds: float, error_code: str | None
    ) -> None:
        text = operation.command
        if text is not None:
            # Cut after the redaction, which would not find a part of a secret.
            text = self._context.redactor.redact(text)[:MAX_LOGGED_CHARACTERS]
        row = SandboxOperation(
            sandbox_id=stored.id,
            user_id=stored.user_id,
            kind=operation.kind,
            created_at=datetime.now(UTC),
            command=text,
            exit_code=operation.exit_code,
            duration_ms=round(seconds * 1000),
            error_code=error_code,
        )
        try:
            await self._context.ask(self._context.database.record_sandbox_operation, row)
        except DatabaseUnavailable as error:
            log.warning(
                "operation not recorded", action="sandboxes.not_recorded", reason=error.message
            )

    def require_isolation(self) -> None:
        """Raise `Forbidden` (`sandbox_not_isolated`) where commands of users may not run."""
        settings = self._context.settings
        if self._context.provider.kind.sees_this_machine and settings.is_production:
            raise Forbidden(
                "Commands in local sandboxes are not isolated from this machine, so this server "
                "runs none for users outside of development. The operator can set "
                "SANDBOX=isolated, or E2B_API_KEY.",
                "sandbox_not_isolated",
            )

    def check_command(self, command: UserCommand) -> None:
        """Raise `Forbidden` for a command that may not run here, `InvalidInput` for its time."""
        self.require_isolation()
        most = self._context.settings.max_command_seconds
        if command.timeout_seconds > most:
            raise InvalidInput(f"timeout_seconds: must be at most {most:g} (MAX_COMMAND_SECONDS).")
        self._policy.check(command.arguments)

    async def execute(
        self,
        stored: StoredSandbox,
        command: UserCommand,
        on_output: OutputHandler | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> Executed:
        """Run a command to its end. Raises `CommandTimedOut` with the output so far.

        Calls `on_start` when the sandbox is found and free.
        """
        async with self.logged(stored, "execute", command.text) as operation:
            self.check_command(command)
            async with self._opened.use(stored) as opened, opened.alone() as sandbox:
                on_start()
                result = await self._run(sandbox, command, on_output)
            operation.exit_code = result.exit_code
            if result.timed_out:
                raise CommandTimedOut(
                    f"The command took longer than {command.timeout_seconds:g} s and was ended. "
                    "Send a larger timeout_seconds, up to MAX_COMMAND_SECONDS.",
                    result.fields,
                )
            return result

    async def _run(
        self, sandbox: Sandbox, command: UserCommand, on_output: OutputHandler | None
    ) -> Executed:
        began = time.monotonic()
        result = await sandbox.run(
            call_of(command, sandbox.paths.home, variables_path(sandbox)),
            timeout_seconds=command.timeout_seconds,
            stdin=variables_text(command.environment),
            untrusted=True,
            on_output=on_output,
        )
        answer = executed(result, round((time.monotonic() - began) * 1000))
        redact = self._context.redactor.redact
        return replace(answer, stdout=redact(answer.stdout), stderr=redact(answer.stderr))

    async def read_file(self, stored: StoredSandbox, path: str) -> bytes:
        """Return the content of a file. Raises `NotFound`, `TooLarge`."""
        async with self.logged(stored, "read_file", path), self._opened.use(stored) as opened:
            most = self._context.settings.max_body_bytes
            wanted = absolute_path(opened.sandbox.paths.home, path)
            contents = await opened.sandbox.read_files([wanted], max_bytes=most)
            if wanted not in contents:
                raise NotFound(NO_FILE)
            content = contents[wanted]
            if content is None:
                raise TooLarge(
                    f"The file has more than {most:,} bytes (MAX_BODY_BYTES). Read it in parts "
                    "with a command.",
                    "sandbox_file_too_large",
                )
            return content

    async def write_file(self, stored: StoredSandbox, path: str, content: bytes) -> None:
        """Write a file, with its missing folders."""
        async with self.logged(stored, "write_file", path), self._opened.use(stored) as opened:
            wanted = _below_home(opened.sandbox, path)
            async with opened.for_files() as sandbox:
                await sandbox.write_files({wanted: content})

    async def remove_file(self, stored: StoredSandbox, path: str) -> None:
        """Remove a file, or a folder with all it holds. Raises `NotFound`."""
        async with self.logged(stored, "remove_file", path), self._opened.use(stored) as opened:
            wanted = _below_home(opened.sandbox, path)
            async with opened.for_files() as sandbox:
                if not await sandbox.remove(wanted):
                    raise NotFound(NO_FILE)

    async def list_files(self, stored: StoredSandbox, path: str) -> list[FileEntry]:
        """Return the entries of a folder, by name. Raises `NotFound`."""
        async with self.logged(stored, "list_files", path), self._opened.use(stored) as opened:
            folder = absolute_path(opened.sandbox.paths.home, path)
            entries = await opened.sandbox.list_folder(folder, most=MAX_ENTRIES)
            if entries is None:
                raise NotFound("The sandbox has no such folder.")
            return entries

    async def usage(self, stored: StoredSandbox) -> SandboxUsage:
        """Return what a sandbox uses."""
        async with self._opened.use(stored) as opened:
            return await opened.sandbox.usage()


def _below_home(sandbox: Sandbox, path: str) -> str:
    wanted = absolute_path(sandbox.paths.home, path)
    if wanted == sandbox.paths.home:
        raise InvalidInput("path: names the home folder. Send the path of a file in it.")
    return wanted
