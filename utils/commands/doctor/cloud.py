"""Checks E2B for `./run.sh doctor`: the key, the account's sandboxes, the template."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shlex
from collections.abc import AsyncIterator, Callable

from e2b import E2B, AsyncSandbox, SandboxInfo
from e2b.exceptions import AuthenticationException, RateLimitException, SandboxException

from utils.agents.registry import PROGRAMS
from utils.commands.doctor.findings import Finding, ok, problem, warning
from utils.commands.doctor.local import hosts_to_try
from utils.config.groups.identity import FILE_NAME
from utils.config.groups.limits import E2B_PLAN_SANDBOXES
from utils.config.settings import Settings
from utils.dispatcher.assignment import lifetime_seconds
from utils.sandboxes.e2b.advice import E2B_ERRORS, KEYS_PAGE, NOT_FOUND, explain_e2b
from utils.sandboxes.e2b.kind import E2B_SANDBOX
from utils.sandboxes.e2b.lease import CLOCK_SECONDS, JITTER_SECONDS, PAUSE_SECONDS
from utils.sandboxes.e2b.network_rules import egress_rules
from utils.sandboxes.e2b.tested_versions import (
    TOOLS,
    TemplateProgram,
    compare_envd,
    compare_programs,
    versions_command,
)
from utils.sandboxes.protocol import EgressHeader
from utils.sandboxes.registry import uses_egress

REQUEST_SECONDS = 20
STAGE_SECONDS = 60
PROBE_SECONDS = 120
"""Timeout of the test sandbox, in case it cannot be killed."""

TOO_SHORT = (
    "A task that takes longer is ended with its partial result (sandbox_timeout). Lower "
    "SANDBOX_TIMEOUT_SECONDS, or change the plan."
)
EXAMPLE_HOST = "example.com"

REACH_SECONDS = 10
PAGES_READ = 10

METADATA = {"app": "async-code-doctor"}
"""Differs from that of tasks, so that no running server kills the test sandbox in a sweep."""

TEMPLATE_PROGRAMS = (
    *(TemplateProgram(program.command, tested=program.version) for program in PROGRAMS),
    *TOOLS,
)
"""The programs that the template must have: those of the agents, and the tools of scripts."""

Report = Callable[[Finding], None]


async def check_cloud(settings: Settings, report: Report) -> None:
    """Check the key, the template and the limits of the settings at E2B."""
    if settings.e2b_api_key is None:
        return
    for text in E2B_SANDBOX.version_warnings():
        report(warning(text))
    accepted = None
    for position, key in enumerate(settings.e2b_api_keys, start=1):
        client = E2B(
            api_key=key, domain=settings.e2b_domain, request_timeout=REQUEST_SECONDS, retries=1
        ).AsyncSandbox
        finding, running = await _check_key(client, "E2B_API_KEY_NEXT" if position > 1 else "")
        report(finding)
        if running is not None and accepted is None:
            accepted = (client, running)
    if accepted is None:
        return
    client, running = accepted
    report(_check_concurrency(settings, running))
    await _check_template(client, settings, report)


async def _check_key(
    client: type[AsyncSandbox], name: str
) -> tuple[Finding, list[SandboxInfo] | None]:
    """Return the finding about a key, and the sandboxes of its team when E2B accepts it."""
    try:
        async with asyncio.timeout(STAGE_SECONDS):
            running = [info async for info in _all_sandboxes(client)]
    except AuthenticationException as error:
        if not name:
            return _failed(error), None
        return problem(f"E2B does not accept {name}", f"Set it to a key from {KEYS_PAGE}."), None
    except E2B_ERRORS as error:
        return _failed(error), None
    return ok(f"E2B accepts {name or 'the key'}"), running


async def _all_sandboxes(client: type[AsyncSandbox]) -> AsyncIterator[SandboxInfo]:
    pages = client.list()
    for _ in range(PAGES_READ):
        for info in await pages.next_items():
            yield info
        if not pages.has_next:
            return


def _check_concurrency(settings: Settings, running: list[SandboxInfo]) -> Finding:
    name = _deployment(settings)
    ours = [info for info in running if name and info.metadata.get("deployment") == name]
    concurrency = settings.max_concurrent_tasks or E2B_SANDBOX.default_concurrency
    summary = (
        f"{len(running)} sandboxes are running in the account, {len(ours)} of them for this "
        f"deployment; "
        f"it runs up to {concurrency} tasks at once"
    )
    if concurrency <= E2B_PLAN_SANDBOXES:
        return ok(summary)
    advice = (
        f"E2B's smallest plan allows {E2B_PLAN_SANDBOXES} sandboxes. If yours does not allow more, "
        "lower MAX_CONCURRENT_TASKS."
    )
    return warning(summary, advice)


def _deployment(settings: Settings) -> str | None:
    """Return the deployment's name; None when the server has not created one yet."""
    path = settings.data_dir / FILE_NAME
    return settings.deployment or (path.read_text().strip() if path.exists() else None)


async def _check_template(client: type[AsyncSandbox], settings: Settings, report: Report) -> None:
    template = settings.e2b_template_id
    try:
        async with asyncio.timeout(STAGE_SECONDS):
            sandbox = await _create(client, template)
    except E2B_ERRORS as error:
        report(_not_started(template, error))
        return
    report(ok(f"the template {template} starts"))
    try:
        async with asyncio.timeout(STAGE_SECONDS):
            await _check_sandbox(sandbox, settings, report)
    except E2B_ERRORS as error:
        report(_failed(error))
    finally:
        report(await _end(sandbox))


async def _create(client: type[AsyncSandbox], template: str) -> AsyncSandbox:
    creation = asyncio.create_task(
        client.create(
            template,
            timeout=PROBE_SECONDS,
            metadata=METADATA,
            lifecycle={"on_timeout": "kill"},
        )
    )
    try:
        return await asyncio.shield(creation)
    except asyncio.CancelledError:
        # E2B makes it all the same, and it would run until its end.
        with contextlib.suppress(*E2B_ERRORS):
            await (await creation).kill()
        raise


async def _check_sandbox(sandbox: AsyncSandbox, settings: Settings, report: Report) -> None:
    info = await sandbox.get_info()
    versions = await sandbox.commands.run(
        versions_command(TEMPLATE_PROGRAMS), timeout=STAGE_SECONDS
    )
    different = [
        *compare_envd(info.envd_version),
        *compare_programs(TEMPLATE_PROGRAMS, versions.stdout),
    ]
    for item in different:
        report(Finding(item.level, item.text, "Run ./run.sh build-template"))
    if not different:
        report(ok(f"the template has all {len(TEMPLATE_PROGRAMS)} programs, in tested versions"))
    for host in hosts_to_try(settings):
        report(await _check_reach(sandbox, host))
    if uses_egress(settings):
        report(await _check_egress(sandbox))
    report(await _check_lifetime(sandbox, settings))
    await sandbox.set_timeout(PROBE_SECONDS)


async def _check_reach(sandbox: AsyncSandbox, host: str) -> Finding:
    url = shlex.quote(f"https://{host}/")
    command = f"curl --silent --output /dev/null --max-time {REACH_SECONDS} {url} && echo reached"
    result = await sandbox.commands.run(f"{command} || true", timeout=2 * REACH_SECONDS)
    if "reached" in result.stdout:
        return ok(f"the sandbox reaches {host}")
    return warning(
        f"the sandbox does not reach {host}",
        "Tasks clone from inside the sandbox, so they cannot use this host.",
    )


async def _check_egress(sandbox: AsyncSandbox) -> Finding:
    rules = egress_rules([EgressHeader(EXAMPLE_HOST, "x-async-code-doctor", "none")])
    try:
        await sandbox.update_network({"rules": rules})
    except SandboxException as error:
        return problem(
            f"SECRETS_MODE=egress does not work: E2B refuses network rules ({_first_line(error)})",
            "The plan of the account may not have them. Set SECRETS_MODE=environment, or ask E2B "
            "for network transform rules.",
        )
    return ok("E2B takes the network rules of SECRETS_MODE=egress")


async def _check_lifetime(sandbox: AsyncSandbox, settings: Settings) -> Finding:
    seconds = math.ceil(lifetime_seconds(settings))
    try:
        lives = await _life_seconds(sandbox, seconds)
        if lives >= seconds - CLOCK_SECONDS:
            return ok(f"sandboxes may run for {seconds} s, which a task may take")
        renewed = await _can_be_renewed(sandbox, lives)
    except SandboxException as error:
        summary = f"sandboxes may not run for {seconds} s, which a task may take: {error}"
        return warning(summary, TOO_SHORT)
    summary = (
        f"the plan lets a sandbox run for {round(lives)} s in one piece, and a task may take "
        f"{seconds} s"
    )
    if renewed:
        return ok(f"{summary}; a sandbox that is paused and resumed may run that long again")
    return warning(summary, TOO_SHORT)


async def _life_seconds(sandbox: AsyncSandbox, seconds: int) -> float:
    """Ask for a life of `seconds` and return the one that E2B grants, which may be shorter."""
    await sandbox.set_timeout(seconds)
    info = await sandbox.get_info()
    return (info.end_at - info.started_at).total_seconds()


async def _can_be_renewed(sandbox: AsyncSandbox, lives: float) -> bool:
    before = await sandbox.get_info()
    await sandbox.pause(strict=True, request_timeout=PAUSE_SECONDS)
    await sandbox.connect(timeout=PROBE_SECONDS)
    await sandbox.set_timeout(math.ceil(lives))
    after = await sandbox.get_info()
    is_later = (after.end_at - before.end_at).total_seconds() > JITTER_SECONDS
    return is_later or after.started_at > before.started_at


async def _end(sandbox: AsyncSandbox) -> Finding:
    try:
        async with asyncio.timeout(STAGE_SECONDS):
            await sandbox.kill()
    except E2B_ERRORS as error:
        summary, _ = explain_e2b(error)
        return warning(
            f"the test sandbox could not be stopped: {summary}",
            f"It stops by itself within {PROBE_SECONDS} seconds.",
        )
    return ok("the test sandbox has been stopped")


def _not_started(template: str, error: Exception) -> Finding:
    if isinstance(error, RateLimitException):
        summary, advice = explain_e2b(error)
        return warning(f"the template could not be tested: {summary}", f"{advice}.")
    if isinstance(error, SandboxException) and error.status_code == NOT_FOUND:
        return problem(
            f"the account has no template {template}",
            "Run ./run.sh build-template and set E2B_TEMPLATE_ID to the id it prints.",
        )
    return _failed(error)


def _failed(error: Exception) -> Finding:
    summary, advice = explain_e2b(error)
    return problem(summary, f"{advice}.")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
