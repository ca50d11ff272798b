"""The texts of a pull request: they fit, and nothing in a prompt reaches out of its block."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.pull_requests.conventional_commits import is_conventional
from utils.pull_requests.text import (
    MAX_BODY_CHARACTERS,
    MAX_TITLE_CHARACTERS,
    PullRequestFacts,
    cut_body,
    cut_title,
    default_body,
    default_title,
    fenced,
    mark_simulated,
)


def facts(prompt: str = "Add a page", **changes: Any) -> PullRequestFacts:
    known = {"task_id": 7, "agent": "claude", "changed_files": ["a.txt"], **changes}
    return PullRequestFacts(prompt=prompt, **known)


def outside_of_code(body: str) -> str:
    """Return what GitHub would read names and references in."""
    kept, fence = [], ""
    for line in body.split("\n"):
        marks = re.match(r" {0,3}(`{3,})([^`]*)$", line)
        if fence:
            if marks and len(marks[1]) >= len(fence) and not marks[2].strip():
                fence = ""
        elif marks:
            fence = marks[1]
        else:
            kept.append(re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    assert fence == ""
    return "\n".join(kept)


def test_the_body_says_who_made_what_from_which_prompt() -> None:
    body = default_body(facts(link="https://web.example/tasks/7", changed_files=["a.txt", "b`.c"]))
    assert "[task 7](https://web.example/tasks/7)" in body
    assert "`claude`" in body
    assert "```text\nAdd a page\n```" in body
    assert "### Changed files (2)\n\n- `a.txt`\n- ``b`.c``" in body
    assert "simulated" not in body


def test_a_title_is_marked_as_simulated_once_and_stays_within_the_limit() -> None:
    marked = mark_simulated("word " * 100)
    assert marked.startswith("[simulated] word")
    assert len(marked) <= MAX_TITLE_CHARACTERS
    assert mark_simulated(marked) == marked


def test_many_files_are_counted() -> None:
    body = default_body(facts(changed_files=[f"{n}.txt" for n in range(250)]))
    assert body.count("\n- ") == 101
    assert "- and 150 more" in body


HOSTILE = [
    "@octocat closes #1",
    "```\n@octocat\n```",
    "`````\n@octocat closes #1",
    "~~~\n@octocat",
    "x\r```\r\n@octocat fixes #1",
    "x\u2028```\u2028@octocat",
    "\t```\n@octocat",
]


@pytest.mark.parametrize("prompt", HOSTILE)
def test_a_prompt_cannot_reach_out_of_its_block(prompt: str) -> None:
    outside = outside_of_code(default_body(facts(prompt, changed_files=["@octocat/#1`closes #1"])))
    assert "@octocat" not in outside
    assert "#1" not in outside


@given(st.text(st.sampled_from("`~ \n@a#1\r\t\u2028"), max_size=60))
def test_no_prompt_ends_its_block(prompt: str) -> None:
    outside = outside_of_code(default_body(facts(prompt)))
    assert "@" not in outside
    assert re.search(r"#\d", outside) is None


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("Add a page\n\nwith a form", "Add a page"),
        ("\n\n## Add a page ", "Add a page"),
        ("   ", "Changes of task 7"),
        ("word " * 40, "word " * 12 + "word..."),
    ],
)
def test_the_title_is_the_first_line(prompt: str, title: str) -> None:
    assert default_title(facts(prompt)) == title


@pytest.mark.parametrize(
    "prompt", ["Fixes #12", "@octocat look", "closes GH-3", "a https://g.example/o/n/issues/3"]
)
def test_a_title_mentions_nobody_and_closes_nothing(prompt: str) -> None:
    title = default_title(facts(prompt))
    assert title.replace("\u200b", "") == prompt
    assert not re.search(r"@\w|#\d|GH-\d|//g", title)


def test_a_package_may_be_the_scope_of_a_title() -> None:
    title = "fix(@angular/core): look"
    assert default_title(facts(title), conventional=True) == title


@given(st.text(), st.booleans())
def test_a_title_fits_and_is_one_line(prompt: str, conventional: bool) -> None:
    title = default_title(facts(prompt), conventional=conventional)
    assert len(title) <= MAX_TITLE_CHARACTERS
    assert title.splitlines() == [title]
    assert is_conventional(title) or not conventional
    title.encode()


def test_a_given_title_is_cut_to_one_line() -> None:
    assert cut_title(" one\n two ") == "one two"
    assert cut_title("x" * 300) == "x" * 253 + "..."


@given(
    st.lists(st.sampled_from(["```", "````python", "~~~", "line\n", "\n", "é", "\U0001f600"])),
    st.integers(0, 30_000),
)
def test_a_long_body_is_cut_and_leaves_no_block_open(parts: list[str], padding: int) -> None:
    body = "x\n" * padding + "".join(parts) + "\n" + "tail\n" * 14_000
    cut = cut_body(body)
    assert len(cut.encode()) <= MAX_BODY_CHARACTERS
    assert cut.endswith("GitHub's size limit.")


def test_a_body_that_fits_stays_as_it_is() -> None:
    body = "é" * (MAX_BODY_CHARACTERS // 2)
    assert cut_body(body) == body


def test_a_cut_inside_a_block_closes_it() -> None:
    cut = cut_body(fenced("line\n" * 20_000))
    outside_of_code(cut)
