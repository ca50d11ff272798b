"""Tests of the notes that come out of a sandbox, whatever the agent writes into them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.suite.generated import generated
from utils.pipeline.capture.bundle import Raw
from utils.pipeline.capture.notes import MOST_NOTES, SENTENCES, capture_notes

LONGEST_NOTE = 1_500

words = st.one_of(st.sampled_from([kind.encode() for kind in SENTENCES]), st.binary(max_size=20))
fields = st.one_of(st.integers(-9, 10**12).map(lambda n: str(n).encode()), st.binary(max_size=400))
lines = st.tuples(words, st.lists(fields, max_size=6)).map(lambda p: b"\t".join([p[0], *p[1]]))


def notes_of(section: bytes) -> list[str]:
    """Return the notes for a section of a bundle."""
    raw = Raw(0, "", "", [], {}, None, None, is_one_commit=False, left_out=None, notes=section)
    return list(capture_notes(raw, 1, 2))


def test_forged_notes_are_ignored_or_short() -> None:
    @generated(200)
    @given(st.lists(lines, max_size=30).map(b"\n".join))
    def reads(section: bytes) -> None:
        notes = notes_of(section)
        assert len(notes) <= MOST_NOTES
        assert all(len(note) <= LONGEST_NOTE and note.isprintable() for note in notes)

    reads()


def test_large_notes_take_no_longer_than_small_ones() -> None:
    assert len(notes_of(b"large\t1\ta\n" * 5_000_000)) == MOST_NOTES
    assert notes_of(b"\t" * 50_000_000) == notes_of(b"\n" * 50_000_000) == []


def test_names_are_counted_and_shown() -> None:
    assert notes_of(b"large\t5\ta\tb\xff\tc\x1b\t\n")[0].endswith(
        ": a, b\\xff, c? and 2 more. All other changes are stored."
    )
    assert (
        "branch a/b (1 commit), c d (12 commits)." in notes_of(b"branches\t2\t1 a/b\t12 c d\t")[0]
    )
    commit = b"a" * 40
    [note] = notes_of(b"worktrees\t3\tmain .w/a\t? .w/b\t" + commit + b" .w/c d\t")
    assert ": .w/a (branch main), .w/b, .w/c d (commit aaaaaaaaaaaa). " in note
