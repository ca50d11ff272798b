"""Client of GitHub's REST API, and of its GraphQL API where REST lacks an operation.

Every call is synchronous, waits for seconds at most, and raises the errors of
`utils/github/refusal_rules.py`. A repository is identified by its current name, `owner/name`.
`repository` follows a repository that has moved; all other methods raise `RepositoryMoved`, from
which `resolve_moved` gets the new name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import islice

from utils.errors import Forbidden, InvalidInput, NotFound
from utils.github.checks import PullChecks
from utils.github.connection import MAX_LISTED, given
from utils.github.errors import RepositoryMoved, translating
from utils.github.graphql import set_draft
from utils.github.listings import Listings
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
    required,
    user_value,
)
from utils.github.refusal_rules import BRANCH_NOT_FOUND
from utils.github.reviews import PullReviews

STATUS_DESCRIPTION_CHARACTERS = 140

WRITERS = frozenset({"admin", "write"})
"""Permissions that include pushing; GitHub reports `maintain` as `write`."""

_LOGIN = re.compile(r"[A-Za-z0-9_-]+(?:\[bot\])?")
_SHA = re.compile(r"[0-9a-f]{40}")


class GitHub(PullReviews, PullChecks, Listings):
    """Client for one token, anonymous without a token. Use it in a `with` statement."""

    def user(self) -> GitHubUser:
        """Return the user of the token. Raise `Forbidden` for an App's token, which has none."""
        with translating("user"):
            user = self._github.get_user()
            user.complete()
            return user_value(user, self._github.oauth_scopes)

    def repository(self, full_name: str) -> GitHubRepository:
        """Return a repository, also after a move; its `full_name` is the current name."""
        with translating():
            try:
                found = self._repository(full_name).complete()
            except RepositoryMoved as moved:
                found = self._follow(moved)
            return repository_value(found, full_name, is_app=self._is_app)

    def resolve_moved(self, moved: RepositoryMoved) -> str:
        """Return the new name of a repository. Raise `moved` if GitHub did not send its id."""
        with translating():
            return required(self._follow(moved).full_name)

    def branch_sha(self, full_name: str, branch: str) -> str | None:
        """Return the commit of a branch, None when there is no such branch."""
        try:
            with translating():
                return self._repository(full_name).get_branch(branch).commit.sha
        except NotFound as error:
            if error.code != BRANCH_NOT_FOUND:
                raise
            return None

    def commit(self, full_name: str, sha: str) -> GitHubCommit:
        """Return a commit."""
        with translating("commit"):
            found = self._repository(full_name).get_git_commit(sha)
            return commit_value(found, found.parents)

    def can_read_branches(self, full_name: str) -> bool:
        """Tell whether the token may read contents; some tokens may read metadata only."""
        try:
            with translating():
                self._repository(full_name).get_branches().get_page(0)
        except (Forbidden, NotFound):
            return False
        return True

    def permission(self, full_name: str, login: str) -> str:
        """Return the permission of a user: admin, write, read or none. See `WRITERS`."""
        if not _LOGIN.fullmatch(login):
            raise InvalidInput("This is not a valid GitHub user name.")
        with translating("user"):
            return self._repository(full_name).get_collaborator_permission(login)

    def find_pulls(self, full_name: str, head: str) -> tuple[GitHubPull, ...]:
        """Return the pull requests of a branch of this repository, in any state, newest first."""
        with translating():
            owner = full_name.partition("/")[0]
            pulls = self._repository(full_name).get_pulls(state="all", head=f"{owner}:{head}")
            found = [pull_value(pull) for pull in islice(pulls, MAX_LISTED)]
        # Servers may ignore the filter, and the owner may have another fork: filter again.
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
            pulls = self._repository(full_name).get_pulls(state=state)
            return tuple(pull_value(pull) for pull in islice(pulls, min(limit, MAX_LISTED)))

    def pull(self, full_name: str, number: int) -> GitHubPull:
        """Return a pull request."""
        with translating("pull request"):
            return pull_value(self._pull(full_name, number).complete())

    def pull_commits(self, full_name: str, number: int) -> tuple[GitHubCommit, ...]:
        """Return the commits of a pull request, oldest first; GitHub lists at most 250."""
        with translating("pull request"):
            commits = self._pull(full_name, number).get_commits()
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
                self._repository(full_name).create_pull(
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
        """Change the given fields, and return the pull request. `state` is open or closed.

        `draft` is changed last. Raises `InvalidInput` (`drafts_not_supported`).
        """
        with translating("pull request"):
            pull = self._pull(full_name, number)
            if any(change is not None for change in (title, body, base, state)):
                pull.edit(given(title), given(body), given(state), given(base))
            if draft is not None:
                set_draft(pull, is_draft=draft)
            return pull_value(pull)

    def merge_pull(
        self,
        full_name: str,
        number: int,
        *,
        method: MergeMethod = MergeMethod.MERGE,
        expected_head: str | None = None,
    ) -> str:
        """Merge a pull request and return the merge commit.

        Raises `Conflict`: `head_moved` when its branch is no longer at `expected_head`,
        `not_mergeable`, `branch_protected`, `merge_method_not_allowed`, `pull_request_is_draft`.
        """
        with translating("pull request"):
            merged = (
                self._repository(full_name)
                .get_pull(number)
                .merge(merge_method=method, sha=given(expected_head))
            )
            return required(merged.sha)

    def add_labels(self, full_name: str, number: int, labels: Collection[str]) -> None:
        """Add labels to a pull request or an issue; GitHub creates missing ones."""
        if labels:
            with translating("issue"):
                self._repository(full_name).get_issue(number).add_to_labels(*labels)

    def request_reviews(self, full_name: str, number: int, reviewers: Collection[str]) -> None:
        """Request reviews of a pull request from users, or from teams as `organization/team`.

        Raises `InvalidInput` (`reviewers_invalid`).
        """
        teams = [name.rpartition("/")[2] for name in reviewers if "/" in name]
        users = [name for name in reviewers if "/" not in name]
        if reviewers:
            with translating("pull request"):
                self._pull(full_name, number).create_review_request(users, teams)

    def create_issue(
        self, full_name: str, *, title: str, body: str = "", labels: Collection[str] = ()
    ) -> GitHubIssue:
        """Open an issue."""
        with translating():
            repository = self._repository(full_name)
            return issue_value(repository.create_issue(title, body, labels=list(labels)))

    def issue(self, full_name: str, number: int) -> GitHubIssue:
        """Return an issue; a pull request is one too."""
        with translating("issue"):
            return issue_value(self._repository(full_name).get_issue(number).complete())

    def comment(self, full_name: str, number: int, body: str) -> GitHubComment:
        """Comment on an issue or a pull request."""
        with translating("issue"):
            return comment_value(self._repository(full_name).get_issue(number).create_comment(body))

    def has_comment(self, full_name: str, number: int, body: str, *, since: datetime) -> bool:
        """Tell whether an issue or a pull request has got a comment with this text since then."""
        with translating("issue"):
            found = self._repository(full_name).get_issue(number)
            comments = found.get_comments(since=since.astimezone(UTC))
            return any((one.body or "").split() == body.split() for one in comments)

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
        """Set a commit status. `context` names the status; a commit may have several."""
        if not _SHA.fullmatch(sha):
            raise InvalidInput("A commit must have 40 hexadecimal digits.")
        status = {
            "state": str(state),
            "context": context,
            "description": description[:STATUS_DESCRIPTION_CHARACTERS],
            "target_url": target_url,
        }
        with translating("commit"):
            # PyGithub's own method reads the whole commit first.
            path = f"{self._repository(full_name).url}/statuses/{sha}"
            self._github.requester.requestJsonAndCheck(
                "POST", path, input={name: value for name, value in status.items() if value}
            )
