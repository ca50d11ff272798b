"""Runs the user's check command in the sandbox, after the changes are captured.

It runs in a copy of the repository: nothing that it leaves there becomes a part of the changes,
also when they are captured again. It has the environment of the agent, and no other secret.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from utils.errors import SandboxError
from utils.models.runs import CheckResult, CommandResult
from utils.pipeline.script_text import script
from utils.sandboxes.protocol import Sandbox

OUTPUT_KILOBYTES = 10_000
"""Output that is kept in the sandbox; what follows is dropped."""

TAIL_BYTES = 16_000
"""Output that is read from the sandbox."""

SHOWN_CHARACTERS = 4_000
"""Output that is stored. It is cut when secrets are removed, so that no part of one is left."""

TAIL_SECONDS = 10.0

STARTED = b"started"
"""Printed by the script once the repository is copied."""

INTERRUPTED = CheckResult(None, "The check was ended because the task was stopped.", 0.0)


async def run_check(
    sandbox: Sandbox,
    command: str,
    environment: Mapping[str, str],
    timeout_seconds: float,
    redact: Callable[[str], str],
) -> CheckResult:
    """Run a command as `bash -lc` does, and return its result; a failure is a result as well."""
    started = time.monotonic()
    folder = f"{sandbox.paths.work}/check"
    output = ""
    try:
        result = await sandbox.run_repeatable(
            [
                *("bash", "-c", script("check.sh"), "check.sh"),
                *(sandbox.paths.repository, folder, str(OUTPUT_KILOBYTES), command),
            ],
            timeout_seconds=timeout_seconds,
            environment=environment,
            untrusted=True,
        )
        if STARTED in result.stdout or result.timed_out:
            output = await last_lines(sandbox, f"{folder}/output")
        reason = _reason(result, timeout_seconds)
    except SandboxError as error:
        result, reason = None, f"The check could not run: {error.message}"
    text = redact("\n".join(part for part in (output, reason) if part))[-SHOWN_CHARACTERS:]
    exit_code = None if result is None or reason else result.exit_code
    return CheckResult(exit_code, text, round(time.monotonic() - started, 4))


def _reason(result: CommandResult, timeout_seconds: float) -> str:
    """Return why the check did not end by itself, an empty text when it did."""
    if result.timed_out:
        return (
            f"The check took longer than {timeout_seconds:g} seconds (CHECK_TIMEOUT_SECONDS) and "
            "was ended."
        )
    if STARTED not in result.stdout:
        text = result.stderr.decode(errors="replace").strip()
        return f"The check could not run: the repository could not be copied. {text}".rstrip()
    return ""


async def last_lines(sandbox: Sandbox, path: str) -> str:
    """Return the last lines of a file of output, an empty text without it."""
    tail = ("tail", "-c", str(TAIL_BYTES), "--", path)
    result = await sandbox.run(tail, timeout_seconds=TAIL_SECONDS)
    text = result.stdout.decode(errors="replace")
    # The first line may lack its beginning.
    return (text if len(result.stdout) < TAIL_BYTES else text.partition("\n")[2] or text).rstrip()
