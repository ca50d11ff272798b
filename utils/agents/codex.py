"""Defines the agent `codex`: the program Codex, its access, and the reader of its lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from utils.agents.failures import (
    NOT_EXECUTABLE,
    NOT_FOUND,
    ending_of,
    failed,
    is_signal,
    not_installed,
)
from utils.agents.json_lines import (
    Events,
    JsonLineReader,
    child,
    children,
    integer,
    number,
    readable,
    text,
    tool_end,
)
from utils.agents.logins import LoginFormat
from utils.agents.mcp_servers import toml_file
from utils.agents.spec import WAITING, AgentRequest, AgentSpec, KeyVariable, Program
from utils.errors import AgentError
from utils.models.environments import McpServer
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

CODEX_CLI = Program(
    title="Codex",
    command="codex",
    provider="OpenAI",
    package="@openai/codex",
    version="0.171.0",
    build_argument="CODEX_VERSION",
    key_setting="openai_api_key",
    models_setting="codex_models",
    keys=(
        KeyVariable("CODEX_API_KEY", "Authorization", "Bearer "),
        KeyVariable("OPENAI_API_KEY", "Authorization", "Bearer "),
    ),
    # `codex exec` sends no key at all with only OPENAI_API_KEY.
    server_key="CODEX_API_KEY",
    key_defaults={"CODEX_API_KEY": "OPENAI_API_KEY"},
    other_access=(),
    host="api.openai.com",
    login_hosts=("chatgpt.com", "auth.openai.com"),
    # Not every version uses it; the key is safe with those that do.
    endpoint_variable="OPENAI_BASE_URL",
    own_prefixes=("OPENAI", "CODEX"),
    harmless=frozenset(),
    environment={},
    # Older clients wrote `codexCLI`.
    sections=("codex", "codexCLI"),
    login_file=".codex/auth.json",
    login_command="codex login",
    login_format=LoginFormat(
        tokens=("tokens.access_token", "tokens.refresh_token", "tokens.id_token"),
        times=("last_refresh",),
        identity=("tokens.account_id", "OPENAI_API_KEY"),
    ),
)

_CONFIGURATION = ".codex/config.toml"

_ENDINGS = frozenset({"turn.completed", "turn.failed", "error"})

_RETRY = re.compile(r"\s*(?:Reconnecting|Retrying)\b")


class CodexReader(JsonLineReader):
    """Reads the lines of `codex exec --json`; a turn's end is the last one.

    A started item is reported with its input only, a completed one with its output. The program
    does not report a cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._completed = False
        self._started: set[str] = set()
        self._last_message = ""
        self._last_error = ""

    def _read(self, entry: Json) -> Events | None:
        kind = text(entry.get("type"))
        if kind.startswith("item."):
            return self._read_item(kind.removeprefix("item."), child(entry, "item"))
        if kind == "thread.started":
            if thread := text(entry.get("thread_id")):
                self.details["agent_session_id"] = thread
            return [("status", {"text": "session started"})]
        return self._read_turn(kind, entry)

    def _is_result(self, entry: Json) -> bool:
        # The last message of the agent is its summary.
        is_message = child(entry, "item").get("type") == "agent_message"
        return text(entry.get("type")) in _ENDINGS or is_message

    def _read_turn(self, kind: str, entry: Json) -> Events | None:
        if kind == "turn.started":
            return []
        if kind == "turn.completed":
            return self._complete(child(entry, "usage"))
        if kind == "turn.failed":
            self.finished, self._completed, self.summary = True, False, None
            return self._read_error(text(child(entry, "error").get("message")))
        return self._read_error(text(entry.get("message"))) if kind == "error" else None

    def _complete(self, usage: Json) -> Events:
        self.finished = self._completed = True
        self.summary = self._last_message or None
        names = ("input_tokens", "cached_input_tokens", "output_tokens")
        self.details["usage"] = {name: number(usage.get(name)) for name in names}
        events: Events = [("usage", dict(self.details["usage"]))]
        if self.summary:
            events.append(("result", {"text": self.summary}))
        return events

    def _read_error(self, message: str) -> Events:
        if _RETRY.match(message):
            return [("status", {"text": message, **WAITING})]
        repeated = message == self._last_error
        self._last_error = message or self._last_error
        return [] if repeated else [("error", {"code": "agent_error", "message": message})]

    def _read_item(self, phase: str, item: Json) -> Events | None:
        kind = text(item.get("type"))
        if phase not in {"started", "updated", "completed"}:
            return None
        if kind in _TOOLS:
            return self._read_tool(kind, phase, item)
        if kind not in {"agent_message", "reasoning", "plan", "todo_list", "error"}:
            return None
        # A growing text is reported once, when it is complete; a to-do list after every change.
        return [self._read_text(kind, item)] if phase == "completed" or kind == "todo_list" else []

    def _read_text(self, kind: str, item: Json) -> tuple[str, Json]:
        if kind == "error":  # not fatal: the turn continues
            return "error", {"code": "agent_error", "message": text(item.get("message"))}
        content = _todo(item) if kind == "todo_list" else text(item.get("text"))
        if kind != "agent_message":
            return "status", {"text": content}
        self._last_message = content
        return "message", {"text": content}

    def _read_tool(self, kind: str, phase: str, item: Json) -> Events:
        call = text(item.get("id"))
        name, arguments, output = _TOOLS[kind](item)
        if phase == "updated":
            return []
        if phase == "started":
            self._started.add(call)
            return [("tool", {"name": name, "id": call, "input": arguments})]
        data = tool_end(name, call, output, failed=item.get("status") in ("failed", "declined"))
        if call not in self._started:
            data["input"] = arguments
        self._started.discard(call)
        if (exit_code := integer(item.get("exit_code"))) is not None:
            data["exit_code"] = exit_code
        return [("tool", data)]

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """See `StreamReader`."""
        if self._completed and not is_signal(exit_code):
            return None
        if exit_code in {NOT_EXECUTABLE, NOT_FOUND} and not (self.finished or self.details):
            return not_installed(CODEX_CLI)
        ending = "failed" if self.finished and not self._completed else ending_of(exit_code)
        message = last_error_line or self._last_text
        reason = message if self._completed else self._last_error or message
        return failed(CODEX_CLI, reason, ending)


def _command_execution(item: Json) -> tuple[str, str, str]:
    return "command_execution", text(item.get("command")), text(item.get("aggregated_output"))


def _file_change(item: Json) -> tuple[str, str, str]:
    changes = children(item, "changes")
    lines = [f"{text(one.get('kind'))} {text(one.get('path'))}" for one in changes]
    return "file_change", "\n".join(lines), text(item.get("status"))


def _mcp_tool_call(item: Json) -> tuple[str, str, str]:
    name = f"{text(item.get('server'))}.{text(item.get('tool'))}"
    output = readable(item.get("error") or child(item, "result").get("content"))
    return name, readable(item.get("arguments")), output


def _web_search(item: Json) -> tuple[str, str, str]:
    return "web_search", text(item.get("query")), ""


def _collab_tool_call(item: Json) -> tuple[str, str, str]:
    """Return a call that starts, asks or ends subagents; their words are its output."""
    states = child(item, "agents_states")
    lines = [f"{name}: {readable(child(states, name))}" for name in states]
    return f"collab.{text(item.get('tool'))}", text(item.get("prompt")), "\n".join(lines)


_TOOLS = {
    "collab_tool_call": _collab_tool_call,
    "command_execution": _command_execution,
    "file_change": _file_change,
    "mcp_tool_call": _mcp_tool_call,
    "web_search": _web_search,
}


def _todo(item: Json) -> str:
    entries = children(item, "items")
    return "\n".join(
        f"[{'x' if one.get('completed') is True else ' '}] {text(one.get('text'))}"
        for one in entries
    )


_ALL_RIGHTS = ("--dangerously-bypass-approvals-and-sandbox",)
_NO_CHANGES = ("--sandbox", "read-only", "-c", 'approval_policy="never"')


def _command(_paths: SandboxPaths, request: AgentRequest) -> list[str]:
    return [
        CODEX_CLI.command,
        "exec",
        "--json",
        *(_NO_CHANGES if request.only_plans else _ALL_RIGHTS),
        "--skip-git-repo-check",
        *request.model_arguments("-m"),
        *(("resume", request.session) if request.session else ()),
        "-",
    ]


def _mcp_files(paths: SandboxPaths, servers: Sequence[McpServer]) -> Mapping[str, bytes]:
    return {f"{paths.home}/{_CONFIGURATION}": toml_file(servers)}


CODEX = AgentSpec(
    name="codex",
    command=_command,
    reader=CodexReader,
    program=CODEX_CLI,
    mcp_files=_mcp_files,
    prompt_on_stdin=True,
)
