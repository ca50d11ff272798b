"""Checks for `./run.sh doctor` that this machine can isolate sandboxes, by opening one."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from utils.agents.registry import Agents, find_agent
from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.config.settings import Settings
from utils.errors import SandboxError
from utils.sandboxes.isolated.provider import open_isolated, registries_of
from utils.sandboxes.isolated.requirements import missing_requirements
from utils.sandboxes.isolated.view import OLDEST_VERSION, PROGRAM
from utils.sandboxes.protocol import Sandbox, SandboxRequest

COMMAND_SECONDS = 20.0

_KERNEL_SETTINGS = {
    "kernel/unprivileged_userns_clone": ("0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    "user/max_user_namespaces": ("0", "sudo sysctl -w user.max_user_namespaces=15000"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
}
"""Files below /proc/sys that forbid namespaces, with the value that does and what changes it."""

_IN_CONTAINER = (
    "In a container, its runtime has to allow user namespaces and a /proc without masks; see "
    "docs/operations.md."
)

Report = Callable[[Finding], None]


async def check_isolation(settings: Settings, report: Report) -> None:
    """Check the programs, the kernel and the agents of isolated sandboxes."""
    if missing := missing_requirements():
        for fault, remedy in missing:
            report(problem(fault, remedy))
        return
    report(_check_version())
    with TemporaryDirectory(prefix="async-code-doctor-") as folder:
        programs = settings.programs_path.absolute()
        probe = {"data_dir": Path(folder), "agent_programs_dir": programs}
        provider = open_isolated(settings.model_copy(update=probe))
        sandbox = None
        try:
            sandbox = await provider.open(SandboxRequest(0, "doctor", 1, COMMAND_SECONDS))
            await _check_sandbox(sandbox, settings, report)
        except SandboxError as error:
            report(problem(error.message, _kernel_advice()))
        finally:
            with anyio.CancelScope(shield=True):
                if sandbox:
                    await sandbox.close()
                await provider.close()


def _check_version() -> Finding:
    printed = subprocess.run(
        [PROGRAM, "--version"], capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    ).stdout
    match = re.search(r"(\d{1,6})\.(\d{1,6})\S{0,50}", printed)
    wanted = ".".join(map(str, OLDEST_VERSION))
    if match is None or (int(match[1]), int(match[2])) < OLDEST_VERSION:
        return problem(printed.strip(), f"Install bubblewrap {wanted} or newer.")
    return ok(f"bubblewrap {match[0]}")


async def _check_sandbox(sandbox: Sandbox, settings: Settings, report: Report) -> None:
    result = await sandbox.run(["true"], timeout_seconds=COMMAND_SECONDS)
    if not result.ok:
        said = result.stderr.decode(errors="replace").strip()
        report(problem(f"an isolated sandbox does not start: {said}", _kernel_advice()))
        return
    report(ok(f"an isolated sandbox starts; its network: {settings.isolated_network}"))
    registries = registries_of(settings)
    if hosts := ", ".join(dict.fromkeys((*registries.chosen, *registries.usual))):
        report(ok(f"package registries that it may reach: {hosts}"))
    report(_check_limits())
    agents = Agents(settings)
    for name in (status.name for status in agents.statuses() if not status.simulated):
        if program := find_agent(name).program:
            report(await _check_program(sandbox, program.command))


def _check_limits() -> Finding:
    if os.getuid() == 0:
        return warning(
            "the number of processes of a task is checked twice a second, because the kernel does "
            "not limit those of root; it does limit the processors (cpus of a project)",
            "Run the server as an ordinary user. Its tasks then have fewer rights as well.",
        )
    return ok(
        "limits of a task: threads, sizes of files and processors (cpus of a project) by the "
        "kernel; processes, memory and the folder are checked twice a second"
    )


async def _check_program(sandbox: Sandbox, command: str) -> Finding:
    found = await sandbox.run(
        ["sh", "-c", 'command -v -- "$1"', "sh", command], timeout_seconds=COMMAND_SECONDS
    )
    if found.ok:
        return ok(f"{command}: {found.stdout.decode(errors='replace').strip()}")
    return problem(
        f"{command} is not where isolated sandboxes see it",
        "Run ./run.sh install-agents, or name its folder in ISOLATED_READABLE_PATHS.",
    )


def _kernel_advice() -> str:
    return "\n".join(_forbidding_settings()) or _IN_CONTAINER


def _forbidding_settings() -> Iterator[str]:
    for name, (value, command) in _KERNEL_SETTINGS.items():
        path = Path("/proc/sys", name)
        if path.exists() and path.read_text().strip() == value:
            yield (
                f"The kernel does not allow user namespaces ({name.replace('/', '.')} is {value}). "
                f"Run: {command}, and write it to a file in /etc/sysctl.d."
            )
