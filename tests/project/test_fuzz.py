"""Tests that nothing that comes from outside ends or blocks the server.

Whatever a sandbox, an agent, a git host, GitHub or a webhook sends is parsed without an exception
other than ours, in little memory, and in processor time that grows with its size only. The results
of sandboxes are tested in `tests/pipeline/capture/test_bundle.py`.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import anyio
import pytest
from flask import Flask
from github import GithubException
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import wait_until_idle
from tests.support.suite.exhaustive import sampled
from utils.agents.claude import ClaudeReader
from utils.agents.codex import CodexReader
from utils.agents.scripted import ScriptedReader
from utils.agents.spec import StreamReader
from utils.errors import AppError
from utils.git.added_text import added_text
from utils.git.failures import clone_error
from utils.github.comment_command import is_command, parse_command
from utils.github.errors import translate
from utils.models.runs import CommandResult
from utils.models.tasks import Json
from utils.pipeline.agent_output import OutputReporter
from utils.push.errors import does_not_apply, failure
from utils.push.fetch import read_heads
from utils.push.patch import plan_patch
from utils.push.repository import PushRepository
from utils.redaction import Redactor
from utils.sandboxes.e2b.output_cursor import OutputCursor
from utils.webhooks.delivery import CommentEvent, Delivery, PullRequestEvent, read_event

MEBIBYTE = 2**20
MAX_MEMORY_BYTES = 64 * MEBIBYTE
SECONDS_FOR_A_KILOBYTE = 0.1
LEAST_KILOBYTES = 5

fuzzed = settings(derandomize=True, database=None)


@pytest.fixture(scope="module", autouse=True)
def _alone(apps: list[Flask]) -> None:
    """Wait for the tasks of earlier tests, whose memory would be counted as well."""
    wait_until_idle(*apps)


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Fail when the work takes too much, or raises an exception that is not ours."""
    tracemalloc.start()
    started = time.thread_time()
    try:
        yield
        seconds, used = time.thread_time() - started, tracemalloc.get_traced_memory()[1]
    except AppError:
        return
    finally:
        tracemalloc.stop()
    assert used < MAX_MEMORY_BYTES
    assert seconds < SECONDS_FOR_A_KILOBYTE * max(size / 1024, LEAST_KILOBYTES)


def repeated(pieces: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return texts of a few pieces, each of which may stand there very often."""
    times = st.sampled_from([1, 1, 2, 100, 5_000])
    many = st.tuples(pieces, times).map(lambda one: one[0] * one[1])
    return st.lists(many, max_size=4).map("".join)


words = st.sampled_from(
    [
        "remote: ",
        "remote: error: GH013: ",
        "Push cannot contain secrets",
        "\n",
        "fatal: ",
        "Permission to ",
        " denied to",
        "Repository ",
        " not found",
        "Remote branch ",
        "!\t",
        "\t[remote rejected] (",
        "[rejected] (",
        ")",
        "a",
        " ",
        "\ufffd",
        "/async-code ",
        "agent=",
        "\u0663",
        "diff --git a/x b/x\n",
        "From " + "a" * 40 + " Mon Sep 17 00:00:00 2001\n",
        "rename from ",
        '"\\303',
        "index 0..1\n",
        "+++ b/x\n",
        "literal 9\n",
        "zcmZ\n",
        "+x\n",
    ]
) | st.text(max_size=8)
texts = repeated(words)

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
documents = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@fuzzed
@given(texts, texts)
def test_what_git_prints_becomes_an_error_of_ours(stdout: str, stderr: str) -> None:
    result = CommandResult(128, stdout.encode(errors="replace"), stderr.encode(errors="replace"))
    with bounded(len(stdout) + len(stderr)):
        assert len(clone_error(result, "main").message) < 2_000
        pushed = failure(
            result, url="https://example.com/a/b.git", has_token=True, redact=Redactor().redact
        )
        assert len(pushed.message) < 2_000
        assert len(does_not_apply(result).message) < 2_000


class Answering:
    """Stands for a repository whose host prints the given text."""

    def __init__(self, text: str) -> None:
        self._stdout = text.encode(errors="replace")

    def run_remote(self, *_arguments: str) -> CommandResult:
        """Return the text as the output of any command."""
        return CommandResult(0, self._stdout, b"")


@fuzzed
@given(
    texts
    | st.sampled_from(
        [
            f"{'a' * 40}\trefs/heads/main\n",
            f"{'a' * 40}\trefs/heads/main\tx\n",
            "x\trefs/heads/main\n",
            "refs/heads/main\n",
        ]
    )
)
def test_any_list_of_branches_is_read(text: str) -> None:
    with bounded(len(text)):
        heads = read_heads(cast("PushRepository", Answering(text)), ["main"])
        assert heads in ({}, {"refs/heads/main": "a" * 40})


@fuzzed
@given(texts)
def test_any_patch_is_read(patch: str) -> None:
    with bounded(len(patch)):
        list(added_text(patch, lambda _: True))
        try:
            plan_patch(patch.encode(errors="replace"))
        except ValueError:
            pytest.fail("no error of ours")


CHARACTERS = 2**18
"""Much more than what is generated, so that work for each pair of lines shows."""

PARSERS: dict[str, Callable[[str], object]] = {
    "diff": lambda text: list(added_text(text, lambda _: True)),
    "patch": lambda text: plan_patch(text.encode()),
    "branches": lambda text: read_heads(cast("PushRepository", Answering(text)), ["main"]),
}


@pytest.mark.parametrize("parser", PARSERS)
def test_a_flood_of_lines_from_git_takes_time_for_its_size_only(parser: str) -> None:
    for line in ("+x", "diff --git a/x b/x", "rename from x", f"{'a' * 40}\trefs/heads/main"):
        text = "diff --git a/x b/x\n" + f"{line}\n" * (CHARACTERS // len(line))
        started = time.process_time()
        PARSERS[parser](text)
        assert time.process_time() - started < 0.005 * len(text) / 1024


@fuzzed
@given(
    st.sampled_from([400, 401, 403, 404, 405, 409, 410, 422, 429, 500, 503]),
    st.fixed_dictionaries(
        {},
        optional={
            "message": documents | texts,
            "errors": documents
            | st.lists(
                st.fixed_dictionaries({}, optional={"message": documents | texts, "field": leaves}),
                max_size=4,
            ),
        },
    )
    | documents,
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "x-ratelimit-remaining",
                "x-ratelimit-reset",
                "x-oauth-scopes",
                "x-accepted-oauth-scopes",
                "x-github-sso",
                "x-accepted-github-permissions",
            ]
        ),
        st.sampled_from(["0", "9" * 5_000, "\xb2", "-1", "required; url=https://x", "a=b, c=d"])
        | st.text(max_size=10),
    ),
)
@example(404, {}, {"x-oauth-scopes": "", "x-accepted-oauth-scopes": "9" * 5_000})
def test_any_refusal_of_github_becomes_an_error_of_ours(
    status: int, data: Any, headers: dict[str, str]
) -> None:
    size = len(str(data)) + len(str(headers))
    with bounded(size):
        error = translate(GithubException(status, data, headers))
        assert isinstance(error, AppError)
        assert len(error.message) < 5_000


@fuzzed
@given(
    st.sampled_from([CommentEvent, PullRequestEvent]),
    documents.map(json.dumps)
    | texts
    | st.builds(
        lambda **fields: json.dumps({"action": "created", **fields}),
        issue=documents,
        comment=documents
        | st.fixed_dictionaries({"id": leaves, "body": leaves, "user": documents}),
        repository=documents,
        pull_request=documents,
    ),
)
def test_any_delivery_is_an_event_or_an_error_of_ours(kind: Any, content: str) -> None:
    with bounded(len(content)):
        read_event(kind, Delivery("1", "issue_comment", content.encode(errors="replace")))


@fuzzed
@given(texts)
def test_any_comment_is_a_command_or_none(comment: str) -> None:
    with bounded(len(comment)):
        parse_command(comment)
        is_command(comment)


READERS: tuple[Callable[[], StreamReader], ...] = (ClaudeReader, CodexReader, ScriptedReader)
KINDS = [
    *("system", "assistant", "user", "result", "error", "stream_event"),
    *("thread.started", "item.started", "item.completed", "turn.completed", "turn.failed"),
]

entries = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | leaves},
    optional={
        "message": documents | st.fixed_dictionaries({"content": documents}),
        "item": documents
        | st.fixed_dictionaries({"type": leaves, "id": leaves, "text": documents}),
        "result": documents,
        "usage": documents,
        "subtype": leaves,
        "is_error": leaves,
        "error": documents,
        "parent_tool_use_id": leaves,
    },
)
outputs = st.lists(
    entries.map(lambda entry: json.dumps(entry) + "\n")
    | repeated(
        st.sampled_from(["{", "[", '{"a":', "a", "\n", "\r", "\x1b[0m", '"', "\\u0041", "9"])
    )
    | texts,
    max_size=4,
).map("".join)


@pytest.mark.parametrize("reader", READERS)
@fuzzed
@given(output=outputs, cut=st.integers(1, 5_000), stream=st.sampled_from(["stdout", "stderr"]))
def test_any_output_of_an_agent_is_read(
    reader: Callable[[], StreamReader], output: str, cut: int, stream: str
) -> None:
    events: list[Json] = []
    data = output.encode(errors="replace")

    async def read() -> None:
        reporter = OutputReporter(
            reader(),
            lambda _kind, event, _position: events.append(event),
            100_000,
            lambda text: text,
        )
        for start in range(0, len(data), cut):
            reporter.feed(stream, data[start : start + cut])
        reporter.close()
        assert len(reporter.last_error_line) <= 500

    with bounded(len(data)):
        anyio.run(read)
        assert sum(len(str(event)) for event in events) < 1_000_000


@fuzzed
@given(st.lists(texts, max_size=4))
def test_any_pieces_of_a_stream_are_counted(pieces: list[str]) -> None:
    received: list[bytes] = []
    with bounded(sum(map(len, pieces))):
        cursor = OutputCursor(lambda _stream, data: received.append(data))
        for piece in pieces:
            cursor.feed("stdout", piece)
        cursor.flush()
    assert b"".join(received) == "".join(pieces).encode()


FLOODS = {
    "blank lines": ("\n", 200_000),
    "short lines": ("a\n", 200_000),
    "braces": ("{", 6_000_000),
    "braces in short pieces": ("{", 4_100_000),
    "one long line": ("a", 6_000_000),
    "one long text": ('{"a":"', 1_000_000),
    "many texts in a long line": ('{"a":"b"}', 700_000),
    "escapes in a long line": ('{"\\\\', 1_500_000),
}
TRIED_FLOODS = {"short lines", "braces", "one long line", "escapes in a long line"}


@pytest.mark.parametrize("case", sampled(FLOODS, TRIED_FLOODS, "others show no more"))
def test_a_flood_of_output_takes_time_for_its_size_only(case: str) -> None:
    piece, number = FLOODS[case]
    size = 1_000 if "short pieces" in case else 32_768
    text = (piece * number).encode()
    redactor = Redactor()

    async def read() -> float:
        reporter = OutputReporter(ClaudeReader(), lambda *_: None, 2_000_000, redactor.redact)
        started = time.thread_time()
        for start in range(0, len(text), size):
            reporter.feed("stdout", text[start : start + size])
        reporter.close()
        return time.thread_time() - started

    with redactor.hold(*("a" * length for length in range(300, 348)), "{" * 40):
        seconds = anyio.run(read)
    assert seconds < 0.005 * len(text) / 1024
