"""Prints and exits as `claude -p --output-format stream-json --verbose` does."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from tests.fakes.agents.stand_in import RETRY_SECONDS, StandIn, emit, stop

VERSION = "2.1.332 (Claude Code)"
SESSION = "5f4c1c1e-0000-4000-8000-000000000001"
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
TOOLS = {"write": "Write", "shell": "Bash"}
USAGE = {
    "input_tokens": 120,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 50,
    "output_tokens": 40,
    "server_tool_use": {"web_search_requests": 0},
}
COST_USD = 0.0123


class ClaudeStandIn(StandIn):
    """One run of `claude`."""

    def __init__(self, model: str, *, bypass: bool) -> None:
        super().__init__()
        self._model = model
        self._denials: list[dict[str, Any]] = []
        self.denied = not bypass
        emit(
            {
                "type": "system",
                "subtype": "init",
                "cwd": str(Path.cwd()),
                "session_id": SESSION,
                "tools": ["Bash", "Edit", "Read", "Write"],
                "mcp_servers": [],
                "model": model,
                "permissionMode": "bypassPermissions" if bypass else "default",
                "apiKeySource": "ANTHROPIC_API_KEY",
                "claude_code_version": VERSION.split(maxsplit=1)[0],
            }
        )

    def say(self, text: str) -> None:
        """See `StandIn`."""
        self._assistant({"type": "text", "text": text})

    def call(self, tool: str, command: str, work: Callable[[], str]) -> None:
        """See `StandIn`."""
        self.calls += 1
        call, name = f"toolu_{self.calls:04}", TOOLS[tool]
        path, _, content = command.partition(" ")
        arguments = (
            {"file_path": str(Path.cwd() / path), "content": content}
            if tool == "write"
            else {"command": command, "description": "Run a command"}
        )
        self._assistant({"type": "tool_use", "id": call, "name": name, "input": arguments})
        result: dict[str, Any] = {"tool_use_id": call, "type": "tool_result"}
        if self.denied:
            denial = {"tool_name": name, "tool_use_id": call, "tool_input": arguments}
            self._denials.append(denial)
            text = f"Claude requested permissions to use {name}, but you haven't granted it yet."
            denial = {"tool_name": name, "tool_use_id": call, "message": text}
            emit(
                {"type": "system", "subtype": "permission_denied", **denial, "session_id": SESSION}
            )
            result |= {"content": text, "is_error": True}
        else:
            result |= {"content": work(), "is_error": False}
        emit(
            {
                "type": "user",
                "message": {"role": "user", "content": [result]},
                "parent_tool_use_id": None,
                "session_id": SESSION,
            }
        )

    def retry(self, reason: str, status: int, tries: int) -> None:
        """See `StandIn`."""
        emit(
            {
                "type": "system",
                "subtype": "api_retry",
                "attempt": tries,
                "max_retries": _max_retries(),
                "retry_delay_ms": 512.3,
                "error_status": status,
                "error": reason,
                "session_id": SESSION,
            }
        )
        time.sleep(RETRY_SECONDS)

    def fail(self, message: str, status: int) -> NoReturn:
        """See `StandIn`."""
        reason = "authentication_failed" if status == 401 else "server_error"
        if status != 400:
            for tries in range(_max_retries()):
                self.retry(reason, status, tries + 1)
        self.refuse(message, reason, status)

    def refuse(self, message: str, reason: str, status: int | None) -> NoReturn:
        """Print an error that is not tried again, and exit."""
        self._assistant({"type": "text", "text": message}, model="<synthetic>", error=reason)
        self._result(message, is_error=True, api_error_status=status)
        raise SystemExit(1)

    def finish(self, text: str) -> None:
        """See `StandIn`."""
        self.say(text)
        self._result(text, is_error=False, api_error_status=None)

    def _assistant(self, block: dict[str, Any], model: str = "", error: str = "") -> None:
        message = {
            "id": "msg_0001",
            "type": "message",
            "role": "assistant",
            "model": model or self._model,
            "content": [block],
            "stop_reason": None,
            "usage": USAGE,
        }
        entry = {"type": "assistant", "message": message, "parent_tool_use_id": None}
        emit({**entry, "session_id": SESSION, **({"error": error} if error else {})})

    def _result(self, text: str, *, is_error: bool, api_error_status: int | None) -> None:
        # In this version the type is no longer the first key of this line.
        emit(
            {
                "duration_ms": 1234,
                "duration_api_ms": 1000,
                "is_error": is_error,
                "api_error_status": api_error_status,
                "num_turns": self.calls + 1,
                "result": text,
                "session_id": SESSION,
                "total_cost_usd": COST_USD,
                "usage": USAGE,
                "modelUsage": {self._model: {"inputTokens": 120, "costUSD": COST_USD}},
                "permission_denials": self._denials,
                "type": "result",
                "subtype": "success",
            }
        )


def main() -> None:
    """Run the program."""
    arguments = _arguments()
    if arguments.version:
        sys.stdout.write(f"{VERSION}\n")
        return
    if arguments.output_format == "stream-json" and not arguments.verbose:
        stop("Error: When using --print, --output-format=stream-json requires --verbose")
    if arguments.resume not in {None, SESSION}:
        stop(f"No conversation found with session ID: {arguments.resume}")
    bypass = arguments.permission_mode == "bypassPermissions"
    if bypass and os.geteuid() == 0 and os.environ.get("IS_SANDBOX") != "1":
        stop(
            "--dangerously-skip-permissions cannot be used with root/sudo privileges for security "
            "reasons"
        )
    prompt = sys.stdin.buffer.read().decode(errors="replace")
    if not prompt.strip():
        stop("Error: Input must be provided either through stdin or as a prompt argument")
    run = ClaudeStandIn(arguments.model, bypass=bypass)
    keys = [os.environ[name] for name in KEYS if os.environ.get(name)]
    if not keys and not Path(os.environ["HOME"], ".claude", ".credentials.json").exists():
        run.refuse("Not logged in · Please run /login", "authentication_failed", None)
    if keys and keys[0].startswith("bad"):
        run.fail("API Error: 401 invalid x-api-key", 401)
    run.carry_out(prompt)


def _max_retries() -> int:
    return int(os.environ.get("CLAUDE_CODE_MAX_RETRIES", "10"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="claude", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("-p", "--print", action="store_true", required="--version" not in sys.argv)
    parser.add_argument("--output-format", default="text")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--permission-mode", default="default")
    parser.add_argument("--setting-sources", default="user,project,local")
    parser.add_argument("--model", default="claude-sonnet-4-5")
    parser.add_argument("--resume")
    parser.add_argument("--version", action="store_true")
    arguments, unknown = parser.parse_known_args()
    if unknown:
        stop(f"error: unknown option '{unknown[0]}'")
    return arguments
