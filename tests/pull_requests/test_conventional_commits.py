"""Titles in the form of Conventional Commits, and prompts that become titles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import InvalidInput
from utils.pull_requests.conventional_commits import (
    TYPES,
    conventional_title,
    guess_type,
    is_conventional,
    require_conventional,
)


@pytest.mark.parametrize(
    "title",
    [
        *(f"{kind}: change it" for kind in TYPES),
        "feat(api): add a route",
        "fix(api/v2, web)!: drop a field",
        "refactor!: drop Python 3.10",
        'revert: "feat: add a route"',
    ],
)
def test_titles_of_the_right_form_are_taken(title: str) -> None:
    assert require_conventional(title) == title


@pytest.mark.parametrize(
    "title",
    [
        "",
        "Add a route",
        "feat add a route",
        "feat:add a route",
        "feat: ",
        "feat():x",
        "feat(): x",
        "feat( api): x",
        "feat (api): x",
        "Feat: x",
        "feature: x",
        "feat!(api): x",
        "feat: x\nfeat: y",
    ],
)
def test_other_titles_are_refused_with_the_form(title: str) -> None:
    with pytest.raises(InvalidInput, match=r"type\(scope\): description") as refused:
        require_conventional(title)
    assert refused.value.code == "title_not_conventional"
    assert "revert" in refused.value.message


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("Fix the login", "fix"),
        ("There is a bug in the parser", "fix"),
        ("Document the settings", "docs"),
        ("Add unit tests for the parser", "test"),
        ("Bump flask", "chore"),
        ("Make the start page faster", "perf"),
        ("Refactor the gateway", "refactor"),
        ("Revert the last change", "revert"),
        ("Add a prefix to debugging output", "feat"),
        ("", "feat"),
    ],
)
def test_the_first_words_of_a_prompt_suggest_a_type(prompt: str, kind: str) -> None:
    assert guess_type(prompt) == kind


def test_a_title_gets_a_type_once() -> None:
    assert conventional_title("Fix the login") == "fix: fix the login"
    assert conventional_title("README needs a link") == "docs: README needs a link"
    assert conventional_title("perf(db): ask once") == "perf(db): ask once"


@settings(derandomize=True, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1))
def test_any_visible_line_becomes_a_conventional_title(line: str) -> None:
    assert is_conventional(conventional_title(line))
