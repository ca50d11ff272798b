"""Tests that output which is sent again after a broken connection is passed on exactly once."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import SandboxLost, SandboxUnavailable
from utils.sandboxes.e2b.output_cursor import OutputCursor
from utils.sandboxes.e2b.reconnection import Reconnection

STREAMS = ("stdout", "stderr")

printed = st.lists(
    st.sampled_from(
        [
            b"line\n",
            b"\n",
            "naïve ☃ \U0001f680".encode(),
            b"\xff\xfe",
            b"\xf0\x9f\x98",
            b"\xef\xbf\xbd",
            b"\xc3\n",
            b"a",
            b"no end",
            b"\r\n",
        ]
    ),
    max_size=12,
).map(b"".join)


def shown(data: bytes, line: int) -> bytes:
    """Return the output of `tail -n +LINE`."""
    return b"\n".join(data.split(b"\n")[line - 1 :])


def decoded(data: bytes, cuts: list[int], *, to_its_end: bool) -> Iterator[str]:
    """Return the texts that the SDK passes on for pieces of data: decoded, flushed at each end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    borders = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    if not to_its_end:
        borders.pop()
    for start, end in itertools.pairwise(borders):
        yield decoder.decode(data[start:end])
    yield decoder.decode(b"", final=True)


@settings(max_examples=300, deadline=None)
@given(
    output=st.tuples(printed, printed),
    connections=st.lists(st.lists(st.integers(0, 60), max_size=4), max_size=5),
)
def test_everything_comes_once_however_often_the_connection_breaks(
    output: tuple[bytes, bytes], connections: list[list[int]]
) -> None:
    printed_by = dict(zip(STREAMS, output, strict=True))
    received = {"stdout": b"", "stderr": b""}

    def receive(stream: str, data: bytes) -> None:
        received[stream] += data

    followed = OutputCursor(receive)
    for number, cuts in enumerate([*connections, []]):
        lines = dict(zip(STREAMS, map(int, followed.next_lines()), strict=True))
        for stream, data in printed_by.items():
            rest = shown(data, lines[stream])
            for text in decoded(rest, cuts, to_its_end=number == len(connections)):
                if text:
                    followed.feed(stream, text)
    followed.flush()
    for stream, data in printed_by.items():
        assert received[stream].decode() == data.decode(errors="replace")


def test_a_character_that_a_broken_connection_cut_in_two_stays_whole() -> None:
    received: list[bytes] = []
    followed = OutputCursor(lambda _, data: received.append(data))
    followed.next_lines()
    for text in decoded("ab☃c\n".encode(), [4], to_its_end=False):
        followed.feed("stdout", text)
    assert followed.next_lines() == ["1", "1"]
    followed.feed("stdout", "ab☃c\n")
    followed.flush()
    assert b"".join(received).decode() == "ab☃c\n"


def test_a_sandbox_that_stays_out_of_reach_is_lost() -> None:
    async def pause_again_and_again() -> None:
        reconnection = Reconnection()
        for _ in range(100):
            await reconnection.pause(SandboxUnavailable("away"), longest_seconds=0.2)

    with pytest.raises(SandboxLost, match="RETRY_LOST_SANDBOX"):
        anyio.run(pause_again_and_again)
