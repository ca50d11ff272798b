"""Defines the agent `claude`: the program Claude Code, its access, and the reader of its lines."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from utils.agents.call_usage import CallUsage
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
    amount,
    child,
    children,
    number,
    readable,
    text,
    tool_end,
)
from utils.agents.limit_notice import is_only_notice, time_of_epoch
from utils.agents.logins import LoginFormat
from utils.agents.mcp_servers import json_file
from utils.agents.spec import WAITING, AgentRequest, AgentSpec, KeyVariable, Program
from utils.errors import AgentError
from utils.models.environments import McpServer
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

CLAUDE_CODE = Program(
    title="Claude Code",
    command="claude",
    provider="Anthropic",
    package="@anthropic-ai/claude-code",
    version="2.1.332",
    build_argument="CLAUDE_CODE_VERSION",
    key_setting="anthropic_api_key",
    models_setting="claude_models",
    keys=(
        KeyVariable("ANTHROPIC_AUTH_TOKEN", "Authorization", "Bearer "),
        KeyVariable("ANTHROPIC_API_KEY", "x-api-key"),
        KeyVariable("CLAUDE_CODE_OAUTH_TOKEN", "Authorization", "Bearer "),
    ),
    server_key="ANTHROPIC_API_KEY",
    key_defaults={},
    other_access=("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"),
    host="api.anthropic.com",
    login_hosts=("console.anthropic.com", "platform.claude.com", "claude.ai"),
    endpoint_variable="ANTHROPIC_BASE_URL",
    own_prefixes=("ANTHROPIC", "CLAUDE"),
    harmless=frozenset(
        {
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",
            "CLAUDE_CODE_EFFORT_LEVEL",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
            "CLAUDE_CODE_MAX_RETRIES",
        }
    ),
    environment={
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # Without it the program refuses to skip its questions when it runs as root.
        "IS_SANDBOX": "1",
        # A refused key is retried like an overload, with pauses that double from half a second.
        # Four retries give up after about eight seconds; the default of ten takes minutes.
        "CLAUDE_CODE_MAX_RETRIES": "4",
    },
    sections=("claudeCode",),
    login_file=".claude/.credentials.json",
    login_command="claude /login",
    login_format=LoginFormat(
        tokens=("claudeAiOauth.accessToken", "claudeAiOauth.refreshToken"),
        times=("claudeAiOauth.expiresAt", "claudeAiOauth.refreshTokenExpiresAt"),
    ),
)

CHANGING_TOOLS = frozenset({"Bash", "Edit", "MultiEdit", "NotebookEdit", "Write"})
"""The tools that change files. A run is not failed because of other denied tools."""

MAX_DENIALS = 100

_MCP_FILE = "mcp.json"

_SUBTYPE = re.compile(r"[a-z_]{1,60}")

# These lines only show that the program is working.
_SILENT = frozenset({"tool_progress", "keep_alive"})
_SILENT_SYSTEM = frozenset(
    {"hook_started", "hook_progress", "status", "task_progress", "task_updated", "thinking_tokens"}
)

_TEXT_FOLLOWS = "The task:\n\n"

# Not CLAUDE.md: a template may already have one in the same home.
_RULE = ".claude/rules/repository.md"
_MEMORY = ("CLAUDE.md", ".claude/CLAUDE.md", "AGENTS.md")
_MORE_MEMORY = (
    "Before you change files in a folder of the repository, read the CLAUDE.md of that folder and "
    "the files in the repository's .claude/rules, where they exist."
)


class ClaudeReader(JsonLineReader):
    """Reads the lines of `--output-format stream-json`; the last one is a `result`.

    After a result the program continues while its background commands run: it waits for them,
    reports them to the model, and prints another result. The last result counts; the tokens of
    all results are added. `input_tokens` counts all input of the model, and
    `cached_input_tokens` the part of it that came from the cache. A failed run has no summary,
    because its text is that of the error. Events of a subagent hold the call that started it, as
    `parent_id`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._result: Json | None = None
        self._running: dict[str, str] = {}
        self._changing: set[str] = set()
        self._in_background = False
        self._limit_ends_at = ""
        self._only_plans = False
        self._calls = CallUsage()

    @property
    def unreported(self) -> Json:
        """See `StreamReader`."""
        return self._calls.total

    def _read(self, entry: Json) -> Events | None:
        kind = entry.get("type")
        if kind == "system":
            return self._read_system(entry)
        if kind == "assistant":
            return _with_parent(entry, self._read_assistant(entry)) or None
        if kind == "user":
            return _with_parent(entry, self._read_user(entry)) or None
        if kind == "result":
            return self._read_result(entry)
        if kind == "rate_limit_event":
            return self._read_limit(child(entry, "rate_limit_info"))
        return [] if text(kind) in _SILENT else None

    def _is_result(self, entry: Json) -> bool:
        return entry.get("type") == "result"

    def _read_limit(self, limit: Json) -> Events:
        if limit.get("status") != "rejected":
            return []
        self._limit_ends_at = time_of_epoch(number(limit.get("resetsAt")))
        until = f" until {self._limit_ends_at}" if self._limit_ends_at else ""
        return [("status", {"text": f"the usage limit is reached{until}", **WAITING})]

    def _read_system(self, entry: Json) -> Events | None:
        subtype = text(entry.get("subtype"))
        if subtype == "init":
            return self._begin(entry)
        if subtype == "background_tasks_changed":
            self._in_background = bool(children(entry, "tasks"))
            return []
        if subtype == "api_retry":
            attempt = f"{number(entry.get('attempt'))} of {number(entry.get('max_retries'))}"
            reason = text(entry.get("error")) or "the model did not answer"
            return [("status", {"text": f"retry {attempt}: {reason}", **WAITING})]
        if status := _system_status(subtype, entry):
            return [("status", {"text": status})]
        return [] if subtype in _SILENT_SYSTEM else None

    def _begin(self, entry: Json) -> Events:
        if self._result:
            self.finished, self.summary, self._result = False, None, None
            return [("status", {"text": "continues after a command in the background"})]
        names = (
            ("agent_session_id", "session_id"),
            ("model", "model"),
            ("agent_version", "claude_code_version"),
        )
        self.details |= {name: entry[key] for name, key in names if text(entry.get(key))}
        self._only_plans = entry.get("permissionMode") == "plan"
        return [("status", {"text": f"session started, model {text(entry.get('model'))}"})]

    def _read_assistant(self, entry: Json) -> Iterator[tuple[str, Json]]:
        message = child(entry, "message")
        self._calls.note(text(message.get("id")), _usage(child(message, "usage")))
        if failure := text(entry.get("error")):
            detail = "\n".join(text(block.get("text")) for block in children(message, "content"))
            yield "error", {"code": "agent_error", "message": detail or failure}
            return
        if content := text(message.get("content")):
            yield "message", {"text": content}
        for block in children(message, "content"):
            if block.get("type") == "tool_use":
                yield "tool", self._call(block)
            elif content := text(block.get("text")):
                yield "message", {"text": content}
            elif thought := text(block.get("thinking")):
                yield "status", {"text": thought}

    def _call(self, block: Json) -> Json:
        name, call = text(block.get("name")), text(block.get("id"))
        self._running[call] = name
        if name in CHANGING_TOOLS:
            self._changing.add(call)
        arguments = block.get("input")
        command = text(child(block, "input").get("command"))
        return {"name": name, "id": call, "input": command or readable(arguments)}

    def _read_user(self, entry: Json) -> Iterator[tuple[str, Json]]:
        for block in children(child(entry, "message"), "content"):
            if block.get("type") == "tool_result":
                call = text(block.get("tool_use_id"))
                name, failed = self._running.pop(call, ""), block.get("is_error") is True
                yield "tool", tool_end(name, call, _output(block), failed=failed)
            elif content := text(block.get("text")):
                yield "status", {"text": content}

    def _read_result(self, entry: Json) -> Events:
        self.finished, self._result = not self._in_background, entry
        self._calls.clear()
        usage = _sum(self.details.get("usage", {}), _usage(child(entry, "usage")))
        cost = amount(entry.get("total_cost_usd"))
        money = {} if cost is None else {"cost_usd": cost}
        denied = [text(one.get("tool_name")) for one in children(entry, "permission_denials")]
        self.details |= {
            "usage": usage,
            "num_turns": self.details.get("num_turns", 0) + number(entry.get("num_turns")),
            "permission_denials": denied[:MAX_DENIALS],
            **money,
        }
        if session := text(entry.get("session_id")):
            self.details["agent_session_id"] = session
        events: Events = [("usage", {**usage, **money})]
        self.summary = None if _is_failure(entry) else text(entry.get("result")) or None
        if self.summary:
            events.append(("result", {"text": self.summary}))
        return events

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """See `StreamReader`."""
        result, reason = self._result, last_error_line or self._last_text
        if result is None:
            if exit_code in {NOT_EXECUTABLE, NOT_FOUND}:
                return not_installed(CLAUDE_CODE)
            return failed(CLAUDE_CODE, reason, ending_of(exit_code), until=self._limit_ends_at)
        if _is_failure(result):
            subtype = text(result.get("subtype"))
            ending = "failed"
            if subtype != "success" and _SUBTYPE.fullmatch(subtype):
                ending = f"ended with {subtype}"
            reason = text(result.get("result")) or reason
            status = number(result.get("api_error_status"))
            return failed(CLAUDE_CODE, reason, ending, status, self._limit_ends_at)
        if is_signal(exit_code):
            return failed(CLAUDE_CODE, reason, ending_of(exit_code))
        return self._judge_denials(result)

    def _judge_denials(self, result: Json) -> AgentError | None:
        # Some denials are no failure: a repository may forbid a command, and a question of the
        # agent is always denied. The run failed only if no change at all was permitted.
        denials = children(result, "permission_denials")
        denied = {text(one.get("tool_use_id")) for one in denials}
        names = [text(one.get("tool_name")) for one in denials]
        # A line that was not parsed may have reported such a change.
        if CHANGING_TOOLS.isdisjoint(names) or self._changing - denied or self._has_unparsed_line:
            return None
        if self._only_plans:
            return None
        return AgentError(
            f"Claude Code was not permitted to use {_names(names)}, so it changed nothing. It is "
            "started with all permissions: look for rules and hooks that deny them in the "
            "repository's .claude/settings.json."
        )


def _is_failure(result: Json) -> bool:
    # An error of the provider has the subtype "success", with `is_error` set. Some versions do not
    # set it when a limit is reached.
    is_success = result.get("subtype") == "success" and not result.get("is_error")
    return not is_success or is_only_notice(text(result.get("result")))


def _with_parent(entry: Json, events: Iterator[tuple[str, Json]]) -> Events:
    if parent := text(entry.get("parent_tool_use_id")):
        return [(kind, {**data, "parent_id": parent}) for kind, data in events]
    return list(events)


def _system_status(subtype: str, entry: Json) -> str:
    match subtype:
        case "permission_denied":
            return f"not permitted: {text(entry.get('tool_name'))}"
        case "task_started":
            return f"started: {text(entry.get('description'))}"
        case "task_notification":
            return text(entry.get("summary")) or f"ended: {text(entry.get('status'))}"
        case "hook_response":
            return f"hook {text(entry.get('hook_name'))}: {text(entry.get('outcome'))}"
        case _:
            return ""


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted({name for name in names if name}))


def _output(block: Json) -> str:
    content = block.get("content")
    if not isinstance(content, list):
        return readable(content)
    parts = children(block, "content")
    return "\n".join(
        text(part.get("text")) if part.get("type") == "text" else f"[{text(part.get('type'))}]"
        for part in parts
    )


def _sum(before: Json, usage: Json) -> Json:
    return {name: before.get(name, 0) + count for name, count in usage.items()}


def _usage(usage: Json) -> Json:
    cached = number(usage.get("cache_read_input_tokens"))
    stored = number(usage.get("cache_creation_input_tokens"))
    return {
        "input_tokens": number(usage.get("input_tokens")) + cached + stored,
        "cached_input_tokens": cached,
        "output_tokens": number(usage.get("output_tokens")),
    }


def _command(paths: SandboxPaths, request: AgentRequest) -> list[str]:
    return [
        CLAUDE_CODE.command,
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        "--permission-mode",
        "plan" if request.only_plans else "bypassPermissions",
        # The settings, hooks and servers of a repository would run with the key.
        "--setting-sources",
        "user",
        *request.model_arguments("--model"),
        *(("--resume", request.session) if request.session else ()),
        # No others: a template may have some of its own.
        *(_servers(paths) if request.has_servers else ()),
    ]


def _servers(paths: SandboxPaths) -> tuple[str, ...]:
    return "--mcp-config", f"{paths.work}/{_MCP_FILE}", "--strict-mcp-config"


def _mcp_files(paths: SandboxPaths, servers: Sequence[McpServer]) -> Mapping[str, bytes]:
    return {f"{paths.work}/{_MCP_FILE}": json_file(servers)}


def _prompt_text(prompt: str) -> str:
    """Return the prompt as text: one that begins with a slash would be a command of the program."""
    return f"{_TEXT_FOLLOWS}{prompt}" if prompt.lstrip().startswith("/") else prompt


def _home_files(paths: SandboxPaths) -> Mapping[str, bytes]:
    """Return a rule file that imports the repository's instructions for agents.

    The program does not read them by itself, because the repository's settings are turned off. It
    ignores imports of missing files. Paths must contain no space; the relative ones have none.
    """
    folder = posixpath.join(paths.home, posixpath.dirname(_RULE))
    repository = posixpath.relpath(paths.repository, folder)
    imports = [f"@{repository}/{file}" for file in _MEMORY]
    return {_RULE: "\n".join([*imports, "", _MORE_MEMORY, ""]).encode()}


CLAUDE = AgentSpec(
    name="claude",
    command=_command,
    reader=ClaudeReader,
    program=CLAUDE_CODE,
    home_files=_home_files,
    mcp_files=_mcp_files,
    prompt_text=_prompt_text,
    prompt_on_stdin=True,
)
