"""Prints and exits as `codex exec --json` does."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tests.fakes.agents.stand_in import RETRY_SECONDS, StandIn, emit, stop

VERSION = "codex-cli 0.171.0"
THREAD = "0199a213-81c0-7800-8aa1-bbab2a035a53"
RETRIES = 5
USAGE = {
    "input_tokens": 200,
    "cached_input_tokens": 50,
    "output_tokens": 40,
    "reasoning_output_tokens": 8,
}
UNAUTHORIZED = "unexpected status 401 Unauthorized: {}, url: https://api.openai.com/v1/responses"


class CodexStandIn(StandIn):
    """One run of `codex exec`."""

    def __init__(self) -> None:
        super().__init__()
        self._items = 0
        emit({"type": "thread.started", "thread_id": THREAD})
        emit({"type": "turn.started"})

    def say(self, text: str) -> None:
        """See `StandIn`."""
        self._item("completed", {"type": "agent_message", "text": text})

    def call(self, tool: str, command: str, work: Callable[[], str]) -> None:
        """See `StandIn`."""
        self.calls += 1
        output: dict[str, Any] = {}
        if tool == "write":
            path = str(Path.cwd() / command.partition(" ")[0])
            item = {"type": "file_change", "changes": [{"path": path, "kind": "add"}]}
        else:
            item = {"type": "command_execution", "command": f"/bin/bash -lc '{command}'"}
            output = {"aggregated_output": "", "exit_code": None}
        self._item("started", {**item, **output, "status": "in_progress"})
        self._items -= 1
        printed = "" if self.denied else work()
        if output:
            output = {"aggregated_output": printed, "exit_code": -1 if self.denied else 0}
        status = "failed" if self.denied else "completed"
        self._item("completed", {**item, **output, "status": status})

    def retry(self, reason: str, status: int, tries: int) -> None:
        """See `StandIn`."""
        message = f"Reconnecting... {tries}/{RETRIES} ({reason}, status {status})"
        emit({"type": "error", "message": message})
        time.sleep(RETRY_SECONDS)

    def fail(self, message: str, status: int) -> NoReturn:
        """See `StandIn`."""
        if status == 401:
            message = UNAUTHORIZED.format(message.removeprefix("API Error: 401 "))
        if status == 529:
            message = "We\u2019re currently experiencing high demand."
        if status != 400:
            for tries in range(RETRIES):
                self.retry(message, status, tries + 1)
        emit({"type": "error", "message": message})
        emit({"type": "turn.failed", "error": {"message": message}})
        raise SystemExit(1)

    def finish(self, text: str) -> None:
        """See `StandIn`."""
        self.say(text)
        emit({"type": "turn.completed", "usage": USAGE})

    def _item(self, phase: str, item: dict[str, Any]) -> None:
        emit({"type": f"item.{phase}", "item": {"id": f"item_{self._items}", **item}})
        self._items += 1


def main() -> None:
    """Run the program."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
        return
    arguments = _arguments()
    if not arguments.skip_git_repo_check and not _in_repository():
        stop("Not inside a trusted directory and --skip-git-repo-check was not specified.")
    sys.stderr.write("Reading prompt from stdin...\n")
    prompt = sys.stdin.buffer.read().decode(errors="replace")
    if not prompt.strip():
        stop("No prompt provided via stdin.")
    run = CodexStandIn()
    key = os.environ.get("CODEX_API_KEY", "")
    if not key and not Path(os.environ["HOME"], ".codex", "auth.json").exists():
        run.fail("Missing bearer or basic authentication in header", 401)
    if key.startswith("bad"):
        run.fail("Incorrect API key provided", 401)
    run.denied = not arguments.bypass
    run.carry_out(prompt)


def _in_repository() -> bool:
    command = ["git", "rev-parse", "--git-dir"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="codex", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("command", choices=["exec"])
    parser.add_argument("--json", action="store_true", required=True)
    parser.add_argument(
        "--dangerously-bypass-approvals-and-sandbox", action="store_true", dest="bypass"
    )
    parser.add_argument("--skip-git-repo-check", action="store_true")
    parser.add_argument("-m", "--model")
    parser.add_argument("prompt", choices=["-"])
    arguments, unknown = parser.parse_known_args()
    if unknown:
        stop(f"error: unexpected argument '{unknown[0]}' found", 2)
    return arguments
