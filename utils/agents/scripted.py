"""Defines the agent `scripted`: a script that makes the same changes each time, without an AI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from utils.agents.spec import AgentRequest, AgentSpec, LineReader
from utils.errors import AgentError
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

SUMMARY_PREFIX = "result: "

_SCRIPT = Path(__file__).with_name("scripted.sh")


class ScriptedReader(LineReader):
    """Reads plain lines; one that starts with `result: ` is the summary."""

    def __init__(self) -> None:
        self.summary: str | None = None
        self.finished = False
        self.details: Json = {}

    def read_line(self, stream: str, line: str) -> Iterator[tuple[str, Json]]:
        """See `StreamReader`."""
        if stream == "stdout" and line.startswith(SUMMARY_PREFIX):
            self.summary = line.removeprefix(SUMMARY_PREFIX).rstrip("\n")
            yield "result", {"text": self.summary}
        else:
            yield "output", {"stream": stream, "text": line}

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """See `StreamReader`."""
        if not exit_code:
            return None
        detail = f": {last_error_line}" if last_error_line else ""
        return AgentError(f"The agent ended with exit code {exit_code}{detail}")


def _command(paths: SandboxPaths, request: AgentRequest) -> list[str]:
    return ["sh", f"{paths.work}/{_SCRIPT.name}", f"{paths.work}/prompt", request.name]


def _script_command(paths: SandboxPaths, request: AgentRequest) -> list[str]:
    return [*_command(paths, request), "scripts"]


SCRIPTED = AgentSpec(
    name="scripted",
    command=_command,
    reader=ScriptedReader,
    files={_SCRIPT.name: _SCRIPT.read_bytes()},
    simulated=True,
)
"""Takes every prompt as plain text."""

SCRIPTED_PROMPTS = replace(SCRIPTED, command=_script_command)
"""Also carries out prompts that begin with `script:` (ENABLE_SCRIPTED_PROMPTS)."""
