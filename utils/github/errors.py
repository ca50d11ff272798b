"""The one place where what PyGithub raises becomes one of our errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import github
import requests
import structlog
import urllib3

from utils.errors import AppError, Conflict, Unavailable
from utils.github.graphql import as_rest
from utils.github.refusal import AWAY, AWAY_SECONDS, Refusal
from utils.github.refusal_rules import translate_refusal

log = structlog.get_logger(__name__)

NOT_GITHUB = "What answers at GITHUB_API_URL is not GitHub's REST API: check the address."
MOVED = "The repository has moved. Ask for it by its present name."
MOVED_TO = "The repository has moved to {name}. Ask for it by that name."

_REFUSED = 400
_UNEXPECTED = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError)


class RepositoryMoved(Conflict):
    """GitHub sent a request elsewhere, and did nothing.

    `repository_id` is the number of the repository there, `name` what it is called, if known.
    """

    default_code = "repository_moved"

    def __init__(self, repository_id: int | None = None, name: str | None = None) -> None:
        super().__init__(MOVED_TO.format(name=name) if name else MOVED)
        self.repository_id = repository_id


def _away() -> AppError:
    return Unavailable(AWAY, "github_unavailable", retry_after_seconds=AWAY_SECONDS)


def _not_github() -> AppError:
    return Unavailable(NOT_GITHUB, "github_unavailable", retry_after_seconds=AWAY_SECONDS)


TRANSLATIONS: tuple[tuple[type[Exception], Callable[[], AppError]], ...] = (
    (github.IncompletableObject, _not_github),
    (github.BadAttributeException, _not_github),
    (json.JSONDecodeError, _not_github),
    (requests.RequestException, _away),
    (urllib3.exceptions.HTTPError, _away),
    # PyGithub's own checks of what a server answers, and what happens where it does not check.
    *((kind, _not_github) for kind in _UNEXPECTED),
)
"""The first class that fits decides; `GithubException` comes after them, by its answer."""

FOREIGN: tuple[type[Exception], ...] = (github.GithubException, *(kind for kind, _ in TRANSLATIONS))


def translate(error: Exception, what: str = "repository") -> AppError:
    """Return our error for one of `FOREIGN`; `what` is the thing that was asked for."""
    for kind, make in TRANSLATIONS:
        if isinstance(error, kind):
            return make()
    if isinstance(error, github.GithubException) and error.status >= _REFUSED:
        return translate_refusal(_refusal(error, what))
    return _not_github()


@contextmanager
def translating(what: str = "repository") -> Iterator[None]:
    """Turn what PyGithub raises in the block into errors of ours; ours pass through."""
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
        # What PyGithub raises holds the answer, and the transport's errors the address.
        raise ours from None


def _refusal(error: github.GithubException, what: str) -> Refusal:
    data = error.data if isinstance(error.data, dict) else {}
    details = data.get("errors")
    entries = details if isinstance(details, list) else [details] if details else []
    texts = [str(data.get("message") or "")]
    texts += [entry for entry in entries if isinstance(entry, str)]
    named = [entry for entry in entries if isinstance(entry, dict)]
    texts += [str(entry["message"]) for entry in named if entry.get("message")]
    fields = frozenset(
        " ".join(str(entry.get(part) or "") for part in ("resource", "field", "code")).strip()
        for entry in named
    )
    headers = {str(key).lower(): str(value) for key, value in (error.headers or {}).items()}
    refusal = Refusal(error.status, _joined(texts), fields, headers, what)
    # Only what GraphQL answers has errors and no message for them all.
    is_graphql = bool(named) and "message" not in data
    return as_rest(refusal, [entry.get("type") for entry in named]) if is_graphql else refusal


def _joined(texts: list[Any]) -> str:
    # "Validation Failed" says nothing where there are details.
    useful = [text for text in texts if text and text != "Validation Failed"]
    return "\n".join(useful)
