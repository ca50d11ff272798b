"""Reads what stands between a pull request and its merge: checks, reviews and rules of its base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any
from urllib.parse import quote

from github.CheckRun import CheckRun
from github.Commit import Commit
from github.CommitStatus import CommitStatus
from github.PullRequest import PullRequest
from github.PullRequestReview import PullRequestReview
from github.Repository import Repository

from utils.errors import Forbidden, NotFound
from utils.github.connection import MAX_LISTED, GitHubConnection
from utils.github.errors import translating
from utils.github.models import GitHubCheck, GitHubMergeState, required

PASSED = frozenset({"success", "neutral", "skipped"})
"""Conclusions with which a required check counts as passed."""

_DECIDING = frozenset({"APPROVED", "CHANGES_REQUESTED", "DISMISSED"})


class PullChecks(GitHubConnection):
    """Operations on the checks of a pull request."""

    def merge_state(self, full_name: str, number: int) -> GitHubMergeState:
        """Return the checks of a pull request's latest commit, and what its merge lacks.

        Rules that the token may not read are left out.
        """
        with translating("pull request"):
            repository = self._repository(full_name)
            pull = repository.get_pull(number).complete()
            needed, approvals = self._rules(repository, pull.base.ref)
            checks = _checks(repository.get_commit(pull.head.sha), needed)
            decisions = _decisions(pull)
            given = sum(state == "APPROVED" for state in decisions.values())
            missing = (
                *_missing_of_pull(pull),
                *_missing_checks(checks, needed),
                *_missing_reviews(decisions, given, approvals),
            )
            return GitHubMergeState(pull.head.sha, checks, given, approvals, missing)

    def _rules(self, repository: Repository, branch: str) -> tuple[list[str], int]:
        """Return the names of the checks and the number of approvals that a branch requires."""
        names: list[str] = []
        approvals = 0
        path = quote(branch, safe="")
        # Older GitHub Enterprise servers have no rules.
        for rule in self._readable(f"{repository.url}/rules/branches/{path}") or ():
            parameters = rule.get("parameters") or {}
            names += [check["context"] for check in parameters.get("required_status_checks") or ()]
            approvals = max(approvals, parameters.get("required_approving_review_count") or 0)
        branch_facts = self._readable(f"{repository.url}/branches/{path}") or {}
        protection = branch_facts.get("protection") or {}
        names += (protection.get("required_status_checks") or {}).get("contexts") or ()
        return list(dict.fromkeys(map(str, names))), approvals

    def _readable(self, url: str) -> Any:
        """Return the answer to a request, None where the token may not read it."""
        with suppress(Forbidden, NotFound), translating():
            return self._github.requester.requestJsonAndCheck("GET", url)[1]
        return None


def _checks(commit: Commit, needed: list[str]) -> tuple[GitHubCheck, ...]:
    runs = [_run_value(run, needed) for run in islice(commit.get_check_runs(), MAX_LISTED)]
    statuses = commit.get_combined_status().statuses
    return (*runs, *(_status_value(status, needed) for status in statuses))


def _run_value(run: CheckRun, needed: list[str]) -> GitHubCheck:
    state = run.conclusion if run.status == "completed" else "pending"
    return GitHubCheck(run.name, required(state), run.html_url, run.name in needed)


def _status_value(status: CommitStatus, needed: list[str]) -> GitHubCheck:
    state = "failure" if status.state == "error" else status.state
    return GitHubCheck(status.context, state, status.target_url, status.context in needed)


def _decisions(pull: PullRequest) -> dict[str, str]:
    """Return the last deciding review of each user."""
    reviews = islice(pull.get_reviews(), MAX_LISTED)
    return {_author(review): review.state for review in reviews if review.state in _DECIDING}


def _author(review: PullRequestReview) -> str:
    return review.user.login if review.user else "a deleted user"


def _missing_of_pull(pull: PullRequest) -> Iterator[str]:
    if pull.draft:
        yield "the pull request is a draft"
    if pull.mergeable is False:
        yield f"it conflicts with {pull.base.ref}"


def _missing_checks(checks: tuple[GitHubCheck, ...], needed: list[str]) -> Iterator[str]:
    states = {check.name: check.state for check in checks}
    for name in needed:
        state = states.get(name)
        if state is None:
            yield f"the check {name} has not run"
        elif state == "pending":
            yield f"the check {name} has not ended"
        elif state not in PASSED:
            yield f"the check {name} has failed"


def _missing_reviews(decisions: dict[str, str], given: int, needed: int) -> Iterator[str]:
    if given < needed:
        yield f"{given} of {needed} approving reviews"
    objecting = sorted(name for name, state in decisions.items() if state == "CHANGES_REQUESTED")
    if objecting:
        yield f"changes were requested by {', '.join(objecting)}"
