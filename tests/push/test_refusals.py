"""Whatever keeps a push from its repository has a code of its own, and quotes who refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import Row, git
from tests.support.git.pushes import TOKEN, Target, push, request_of
from utils.errors import AppError, Forbidden, NotFound, PushRefused, Unavailable
from utils.models.runs import CommandResult
from utils.push.errors import failure
from utils.redaction import Redactor

REFUSALS = {
    "no permission": (
        "Permission to team/x.git denied to someone.",
        Forbidden,
        "repository_no_permission",
    ),
    "a fine-grained token": (
        "Write access to repository not granted.",
        Forbidden,
        "repository_no_permission",
    ),
    "an archive": (
        "This repository was archived so it is read-only.",
        PushRefused,
        "repository_archived",
    ),
    "single sign-on": (
        "The 'team' organization has enabled or enforced SAML SSO.",
        Forbidden,
        "github_sso_required",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_push_that_is_forbidden_says_why(push_target: Target, case: str) -> None:
    text, kind, code = REFUSALS[case]
    push_target.server.refusals[push_target.name] = (403, text)
    with pytest.raises(kind) as raised:
        push_target.push()
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, Forbidden, "github_token_refused"),
        (403, Forbidden, "repository_no_permission"),
        (404, NotFound, "repository_not_found"),
        (413, PushRefused, "push_too_large"),
        (429, Unavailable, "github_rate_limited"),
        (503, Unavailable, "repo_unreachable"),
    ],
)
def test_each_status_has_its_code(
    push_target: Target, status: int, kind: type[AppError], code: str
) -> None:
    push_target.server.refusals[push_target.name] = (status, "")
    with pytest.raises(kind) as raised:
        push_target.push()
    assert raised.value.code == code


@pytest.mark.parametrize(
    "answer",
    [(429, ""), (403, "You have exceeded a secondary rate limit. Please wait a few minutes.")],
)
def test_a_limit_names_one_time_to_wait(push_target: Target, answer: tuple[int, str]) -> None:
    push_target.server.refusals[push_target.name] = answer
    with pytest.raises(Unavailable) as raised:
        push_target.push()
    assert raised.value.code == "github_rate_limited"
    assert raised.value.retry_after_seconds == 60
    assert "try again in 60 seconds" in raised.value.message


@pytest.mark.parametrize("answer", ["", "<html>Welcome to the guests' network"])
def test_an_answer_that_is_not_gits_says_what_to_check(push_target: Target, answer: str) -> None:
    push_target.server.refusals[push_target.name] = (200, answer)
    with pytest.raises(Unavailable) as raised:
        push_target.push()
    assert raised.value.code == "repo_unreachable"
    assert "does not speak git" in raised.value.message
    assert "proxy or a sign-in page" in raised.value.message


NOT_GIT = {
    "no protocol": "fatal: protocol error: bad line length character: <htm\n",
    "another service": "fatal: invalid server response; got '# service=other'\n",
    "old web server": "fatal: dumb http transport does not support shallow capabilities\n",
    "cut off": "fatal: Could not read from remote repository.\n",
    "no report": "!\tx:refs/heads/x\t[remote failure] (remote failed to report status)\n",
}


@pytest.mark.parametrize("case", NOT_GIT)
def test_each_way_not_to_speak_git_is_known(case: str) -> None:
    assert error_for(NOT_GIT[case]).code == "repo_unreachable"


def test_what_no_row_knows_has_a_remedy_and_is_in_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = error_for(f"fatal: remote error: closed for {TOKEN} today\n")
    assert (error.http_status, error.code) == (409, "push_failed")
    assert "Try again; if it fails again, see this server's log" in error.message
    assert error.message.endswith(" closed for [redacted] today")
    logged = capsys.readouterr()
    assert "closed for [redacted] today" in logged.out + logged.err
    assert TOKEN not in logged.out + logged.err


def error_for(printed: str) -> AppError:
    """Return the error for what git prints."""
    result = CommandResult(128, b"", printed.encode())
    redactor = Redactor()
    redactor.add(TOKEN)
    return failure(result, url="https://x.example/a/b", has_token=True, redact=redactor.redact)


@pytest.mark.parametrize("name", ["GH013.git", "SSL", "rate limit", "Access denied"])
def test_the_name_of_a_repository_is_no_reason(push_result: Row, tmp_path: Path, name: str) -> None:
    for url, code in (
        (f"http://127.0.0.1:1/team/{name}", "repo_unreachable"),
        (f"file:///nowhere/team/{name}", "repository_not_found"),
    ):
        with pytest.raises(AppError) as raised:
            push(tmp_path, request_of(url, push_result))
        assert raised.value.code == code


def test_a_name_that_is_taken_says_so(push_target: Target) -> None:
    git(push_target.bare, "branch", "async-code", "main")
    with pytest.raises(PushRefused) as raised:
        push_target.push()
    assert raised.value.code == "branch_name_taken"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": "wrong-token-4711"}, "github_token_refused"),
        ({"token": None}, "github_token_needed"),
        ({"token": f"{TOKEN}\nhost=elsewhere"}, "github_token_refused"),
        ({"repo_url": "http://127.0.0.1:1/team/x.git"}, "repo_unreachable"),
        ({"repo_url": "file:///nowhere/at/all"}, "repository_not_found"),
    ],
)
def test_a_way_that_is_closed_has_its_code(
    push_target: Target, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(AppError) as raised:
        push_target.push(replace(push_target.request, **changes))
    assert raised.value.code == code


@pytest.mark.parametrize("token", [f"{TOKEN}\nhost=elsewhere", "t\u00f6ken", "t" * 2_001])
def test_a_text_that_is_no_token_is_sent_to_nobody(push_target: Target, token: str) -> None:
    before = push_target.asked
    with pytest.raises(Forbidden, match="not a token"):
        push_target.push(replace(push_target.request, token=token))
    assert push_target.asked == before


def test_a_server_that_does_not_answer_is_not_waited_for(push_target: Target) -> None:
    push_target.server.hanging.add(push_target.name)
    with pytest.raises(Unavailable) as raised:
        push_target.push(timeout_seconds=0.3)
    assert raised.value.code == "git_timeout"


def test_a_folder_that_cannot_be_used_is_told(push_result: Row, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable) as raised:
        push(tmp_path, request_of("file:///x", push_result), work_folder=tmp_path / "file")
    assert raised.value.code == "push_not_possible"
