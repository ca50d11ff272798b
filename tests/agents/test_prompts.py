"""Prompts are data: kept byte for byte, written as they are, and never executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Backend, Repository, git, run
from tests.support.git.exactness import check_exact
from tests.support.suite.exhaustive import sampled
from utils.git.environment import SUBJECT_CHARACTERS

pytestmark = pytest.mark.cloud_with_all("a prompt is a file in both")

PROMPTS = {
    "quotes": "Say \"it's\" and 'that'",
    "a command in dollars": "$(touch executed) ${HOME} $((1+1))",
    "a command in backticks": "`touch executed`",
    "shell words": "; touch executed & | > executed && exit 1 # \\",
    "CRLF": "one\r\ntwo\r\n",
    "a lone carriage return": "one\rtwo\r",
    "newlines around it": "\n\n one \n\n\n",
    "an emoji": "Add a \U0001f98a \U0001f468‍\U0001f469‍\U0001f467",
    "100 kB": "All work and no play. " * 4_700,
    "200,000 characters": "\U0001f98a" * 200_000,
    "a dash": "-rf --help",
    "a hash": "# Title",
    "a dash line": "---\n--- a\n+++ b\n",
    "a diff": "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
    "a mail": "From abc Mon Sep 17 00:00:00 2001\nFrom: Other <o@example.org>\nSubject: x\n",
    "right-to-left": "\u202e\u05e9\u05dc\u05d5\u05dd\u202c",
    "control characters": "\x01\x02\x1b[31mred\x07\x7f\x0b\x0c\x85\u2028",
    "percent signs and backslashes": "%s %n %b \\n \\0 \\x41 %%",
    "a NUL in words": "\\0 \\u0000 &#0;",
    "blanks at the ends": "   x\t ",
    "no newline at the end": "x",
    "a script that is none": " script:\nfail 3\n",
    "markup": "<script>alert(1)</script> {{7*7}} ${7*7}",
    "a private use character and a noncharacter": "\ue000\ufffe\U0010ffff",
}

OF_A_KIND = {
    *("a command in backticks", "a lone carriage return", "a hash", "a dash line", "a mail"),
    *("a NUL in words", "blanks at the ends", "no newline at the end", "markup"),
}
"""Prompts that endanger the same thing as others."""


@pytest.mark.parametrize(
    "case", sampled(PROMPTS, PROMPTS.keys() - OF_A_KIND, "others are of the same kind")
)
def test_a_prompt_is_kept_byte_for_byte(
    backend: Backend, sample: Repository, tmp_path: Path, case: str
) -> None:
    prompt = PROMPTS[case]
    task = backend.complete(prompt, sample)
    assert task["chat_messages"][0]["content"] == prompt
    assert task["prompt"] == prompt
    assert task["changed_files"] == ["AI_GENERATED.md"]
    expected = task["execution_metadata"]["tree_hash"]
    check_exact(backend, task, sample, expected, tmp_path)
    written = (tmp_path / "patched" / "AI_GENERATED.md").read_bytes()
    assert written == b"## claude was asked\n\n" + prompt.encode() + b"\n"
    message = git(tmp_path / "patched", "log", "-1", "--format=%B")
    assert message.startswith("claude:")
    assert len(message.splitlines()[0]) <= SUBJECT_CHARACTERS
    assert message.endswith(f"Task: {task['id']}")


def test_a_second_task_extends_the_file(backend: Backend, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("printf 'ours\\n' >AI_GENERATED.md")
    task = backend.complete("Say hello", repository, model="codex")
    clone = repository.clone(tmp_path / "clone")
    run(["git", "am", "--quiet"], clone, backend.patch(task["id"]))
    text = (clone / "AI_GENERATED.md").read_text()
    assert text == "ours\n\n## codex was asked\n\nSay hello\n"
    summary = task["chat_messages"][-1]
    assert (summary["role"], "Extended AI_GENERATED.md" in summary["content"]) == (
        "assistant",
        True,
    )


def test_lone_surrogates_and_nul_are_refused_in_words(backend: Backend, sample: Repository) -> None:
    answer = backend.post("/start-task", prompt="a\0b", repo_url=sample.url)
    assert answer["http_status"] == 400
    client = backend.app.test_client()
    response = client.post(
        "/start-task",
        data=b'{"prompt": "\\ud800", "repo_url": "x"}',
        content_type="application/json",
        headers={"X-User-ID": "00000000-0000-4000-8000-00000000000a"},
    )
    assert response.status_code == 400
