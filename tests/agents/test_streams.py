"""A reader of JSON lines loses nothing, whatever stands around, between and inside the objects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.agents.programs import Events, read_output
from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.agents.json_objects import EXCERPT_CHARACTERS
from utils.agents.spec import AgentSpec
from utils.models.tasks import Json
from utils.pipeline.agent_output import EVENT_CHARACTERS, OutputReporter
from utils.pipeline.line_splitter import JSON_LINE_CHARACTERS, LINE_CHARACTERS
from utils.redaction import Redactor

SAID: Mapping[str, Json] = {
    "claude": {
        "type": "assistant",
        "message": {"content": [{"type": "text", "text": "I look {here}."}]},
    },
    "codex": {
        "type": "item.completed",
        "item": {"id": "1", "type": "agent_message", "text": "I look {here}."},
    },
}
RESULT: Mapping[str, Json] = {
    "claude": {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "I look {here}.",
        "usage": {"input_tokens": 3},
    },
    "codex": {"type": "turn.completed", "usage": {"input_tokens": 3}},
}

DEEP = "[" * 3000 + "{\n" + '{"a":' * 3000 + "\n"

both_agents = pytest.mark.parametrize("agent", [CLAUDE, CODEX], ids=lambda agent: agent.name)


def read(agent: AgentSpec, output: str | bytes) -> Events:
    reader = agent.reader()
    data = output if isinstance(output, bytes) else output.encode()
    events = read_output(reader, data)
    assert (reader.finished, reader.summary) == (True, "I look {here}.")
    assert reader.judge(0, "") is None
    return events


def text_of(events: Events) -> str:
    return "".join(data["text"] for kind, data in events if kind == "output")


AROUND: Mapping[str, Callable[[str, str], str]] = {
    "a warning before it": lambda said, end: f"npm warn old {{x}}: {said}\nwarn: {end}\n",
    "a warning after it": lambda said, end: f"{said} (node:7) Warning: old\n{end} Done in 3s.\n",
    "on one line": lambda said, end: f"{said}{end}\n",
    "on one line with commas": lambda said, end: f"[{said}, {end}]\n",
    "a byte order mark": lambda said, end: f"\ufeff{said}\n\ufeff{end}\n",
    "colours": lambda said, end: f"\x1b[1;32m{said}\x1b[0m\r\n\x1b[2K\x1b[1G{end}\x1b[K\n",
    "a title of the window": lambda said, end: f"\x1b]0;claude {{\x07{said}\n\x1b]2;x\x1b\\{end}\n",
    "a progress line": lambda said, end: f"10%\r20%\r{said}\r\r{end}\r\n",
    "NULs": lambda said, end: f"\0\0{said}\0\n\0{end}\0\0\n",
    "blanks": lambda said, end: f" \t {said}\n\n\n    {end}",
    "other line ends": lambda said, end: f"{said}\r{end}\r",
    "lines without an end": lambda said, end: f"{said}\n{end}",
    "a broken object before": lambda said, end: f'{{"type":"assi{said}\n{{"type": {{"x{end}\n',
    "a broken line before": lambda said, end: f'{{"type":"assistant","x":[{{"a\n{said}\n{end}\n',
    "a deep object before": lambda said, end: f"{DEEP}{said}\n{end}\n",
    "code before": lambda said, end: f"function() {{\n  return {{}}\n}}\n{said}\n{{\n{end}\n",
}


@both_agents
@pytest.mark.parametrize("case", AROUND)
def test_an_object_counts_whatever_stands_around_it(agent: AgentSpec, case: str) -> None:
    said, end = (json.dumps(entry[agent.name]) for entry in (SAID, RESULT))
    events = read(agent, AROUND[case](said, end))
    assert [data["text"] for kind, data in events if kind == "message"] == ["I look {here}."]


@both_agents
@pytest.mark.parametrize("indent", [0, 1, 4, "\t"])
def test_an_object_over_several_lines_counts(agent: AgentSpec, indent: int | str) -> None:
    said, end = (json.dumps(entry[agent.name], indent=indent) for entry in (SAID, RESULT))
    plain = read(agent, f"{json.dumps(SAID[agent.name])}\n{json.dumps(RESULT[agent.name])}\n")
    assert read(agent, f"{said}\n{end}\n") == plain
    assert text_of(read(agent, f"hint {said} more\r\nlast: {end}")) == "hint  more\r\nlast: "
    broken = '{\n "type": "assistant",\n "message": {\n'
    kept = text_of(read(agent, f"{broken}{said}\n{end}\n"))
    assert "could not be read as JSON]" in kept


@both_agents
def test_several_objects_over_several_lines_count(agent: AgentSpec) -> None:
    whole = json.dumps([SAID[agent.name], RESULT[agent.name]], indent=2)
    assert [kind for kind, _ in read(agent, whole) if kind == "message"] == ["message"]


@both_agents
def test_values_that_json_does_not_have_do_not_hide_a_result(agent: AgentSpec) -> None:
    said = json.dumps(SAID[agent.name])
    end = json.dumps(RESULT[agent.name] | {"a": "A", "b": "B", "c": "C"})
    deep = f"{'[' * 300}{']' * 300}"
    odd = end.replace('"A"', "NaN").replace('"B"', "9" * 5000).replace('"C"', deep)
    read(agent, f"{said}\n{odd}\n")


@both_agents
def test_raw_line_ends_and_broken_characters_in_a_string_do_not_hide_it(agent: AgentSpec) -> None:
    said = json.dumps(SAID[agent.name] | {"note": "one\\ntwo"}).replace("\\\\n", "\n").encode()
    end = json.dumps(RESULT[agent.name] | {"note": "x"}).encode().replace(b'"x"', b'"\xff\xfe\xe2"')
    read(agent, said + b"\n" + end + b"\n")


@both_agents
def test_what_could_not_be_read_is_one_short_event_that_says_so(agent: AgentSpec) -> None:
    said, end = (json.dumps(entry[agent.name]) for entry in (SAID, RESULT))
    for cut in (said[: len(said) // 2], '{"type":"user","x":"' + "y" * 300_000):
        kept = text_of(read(agent, f"{said}\n{end}\n{cut}"))
        assert kept.startswith(cut[:EXCERPT_CHARACTERS])
        assert kept.endswith(f"[these {len(cut)} characters could not be read as JSON]\n")
        assert len(kept) < EXCERPT_CHARACTERS + 100


@both_agents
def test_text_after_a_broken_object_is_kept(agent: AgentSpec) -> None:
    said, end = (json.dumps(entry[agent.name]) for entry in (SAID, RESULT))
    broken = '{"type":"assistant","message":{"content":[{"type":"te'
    kept = text_of(read(agent, f"{broken}\nhello\n  world\n{said}\n{end}\n"))
    assert kept.startswith(broken)
    assert kept.endswith("could not be read as JSON]\nhello\n  world\n")


@both_agents
@pytest.mark.parametrize("shape", ["{line}\n", '{{\n "x": 1, "y":\n{line}\n}}\n', "warn {line}\n"])
def test_a_picture_above_the_limit_costs_one_short_event(agent: AgentSpec, shape: str) -> None:
    said, end = (json.dumps(entry[agent.name]) for entry in (SAID, RESULT))
    picture = json.dumps({"type": "user", "data": "QUJD" * (JSON_LINE_CHARACTERS // 3)})
    events = read(agent, f"{shape.format(line=picture)}{said}\n{end}\n")
    assert len(text_of(events)) < 2_500
    assert str(len(picture))[:3] in text_of(events)


LONG: Mapping[str, Json] = {
    "claude": RESULT["claude"],
    "codex": SAID["codex"],
}


@both_agents
@pytest.mark.parametrize("piece_bytes", [65_536, 10_000_000])
@pytest.mark.parametrize("failed", [False, True])
def test_a_result_above_the_limit_counts_with_the_beginning_of_its_text(
    agent: AgentSpec, piece_bytes: int, failed: bool
) -> None:
    text = 'It is "done" \\ \u2603. ' + '\\"x\n' * (JSON_LINE_CHARACTERS // 4)
    line = json.dumps(LONG[agent.name]).replace("I look {here}.", json.dumps(text)[1:-1])
    ending = {"claude": {}, "codex": RESULT["codex"]}[agent.name]
    if failed:
        line = line.replace("success", "error_max_turns").replace("false", "true")
        ending = ending and {"type": "turn.failed", "error": {"message": "No."}}
    reader = agent.reader()
    output = f"warn: {line}\n{json.dumps(ending)}\n".encode()
    events = read_output(reader, output, piece_bytes=piece_bytes)
    assert f"[a line of {len(line) + 6} characters is not stored" in text_of(events)
    assert reader.finished
    error = reader.judge(0, "")
    if failed:
        assert (error is not None, reader.summary) == (True, None)
        return
    assert error is None
    assert reader.details["usage"]["input_tokens"] == 3
    assert reader.summary is not None
    beginning, _, end = reader.summary.rpartition(" [cut]")
    assert end == ""
    assert text.startswith(beginning)
    assert 10_000 < len(beginning) < EVENT_CHARACTERS


def test_a_secret_at_the_cut_of_a_long_result_is_removed_as_a_whole() -> None:
    secret = "a-secret-of-the-user"
    text = "x" * (LINE_CHARACTERS - 8) + secret + "y" * JSON_LINE_CHARACTERS
    line = json.dumps({**RESULT["claude"], "result": text}).encode()
    reader, redactor = CLAUDE.reader(), Redactor()

    async def read_all() -> None:
        reporter = OutputReporter(reader, lambda *_: None, 1_000, redactor.redact)
        reporter.feed("stdout", b"z" * 2_000 + b"\n" + line + b"\n")
        reporter.close()

    with redactor.hold(secret):
        anyio.run(read_all)
    assert reader.summary is not None
    assert "a-se" not in reader.summary
    assert reader.finished


@both_agents
def test_unknown_objects_and_ordinary_text_are_kept_as_they_are(agent: AgentSpec) -> None:
    said, end = (json.dumps(entry[agent.name]) for entry in (SAID, RESULT))
    text = 'if (a) {\n  b = {"c": [1]}\n}\n{"type":"next"}\n{\n  "type": "next"\n}\n{not json\n'
    assert text_of(read(agent, f"{said}\n{text}{end}\n")) == text


HOSTILE: Mapping[str, Callable[[int], str]] = {
    "beginnings": lambda size: '{"' * (size // 2),
    "nested objects": lambda size: '{"a":' * (size // 5),
    "nested lists": lambda size: '{"a":[' * (size // 6),
    "many small lists": lambda size: '{"a":[' + "[]," * (size // 3),
    "many small objects": lambda size: '{"a":1}' * (size // 7),
    "escapes of terminals": lambda size: "{\x1b[" * (size // 3),
    "escapes in a string": lambda size: '{"a":"' + '\\"' * (size // 2),
    "blanks": lambda size: "{" + " " * size + "x",
    "lines of beginnings": lambda size: '{"a":[\n' * (size // 7),
    "lines of braces": lambda size: "{\n" * (size // 2),
    "lines of cut strings": lambda size: '{"a\n' * (size // 4),
}


@pytest.mark.parametrize(
    "agent",
    [CLAUDE, pytest.param(CODEX, marks=pytest.mark.exhaustive("both find objects with one class"))],
    ids=lambda agent: agent.name,
)
@pytest.mark.parametrize("case", HOSTILE)
def test_reading_takes_linear_time(agent: AgentSpec, case: str) -> None:
    def seconds(size: int) -> float:
        started = time.thread_time()
        read_output(agent.reader(), HOSTILE[case](size).encode())
        return time.thread_time() - started

    small = min(seconds(20_000) for _ in range(3))
    assert seconds(200_000) < 40 * small + 0.5


@both_agents
@settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(data=st.data())
def test_a_result_counts_in_any_noise_and_however_it_arrives(
    agent: AgentSpec, data: st.DataObject
) -> None:
    noise = st.sampled_from(
        [*("", " ", "\r", "\0", "\ufeff", "\x1b[31m"), *("warn: ", "x", ",", "]", '"', "a}b", "é")]
    )
    between = st.lists(noise, max_size=3).map("".join)
    indent = st.sampled_from([None, 0, 2])
    output = ""
    for entry in (SAID[agent.name], RESULT[agent.name]):
        shown = json.dumps(entry, indent=data.draw(indent))
        line_end = data.draw(st.sampled_from(["\n", "\r\n", ""]))
        output += f"{data.draw(between)}{shown}{data.draw(between)}{line_end}"
    pieces = data.draw(st.sampled_from([1, 7, 65_536]))
    reader = agent.reader()
    events = read_output(reader, output.encode(), piece_bytes=pieces)
    assert (reader.finished, reader.summary) == (True, "I look {here}.")
    assert events == read_output(agent.reader(), output.encode())
