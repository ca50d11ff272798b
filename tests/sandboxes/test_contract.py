"""The contract of every kind of sandbox with the pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import psutil
import pytest

from tests.support.places import SANDBOX_VARIABLE, Place, processes_with
from tests.support.waiting import cut_off, until
from utils.config.settings import Settings
from utils.errors import SandboxError, SandboxLost
from utils.models.runs import CommandResult
from utils.processes import MARKER_VARIABLE
from utils.sandboxes.protocol import AgentCommand, Sandbox, SandboxProvider, SandboxRequest
from utils.sandboxes.registry import SANDBOXES, open_provider

pytestmark = [pytest.mark.anyio, pytest.mark.isolated_too("it is the contract of each kind")]

LONG_SECONDS = 60
REQUEST = SandboxRequest(1, "user", 1, LONG_SECONDS)
# Ends as soon as the one that is left is in a session of its own.
LEFT = '& until [ "$(cut -d" " -f6 /proc/$!/stat)" = $! ]; do sleep 0.01; done'
STRAY = f"setsid sleep 60 >/dev/null 2>&1 {LEFT}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def new_provider(place: Place, folder: Path) -> SandboxProvider:
    """Open the provider of a place as a process of its own would."""
    values = {"data_dir": folder, "mirror_max_bytes": 0, "sweep_grace_seconds": 0}
    return open_provider(Settings.model_validate({**place.settings, **values}))


@pytest.fixture
def provider(place: Place, tmp_path: Path) -> SandboxProvider:
    """Provide the provider of the place."""
    return new_provider(place, tmp_path)


@pytest.fixture
async def sandbox(provider: SandboxProvider) -> AsyncIterator[Sandbox]:
    """Provide an open sandbox."""
    sandbox = await provider.open(REQUEST)
    await sandbox.write_files({f"{sandbox.paths.work}/prompt": b"Say hello"})
    yield sandbox
    await sandbox.close()


def living(sandbox: Sandbox) -> list[psutil.Process]:
    """Return the processes whose environment names this sandbox."""
    if not sandbox.survives:
        return processes_with(MARKER_VARIABLE, lambda marker: marker.endswith(f"/{sandbox.id}"))
    return processes_with(SANDBOX_VARIABLE, sandbox.id.__eq__)


async def assert_none_lives(sandbox: Sandbox) -> None:
    """Fail when a process of a local sandbox lives; wait for those that a cloud has killed.

    A cloud sends SIGKILL; its kernel may end the process a moment after it has answered.
    """
    if sandbox.survives:
        await until(lambda: living(sandbox) == [])
    assert living(sandbox) == []


async def shell(sandbox: Sandbox, script: str, seconds: float = LONG_SECONDS) -> CommandResult:
    """Run a command of ours."""
    return await sandbox.run(["sh", "-c", script], timeout_seconds=seconds)


class Agent:
    """Runs a shell script as the agent and collects what it prints."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.printed = {"stdout": b"", "stderr": b""}
        self._sandbox = sandbox

    async def run(
        self, script: str, seconds: float = LONG_SECONDS, stdin_path: str | None = None
    ) -> CommandResult:
        home = self._sandbox.paths.home
        command = AgentCommand(["sh", "-c", script], home, stdin_path, {"GIVEN": "a value"})
        return await self._sandbox.run_agent(command, timeout_seconds=seconds, on_output=self._take)

    def _take(self, stream: str, piece: bytes) -> None:
        self.printed[stream] += piece


async def test_a_sandbox_survives_as_its_kind_says(
    provider: SandboxProvider, sandbox: Sandbox
) -> None:
    assert provider.kind in SANDBOXES
    assert sandbox.survives is provider.kind.survives


async def test_a_command_tells_how_it_ended_and_what_it_printed(sandbox: Sandbox) -> None:
    result = await shell(sandbox, "printf out; printf err >&2; exit 7")
    assert result == CommandResult(7, b"out", b"err")
    assert not result.ok


async def test_arguments_variables_and_input_arrive_as_they_are(sandbox: Sandbox) -> None:
    odd = "a 'b' \"c\" $(touch x) `y` \\ \n * \U0001f98a -n ;"
    result = await sandbox.run(
        ["sh", "-c", 'printf "%s|" "$@" "$VALUE"; cat', "name", odd, "", odd],
        timeout_seconds=LONG_SECONDS,
        environment={"VALUE": odd},
        stdin=f"{odd}\n",
    )
    assert result.stdout.decode() == f"{odd}||{odd}|{odd}|{odd}\n"


async def test_without_input_a_command_reads_nothing(sandbox: Sandbox) -> None:
    assert (await shell(sandbox, "cat; printf end")).stdout == b"end"


async def test_a_command_that_a_signal_ends_tells_it_as_shells_do(sandbox: Sandbox) -> None:
    assert (await shell(sandbox, "kill -9 $$")).exit_code == 137


def left_by_one_command(sandbox: Sandbox) -> int:
    """Return the number of processes that may outlive a command outside of its group."""
    return 1 if sandbox.survives else 0


async def test_what_a_command_leaves_running_ends_with_the_sandbox(sandbox: Sandbox) -> None:
    await shell(sandbox, STRAY)
    assert len(living(sandbox)) == left_by_one_command(sandbox)
    await sandbox.close()
    await assert_none_lives(sandbox)


async def test_all_output_arrives_even_when_the_command_ends_at_once(sandbox: Sandbox) -> None:
    for _ in range(20):
        result = await shell(sandbox, "head -c 60000 /dev/zero | tr '\\0' x")
        assert len(result.stdout) == 60_000


async def test_output_of_many_megabytes_is_read_and_cut(sandbox: Sandbox) -> None:
    result = await shell(sandbox, "yes | head -c 20000000; echo end >&2")
    assert result.ok
    assert 1_000_000 <= len(result.stdout) < 2_000_000
    assert result.stderr == b"end\n"


async def test_a_command_that_takes_too_long_is_ended_with_its_children(sandbox: Sandbox) -> None:
    script = "printf early; sleep 60 & sleep 60"
    result = await cut_off(lambda seconds: shell(sandbox, script, seconds), lambda it: it.stdout)
    assert (result.timed_out, result.stdout, result.ok) == (True, b"early", False)
    await shell(sandbox, ":")
    await assert_none_lives(sandbox)


async def test_a_cancelled_command_is_dead_when_the_next_one_runs(sandbox: Sandbox) -> None:
    with anyio.move_on_after(0.5) as scope:
        await shell(sandbox, "sleep 60 & sleep 60")
    assert scope.cancelled_caught
    await shell(sandbox, ":")
    await assert_none_lives(sandbox)


async def test_a_cancel_at_any_moment_of_the_start_leaves_nothing(sandbox: Sandbox) -> None:
    for step in range(20):
        with anyio.move_on_after(step * 0.0006):
            await sandbox.run(["sleep", "60"], timeout_seconds=LONG_SECONDS)
    await sandbox.close()
    await assert_none_lives(sandbox)


async def test_a_command_may_ignore_its_input(sandbox: Sandbox) -> None:
    stdin = "x" * 100_000
    assert (await sandbox.run(["true"], timeout_seconds=LONG_SECONDS, stdin=stdin)).ok


async def test_files_are_written_with_their_parents_and_read_back(sandbox: Sandbox) -> None:
    home = sandbox.paths.home
    contents = {
        f"{home}/new/folder/bytes": bytes(range(256)) * 1000,
        f"{home}/new/od d 'né'": b"",
        f"{home}/plain": b"text\r\n",
    }
    await sandbox.write_files(contents)
    assert await sandbox.read_files(list(contents), max_bytes=256_000) == contents


async def test_folders_are_listed_and_files_removed(sandbox: Sandbox) -> None:
    folder = f"{sandbox.paths.home}/listed"
    files = {f"{folder}/{name}": b"12" for name in ("b", "a", "c/d")}
    await sandbox.write_files(files)
    await shell(sandbox, f"ln -s a {folder}/e")
    entries = await sandbox.list_folder(folder, most=9)
    assert entries is not None
    assert [(entry.name, entry.kind) for entry in entries] == [
        ("a", "file"),
        ("b", "file"),
        ("c", "folder"),
        ("e", "link"),
    ]
    assert entries[0].size_bytes == 2
    assert len(await sandbox.list_folder(folder, most=2) or ()) == 2
    assert await sandbox.list_folder(f"{folder}/missing", most=9) is None
    for name, existed in (("e", True), ("a", True), ("a", False), ("c", True), ("c/d", False)):
        assert await sandbox.remove(f"{folder}/{name}") is existed, name


async def test_output_goes_to_a_handler_that_asks_for_it(sandbox: Sandbox) -> None:
    pieces: list[tuple[str, bytes]] = []
    result = await sandbox.run(
        ["sh", "-c", "echo out; echo err >&2"],
        timeout_seconds=LONG_SECONDS,
        on_output=lambda stream, piece: pieces.append((stream, piece)),
    )
    assert (result.stdout, result.stderr) == (b"", b"")
    assert sorted(pieces) == [("stderr", b"err\n"), ("stdout", b"out\n")]


async def test_a_provider_tells_which_sandboxes_exist(
    provider: SandboxProvider, sandbox: Sandbox
) -> None:
    assert await provider.is_paused(sandbox.id) is False
    assert sandbox.id in await provider.list_existing()
    await provider.extend(sandbox.id, LONG_SECONDS)
    assert (await sandbox.usage()).disk_used_bytes
    await sandbox.close()
    assert await provider.is_paused(sandbox.id) is None
    assert sandbox.id not in await provider.list_existing()


async def test_files_that_are_missing_or_too_large_are_told_apart(sandbox: Sandbox) -> None:
    small, large, missing = (f"{sandbox.paths.home}/{name}" for name in ("a", "b", "c"))
    await sandbox.write_files({small: b"x" * 10, large: b"x" * 11})
    found = await sandbox.read_files([missing, small, large], max_bytes=10)
    assert found == {small: b"x" * 10, large: None}


async def test_an_agent_gets_its_folder_its_input_and_its_variables(sandbox: Sandbox) -> None:
    prompt = f"{sandbox.paths.work}/prompt"
    await sandbox.write_files({prompt: "né\n".encode()})
    agent = Agent(sandbox)
    result = await agent.run('pwd -P; cat; echo "$GIVEN"; exit 3', stdin_path=prompt)
    folder, *rest = agent.printed["stdout"].decode().split("\n")
    assert rest == ["né", "a value", ""]
    assert (
        await shell(sandbox, f'cd "{sandbox.paths.home}"; pwd -P')
    ).stdout == f"{folder}\n".encode()
    assert (result.exit_code, result.timed_out) == (3, False)


async def test_an_agent_prints_bytes_and_lines_without_end(sandbox: Sandbox) -> None:
    agent = Agent(sandbox)
    await agent.run("printf 'one\\r\\n\\303'; sleep 0.3; printf '\\251'; echo oops >&2; printf end")
    assert agent.printed == {"stdout": "one\r\néend".encode(), "stderr": b"oops\n"}


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [("exit 0", 0), ("exit 201", 201), ("kill -9 $$", 137), ("kill -9 0", 137), ("kill 0", 143)],
)
async def test_an_agent_tells_how_it_ended(sandbox: Sandbox, end: str, exit_code: int) -> None:
    assert (await Agent(sandbox).run(end)).exit_code == exit_code


async def test_an_agent_leaves_nothing_running_in_its_group(sandbox: Sandbox) -> None:
    agent = Agent(sandbox)
    assert (await agent.run("sleep 60 & sleep 60 >/dev/null 2>&1 & echo done")).exit_code == 0
    assert agent.printed["stdout"] == b"done\n"
    await until(lambda: living(sandbox) == [])


async def test_an_agent_ends_although_what_left_its_group_holds_its_output(
    sandbox: Sandbox,
) -> None:
    assert (await Agent(sandbox).run(f"setsid sleep 60 {LEFT}")).exit_code == 0
    assert len(living(sandbox)) == left_by_one_command(sandbox)


async def test_an_agent_that_takes_too_long_is_dead_when_the_next_command_runs(
    sandbox: Sandbox,
) -> None:
    agent, script = Agent(sandbox), "echo early; trap '' TERM; sleep 60 & sleep 60"
    result = await cut_off(lambda s: agent.run(script, s), lambda _: agent.printed["stdout"])
    assert (result.timed_out, agent.printed["stdout"]) == (True, b"early\n")
    await shell(sandbox, ":")
    await until(lambda: living(sandbox) == [])


async def test_a_cancelled_agent_is_dead_when_the_next_command_runs(sandbox: Sandbox) -> None:
    agent = Agent(sandbox)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.run, "echo begun; sleep 60 & sleep 60")
        await until(lambda: agent.printed["stdout"] == b"begun\n")
        tasks.cancel_scope.cancel()
    await shell(sandbox, ":")
    await until(lambda: living(sandbox) == [])


async def test_what_left_the_group_of_an_agent_that_is_ended_ends_with_it(
    sandbox: Sandbox,
) -> None:
    await shell(sandbox, STRAY)
    result = await Agent(sandbox).run(f"{STRAY}; {STRAY}; sleep 60", seconds=2)
    assert result.timed_out
    await shell(sandbox, ":")
    # In the cloud, what our own command left stays.
    await until(lambda: len(living(sandbox)) == left_by_one_command(sandbox))


async def test_a_handler_that_fails_ends_the_agent_and_is_called_no_more(sandbox: Sandbox) -> None:
    taken = []

    def take(_stream: str, piece: bytes) -> None:
        taken.append(piece)
        raise LookupError("a mistake of ours")

    home = sandbox.paths.home
    command = AgentCommand(["sh", "-c", "echo one; sleep 0.5; echo two; sleep 60"], home)
    with pytest.RaisesGroup(LookupError, allow_unwrapped=True, flatten_subgroups=True):
        await sandbox.run_agent(command, timeout_seconds=LONG_SECONDS, on_output=take)
    assert [piece[:4] for piece in taken] == [b"one\n"]
    await shell(sandbox, ":")
    await until(lambda: living(sandbox) == [])


async def test_a_repeatable_command_is_not_held_by_what_an_interrupted_one_left(
    sandbox: Sandbox,
) -> None:
    command = ["sh", "-c", "sleep 60 & sleep 60"]
    with anyio.move_on_after(0.5):
        await sandbox.run_repeatable(command, timeout_seconds=LONG_SECONDS)
    result = await sandbox.run_repeatable(["true"], timeout_seconds=30)
    assert result.ok


async def test_what_an_untrusted_command_has_left_running_ends_before_the_next_one(
    sandbox: Sandbox,
) -> None:
    # It leaves its group, and holds what the backend has opened.
    stray = ["sh", "-c", "setsid sleep 300 >/dev/null 2>&1 & sleep 0.2"]
    await sandbox.run_repeatable(stray, timeout_seconds=LONG_SECONDS, untrusted=True)
    assert (await sandbox.run_repeatable(["true"], timeout_seconds=30)).ok
    await assert_none_lives(sandbox)


async def test_a_closed_sandbox_is_gone_and_says_so(sandbox: Sandbox) -> None:
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(SandboxError):
        await shell(sandbox, ":")


async def test_a_cancel_does_not_interrupt_the_end_of_a_sandbox(
    place: Place, provider: SandboxProvider, sandbox: Sandbox
) -> None:
    if place.cloud:
        # The first request is on its way before the cancel arrives.
        place.cloud.add_fault("status", route="kill", status=503, times=1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await provider.end(sandbox.id)
    with pytest.raises(SandboxLost):
        await provider.resume(sandbox.id, REQUEST)


async def test_a_sandbox_that_is_ended_by_its_id_ends_what_runs_in_it(
    provider: SandboxProvider, sandbox: Sandbox
) -> None:
    async def sleep() -> None:
        with suppress(SandboxError):
            await shell(sandbox, "sleep 600", 600)

    with anyio.fail_after(LONG_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep)
            await until(lambda: living(sandbox) != [])
            await provider.end(sandbox.id)
    await assert_none_lives(sandbox)


async def test_a_sweep_ends_what_an_earlier_process_left(
    place: Place, sandbox: Sandbox, tmp_path: Path
) -> None:
    await shell(sandbox, STRAY)
    await new_provider(place, tmp_path).sweep(())
    await assert_none_lives(sandbox)
    with pytest.raises(SandboxError):
        await shell(sandbox, ":")
