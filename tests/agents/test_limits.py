"""Limits that Claude Code has reached, and sign-ins that are spent."""

from __future__ import annotations

import pytest

from tests.support.agents.programs import judgement, read_lines, read_output
from utils.agents.claude import ClaudeReader

SUCCESS = {"type": "result", "subtype": "success", "is_error": False, "result": "Done."}
LIMITS = {
    "You've hit your limit \u00b7 resets 8pm (UTC)": "8pm (UTC)",
    "You've hit your session limit \u00b7 resets 10:10pm (Europe/Madrid)": "10:10pm",
    "5-hour limit reached \u2219 resets 2am": "2am",
    "Weekly limit reached \u2219 resets Oct 9, 5pm": "Oct 9, 5pm",
    "You've hit your Opus limit \u00b7 resets Apr 23 at 4pm (America/Recife)": "Apr 23 at 4pm",
    "Claude AI usage limit reached|1754870400": "2025-08-11 00:00 UTC",
    "You're out of extra usage \u00b7 resets Feb 4, 9pm (Africa/Cairo)": "Feb 4, 9pm",
    "You have reached your specified API usage limits. You will regain access on 2026-01-01 at "
    "00:00 UTC.": "2026-01-01 at 00:00 UTC",
}


SHAPES = ("error", "success", "text", "standard error")


@pytest.mark.parametrize(
    ("said", "shape"),
    # The limit of the API always comes as an error.
    [
        (said, shape)
        for said in LIMITS
        for shape in SHAPES
        if not (shape == "success" and "API" in said)
    ],
)
def test_a_reached_limit_is_told_with_the_time_at_which_it_ends(said: str, shape: str) -> None:
    reader, line = ClaudeReader(), ""
    if shape == "error":
        read_lines(reader, SUCCESS | {"is_error": True, "api_error_status": 429, "result": said})
    elif shape == "success":
        read_lines(reader, SUCCESS | {"result": said})
    elif shape == "text":
        read_output(reader, f"{said}\n".encode())
    else:
        line = said
    error = reader.judge(1, line)
    assert error is not None
    assert error.code == "agent_rate_limited"
    assert LIMITS[said] in error.message


def test_the_time_of_a_limit_is_known_from_the_event_before() -> None:
    reader, limit = ClaudeReader(), {"status": "rejected", "resetsAt": 1_754_870_400}
    events = read_lines(
        reader,
        {"type": "rate_limit_event", "rate_limit_info": limit},
        SUCCESS | {"is_error": True, "api_error_status": 429, "result": "Limit."},
    )
    assert events[0] == (
        "status",
        {"text": "the usage limit is reached until 2025-08-11 00:00 UTC", "waiting": True},
    )
    error = reader.judge(1, "")
    assert error is not None
    assert (error.code, "2025-08-11 00:00 UTC" in error.message) == ("agent_rate_limited", True)


def test_a_summary_that_talks_about_limits_is_a_success() -> None:
    reader = ClaudeReader()
    said = "When you've hit your limit, the page now says: try again in 5 minutes."
    read_lines(reader, SUCCESS | {"result": said})
    assert (reader.judge(0, ""), reader.summary) == (None, said)


@pytest.mark.parametrize(
    "said",
    [
        'Failed to authenticate. API Error: 401 {"type":"error","error":{"type":'
        '"authentication_error","message":"OAuth token has expired. Please obtain a new token."}}',
        "OAuth token revoked \u00b7 Please run /login",
        "Login failed: invalid_grant: Invalid refresh token",
    ],
)
def test_a_spent_sign_in_is_told_with_what_to_do(said: str) -> None:
    words = judgement(
        ClaudeReader(),
        [SUCCESS | {"is_error": True, "api_error_status": 401, "result": said}],
        1,
        "",
    )
    assert "Sign in again with `claude /login`" in words
    assert "preferences.claudeCode.credentials" in words
