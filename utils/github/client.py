"""GitHub's API, as far as this backend needs it: REST, and GraphQL where REST lacks something.

Every call is synchronous, waits for seconds at most, and raises one of our errors: see
`utils/github/refusal_rules.py`. A repository is named `owner/name`, by its present name:
`repository` finds it when the repository has moved, all others raise `RepositoryMoved`, which
`present_name` makes a name of.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice
from types import TracebackType
from typing import Self
from urllib.parse import quote

from github.GithubObject import NotSet, Opt
from github.Repository import Repository

from utils.errors import Forbidden, InvalidInput, NotFound
from utils.github.errors import RepositoryMoved, translating
from utils.github.graphql import set_draft
from utils.github.models import (
    CommitState,
    GitHubComment,
    GitHubCommit,
    GitHubIssue,
    GitHubPull,
    GitHubRepository,
    GitHubUser,
    MergeMethod,
    comment_value,
    commit_value,
    issue_value,
    pull_value,
    repository_value,
    told,
    user_value,
)
from utils.github.refusal_rules import BRANCH_NOT_FOUND
from utils.github.transport import TIMEOUT_SECONDS, connect

MAX_LISTED = 300
"""Pull requests and issues that one list holds at most."""

STATUS_DESCRIPTION_CHARACTERS = 140

WRITERS = frozenset({"admin", "write"})
"""Permissions that allow a push; GitHub reports `maintain` as `write`."""

# Of an installation's tokens, by GitHub's documentation of its token formats.
_APP_TOKEN_PREFIX = "ghs_"  # noqa: S105
_FULL_NAME = re.compile(r"[A-Za-z0-9_-]+/(?!\.{1,2}$)[A-Za-z0-9._-]+")
_LOGIN = re.compile(r"[A-Za-z0-9_-]+(?:\[bot\])?")
_SHA = re.compile(r"[0-9a-f]{40}")


class GitHub:
    """One token's view of GitHub, or nobody's without a token. Use it in a `with` statement."""

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

    def user(self) -> GitHubUser:
        """Return whose token it is; an App's own is nobody's and raises `Forbidden`."""
        with translating("user"):
            user = self._github.get_user()
            user.complete()
            return user_value(user, self._github.oauth_scopes)

    def repository(self, full_name: str) -> GitHubRepository:
        """Return a repository, also when it has moved; its `full_name` is right from then on."""
        with translating():
            try:
                found = self._named(full_name).complete()
            except RepositoryMoved as moved:
                found = self._followed(moved)
            return repository_value(found, full_name, is_app=self._is_app)

    def present_name(self, moved: RepositoryMoved) -> str:
        """Return what a repository is called now. Raises `moved` where GitHub does not say."""
        with translating():
            return told(self._followed(moved).full_name)

    def branch_sha(self, full_name: str, branch: str) -> str | None:
        """Return the commit that a branch is at, None when there is no such branch."""
        try:
            with translating():
                return self._named(full_name).get_branch(branch).commit.sha
        except NotFound as error:
            if error.code != BRANCH_NOT_FOUND:
                raise
            return None

    def commit(self, full_name: str, sha: str) -> GitHubCommit:
        """Return a commit, whoever has pushed it."""
        with translating("commit"):
            found = self._named(full_name).get_git_commit(sha)
            return commit_value(found, found.parents)

    def can_read_branches(self, full_name: str) -> bool:
        """Return True when the token can read contents, which fine-grained tokens may lack."""
        try:
            with translating():
                self._named(full_name).get_branches().get_page(0)
        except (Forbidden, NotFound):
            return False
        return True

    def permission(self, full_name: str, login: str) -> str:
        """Return what a user may do: admin, write, read or none. `WRITERS` may push."""
        if not _LOGIN.fullmatch(login):
            raise InvalidInput("This is not the name of a user of GitHub.")
        with translating("user"):
            return self._named(full_name).get_collaborator_permission(login)

    def find_pulls(self, full_name: str, head: str) -> tuple[GitHubPull, ...]:
        """Return pull requests of a branch of this very repository, newest first, in any state."""
        with translating():
            owner = full_name.partition("/")[0]
            pulls = self._named(full_name).get_pulls(state="all", head=f"{owner}:{head}")
            found = [pull_value(pull) for pull in islice(pulls, MAX_LISTED)]
        # A server that does not know the filter, or another fork of the owner's, must not matter.
        own = [
            pull
            for pull in found
            if pull.head == head and (pull.head_repository or "").lower() == full_name.lower()
        ]
        return tuple(sorted(own, key=lambda pull: pull.number, reverse=True))

    def pulls(
        self, full_name: str, *, state: str = "open", limit: int = MAX_LISTED
    ) -> tuple[GitHubPull, ...]:
        """Return pull requests, newest first. `state` is open, closed or all."""
        with translating():
            pulls = self._named(full_name).get_pulls(state=state)
            return tuple(pull_value(pull) for pull in islice(pulls, min(limit, MAX_LISTED)))

    def pull(self, full_name: str, number: int) -> GitHubPull:
        """Return a pull request."""
        with translating("pull request"):
            return pull_value(self._named(full_name).get_pull(number).complete())

    def pull_commits(self, full_name: str, number: int) -> tuple[GitHubCommit, ...]:
        """Return the commits of a pull request, oldest first; GitHub tells 250 at most."""
        with translating("pull request"):
            commits = self._named(full_name).get_pull(number).get_commits()
            return tuple(commit_value(commit.commit, commit.parents) for commit in commits)

    def create_pull(
        self, full_name: str, *, head: str, base: str, title: str, body: str, draft: bool = False
    ) -> GitHubPull:
        """Open a pull request between two branches of a repository.

        Raises `Conflict` with `pull_request_exists`, `no_commits`, `base_branch_missing`,
        `head_branch_missing` or `no_common_history`.
        """
        with translating():
            return pull_value(
                self._named(full_name).create_pull(
                    base=base, head=head, title=title, body=body, draft=draft
                )
            )

    def update_pull(
        self,
        full_name: str,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        base: str | None = None,
        state: str | None = None,
        draft: bool | None = None,
    ) -> GitHubPull:
        """Change what is given, and return the pull request. `state` is open or closed.

        `draft` comes last; raises `InvalidInput` (`drafts_not_supported`).
        """
        with translating("pull request"):
            pull = self._named(full_name).get_pull(number)
            if any(change is not None for change in (title, body, base, state)):
                pull.edit(_given(title), _given(body), _given(state), _given(base))
            if draft is not None:
                set_draft(pull, wanted=draft)
            return pull_value(pull)

    def merge_pull(
        self,
        full_name: str,
        number: int,
        *,
        method: MergeMethod = MergeMethod.MERGE,
        expected_head: str | None = None,
    ) -> str:
        """Merge a pull request and return the commit that this made.

        Raises `Conflict`: `head_moved` when its branch is not at `expected_head` any more,
        `not_mergeable`, `branch_protected`, `merge_method_not_allowed`, `pull_request_is_draft`.
        """
        with translating("pull request"):
            merged = (
                self._named(full_name)
                .get_pull(number)
                .merge(merge_method=method, sha=_given(expected_head))
            )
            return told(merged.sha)

    def add_labels(self, full_name: str, number: int, labels: Collection[str]) -> None:
        """Add labels to a pull request or an issue; GitHub makes those that do not exist."""
        if labels:
            with translating("issue"):
                self._named(full_name).get_issue(number).add_to_labels(*labels)

    def request_reviews(self, full_name: str, number: int, reviewers: Collection[str]) -> None:
        """Ask users, or teams as `organization/team`, for a review of a pull request.

        Raises `InvalidInput` (`reviewers_invalid`).
        """
        teams = [name.rpartition("/")[2] for name in reviewers if "/" in name]
        users = [name for name in reviewers if "/" not in name]
        if reviewers:
            with translating("pull request"):
                self._named(full_name).get_pull(number).create_review_request(users, teams)

    def create_issue(
        self, full_name: str, *, title: str, body: str = "", labels: Collection[str] = ()
    ) -> GitHubIssue:
        """Open an issue."""
        with translating():
            repository = self._named(full_name)
            return issue_value(repository.create_issue(title, body, labels=list(labels)))

    def issue(self, full_name: str, number: int) -> GitHubIssue:
        """Return an issue; a pull request is one too."""
        with translating("issue"):
            return issue_value(self._named(full_name).get_issue(number).complete())

    def comment(self, full_name: str, number: int, body: str) -> GitHubComment:
        """Comment on an issue or a pull request."""
        with translating("issue"):
            return comment_value(self._named(full_name).get_issue(number).create_comment(body))

    def set_commit_status(
        self,
        full_name: str,
        sha: str,
        state: CommitState,
        *,
        context: str,
        description: str = "",
        target_url: str | None = None,
    ) -> None:
        """Say on a commit how it went; `context` tells this apart from what others say."""
        if not _SHA.fullmatch(sha):
            raise InvalidInput("A commit is named by 40 hexadecimal digits.")
        status = {
            "state": str(state),
            "context": context,
            "description": description[:STATUS_DESCRIPTION_CHARACTERS],
            "target_url": target_url,
        }
        with translating("commit"):
            # PyGithub would read the whole commit first.
            path = f"{self._named(full_name).url}/statuses/{sha}"
            self._github.requester.requestJsonAndCheck(
                "POST", path, input={name: value for name, value in status.items() if value}
            )

    def _named(self, full_name: str) -> Repository:
        if not _FULL_NAME.fullmatch(full_name):
            raise InvalidInput("A repository of GitHub is named owner/name.")
        return self._github.get_repo(quote(full_name))

    def _followed(self, moved: RepositoryMoved) -> Repository:
        if moved.repository_id is None:
            raise moved
        return self._github.get_repo(moved.repository_id).complete()


def _given(value: str | None) -> Opt[str]:
    return NotSet if value is None else value
