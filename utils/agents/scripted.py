"""The scripted agent: stands in for an AI and changes files deterministically, without a model."""

from __future__ import annotations

from pathlib import Path

from utils.agents.base import Agent
from utils.models import Json
from utils.sandbox import SandboxPaths

SUMMARY_PREFIX = "result: "

_SCRIPT = Path(__file__).with_name("scripted.sh")


class ScriptedReader:
    """Reads plain lines; one that starts with `result: ` is the summary."""

    def __init__(self) -> None:
        self.summary: str | None = None

    def read_line(self, stream: str, line: str) -> tuple[str, Json]:
        """See `StreamReader`."""
        if stream == "stdout" and line.startswith(SUMMARY_PREFIX):
            self.summary = line.removeprefix(SUMMARY_PREFIX).rstrip("\n")
            return "result", {"text": self.summary}
        return "output", {"stream": stream, "text": line}


def _command(paths: SandboxPaths, requested_name: str) -> list[str]:
    return ["sh", f"{paths.work}/{_SCRIPT.name}", f"{paths.work}/prompt", requested_name]


SCRIPTED = Agent(
    name="scripted",
    command=_command,
    reader=ScriptedReader,
    files={_SCRIPT.name: _SCRIPT.read_bytes()},
    simulated=True,
)
