"""The agent `claude`: what its lines become, and how its runs are judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.agents.claude_program import SESSION
from tests.support.agents.programs import (
    Run,
    arguments,
    assert_failed,
    judgement,
    read_lines,
    run_program,
)
from utils.agents.claude import CLAUDE, CLAUDE_CODE, ClaudeReader
from utils.agents.codex import CODEX
from utils.errors import AgentError
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

ACCESS = {"ANTHROPIC_API_KEY": "sk-ant-good", "IS_SANDBOX": "1", "CLAUDE_CODE_MAX_RETRIES": "2"}
USAGE = {"input_tokens": 200, "cached_input_tokens": 50, "output_tokens": 40}
INIT = {"type": "system", "subtype": "init", "session_id": SESSION, "model": "claude-sonnet-4-5"}
SUCCESS = {"type": "result", "subtype": "success", "is_error": False, "result": "Done."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Provide a working directory that is the home folder too."""
    return tmp_path


def run(folder: Path, prompt: str, **extra: str) -> Run:
    return run_program(CLAUDE, folder, prompt, ACCESS | extra)


def answered(output: str) -> Json:
    """Return what the event holds with which a call ends well."""
    return {"output": output, "ok": True, "characters": len(output)}


def test_a_run_becomes_events(folder: Path) -> None:
    ended = run(folder, "say Looking.\nwrite a/b.txt one\\ntwo\nretry 1\nlong 20\nerror careful")
    path = str(folder / "a" / "b.txt")
    write, shell = {"name": "Write", "id": "toolu_0001"}, {"name": "Bash", "id": "toolu_0002"}
    assert ended.events() == [
        ("status", {"text": "session started, model claude-sonnet-4-5"}),
        ("message", {"text": "Looking."}),
        ("tool", {**write, "input": f"file_path: {path}\ncontent: one\\ntwo"}),
        ("tool", {**write, **answered("File created successfully at: a/b.txt")}),
        ("status", {"text": "retry 1 of 2: overloaded", "waiting": True}),
        ("tool", {**shell, "input": "long"}),
        ("tool", {**shell, **answered("01234567890123456789")}),
        ("message", {"text": "Done, with 2 tool calls."}),
        ("usage", {**USAGE, "cost_usd": 0.0123}),
        ("result", {"text": "Done, with 2 tool calls."}),
        ("output", {"stream": "stderr", "text": "careful\n"}),
    ]
    assert (folder / "a" / "b.txt").read_text() == "one\ntwo\n"


def test_a_run_is_summed_up(folder: Path) -> None:
    ended = run(folder, "write a.txt b")
    reader = ended.reader()
    assert ended.error() is None
    assert (reader.finished, reader.summary) == (True, "Done, with 1 tool calls.")
    assert reader.details == {
        "agent_session_id": SESSION,
        "model": "claude-sonnet-4-5",
        "agent_version": CLAUDE_CODE.version,
        "usage": USAGE,
        "cost_usd": 0.0123,
        "num_turns": 2,
        "permission_denials": [],
    }


def test_texts_are_not_escaped_so_that_a_secret_in_them_is_found() -> None:
    secret = 'se"cr\\et\nwith lines'
    block = {"type": "tool_use", "id": "1", "name": "Edit", "input": {"edits": [{"new": secret}]}}
    [(_, data)] = read_lines(ClaudeReader(), {"type": "assistant", "message": {"content": [block]}})
    assert secret in data["input"]


def test_a_line_with_several_blocks_gives_several_events() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "1", "name": "Bash", "input": {"command": "ls"}},
        {"type": "tool_use", "id": "2", "name": "Read", "input": {"file_path": "a"}},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "image"}]},
        {"type": "tool_result", "tool_use_id": "1", "content": "no", "is_error": True},
    ]
    assert read_lines(
        ClaudeReader(),
        {"type": "assistant", "message": {"content": blocks}},
        {"type": "user", "message": {"content": results}},
    ) == [
        ("status", {"text": "Hm."}),
        ("message", {"text": "I look."}),
        ("tool", {"name": "Bash", "id": "1", "input": "ls"}),
        ("tool", {"name": "Read", "id": "2", "input": "file_path: a"}),
        ("tool", {"name": "Read", "id": "2", **answered("[image]")}),
        (
            "tool",
            {
                "name": "Bash",
                "id": "1",
                "output": "no",
                "ok": False,
                "characters": 2,
                "failed": True,
            },
        ),
    ]


@pytest.mark.parametrize(
    ("prompt", "extra", "code", "words"),
    [
        ("auth", {}, "agent_auth_failed", ("ANTHROPIC_API_KEY", "preferences.claudeCode", "401")),
        ("", {"ANTHROPIC_API_KEY": "bad"}, "agent_failed", ("exit code 1", "Input must be")),
        ("a", {"ANTHROPIC_API_KEY": "bad"}, "agent_auth_failed", ("invalid x-api-key",)),
        ("a", {"ANTHROPIC_API_KEY": ""}, "agent_auth_failed", ("Not logged in",)),
        ("a", {"IS_SANDBOX": ""}, "agent_failed", ("exit code 1", "root/sudo")),
        ("overloaded", {}, "agent_failed", ("overloaded", "later")),
        ("fail Credit balance is too low", {}, "agent_failed", ("no credit", "Anthropic")),
        ("fail API Error: 404 model: x not found", {}, "agent_failed", ("CLAUDE_MODELS",)),
        ("fail", {}, "agent_failed", ("Claude Code failed: API Error: 400 the request",)),
        ("crash 3", {}, "agent_failed", ("exit code 3: Segmentation fault",)),
    ],
)
def test_failures_are_told_apart(
    folder: Path,
    prompt: str,
    extra: dict[str, str],
    code: str,
    words: tuple[str, ...],
) -> None:
    ended = run(folder, f"say at work\n{prompt}" if prompt else "", **extra)
    assert_failed(ended, code, words)


@pytest.mark.parametrize(
    ("entries", "exit_code", "line", "words"),
    [
        ([], 0, "", "ended without a result"),
        ([], None, "", "ended without a result"),
        ([], 127, "bash: claude: command not found", "./run.sh build-template"),
        ([], 126, "", "./run.sh build-template"),
        ([], 137, "", "no memory"),
        ([], 143, "", "signal 15"),
        ([SUCCESS], 137, "", "no memory"),
        ([SUCCESS], 143, "Bus error", "signal 15: Bus error"),
        ([SUCCESS | {"is_error": True, "result": "odd"}], 0, "", "failed: odd"),
        ([{"type": "result", "subtype": "error_max_turns"}], 1, "", "error_max_turns"),
        ([SUCCESS | {"is_error": True, "api_error_status": 403}], 1, "", "did not accept the key"),
        ([SUCCESS | {"is_error": True, "api_error_status": 529}], 1, "", "overloaded"),
        ([SUCCESS | {"is_error": True, "result": "x" * 501}], 1, "", "Claude Code failed."),
        ([{"type": "result"}], 0, "", "failed"),
    ],
)
def test_endings_are_judged(
    entries: list[Json], exit_code: int | None, line: str, words: str
) -> None:
    assert words in judgement(ClaudeReader(), entries, exit_code, line)


@pytest.mark.parametrize("exit_code", [0, 1, 2, 127, 255])
def test_a_reported_success_counts_whatever_the_exit_code_says(exit_code: int) -> None:
    reader = ClaudeReader()
    read_lines(reader, SUCCESS)
    assert reader.judge(exit_code, "Bus error") is None


def test_words_of_a_subagent_are_marked_with_the_call_that_started_it() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Task", "input": {"prompt": "Look"}}
    blocks = [{"type": "text", "text": "I look."}, {"type": "thinking", "thinking": "Hm."}]
    shell = {"type": "tool_use", "id": "toolu_2", "name": "Bash", "input": {"command": "ls"}}
    output = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "a"}
    events = read_lines(
        ClaudeReader(),
        {"type": "assistant", "parent_tool_use_id": None, "message": {"content": [call]}},
        {
            "type": "assistant",
            "parent_tool_use_id": "toolu_1",
            "message": {"content": [*blocks, shell]},
        },
        {"type": "user", "parent_tool_use_id": "toolu_1", "message": {"content": [output]}},
        {"type": "assistant", "message": {"content": [{"type": "text", "text": "Done."}]}},
    )
    assert [data.get("parent_id") for _, data in events] == [None, *["toolu_1"] * 4, None]
    assert events[1] == ("message", {"text": "I look.", "parent_id": "toolu_1"})


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("/review it", "The task:\n\n/review it"),
        (" \n/x", "The task:\n\n \n/x"),
        ("Fix /x", "Fix /x"),
    ],
)
def test_a_prompt_is_never_a_command_of_the_program(prompt: str, text: str) -> None:
    assert CLAUDE.prompt_text(prompt) == text
    assert CODEX.prompt_text(prompt) == prompt


def test_a_run_that_was_ended_after_its_result_is_good() -> None:
    reader = ClaudeReader()
    read_lines(reader, SUCCESS)
    assert reader.judge(None, "") is None


def test_what_runs_in_the_background_is_told_in_few_words() -> None:
    hook = {"hook_name": "SessionStart:startup", "stdout": "much", "outcome": "success"}
    done = {"status": "completed", "summary": 'Background command "build" completed (exit code 0)'}
    assert read_lines(
        ClaudeReader(),
        {"type": "system", "subtype": "hook_started", "hook_name": "SessionStart:startup"},
        {"type": "system", "subtype": "hook_response", **hook},
        {"type": "system", "subtype": "task_started", "description": "build"},
        {"type": "tool_progress", "tool_name": "Bash", "elapsed_time_seconds": 30},
        {"type": "system", "subtype": "task_updated", "patch": {"status": "completed"}},
        {"type": "system", "subtype": "task_notification", **done},
    ) == [
        ("status", {"text": "hook SessionStart:startup: success"}),
        ("status", {"text": "started: build"}),
        ("status", {"text": 'Background command "build" completed (exit code 0)'}),
    ]


def background(*tasks: str) -> Json:
    entries = [{"task_id": task} for task in tasks]
    return {"type": "system", "subtype": "background_tasks_changed", "tasks": entries}


def result(text: str, cost: float) -> Json:
    usage = {"input_tokens": 100, "output_tokens": 10}
    return SUCCESS | {"result": text, "total_cost_usd": cost, "usage": usage, "num_turns": 2}


def test_a_result_is_not_the_last_while_a_command_runs_in_the_background() -> None:
    reader = ClaudeReader()
    read_lines(reader, INIT, background("a"), result("It builds.", 0.1))
    assert (reader.finished, reader.summary) == (False, "It builds.")
    read_lines(reader, background(), INIT)
    assert (reader.finished, reader.summary) == (False, None)
    read_lines(reader, result("It is built.", 0.2))
    assert (reader.finished, reader.summary) == (True, "It is built.")
    assert reader.details["cost_usd"] == 0.2
    assert reader.details["num_turns"] == 4
    assert reader.details["usage"] == {
        "input_tokens": 200,
        "cached_input_tokens": 0,
        "output_tokens": 20,
    }


def test_a_run_that_ends_in_the_middle_of_its_second_turn_is_no_success() -> None:
    reader = ClaudeReader()
    read_lines(reader, INIT, background("a"), result("It builds.", 0.1), background(), INIT)
    assert reader.judge(None, "") is not None


def test_a_run_that_may_change_nothing_fails(folder: Path) -> None:
    command = [part for part in arguments(CLAUDE) if part != "bypassPermissions"]
    command.remove("--permission-mode")
    ended = run_program(CLAUDE, folder, "write a.txt b", ACCESS, command=command)
    error = ended.error()
    assert ended.exit_code == 0
    assert error is not None
    assert error.code == "agent_failed"
    assert "not permitted to use Write" in error.message
    assert ended.reader().details["permission_denials"] == ["Write"]
    assert ("status", {"text": "not permitted: Write"}) in ended.events()


def test_a_run_that_may_not_do_everything_is_good(folder: Path) -> None:
    ended = run(folder, "write a.txt b\ndenied\nwrite c.txt d")
    assert ended.error() is None
    assert ended.reader().details["permission_denials"] == ["Write"]


def test_a_denied_question_is_no_failure() -> None:
    reader = ClaudeReader()
    denials = [{"tool_name": "AskUserQuestion", "tool_use_id": "1", "tool_input": {}}]
    read_lines(reader, SUCCESS | {"permission_denials": denials})
    assert reader.judge(0, "") is None


def test_the_command_holds_nothing_but_options_and_the_model() -> None:
    assert arguments(CLAUDE, "claude-opus-4-5[1m]") == [
        *("claude", "-p", "--output-format", "stream-json", "--verbose"),
        *("--permission-mode", "bypassPermissions", "--setting-sources", "user"),
        *("--model", "claude-opus-4-5[1m]"),
    ]
    assert "--model" not in arguments(CLAUDE)
    assert CLAUDE.prompt_on_stdin


@pytest.mark.parametrize(
    ("home", "repository", "path"),
    [
        ("/home/user", "/home/user/repository", "../../repository"),
        ("/my data/task-1/home", "/my data/task-1/repository", "../../../repository"),
    ],
)
def test_what_the_repository_tells_agents_is_imported_by_a_path_without_spaces(
    home: str, repository: str, path: str
) -> None:
    files = CLAUDE.home_files(SandboxPaths(home=home, repository=repository, work="/work"))
    lines = files[".claude/rules/repository.md"].decode().splitlines()
    assert lines[:3] == [f"@{path}/CLAUDE.md", f"@{path}/.claude/CLAUDE.md", f"@{path}/AGENTS.md"]
    assert list(files) == [".claude/rules/repository.md"]


@pytest.mark.parametrize("model", ["", "-p", "--help", "a b", "a\n", "a;b", "$(id)", "x" * 2049])
def test_what_cannot_be_a_model_is_refused(model: str) -> None:
    with pytest.raises(AgentError, match="agent_model"):
        arguments(CLAUDE, model)


def test_tokens_of_single_calls_count_until_their_sum_is_told() -> None:
    reader = ClaudeReader()

    def call(number: int, output_tokens: int) -> Json:
        usage = {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": output_tokens}
        return {"type": "assistant", "message": {"id": f"msg_{number}", "usage": usage}}

    # Each block of an answer is a line, which repeats the tokens of the call.
    read_lines(reader, INIT, call(1, 1), call(2, 5), call(1, 20))
    assert reader.unreported == {
        "input_tokens": 200,
        "cached_input_tokens": 180,
        "output_tokens": 25,
    }
    read_lines(reader, *(call(number, 1) for number in range(3, 203)))
    assert reader.unreported["input_tokens"] == 202 * 100
    summed = {"input_tokens": 7, "output_tokens": 3}
    read_lines(reader, SUCCESS | {"usage": summed, "total_cost_usd": 0.5})
    assert reader.unreported == {}
    assert reader.details["usage"] == {**summed, "cached_input_tokens": 0}
