"""Tests that a replay of the output after a crash adds exactly the missing events."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.agents.claude import ClaudeReader
from utils.agents.codex import CodexReader
from utils.agents.scripted import ScriptedReader
from utils.agents.spec import StreamReader
from utils.models.tasks import Json
from utils.pipeline.agent_output import (
    EVENT_BYTES,
    OutputReporter,
)
from utils.pipeline.line_splitter import JSON_LINE_CHARACTERS, LINE_CHARACTERS

READERS: list[Callable[[], StreamReader]] = [ScriptedReader, ClaudeReader, CodexReader]
SECRET = "tok_SECRET_of_a_user"
NO_LIMIT = 10**9

Piece = tuple[str, bytes]
Stored = tuple[str, Json, Json]

claude_lines = st.sampled_from(
    [
        {"type": "system", "subtype": "init", "session_id": "s", "model": "m"},
        {
            "type": "assistant",
            "message": {"content": [{"type": "text", "text": "Grüße \U0001f680"}]},
        },
        {
            "type": "assistant",
            "message": {
                "content": [
                    {"type": "text", "text": "two"},
                    {"type": "tool_use", "id": "1", "name": "Bash", "input": {"command": "ls"}},
                ]
            },
        },
        {
            "type": "user",
            "message": {"content": [{"type": "tool_result", "tool_use_id": "1", "content": "a"}]},
        },
        {"type": "result", "subtype": "success", "result": "done", "usage": {"input_tokens": 3}},
    ]
)
codex_lines = st.sampled_from(
    [
        {"type": "thread.started", "thread_id": "t"},
        {"type": "turn.started"},
        {"type": "item.started", "item": {"id": "1", "type": "command_execution", "command": "ls"}},
        {
            "type": "item.completed",
            "item": {"id": "1", "type": "command_execution", "aggregated_output": "a"},
        },
        {"type": "item.completed", "item": {"id": "2", "type": "agent_message", "text": "ö"}},
        {"type": "error", "message": "again"},
        {"type": "turn.completed", "usage": {"input_tokens": 5}},
    ]
)
json_lines = (claude_lines | codex_lines).map(lambda entry: json.dumps(entry).encode())
raw_lines = st.sampled_from(
    [
        b"",
        b"plain",
        b"result: said",
        "naïve ☃ \U0001f680".encode(),
        b"broken \xff\xfe \xe2\x82 text",
        b"{not json",
        b'{"type":"assistant","mess',
        b"{",
        b'  "type": "result"',
        b"}",
        b"x" * (LINE_CHARACTERS + 5_000),
        b"y" * 90_000 + SECRET.encode() + b"z" * 40_000,
        b"w" * 32_755 + SECRET.encode() + b"v" * 20_000,
    ]
)
lines = st.lists(json_lines | raw_lines, max_size=8)
endings = st.sampled_from([b"\n", b"", b"\xf0\x9f"])


@st.composite
def outputs(draw: st.DrawFn) -> dict[str, bytes]:
    """Generate the output of an agent on each stream."""
    return {stream: b"\n".join(draw(lines)) + draw(endings) for stream in ("stdout", "stderr")}


@st.composite
def cuts(draw: st.DrawFn, output: dict[str, bytes]) -> list[Piece]:
    """Generate pieces of the output, cut anywhere, with both streams mixed."""
    queues = {}
    for stream, data in output.items():
        places = st.lists(st.integers(0, len(data)), max_size=6)
        borders = [0, *sorted(draw(places)), len(data)]
        queues[stream] = [data[start:end] for start, end in itertools.pairwise(borders)]
    order = draw(st.permutations([name for name, queue in queues.items() for _ in queue]))
    return [(stream, queues[stream].pop(0)) for stream in order]


def redact(text: str) -> str:
    return text.replace(SECRET, "[redacted]")


def report(
    reader: Callable[[], StreamReader],
    pieces: Iterable[Piece],
    limit: int = NO_LIMIT,
    position: Json | None = None,
) -> list[Stored]:
    """Return the events of an output, each with the position of its end."""
    stored: list[Stored] = []

    async def feed() -> None:
        output = OutputReporter(
            reader(),
            lambda kind, data, after: stored.append((kind, data, after)),
            limit,
            redact,
            position,
        )
        for stream, data in pieces:
            output.feed(stream, data)
        output.close()

    anyio.run(feed)
    return stored


def per_stream(events: Iterable[Stored]) -> dict[str, list[tuple[str, str]]]:
    """Return kind and text of events in order, with adjacent output of one stream joined."""
    found: dict[str, list[tuple[str, str]]] = {"agent": [], "stdout": [], "stderr": []}
    for kind, data, _ in events:
        if kind == "output":
            found[data["stream"]].append((kind, data["text"]))
        else:
            found["agent"].append((kind, json.dumps(data)))
    for stream in ("stdout", "stderr"):
        found[stream] = [("output", "".join(text for _, text in found[stream]))]
    return found


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_replay_from_any_stored_event_gives_what_an_undisturbed_run_gives(
    reader: Callable[[], StreamReader], data: st.DataObject
) -> None:
    output = data.draw(outputs())
    run = partial(report, reader)
    undisturbed = run([(stream, content) for stream, content in output.items()])
    interrupted = run(data.draw(cuts(output)))
    stored = interrupted[: data.draw(st.integers(0, len(interrupted)))]
    position = stored[-1][2] if stored else None
    replayed = run(data.draw(cuts(output)), position=position)
    assert per_stream([*stored, *replayed]) == per_stream(undisturbed)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), limit=st.integers(0, 20_000))
def test_the_limit_holds_over_a_replay_and_is_told_once(
    reader: Callable[[], StreamReader], limit: int, data: st.DataObject
) -> None:
    output = data.draw(outputs())
    run = partial(report, reader, limit=limit)
    whole = per_stream(report(reader, output.items()))
    interrupted = run(data.draw(cuts(output)))
    stored = interrupted[: data.draw(st.integers(0, len(interrupted)))]
    position = stored[-1][2] if stored else None
    both = [*stored, *run(data.draw(cuts(output)), position=position)]
    note = f"[output after {limit} bytes (MAX_OUTPUT_BYTES) is not stored]\n"
    notes = [event for event in both if event[1].get("text") == note]
    kept = [event for event in both if event[1].get("text") != note]
    for stream, events in per_stream(kept).items():
        if stream == "agent":
            assert events == whole[stream][: len(events)]
        else:
            assert whole[stream][0][1].startswith(events[0][1])
    complete = per_stream(kept) == whole
    assert len(notes) <= 1
    assert complete or notes
    spent = sum(costs(data) for _, data, _ in kept[:-1])
    assert spent < limit or not kept


def costs(data: Json) -> int:
    return max(sum(len(str(value).encode()) for value in data.values()), EVENT_BYTES)


def pieces_of(data: bytes, size: int) -> Iterator[Piece]:
    for start in range(0, len(data), size):
        yield "stdout", data[start : start + size]


def test_a_line_too_long_even_for_json_is_one_short_event_and_what_follows_is_stored() -> None:
    picture = b'{"type":"user","x":"' + b"j" * (JSON_LINE_CHARACTERS + 100_000) + b'"}\n'
    output = picture + b'{"type":"assistant","message":{"content":"Seen."}}\n'
    whole = report(ClaudeReader, [("stdout", output)], limit=10_000)
    in_pieces = report(ClaudeReader, pieces_of(output, 300_000), limit=10_000)
    assert [kind for kind, _, _ in whole] == ["output", "message"]
    assert str(len(picture) - 1) in whole[0][1]["text"]
    assert len(whole[0][1]["text"]) < 100
    assert per_stream(whole) == per_stream(in_pieces)
    replayed = report(ClaudeReader, [("stdout", output)], position=whole[0][2])
    assert per_stream([whole[0], *replayed]) == per_stream(whole)


def test_a_long_unknown_object_is_cut_at_the_same_places_however_it_comes() -> None:
    line = b'{"text":"' + b"j" * (JSON_LINE_CHARACTERS - 100_000) + b'"}\n'
    whole = report(ClaudeReader, [("stdout", line)])
    in_pieces = report(ClaudeReader, pieces_of(line, 300_000))
    assert whole[-1][2]["stdout"] == in_pieces[-1][2]["stdout"] > 100
    assert per_stream(whole) == per_stream(in_pieces)
