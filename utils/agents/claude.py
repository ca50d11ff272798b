"""The agent program `claude`: its arguments, and what its lines mean."""

from __future__ import annotations

from collections.abc import Iterator

from utils.agents.access import claude_access
from utils.agents.base import Agent, AgentRequest
from utils.agents.json_lines import parse_object, text
from utils.agents.model_names import model_arguments
from utils.errors import AgentError
from utils.models import Json
from utils.sandbox import SandboxPaths


class ClaudeReader:
    """Reads the JSON lines of `claude`."""

    def __init__(self) -> None:
        self.summary: str | None = None
        self.finished = False
        self.details: Json = {}

    def read_line(self, stream: str, line: str) -> Iterator[tuple[str, Json]]:
        """See `StreamReader`."""
        entry = parse_object(line) or {}
        if entry.get("type") in ("result", "turn.completed", "turn.failed"):
            self.finished = True
            self.summary = text(entry.get("result")) or None
        yield "output", {"stream": stream, "text": line}

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """See `StreamReader`."""
        if not exit_code and self.finished:
            return None
        detail = f": {last_error_line}" if last_error_line else ""
        return AgentError(f"The agent ended with exit code {exit_code}{detail}")


def _command(_paths: SandboxPaths, request: AgentRequest) -> list[str]:
    return [
        "claude",
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--permission-mode",
        "bypassPermissions",
        *model_arguments("--model", request.model),
    ]


CLAUDE = Agent(
    name="claude",
    command=_command,
    reader=ClaudeReader,
    access=claude_access,
    prompt_on_stdin=True,
)
