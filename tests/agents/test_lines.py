"""Readers of all agent programs accept any content of a line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.agents.stand_in import UNKNOWN_LINES
from tests.support.agents.programs import (
    Run,
    assert_wellformed,
    garbage,
    read_lines,
    read_output,
    run_program,
    running_program,
    turned,
)
from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.agents.spec import UNREADABLE, AgentSpec
from utils.models.tasks import Json
from utils.pipeline.agent_output import OutputReporter

ACCESS: Mapping[str, Mapping[str, str]] = {
    "claude": {"ANTHROPIC_API_KEY": "sk-good", "IS_SANDBOX": "1"},
    "codex": {"CODEX_API_KEY": "sk-good"},
}
TYPES: Mapping[str, tuple[str, ...]] = {
    "claude": ("system", "assistant", "user", "result"),
    "codex": (
        *("thread.started", "turn.completed", "turn.failed", "error"),
        *("item.started", "item.updated", "item.completed"),
    ),
}
WORDS = """
    type subtype system init api_retry assistant user result message content text tool_use name
    tool_result id tool_use_id input is_error success usage input_tokens total_cost_usd model
    permission_denials tool_name num_turns session_id attempt error thinking command Bash
    thread.started thread_id turn.completed turn.failed item.started item.updated item.completed
    item agent_message command_execution aggregated_output exit_code status file_change changes
    path kind mcp_tool_call server tool arguments todo_list items completed reasoning web_search
"""
ITEMS = ("command_execution", "file_change", "mcp_tool_call", "todo_list", "agent_message", "error")

generated = settings(derandomize=True, deadline=None, database=None)
both_agents = pytest.mark.parametrize("agent", [CLAUDE, CODEX], ids=lambda agent: agent.name)


def run(agent: AgentSpec, folder: Path, prompt: str) -> Run:
    return run_program(agent, folder, prompt, ACCESS[agent.name])


@both_agents
@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 4096])
def test_how_the_output_is_split_does_not_matter(
    tmp_path: Path, agent: AgentSpec, piece_bytes: int
) -> None:
    ended = run(agent, tmp_path, "say é🦊\nwrite a.txt b\nlong 50000\nunknown\nlines 3")
    assert ended.events(piece_bytes) == ended.events()


@both_agents
def test_the_order_of_keys_does_not_matter(tmp_path: Path, agent: AgentSpec) -> None:
    ended = run(agent, tmp_path, "say a\nretry 1\nlong 20")
    entries = [json.loads(line) for line in ended.stdout.splitlines()]
    readers = agent.reader(), agent.reader()
    events = read_lines(readers[1], *map(turned, entries))
    assert events == read_lines(readers[0], *entries)
    assert (readers[0].details, readers[0].summary) == (readers[1].details, readers[1].summary)


@both_agents
def test_unknown_lines_are_kept_as_they_are(tmp_path: Path, agent: AgentSpec) -> None:
    ended = run(agent, tmp_path, "unknown")
    kept = b"".join(UNKNOWN_LINES).decode(errors="replace")
    assert ("output", {"stream": "stdout", "text": kept}) in ended.events()
    assert ended.error() is None


@both_agents
def test_json_on_standard_error_is_only_text(tmp_path: Path, agent: AgentSpec) -> None:
    lines, reader = run(agent, tmp_path, "say a").stdout, agent.reader()
    kept = ("output", {"stream": "stderr", "text": lines.decode()})
    assert read_output(reader, b"", lines) == [kept]
    assert not reader.finished


@both_agents
@generated
@given(values=st.lists(garbage(WORDS), max_size=6))
def test_garbage_never_raises(agent: AgentSpec, values: list[object]) -> None:
    reader = agent.reader()
    assert_wellformed(read_lines(reader, *values))
    reader.judge(1, "")
    json.dumps(reader.details, allow_nan=False)


@both_agents
@generated
@given(data=st.data(), value=garbage(WORDS))
def test_known_lines_with_wrong_types_never_raise(
    agent: AgentSpec, data: st.DataObject, value: object
) -> None:
    fields = dict.fromkeys(WORDS.split(), value)
    parts = [value, {}, fields | {"type": "tool_use"}, fields | {"type": "tool_result"}]
    item = fields | {"type": data.draw(st.sampled_from(ITEMS)), "changes": parts, "items": parts}
    line = fields | {"type": data.draw(st.sampled_from(TYPES[agent.name])), "item": item}
    reader = agent.reader()
    for entry in (line, line | {"message": {"content": parts}}, line | {"subtype": "init"}):
        assert_wellformed(read_lines(reader, entry))
    reader.judge(0, "")
    json.dumps(reader.details, allow_nan=False)


@both_agents
@pytest.mark.parametrize("opening", ["[", '{"type":', '{"a":['])
def test_deep_nesting_never_raises(agent: AgentSpec, opening: str) -> None:
    line = opening * 50_000
    [(kind, data)] = agent.reader().read_line("stdout", line)
    assert (kind, data["text"]) == ("output", line)
    assert data.get(UNREADABLE, len(line)) == len(line)


@pytest.mark.parametrize(("depth", "known"), [(390, True), (500, False)])
def test_how_deep_a_line_may_be_is_fixed(depth: int, known: bool) -> None:
    nested = "[" * depth + "1" + "]" * depth
    line = f'{{"type":"system","subtype":"init","tools":{nested}}}'
    [(kind, _)] = CLAUDE.reader().read_line("stdout", line)
    assert kind == ("status" if known else "output")


RETRIES: Mapping[str, Json] = {
    "claude": {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 4},
    "codex": {"type": "error", "message": "Reconnecting... 2/5 (stream disconnected)"},
}
LIVELY: Mapping[str, Json] = {
    "claude": {"type": "tool_progress", "tool_name": "Bash", "elapsed_time_seconds": 30},
    "codex": {"type": "item.updated", "item": {"id": "1", "type": "command_execution"}},
}


@both_agents
def test_new_tries_are_no_sign_of_life(agent: AgentSpec) -> None:
    async def feed() -> None:
        output = OutputReporter(agent.reader(), lambda *_: None, 10**6, lambda text: text)
        first = output.last_output_at
        output.feed("stdout", f"{json.dumps(RETRIES[agent.name])}\n".encode() * 2)
        assert output.last_output_at == first
        output.feed("stdout", f"{json.dumps(LIVELY[agent.name])}\n".encode())
        lively = output.last_output_at
        assert lively > first
        output.feed("stdout", b'{"half": ')
        assert output.last_output_at > lively

    anyio.run(feed)


@both_agents
def test_a_program_that_stays_after_its_result_has_finished(
    tmp_path: Path, agent: AgentSpec
) -> None:
    reader = agent.reader()
    with running_program(agent, tmp_path, "hang", ACCESS[agent.name]) as process:
        assert process.stdout is not None
        while not reader.finished:
            read_output(reader, process.stdout.readline())
        assert process.poll() is None
    assert reader.summary == "Done, and staying."
    assert reader.judge(None, "") is None


@both_agents
def test_a_silent_program_has_not_finished(tmp_path: Path, agent: AgentSpec) -> None:
    reader, said = agent.reader(), False
    with running_program(agent, tmp_path, "say a\nsilent", ACCESS[agent.name]) as process:
        assert process.stdout is not None
        while not said:
            said = ("message", {"text": "a"}) in read_output(reader, process.stdout.readline())
        assert process.poll() is None
    assert not reader.finished


@both_agents
def test_the_stand_ins_commit_by_themselves_as_agents_do(tmp_path: Path, agent: AgentSpec) -> None:
    identity = "[user]\n\tname = Tester\n\temail = tester@example.com\n"
    (tmp_path / ".gitconfig").write_text(identity)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    ended = run(agent, tmp_path, "write a.txt b\ncommit Add a file")
    log = subprocess.run(
        ["git", "-C", tmp_path, "log", "--format=%s", "--stat"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.error() is None
    assert log.stdout.startswith("Add a file\n")
    assert " a.txt      | 1 +" in log.stdout
