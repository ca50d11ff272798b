"""The agent `codex`: what its lines become, and how its runs are judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.agents.codex_program import THREAD
from tests.support.agents.programs import (
    Run,
    arguments,
    assert_failed,
    judgement,
    read_lines,
    run_program,
)
from utils.agents.codex import CODEX, CodexReader
from utils.errors import AgentError
from utils.models.tasks import Json

ACCESS = {"CODEX_API_KEY": "sk-good"}
USAGE = {"input_tokens": 200, "cached_input_tokens": 50, "output_tokens": 40}
STARTED = {"type": "thread.started", "thread_id": "1"}
COMPLETED = {"type": "turn.completed", "usage": {}}


def run(folder: Path, prompt: str, **extra: str) -> Run:
    return run_program(CODEX, folder, prompt, ACCESS | extra)


def item(phase: str, **fields: object) -> Json:
    return {"type": f"item.{phase}", "item": {"id": "item_1", **fields}}


def failed_turn(message: object) -> Json:
    return {"type": "turn.failed", "error": {"message": message}}


def test_a_run_becomes_events(tmp_path: Path) -> None:
    ended = run(tmp_path, "say Looking.\nwrite a/b.txt one\\ntwo\nretry 1\nlong 20\nerror careful")
    shell = {"name": "command_execution", "id": "item_2"}
    output = {"output": "01234567890123456789", "ok": True, "characters": 20}
    change = {"name": "file_change", "id": "item_1"}
    path = str(tmp_path / "a" / "b.txt")
    assert ended.events() == [
        ("status", {"text": "session started"}),
        ("message", {"text": "Looking."}),
        ("tool", {**change, "input": f"add {path}"}),
        ("tool", {**change, "output": "completed", "ok": True, "characters": 9}),
        ("status", {"text": "Reconnecting... 1/5 (overloaded, status 529)", "waiting": True}),
        ("tool", {**shell, "input": "/bin/bash -lc 'long'"}),
        ("tool", {**shell, **output, "exit_code": 0}),
        ("message", {"text": "Done, with 2 tool calls."}),
        ("usage", USAGE),
        ("result", {"text": "Done, with 2 tool calls."}),
        ("output", {"stream": "stderr", "text": "Reading prompt from stdin...\ncareful\n"}),
    ]
    assert (tmp_path / "a" / "b.txt").read_text() == "one\ntwo\n"


def test_a_run_is_summed_up(tmp_path: Path) -> None:
    ended = run(tmp_path, "say first")
    reader = ended.reader()
    assert ended.error() is None
    assert (reader.finished, reader.summary) == (True, "Done, with 0 tool calls.")
    assert reader.details == {"agent_session_id": THREAD, "usage": USAGE}


def test_unknown_items_are_kept_as_they_are() -> None:
    line = json.dumps(item("completed", type="hologram", text="shine")) + "\n"
    output = ("output", {"stream": "stdout", "text": line})
    assert list(CodexReader().read_line("stdout", line)) == [output]


@pytest.mark.parametrize(
    ("entry", "event"),
    [
        (item("completed", type="reasoning", text="Hm."), ("status", {"text": "Hm."})),
        (
            item(
                "updated",
                type="todo_list",
                items=[{"text": "a", "completed": True}, {"text": "b", "completed": False}],
            ),
            ("status", {"text": "[x] a\n[ ] b"}),
        ),
        (
            item("completed", type="error", message="odd"),
            ("error", {"code": "agent_error", "message": "odd"}),
        ),
        (
            item("started", type="web_search", query="how"),
            ("tool", {"name": "web_search", "id": "item_1", "input": "how"}),
        ),
        (
            item(
                "completed",
                type="mcp_tool_call",
                server="docs",
                tool="find",
                arguments={"what": "x"},
                result={"content": [{"type": "text", "text": "found"}]},
                status="completed",
            ),
            (
                "tool",
                {
                    "name": "docs.find",
                    "id": "item_1",
                    "input": "what: x",
                    "output": "type: text\ntext: found",
                    "ok": True,
                    "characters": 22,
                },
            ),
        ),
        (
            item("completed", type="command_execution", command="x", exit_code=7, status="failed"),
            (
                "tool",
                {
                    "name": "command_execution",
                    "id": "item_1",
                    "input": "x",
                    "output": "",
                    "ok": False,
                    "characters": 0,
                    "exit_code": 7,
                    "failed": True,
                },
            ),
        ),
    ],
)
def test_items_become_events(entry: Json, event: tuple[str, Json]) -> None:
    assert read_lines(CodexReader(), entry) == [event]


@pytest.mark.parametrize(
    "entry",
    [
        item("started", type="agent_message", text="I am wri"),
        item("updated", type="command_execution", command="x", aggregated_output="part"),
        {"type": "turn.started"},
    ],
)
def test_what_comes_again_when_it_is_whole_is_no_event(entry: Json) -> None:
    assert read_lines(CodexReader(), entry) == []


def test_an_error_that_is_said_twice_is_one_event() -> None:
    lines = {"type": "error", "message": "odd"}, failed_turn("odd")
    error = ("error", {"code": "agent_error", "message": "odd"})
    assert read_lines(CodexReader(), *lines) == [error]


@pytest.mark.parametrize(
    ("prompt", "extra", "code", "words"),
    [
        ("auth", {}, "agent_auth_failed", ("OPENAI_API_KEY", "preferences.codex", "401")),
        ("a", {"CODEX_API_KEY": "bad"}, "agent_auth_failed", ("Incorrect API key",)),
        ("a", {"CODEX_API_KEY": ""}, "agent_auth_failed", ("Missing bearer",)),
        ("overloaded", {}, "agent_failed", ("overloaded", "later", "OpenAI")),
        ("fail Quota exceeded. Check your plan", {}, "agent_failed", ("no credit",)),
        ("fail The model `x` does not exist", {}, "agent_failed", ("CODEX_MODELS",)),
        ("fail odd", {}, "agent_failed", ("Codex failed: odd",)),
        ("crash 3", {}, "agent_failed", ("exit code 3: Segmentation fault",)),
    ],
)
def test_failures_are_told_apart(
    tmp_path: Path, prompt: str, extra: dict[str, str], code: str, words: tuple[str, ...]
) -> None:
    ended = run(tmp_path, f"say at work\n{prompt}", **extra)
    assert_failed(ended, code, words)


@pytest.mark.parametrize(
    ("entries", "exit_code", "line", "words"),
    [
        ([], 0, "", "ended without a result"),
        ([STARTED], 0, "", "ended without a result"),
        ([STARTED], None, "", "ended without a result"),
        ([], 127, "sh: codex: not found", "./run.sh build-template"),
        ([STARTED], 137, "", "no memory"),
        ([STARTED, COMPLETED], 137, "", "no memory"),
        ([STARTED, COMPLETED], 143, "Bus error", "signal 15: Bus error"),
        ([failed_turn("odd")], 0, "", "failed: odd"),
        ([failed_turn("odd")], None, "", "failed: odd"),
        ([failed_turn(5)], 1, "panicked", "failed: panicked"),
        ([failed_turn("unexpected status 404 Not Found: x")], 1, "", "CODEX_MODELS"),
        ([failed_turn("exceeded retry limit, last status: 429")], 1, "", "overloaded"),
        ([failed_turn("stream disconnected before completion")], 1, "", "does not reach OpenAI"),
    ],
)
def test_endings_are_judged(
    entries: list[Json], exit_code: int | None, line: str, words: str
) -> None:
    assert words in judgement(CodexReader(), entries, exit_code, line)


def test_errors_on_the_way_to_a_completed_turn_are_no_failure() -> None:
    reader = CodexReader()
    read_lines(reader, {"type": "error", "message": "odd"}, COMPLETED)
    assert reader.judge(0, "") is None
    assert reader.judge(None, "") is None
    assert reader.judge(1, "Bus error") is None


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        (
            "You've hit your usage limit. Upgrade to Pro (https://openai.com/chatgpt/pricing) or "
            "try again in 2 days 17 hours 14 minutes.",
            "in 2 days 17 hours 14 minutes",
        ),
        (
            "You've hit your usage limit. Upgrade to Plus to continue using Codex "
            "(https://chatgpt.com/explore/plus), or try again at Jul 5th, 2026 8:19 PM.",
            "Jul 5th, 2026 8:19 PM",
        ),
        ("You've hit your usage limit. Try again at 8:15 PM.", "8:15 PM"),
        ("You've hit your usage limit. Try again later.", "later"),
        (
            '{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached",'
            '"resets_at":1775317531}}',
            "2026-04-04 15:45 UTC",
        ),
    ],
)
def test_a_reached_limit_is_told_with_the_time_at_which_it_ends(said: str, ends: str) -> None:
    reader = CodexReader()
    read_lines(reader, STARTED, {"type": "error", "message": said}, failed_turn(said))
    error = reader.judge(1, "")
    assert error is not None
    assert (error.code, ends in error.message) == ("agent_rate_limited", True)


@pytest.mark.parametrize("why", ["was already used", "has expired", "was revoked"])
def test_a_spent_sign_in_is_told_with_what_to_do(why: str) -> None:
    said = f"Your access token could not be refreshed because your refresh token {why}."
    reader = CodexReader()
    read_lines(reader, STARTED, failed_turn(said))
    error = reader.judge(1, "")
    assert error is not None
    assert error.code == "agent_auth_failed"
    assert "Sign in again with `codex login`" in error.message
    assert "preferences.codex.credentials" in error.message


def test_calls_of_subagents_hold_their_words() -> None:
    call = {"type": "collab_tool_call", "tool": "wait", "prompt": None, "status": "completed"}
    states = {"thread-2": {"status": "completed", "message": "It is fine."}}
    [(kind, data)] = read_lines(CodexReader(), item("completed", **call, agents_states=states))
    assert (kind, data["name"]) == ("tool", "collab.wait")
    assert data["output"] == "thread-2: status: completed\nmessage: It is fine."


def test_a_folder_that_is_no_repository_is_no_obstacle(tmp_path: Path) -> None:
    command = [part for part in arguments(CODEX) if part != "--skip-git-repo-check"]
    ended = run_program(CODEX, tmp_path, "say a", ACCESS, command=command)
    assert b"trusted directory" in ended.stderr
    assert run(tmp_path, "say a").error() is None


def test_the_command_holds_nothing_but_options_and_the_model() -> None:
    assert arguments(CODEX, "gpt-6.1-sol") == [
        *("codex", "exec", "--json", "--dangerously-bypass-approvals-and-sandbox"),
        *("--skip-git-repo-check", "-m", "gpt-6.1-sol", "-"),
    ]
    assert "-m" not in arguments(CODEX)
    assert CODEX.prompt_on_stdin


@pytest.mark.parametrize("model", ["", "-c", "a b", "a\n", "$(id)"])
def test_what_cannot_be_a_model_is_refused(model: str) -> None:
    with pytest.raises(AgentError, match="agent_model"):
        arguments(CODEX, model)
