"""Runs tasks in E2B's cloud sandboxes, one microVM for each.

The SDK's behaviour that shapes this module is in docs/e2b.md sections 3 to 5: `commands.run` takes
shell text, kills the command after 60 s by default, and discards output without a listener. So the
shell text is constant, arguments travel in variables, and the agent writes to files that are
streamed from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from uuid import uuid4

import anyio
import structlog
from e2b import AsyncSandbox
from e2b.exceptions import (
    FileNotFoundException,
    InvalidArgumentException,
    SandboxException,
)

from utils.errors import SandboxError, SandboxLost, SandboxUnavailable
from utils.models.runs import KILLED, CommandResult
from utils.sandboxes.e2b.commands import REQUEST_SECONDS, Commands
from utils.sandboxes.e2b.errors import translating, unreadable
from utils.sandboxes.e2b.inspection.entries import NoMirror, list_folder, read_usage, remove_path
from utils.sandboxes.e2b.keys import KeyRing
from utils.sandboxes.e2b.kind import E2B_SANDBOX
from utils.sandboxes.e2b.lease import PAUSE_SECONDS, Lease
from utils.sandboxes.e2b.network_rules import Reachable, network_options
from utils.sandboxes.e2b.output_cursor import OutputCursor
from utils.sandboxes.e2b.reconnection import UNREACHABLE_SECONDS, Reconnection, retries
from utils.sandboxes.e2b.shell import (
    PATHS,
    agent_arguments,
    agent_mark,
    agent_traces,
    command_text,
    command_variables,
    ending_of_agent,
    recorded_text,
    restoring,
    run_variables,
    split_output,
)
from utils.sandboxes.e2b.snapshots import SnapshotCatalogue
from utils.sandboxes.output_pace import OutputPace
from utils.sandboxes.protocol import (
    AgentCommand,
    EgressHeader,
    FileEntry,
    Mirror,
    OutputHandler,
    SandboxRequest,
    SandboxUsage,
)
from utils.sandboxes.snapshots import SnapshotKey

CLOSE_ATTEMPTS = 6
MINIMUM_SECONDS = 1.0
"""Least time to ask for the result of a command whose time is over."""

SILENCE_SECONDS = 120.0
"""Silence after which the output stream is reopened, because the connection may be dead."""

UNREADABLE_SECONDS = 10.0
"""Time after which a file that the daemon cannot open is given up."""

SERVER_ERROR = 500

log = structlog.get_logger(__name__)


class E2BSandbox:
    """One microVM of E2B.

    `egress` holds the headers that its network adds, None if they are not known. `is_attached` is
    True when an earlier process has opened it.
    """

    survives = E2B_SANDBOX.survives

    def __init__(
        self,
        sandbox: AsyncSandbox,
        keys: KeyRing,
        lease: Lease,
        egress: tuple[EgressHeader, ...] | None,
        snapshots: SnapshotCatalogue,
        closed: Callable[[str], None],
        request: SandboxRequest,
        *,
        is_attached: bool,
    ) -> None:
        self.id = sandbox.sandbox_id
        self.paths = PATHS
        self._sandbox = sandbox
        self._keys = keys
        self._commands = Commands(sandbox)
        self._lease = lease
        self._egress = egress
        self._reachable = Reachable.of(request)
        self._snapshots = snapshots
        self._closed = closed
        self._still_runs_here = request.still_runs_here
        self._is_attached = is_attached
        self._agent_may_run = self._agent_has_run = is_attached

    async def write_files(self, files: Mapping[str, bytes]) -> None:
        """See `Sandbox`."""
        entries = [{"path": path, "data": data} for path, data in files.items()]
        async for attempt in retries(None):
            with attempt, self._lease.translating():
                await self._sandbox.files.write_files(
                    entries,  # type: ignore[arg-type]
                    request_timeout=REQUEST_SECONDS,
                )

    async def read_files(self, paths: Sequence[str], *, max_bytes: int) -> dict[str, bytes | None]:
        """See `Sandbox`."""
        contents: dict[str, bytes | None] = {}
        for path in paths:
            give_up_at = anyio.current_time() + UNREADABLE_SECONDS
            async for attempt in retries(None):
                with attempt, self._lease.translating():
                    try:
                        contents[path] = await self._read_file(path, max_bytes)
                    except (FileNotFoundException, InvalidArgumentException):
                        contents.pop(path, None)  # missing, or a folder
                    except (SandboxException, TimeoutError) as error:
                        if _is_no_file(error) and anyio.current_time() > give_up_at:
                            raise unreadable() from error
                        raise
        return contents

    async def _read_file(self, path: str, max_bytes: int) -> bytes | None:
        content = bytearray()
        with anyio.fail_after(UNREADABLE_SECONDS):
            reader = await self._sandbox.files.read(path, format="stream")
        async with reader:
            async for chunk in reader:
                content += chunk
                if len(content) > max_bytes:
                    return None
        return bytes(content)

    async def list_folder(self, path: str, *, most: int) -> list[FileEntry] | None:
        """See `Sandbox`."""
        with self._lease.translating():
            return await list_folder(self._sandbox, path, most)

    async def remove(self, path: str) -> bool:
        """See `Sandbox`."""
        with self._lease.translating():
            return await remove_path(self._sandbox, path)

    async def usage(self) -> SandboxUsage:
        """See `Sandbox`."""
        with self._lease.translating():
            return await read_usage(self._sandbox, self._keys)

    async def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        untrusted: bool = False,
        on_output: OutputHandler | None = None,
    ) -> CommandResult:
        """See `Sandbox`."""
        kill = await self._ending_of_earlier(untrusted=untrusted)
        text = kill + command_text(len(arguments), has_input=bool(stdin))
        variables = self._variables(arguments, environment, stdin, untrusted=untrusted)
        with self._lease.translating():
            return await self._commands.collect(text, variables, timeout_seconds, handler=on_output)

    async def run_repeatable(
        self,
        arguments: Sequence[str],
        *,
        timeout_seconds: float,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        untrusted: bool = False,
        source: str = "",  # noqa: ARG002 - on another machine
        result_file: str = "",
    ) -> CommandResult:
        """See `Sandbox`."""
        kill = await self._ending_of_earlier(untrusted=untrusted)
        text = kill + recorded_text(len(arguments), has_input=bool(stdin))
        variables = self._variables(arguments, environment, stdin, untrusted=untrusted)
        name = uuid4().hex
        variables |= run_variables(name, result_file)
        result = await self._run_to_its_end(text, variables, timeout_seconds)
        if not result_file:
            return result
        stdout, file = split_output(name, result.stdout)
        return replace(result, stdout=stdout, file=file)

    async def _ending_of_earlier(self, *, untrusted: bool) -> str:
        """Return the text that ends what earlier commands and the agent have left running."""
        kill = await self._commands.pop_kill_command()
        # An untrusted command is marked like the agent, and would end itself.
        if self._agent_may_run and not untrusted:
            kill += ending_of_agent(self.id)
        return kill + restoring() if self._agent_has_run else kill

    def _variables(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
        stdin: str,
        *,
        untrusted: bool,
    ) -> dict[str, str]:
        variables = {**(environment or {}), **command_variables(arguments, stdin)}
        if untrusted:
            variables |= agent_mark(self.id)
            self._agent_may_run = True
        return variables

    async def _run_to_its_end(
        self, text: str, variables: dict[str, str], timeout_seconds: float
    ) -> CommandResult:
        """Run a recorded command, and ask again for its result whenever the connection breaks."""
        over_at = anyio.current_time() + timeout_seconds
        reconnection = Reconnection()
        while True:
            left_seconds = max(over_at - anyio.current_time(), MINIMUM_SECONDS)
            try:
                with self._lease.translating():
                    return await self._commands.collect(
                        text, variables, left_seconds, reconnection.mark_reachable
                    )
            except SandboxUnavailable as error:
                await reconnection.pause(error, UNREACHABLE_SECONDS)
                if anyio.current_time() >= over_at:
                    raise

    async def run_agent(
        self,
        command: AgentCommand,
        *,
        timeout_seconds: float,
        on_output: OutputHandler,
    ) -> CommandResult:
        """See `Sandbox`."""
        self._agent_may_run = self._agent_has_run = True
        cursor = OutputCursor(on_output)
        stdin_path = command.stdin_path or "/dev/null"
        # An attempt at the clone that is left over may still hold the token.
        kill = await self._commands.pop_kill_command()
        with anyio.move_on_after(timeout_seconds):
            while True:
                call = agent_arguments(
                    self.paths.work,
                    command.directory,
                    stdin_path,
                    cursor.next_lines(),
                    command.arguments,
                )
                exit_code = await self._follow(kill, call, command.environment, cursor)
                kill = ""
                if exit_code is not None and exit_code < 0:
                    # Another server that follows the agent ends earlier followers, not the agent.
                    # So may the agent.
                    if not await self._still_runs_here():
                        await anyio.sleep_forever()
                    killed = SandboxUnavailable("The follower of the agent was killed.")
                    await cursor.reconnection.pause(killed, UNREACHABLE_SECONDS)
                elif exit_code is not None:
                    cursor.flush()
                    # One that has removed the files of its output may still run, and so may an
                    # untrusted command of an earlier process.
                    self._agent_may_run = exit_code == KILLED or self._is_attached
                    return CommandResult(exit_code, b"", b"")
        return CommandResult(-1, b"", b"", timed_out=True)

    async def _follow(
        self, kill: str, call: Sequence[str], environment: Mapping[str, str], cursor: OutputCursor
    ) -> int | None:
        """Stream output until the agent ends and return its exit code; None to stream again.

        Raises the exceptions of the output handler. The SDK would treat them as a broken
        connection.
        """
        failure: Exception | None = None
        exit_code: int | None = None
        pace = OutputPace()
        variables = {**environment, **agent_mark(self.id), **command_variables(call, "")}
        text = kill + command_text(len(call), has_input=False)
        with anyio.CancelScope() as scope:

            async def on_piece(stream: str, piece: str) -> None:
                nonlocal failure
                scope.deadline = anyio.current_time() + SILENCE_SECONDS
                try:
                    if failure is None:
                        await pace.pass_on(cursor.feed, stream, piece)
                except Exception as error:  # noqa: BLE001 - it is raised below
                    failure = error
                    scope.cancel()

            scope.deadline = anyio.current_time() + SILENCE_SECONDS
            try:
                with self._lease.translating():
                    exit_code = await self._commands.run(
                        text, variables, 0, on_piece, cursor.reconnection.mark_reachable
                    )
            except SandboxUnavailable as error:
                await cursor.reconnection.pause(error, UNREACHABLE_SECONDS)
        if failure is not None:
            raise failure
        return exit_code

    def may_have_mirror(self, repo_url: str) -> bool:  # noqa: ARG002
        """See `Sandbox`."""
        return False

    def mirror(self, repo_url: str, branch: str) -> AbstractAsyncContextManager[Mirror]:  # noqa: ARG002
        """See `Sandbox`. There are no mirrors, because the sandboxes are separate machines."""
        return nullcontext(NoMirror())

    async def restrict_egress(self, headers: Collection[EgressHeader]) -> None:
        """See `Sandbox`."""
        if self._egress is not None and set(self._egress) == set(headers):
            return
        async for attempt in retries(None):
            with attempt, self._lease.translating():
                options = {"rules": {}} | network_options(headers, self._reachable)
                await self._keys.call(self._sandbox.update_network, options)
        self._egress = tuple(headers)

    async def keep_alive(self, report: Callable[[str], None]) -> float:
        """See `Sandbox`."""
        return await self._lease.keep(report)

    async def forget_agent(self) -> None:
        """End what the agent of an earlier turn has left, so that another one can start."""
        self._agent_may_run = self._agent_has_run = True
        traces = agent_traces(self.paths.work)
        result = await self.run(["rm", "-rf", "--", *traces], timeout_seconds=REQUEST_SECONDS)
        if not result.ok:
            raise SandboxLost("The sandbox of the turn before cannot be used again.")

    async def save_snapshot(self, key: SnapshotKey) -> bool:
        """See `Sandbox`."""
        return await self._snapshots.save(self._sandbox, key, self._lease.translating())

    async def pause(self) -> bool:
        """See `Sandbox`."""
        try:
            with translating():
                await self._keys.call(self._sandbox.pause, request_timeout=PAUSE_SECONDS)
        except SandboxError as error:
            log.warning("sandbox not paused", action="sandbox.pause_failed", reason=error.message)
            return False
        await self._commands.wait_for_starts()
        return True

    async def close(self) -> None:
        """See `Sandbox`. The next sweep finds a sandbox that could not be ended."""
        try:
            await end_sandbox(partial(self._keys.call, self._sandbox.kill))
        finally:
            await self._commands.wait_for_starts()
            self._closed(self.id)


def _is_no_file(error: Exception) -> bool:
    # E2B's daemon waits for ever for a FIFO, and answers 500 for a loop of links and for a path
    # below a file.
    return isinstance(error, TimeoutError) or str(error).startswith(f"{SERVER_ERROR}: ")


async def end_sandbox(kill: Callable[..., Awaitable[object]]) -> None:
    """Kill a sandbox, with retries. The next sweep finds one that could not be killed."""
    try:
        async for attempt in retries(CLOSE_ATTEMPTS):
            with attempt, translating():
                await kill(request_timeout=REQUEST_SECONDS)
    except SandboxError as error:
        log.warning("sandbox not ended", action="sandbox.close_failed", reason=error.message)
