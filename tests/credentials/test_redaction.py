"""Secrets are redacted in every encoding."""

from __future__ import annotations

import base64
import gc
import sys
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.redaction import REDACTED, Redactor, current_redactor

SECRET = "marked/token+3f9a1c"
PLAIN = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(derandomize=True, deadline=None, database=None, max_examples=50)
@given(before=PLAIN, after=PLAIN)
def test_a_secret_is_found_in_every_form_and_position(before: str, after: str) -> None:
    redactor = Redactor()
    raw = f"{before}{SECRET}{after}".encode()
    with redactor.hold(SECRET):
        for form in (SECRET, quote(SECRET, safe=""), quote_plus(SECRET)):
            assert redactor.redact(f"{before}{form}{after}") == f"{before}{REDACTED}{after}"
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            assert REDACTED in redactor.redact(encode(raw).decode())


def test_a_secret_with_a_blank_is_found_as_a_form_field_and_as_part_of_a_path() -> None:
    redactor = Redactor()
    with redactor.hold("correct horse/battery"):
        for form in ("correct+horse%2Fbattery", "correct%20horse%2Fbattery"):
            assert redactor.redact(f"?token={form}&x") == f"?token={REDACTED}&x"


@pytest.mark.parametrize("offset", range(3))
def test_a_secret_is_found_in_either_alphabet_of_base64(offset: int) -> None:
    secret = "~~~???>>>~~~???>>>"
    text = b"x" * offset + secret.encode() + b"end"
    with (redactor := Redactor()).hold(secret):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(text).decode()
            assert set(encoded) & set("+/-_"), "the two alphabets differ in this text"
            assert REDACTED in redactor.redact(encoded)


@pytest.mark.parametrize("offset", range(3))
@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}4", f"{SECRET}42"])
def test_all_characters_of_base64_that_only_the_secret_decides_are_redacted(
    offset: int, secret: str
) -> None:
    encoded = base64.b64encode(b"x" * offset + secret.encode() + b"end").decode()
    # A character of base64 holds six bits.
    first, stop = -(-offset * 8 // 6), (offset + len(secret)) * 8 // 6
    with (redactor := Redactor()).hold(secret):
        assert redactor.redact(encoded) == encoded[:first] + REDACTED + encoded[stop:]


def test_a_secret_is_live_as_long_as_someone_holds_it() -> None:
    redactor = Redactor()
    with redactor.hold(SECRET):
        with redactor.hold(SECRET, None):
            pass
        assert redactor.redact(SECRET) == REDACTED
    assert redactor.redact(SECRET) == SECRET


def test_the_longer_of_two_secrets_goes_as_a_whole() -> None:
    redactor = Redactor()
    with redactor.hold("secret-1", "secret-12345"):
        assert redactor.redact("a secret-12345 b secret-1") == f"a {REDACTED} b {REDACTED}"


def test_a_shorter_secret_inside_a_longer_one_leaves_nothing_of_it() -> None:
    with (redactor := Redactor()).hold("the-longer-secret", "longer"):
        assert redactor.redact("a the-longer-secret b") == f"a {REDACTED} b"


def test_short_values_do_not_blot_out_ordinary_words() -> None:
    redactor = Redactor()
    redactor.add("thing")
    with redactor.hold("a", "main"):
        assert redactor.redact("a main thing") == "a main thing"


def test_six_characters_are_enough_for_a_secret() -> None:
    redactor = Redactor()
    redactor.add("123456")
    with redactor.hold("abcdef"):
        assert redactor.redact("123456 abcdef") == f"{REDACTED} {REDACTED}"
    assert redactor.redact("123456 abcdef") == f"{REDACTED} abcdef"


def test_all_texts_of_a_json_value_are_redacted_and_everything_else_stays() -> None:
    with (redactor := Redactor()).hold(SECRET):
        value = {"a": [SECRET, {"b": f"is {SECRET}"}], "c": 1, "d": None, "e": True}
        clean = {"a": [REDACTED, {"b": f"is {REDACTED}"}], "c": 1, "d": None, "e": True}
        assert redactor.redact_values(value) == clean


def test_a_child_also_replaces_the_secrets_of_its_parent() -> None:
    child = (parent := Redactor()).child()
    with parent.hold("the-parents"), child.hold("the-childs"):
        assert child.redact("the-parents the-childs") == f"{REDACTED} {REDACTED}"
        assert parent.redact("the-parents the-childs") == f"{REDACTED} the-childs"


def test_secrets_that_overlap_go_together_and_neighbours_one_by_one() -> None:
    redactor = Redactor()
    with redactor.hold("first-part", "part-second", "redacted"):
        assert redactor.redact("a first-part-second b") == f"a {REDACTED} b"
        assert redactor.redact("first-partfirst-part") == REDACTED * 2
        assert redactor.redact(REDACTED) == f"[{REDACTED}]"


def calls_of(work: Callable[[], object]) -> int:
    """Return the number of function calls of some work, which is deterministic."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    # Garbage collection of objects of any test may call functions too.
    gc.disable()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def test_many_long_secrets_are_no_more_work_than_short_ones() -> None:
    def work(characters: int) -> int:
        secrets = [f"{number:03}" * (characters // 3) for number in range(50)]
        text = "x" * 30_000 + secrets[7]

        def hold_and_redact() -> None:
            redactor = Redactor().child()
            with redactor.hold(*secrets):
                assert redactor.redact(text).endswith(f"x{REDACTED}")

        return calls_of(hold_and_redact)

    work(30)  # the first use of a library may call more
    # Long ones are also looked for in parts, of which there are a few.
    assert work(6000) < 3 * work(30)


def test_text_without_a_secret_costs_no_calls_for_each_secret() -> None:
    redactor = Redactor()
    with redactor.hold(*(f"secret-{number}" for number in range(1000))):
        assert calls_of(lambda: redactor.redact("x" * 30_000)) < 20


def test_a_childs_block_makes_it_the_current_redactor() -> None:
    parent = Redactor()
    one, other = parent.child(), parent.child()
    with parent.hold(SECRET):
        assert current_redactor() is None
        with one.hold("one-secret"):
            with other.hold():
                assert current_redactor() is other
            assert current_redactor() is one
    assert current_redactor() is None
