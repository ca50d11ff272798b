"""Defines the agent `scripted`: a script that makes the same changes each time, without an AI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from utils.agents.json_lines import tool_end
from utils.agents.spec import AgentRequest, AgentSpec, LineReader
from utils.errors import AgentError
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

SUMMARY_PREFIX = "result: "

_SCRIPT = Path(__file__).with_name("scripted.sh")
_SCRIPT_TEXT = _SCRIPT.read_bytes()

_MESSAGE = "message: "
_TOOL = re.compile(r"tool: (\d{1,9}) (\w{1,40}) (.*)")
_USAGE = re.compile(r"usage: (\d{1,12}) (\d{1,12}) (\d{1,6}(?:\.\d{1,6})?)")
_TOOL_END = re.compile(r"tool-end: (\d{1,9}) (\w{1,40}) (\d{1,3}) (.*)")


class ScriptedReader(LineReader):
    """Reads the lines that `scripted.sh` describes."""

    def __init__(self) -> None:
        self.summary: str | None = None
        self.finished = False
        self.details: Json = {}

    def read_line(self, stream: str, line: str) -> Iterator[tuple[str, Json]]:
        """See `StreamReader`."""
        text = line.removesuffix("\n")
        if stream != "stdout":
            yield "output", {"stream": stream, "text": line}
        elif line.startswith(SUMMARY_PREFIX):
            self.summary = line.removeprefix(SUMMARY_PREFIX).rstrip("\n")
            yield "result", {"text": self.summary}
        elif text.startswith(_MESSAGE):
            yield "message", {"text": _unescaped(text.removeprefix(_MESSAGE))}
        elif reported := _USAGE.fullmatch(text):
            usage = {"input_tokens": int(reported[1]), "output_tokens": int(reported[2])}
            self.details |= {"usage": usage, "cost_usd": float(reported[3])}
            yield "usage", {**usage, "cost_usd": float(reported[3])}
        elif call := _TOOL.fullmatch(text):
            yield "tool", {"name": call[2], "id": call[1], "input": _unescaped(call[3])}
        elif call := _TOOL_END.fullmatch(text):
            code = int(call[3])
            end = tool_end(call[2], call[1], _unescaped(call[4]), failed=code != 0)
            yield "tool", {**end, "exit_code": code} if call[2] == "Bash" else end
        else:
            yield "output", {"stream": stream, "text": line}

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """See `StreamReader`."""
        if not exit_code:
            return None
        detail = f": {last_error_line}" if last_error_line else ""
        return AgentError(f"The agent ended with exit code {exit_code}{detail}")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)


def scripted_agent(*, runs_scripts: bool, step_seconds: float = 0.0) -> AgentSpec:
    """Return the agent as a deployment has it.

    With `runs_scripts` it carries out prompts that begin with `script:` (ENABLE_SCRIPTED_PROMPTS);
    otherwise it takes every prompt as plain text. After each step it waits `step_seconds`.
    """

    def command(paths: SandboxPaths, request: AgentRequest) -> list[str]:
        script, prompt = f"{paths.work}/{_SCRIPT.name}", f"{paths.work}/prompt"
        options = ["plan"] if request.only_plans else ["scripts"] if runs_scripts else []
        return ["sh", script, prompt, request.name, f"{step_seconds:g}", *options]

    return AgentSpec(
        name="scripted",
        command=command,
        reader=ScriptedReader,
        files={_SCRIPT.name: _SCRIPT_TEXT},
        simulated=True,
    )


SCRIPTED = scripted_agent(runs_scripts=False)
"""The record of the agent, as the registry lists it."""
