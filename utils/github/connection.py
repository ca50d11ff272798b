"""Opens PyGithub for one token and finds repositories; the groups of operations stand on it."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from github.GithubObject import NotSet, Opt
from github.PullRequest import PullRequest
from github.Repository import Repository

from utils.errors import InvalidInput
from utils.github.errors import RepositoryMoved
from utils.github.transport import TIMEOUT_SECONDS, connect

MAX_LISTED = 300
"""Maximum number of pull requests, issues or comments in a list."""

# Prefix of installation tokens, see GitHub's documentation of token formats.
_APP_TOKEN_PREFIX = "ghs_"  # noqa: S105
_FULL_NAME = re.compile(r"[A-Za-z0-9_-]+/(?!\.{1,2}$)[A-Za-z0-9._-]+")

_Value = TypeVar("_Value")


class GitHubConnection:
    """A connection with one token, anonymous without a token. Use it in a `with` statement."""

    def __init__(
        self, api_url: str, token: str | None, *, timeout_seconds: int = TIMEOUT_SECONDS
    ) -> None:
        self._github = connect(api_url, token, timeout_seconds)
        self._is_app = (token or "").startswith(_APP_TOKEN_PREFIX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._github.close()

    def _repository(self, full_name: str) -> Repository:
        if not _FULL_NAME.fullmatch(full_name):
            raise InvalidInput("A GitHub repository is named owner/name.")
        return self._github.get_repo(quote(full_name))

    def _pull(self, full_name: str, number: int) -> PullRequest:
        return self._repository(full_name).get_pull(number)

    def _follow(self, moved: RepositoryMoved) -> Repository:
        if moved.repository_id is None:
            raise moved
        return self._github.get_repo(moved.repository_id).complete()


def given(value: _Value | None) -> Opt[_Value]:
    """Return a value in the form of PyGithub's optional arguments, where None stands for none."""
    return NotSet if value is None else value
