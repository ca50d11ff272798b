"""Checks and builds titles that follow Conventional Commits: `type(scope)!: description`."""

from __future__ import annotations

import re

from utils.errors import InvalidInput

TYPES = (
    "feat",
    "fix",
    "chore",
    "docs",
    "style",
    "refactor",
    "test",
    "build",
    "ci",
    "perf",
    "revert",
)

FORM = (
    "The title must have the form `type: description`, `type(scope): description` or, for a "
    f"breaking change, `type!: description`, where type is one of {', '.join(TYPES)}. "
    "For example: fix(login): keep the session after a reload"
)

_TITLE = re.compile(rf"(?:{'|'.join(TYPES)})(?:\([\w$.,/@-]+(?: [\w$.,/@-]+)*\))?!?: \S.*")

# Words in a prompt that suggest a type. The first row that matches decides.
_GUESSES = (
    ("revert", r"revert|roll back|undo"),
    ("fix", r"fix(?:e[sd]|ing)?|bugs?|crash(?:es)?|broken|repair|typos?|regressions?|wrong"),
    ("docs", r"docs?|documentation|document|readme|docstrings?|changelog|comments?"),
    ("test", r"(?:unit )?tests?|coverage|specs?"),
    ("ci", r"ci|workflows?|pipelines?|github actions?"),
    ("perf", r"faster|speed up|slow|performance|optimi[sz]e"),
    ("refactor", r"refactor(?:ing)?|restructure|simplify|extract|rename|clean ?up|reorgani[sz]e"),
    ("style", r"format(?:ting)?|lint(?:ing)?|prettier|whitespace"),
    ("build", r"build|docker(?:file)?|makefile|packag(?:e|ing)"),
    ("chore", r"upgrade|bump|dependenc(?:y|ies)|housekeeping|remove unused"),
)
_FIRST_WORDS = 12


def require_conventional(title: str) -> str:
    """Return a title that follows Conventional Commits.

    Raises `InvalidInput` (`title_not_conventional`) with a message that explains the form.
    """
    if not is_conventional(title):
        raise InvalidInput(FORM, "title_not_conventional")
    return title


def is_conventional(title: str) -> bool:
    """Tell whether a title is one line of the right form, with its type in lower case."""
    return _TITLE.fullmatch(title) is not None


def conventional_title(title: str) -> str:
    """Return a title with a type, guessed from its first words if it has none."""
    if is_conventional(title):
        return title
    return f"{guess_type(title)}: {_lower_first(title)}"


def guess_type(text: str) -> str:
    """Return the type that the first words of a prompt suggest, else `feat`."""
    start = " ".join(text.lower().split()[:_FIRST_WORDS])
    return next((kind for kind, words in _GUESSES if re.search(rf"\b(?:{words})\b", start)), "feat")


def _lower_first(text: str) -> str:
    # Keep names with capitals, such as README or OAuth.
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    return text if any(letter.isupper() for letter in first[1:]) else text[:1].lower() + text[1:]
