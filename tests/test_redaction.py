"""Secrets do not leave as text, in whatever form they are written."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from utils.redaction import REDACTED, Redactor

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


def test_short_values_do_not_blot_out_ordinary_words() -> None:
    redactor = Redactor()
    with redactor.hold("a", "main"):
        assert redactor.redact("a main thing") == "a main thing"
