"""Tests that a bundle of any content is parsed in bounded time and memory, or refused."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import CaptureError
from utils.git.output import MAX_CHANGES
from utils.pipeline.capture.bundle import (
    LISTING_BYTES,
    NOTES_BYTES,
    BundleLimits,
    Raw,
    parse_bundle,
)

LIMITS = BundleLimits(patch_bytes=1_000_000, files=20, file_bytes=50_000)
COMMIT, TREE, OBJECT = b"a" * 40, b"b" * 40, b"c" * 40
CHANGE = b":100644 100644 %b %b M\t" % (OBJECT, OBJECT)

MEBIBYTE = 2**20
MAX_MEMORY_BYTES = 64 * MEBIBYTE
SECONDS_FOR_A_KILOBYTE = 0.1


def bundle(*sections: tuple[str, bytes], index: bytes = b"") -> bytes:
    lines = b"".join(b"%d %b\n" % (len(data), name.encode()) for name, data in sections)
    contents = b"".join(data for _, data in sections)
    return contents + b"\n\n%b %b\n%b" % (COMMIT, TREE, lines + index)


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Fail when the work in the block takes more memory or processor time than it may."""
    tracemalloc.start()
    started = time.thread_time()
    try:
        yield
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < MAX_MEMORY_BYTES
    assert time.thread_time() - started < SECONDS_FOR_A_KILOBYTE * max(size / 1024, 10)


def parsed(data: bytes) -> Raw | None:
    """Parse within the bounds; return None when our own error refuses the bundle."""
    with bounded(len(data)):
        try:
            return parse_bundle(data, LIMITS)
        except (CaptureError, ValueError):
            return None


def object_of(content: bytes, name: bytes = OBJECT) -> bytes:
    return b"%b blob %d\n%b\n" % (name, len(content), content)


HUGE: dict[str, Callable[[], bytes]] = {
    "names": lambda: bundle(("changes", b"".join(CHANGE + b"%d\n" % n for n in range(400_000)))),
    "one name": lambda: bundle(("changes", CHANGE + b"x" * 30 * MEBIBYTE)),
    "counts without names": lambda: bundle(("changes", b"1\t1\tx\n" * 2_000_000)),
    "blank lines": lambda: bundle(("changes", b"\n" * (LISTING_BYTES - 1))),
    "missing contents": lambda: bundle(("contents", b"x missing\n" * 2_000_000)),
    "contents without an end": lambda: bundle(("contents", b"x" * 20 * MEBIBYTE)),
    "the same content": lambda: bundle(("contents", object_of(b"x" * 40_000) * 500)),
    "names that were left out": lambda: bundle(("left_out", b"9\n" + b"x\n" * 10_000_000)),
    "notes": lambda: bundle(("notes", b"x" * 20 * MEBIBYTE), ("other", b"")),
    "sections": lambda: bundle(index=b"0 dropped\n" * 2_000_000),
    "no sections": lambda: b"\n\n" * 10 * MEBIBYTE,
    "commits": lambda: bundle(("mail", b"\n\n:" * 5_000_000)),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_huge_bundle_is_refused_in_bounded_time_and_memory(case: str) -> None:
    assert parsed(HUGE[case]()) is None


def test_as_many_changes_as_are_accepted_fit_into_the_memory() -> None:
    lines = [
        b":100644 100644 %040x %040x M\tsource/file%d\n" % (n, n, n) for n in range(MAX_CHANGES)
    ]
    counts = [b"1\t2\tsource/file%d\n" % n for n in range(MAX_CHANGES)]
    raw = parsed(bundle(("changes", b"".join(lines + counts))))
    assert raw is not None
    assert len(raw.changes) == MAX_CHANGES
    assert (raw.changes[-1].additions, raw.changes[-1].deletions) == (1, 2)


@pytest.mark.parametrize(
    "data",
    [
        bundle(("diff", b"ab"), ("diff", b"cd")),
        bundle(("other", b"ab")),
        bundle(("diff", b"ab")) + b"-2 patch\n",
        bundle(("diff", b"ab")).replace(b"\n2 diff", b"\n3 diff"),
        bundle(("diff", b"ab")).replace(b"\n2 diff", b"\n1 diff"),
        bundle(("diff", b"ab")).replace(b"\n2 diff", "\n٢ diff".encode()),
        bundle(("diff", b"ab")).replace(b"\n2 diff", b"\n%05000d diff" % 2),
        bundle(("contents", OBJECT + b" blob -48\n")),
        bundle(("contents", OBJECT + b" blob %b\n" % (b"9" * 4_300))),
        bundle(("changes", CHANGE + b"a\n" + b"9" * 4_300 + b"\t1\ta\n")),
        bundle(("changes", CHANGE + b"a\n-8\t1\ta\n")),
        bundle(("changes", CHANGE + b"\n")),
        bundle(("left_out", b"-1\nx\n")),
        bundle(("diff", b"ab"))[:-20],
        b"",
    ],
)
def test_what_the_script_cannot_have_written_is_refused(data: bytes) -> None:
    assert parsed(data) is None


def test_what_the_script_writes_is_parsed() -> None:
    listing = CHANGE + b'"caf\\303\\251"\n3\t-\t"caf\\303\\251"\n'
    contents = object_of(b"x") + b"%b missing\n" % TREE
    raw = parsed(
        bundle(
            ("dropped", b"..."),
            ("changes", listing),
            ("dropped", b"."),
            ("contents", contents),
            ("patch", b"P"),
            ("diff", b"D"),
            ("left_out", b"2\na\nb\n"),
        )
    )
    assert raw is not None
    assert (raw.commit, raw.tree) == (COMMIT.decode(), TREE.decode())
    assert [change.path for change in raw.changes] == ["café".encode()]
    assert (raw.changes[0].additions, raw.changes[0].deletions) == (3, None)
    assert raw.contents == {OBJECT.decode(): b"x"}
    assert (raw.patch, raw.diff) == (b"P", b"D")
    assert raw.left_out is not None
    assert (raw.left_out.count, raw.left_out.names) == (2, ["a", "b"])


def test_what_exceeds_a_limit_is_left_out_and_the_rest_is_kept() -> None:
    large = b"x" * (LIMITS.patch_bytes + 1)
    content = object_of(large[: LIMITS.file_bytes + 1]) + object_of(b"small", TREE)
    for patch, diff in ((large, b"D"), (b"P", large)):
        raw = parsed(
            bundle(("contents", content), ("patch", patch), ("diff", diff), ("notes", large * 2))
        )
        assert raw is not None
        assert raw.patch == (None if patch == large else patch)
        assert raw.diff == (None if diff == large else diff)
        assert raw.contents == {TREE.decode(): b"small"}
        assert len(raw.notes) == NOTES_BYTES


names = st.sampled_from(
    ["mail", "changes", "contents", "patch", "diff", "left_out", "dropped", "x"]
)
pieces = st.sampled_from(
    [
        CHANGE,
        OBJECT,
        b" blob 3\n",
        b" missing\n",
        b"\n\n:",
        b"\n",
        b'"\\303\\251"',
        b"1\t2\ta",
        b"-8",
        b"\0",
        "٣".encode(),
        b"9" * 50,
    ]
)
sections = st.tuples(names, st.lists(pieces | st.binary(max_size=20), max_size=12).map(b"".join))


@settings(derandomize=True, deadline=None, database=None, max_examples=300)
@given(st.lists(sections, max_size=5), pieces | st.binary(max_size=30), st.integers(0, 80))
def test_no_bundle_raises_another_error(
    parts: list[tuple[str, bytes]], index: bytes, cut: int
) -> None:
    data = bundle(*parts, index=index if cut % 2 else b"")
    parsed(data[: len(data) - cut] if cut > 40 else data)
