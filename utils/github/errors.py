"""Translates the exceptions of PyGithub and its transport into our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import github
import requests
import structlog
import urllib3

from utils.error_rules import ErrorTemplate, Rule, first_match
from utils.errors import AppError, Conflict, Unavailable
from utils.github.graphql import as_rest
from utils.github.refusal import UNAVAILABLE, UNAVAILABLE_SECONDS, Refusal
from utils.github.refusal_rules import translate_refusal

log = structlog.get_logger(__name__)

NOT_GITHUB = "The server at GITHUB_API_URL is not GitHub's REST API. Check the address."
MOVED = "The repository has moved. Use its new name."
MOVED_TO = "The repository has moved to {name}. Use that name."

_REFUSED = 400
_UNEXPECTED = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError)


MOST_CHARACTERS = 300
"""Characters of a header or of a name of a field that an error of ours may quote."""

MOST_FIELDS = 5
"""Fields of a refused request that are told."""


class RepositoryMoved(Conflict):
    """GitHub redirected a request for a repository that has moved, and did nothing else.

    `repository_id` is GitHub's id of the repository, `name` its new name; None when not known.
    """

    default_code = "repository_moved"

    def __init__(self, repository_id: int | None = None, name: str | None = None) -> None:
        super().__init__(MOVED_TO.format(name=name) if name else MOVED)
        self.repository_id = repository_id


def _github_unavailable(message: str) -> ErrorTemplate[AppError]:
    return ErrorTemplate(
        Unavailable, "github_unavailable", message, retry_after_seconds=UNAVAILABLE_SECONDS
    )


# The first rule that matches decides. `GithubException` comes after them and goes by its status.
EXCEPTION_RULES: tuple[Rule[Exception, ErrorTemplate[AppError]], ...] = (
    Rule(
        _github_unavailable(NOT_GITHUB),
        kinds=(github.IncompletableObject, github.BadAttributeException, json.JSONDecodeError),
    ),
    Rule(
        _github_unavailable(UNAVAILABLE),
        kinds=(requests.RequestException, urllib3.exceptions.HTTPError),
    ),
    # PyGithub's checks of answers, and what Python raises where it does not check them.
    Rule(_github_unavailable(NOT_GITHUB), kinds=_UNEXPECTED),
)

FOREIGN: tuple[type[Exception], ...] = (
    github.GithubException,
    *(kind for rule in EXCEPTION_RULES for kind in rule.kinds),
)


def translate(error: Exception, what: str = "repository") -> AppError:
    """Return our error for one of `FOREIGN`. `what` is the kind of thing the request was for."""
    template = first_match(EXCEPTION_RULES, error)
    if template is not None:
        return template.fill()
    if isinstance(error, github.GithubException) and error.status >= _REFUSED:
        return translate_refusal(_refusal(error, what))
    return _github_unavailable(NOT_GITHUB).fill()


@contextmanager
def translating(what: str = "repository") -> Iterator[None]:
    """Translate the exceptions that PyGithub raises in the block; our own errors pass unchanged."""
    try:
        yield
    except AppError:
        raise
    except FOREIGN as error:
        ours = translate(error, what)
        answered = error if isinstance(error, github.GithubException) else None
        log.info(
            "request to GitHub failed",
            action="github.request_failed",
            code=ours.code,
            kind=type(error).__name__,
            github_status=answered and answered.status,
            github_request=answered and (answered.headers or {}).get("x-github-request-id"),
            exc_info=isinstance(error, _UNEXPECTED),
        )
        # PyGithub's exceptions hold the whole answer, the transport's the address: drop them.
        raise ours from None


def _refusal(error: github.GithubException, what: str) -> Refusal:
    data = error.data if isinstance(error.data, dict) else {}
    details = data.get("errors")
    entries = details if isinstance(details, list) else [details] if details else []
    texts = [str(data.get("message") or "")]
    texts += [entry for entry in entries if isinstance(entry, str)]
    named = [entry for entry in entries if isinstance(entry, dict)][:MOST_FIELDS]
    texts += [str(entry["message"]) for entry in named if entry.get("message")]
    fields = frozenset(
        " ".join(_short(entry.get(part) or "") for part in ("resource", "field", "code")).strip()
        for entry in named
    )
    headers = {str(key).lower(): _short(value) for key, value in (error.headers or {}).items()}
    refusal = Refusal(error.status, _joined(texts), fields, headers, what)
    # Only GraphQL lists errors without a message for all of them.
    is_graphql = bool(named) and "message" not in data
    return as_rest(refusal, [entry.get("type") for entry in named]) if is_graphql else refusal


def _short(value: object) -> str:
    return str(value)[:MOST_CHARACTERS]


def _joined(texts: list[Any]) -> str:
    # "Validation Failed" is the title of the details.
    useful = [text for text in texts if text and text != "Validation Failed"]
    return "\n".join(useful)
