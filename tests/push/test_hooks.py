"""A refusal by a hook is GitHub's own where it has GitHub's number, and else only quoted."""

from __future__ import annotations

import re
import sys

import pytest

from tests.support.backends import git
from tests.support.git.pushes import TOKEN, Target
from utils.errors import AppError, PushRefused
from utils.push.refusal_rules import FAILURES, GITHUB_HOOK_RULES

HOOKS = {
    "a rule": (
        "error: GH013: Repository rule violations found for refs/heads/x.",
        "branch_protected",
    ),
    "a protected branch": ("error: GH006: Protected branch update failed.", "branch_protected"),
    "a large file": (
        "error: File big.bin is 120.00 MB; this exceeds GitHub's file size limit of 100.00 MB\n"
        "error: GH001: Large files detected.",
        "file_too_large",
    ),
    "a secret": (
        "error: GH013: Repository rule violations\n- Push cannot contain secrets",
        "secret_detected",
    ),
    "a house rule": (f"Ask Ann first, {TOKEN}\x1b[31m", "push_rejected"),
}

HOUSE_RULES = (
    "Access denied: ticket ABC-1",
    "error: the rate limit of this branch is one push a day",
    "Authentication failed: sign your commits",
    "Permission to release denied to everybody",
    "the module GH001 and the protected branch stay as they are",
    "repository not found in the list of projects",
    "No space left on device names",
    "refusing to create or update workflow without `workflow` scope",
)

STATUSES = {
    "refusing to allow a Personal Access Token to create or update workflow "
    "`.github/workflows/rate limit.yml` without `workflow` scope": "github_token_scope",
    "protected branch hook declined": "branch_protected",
    "push declined due to repository rule violations": "branch_protected",
    "push declined due to email privacy restrictions": "push_rejected",
}

SAMPLES = {
    r"^remote: error: GH001\b": "remote: error: GH001: Large files detected.",
    r"^remote: error: GH013\b": (
        "remote: error: GH013: Repository rule violations\n- Push cannot contain secrets"
    ),
    r"^remote: error: GH009\b": "remote: error: GH009: Secrets detected!",
    r"^remote: error: GH0(?:06|13)\b": "remote: error: GH006: Protected branch update failed.",
    r"without `?workflows?`? (scope|permission)": "without `workflow` scope",
    r"repository (was|has been|is) archived": "The repository has been archived",
    r"returned error: 30\d": "The requested URL returned error: 301",
    r"Permission .{0,300}denied to": "Permission to team/x.git denied to someone.",
    r"insufficient permission(?! for adding)": "insufficient permission",
    r"[Rr]epository .{0,500}not found": "remote: Repository not found.",
    r"Connection (refused|reset|timed out)": "Connection reset by peer",
}
"""Messages that match the patterns which are not plain texts."""

# It reads packets up to an empty one twice, and then answers.
PROC_RECEIVE = """#!{python}
import sys
def read():
    while (size := int(sys.stdin.buffer.read(4), 16)) > 4:
        kept.append(sys.stdin.buffer.read(size - 4))
def write(*lines):
    for line in lines:
        sys.stdout.buffer.write(b"%04x" % (len(line) + 4) + line)
    sys.stdout.buffer.write(b"0000")
    sys.stdout.buffer.flush()
kept = []
read()
write(b"version=1")
read()
name = kept[-1].split()[2]
write(b"ng %s %s" % (name, {status!r}))
"""


def saying(text: str) -> str:
    return f"#!/bin/sh\ncat >&2 <<'END'\n{text}\nEND\nexit 1\n"


@pytest.mark.parametrize("case", HOOKS)
def test_a_hook_that_refuses_is_quoted(push_target: Target, case: str) -> None:
    text, code = HOOKS[case]
    push_target.add_hook("pre-receive", saying(text))
    with pytest.raises(AppError) as raised:
        push_target.push()
    assert raised.value.code == code
    if code == "push_rejected":
        assert raised.value.message.endswith("Ask Ann first, [redacted] [31m")
    assert push_target.request.branch not in git(push_target.bare, "branch", "--list")


@pytest.mark.parametrize("hook", ["pre-receive", "update"])
def test_the_words_of_a_repositorys_own_hook_have_no_code(push_target: Target, hook: str) -> None:
    push_target.add_hook(hook, saying("\n".join(HOUSE_RULES)))
    with pytest.raises(PushRefused) as raised:
        push_target.push()
    assert raised.value.code == "push_rejected"
    assert HOUSE_RULES[0] in raised.value.message


@pytest.mark.parametrize("status", STATUSES)
def test_what_the_host_itself_says_of_a_branch_has_its_code(
    push_target: Target, status: str
) -> None:
    git(push_target.bare, "config", "receive.procReceiveRefs", "refs/heads")
    program = PROC_RECEIVE.format(python=sys.executable, status=status.encode())
    push_target.add_hook("proc-receive", program)
    with pytest.raises(AppError) as raised:
        push_target.push()
    assert raised.value.code == STATUSES[status]


def test_no_rule_of_the_tables_hides_a_later_one() -> None:
    rules = (*GITHUB_HOOK_RULES, *FAILURES)
    unused = set(SAMPLES)
    for number, rule in enumerate(rules):
        # At each bar that is in no parentheses.
        for alternative in re.split(r"\|(?![^(]*\))", rule.pattern):
            unused.discard(alternative)
            text = SAMPLES.get(alternative) or re.sub(r"\\(.)", r"\1", alternative)
            assert re.search(alternative, text, re.MULTILINE), alternative
            for earlier in rules[:number]:
                assert not re.search(earlier.pattern, text, re.MULTILINE), text
    assert unused == set()
