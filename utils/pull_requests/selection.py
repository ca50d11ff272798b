"""Selects the task's pull request, or the one that merged its result, among those of a branch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from utils.github.models import GitHubCommit, GitHubPull
from utils.models.tasks import Task
from utils.pull_requests import errors as pull_request_refusals
from utils.pull_requests.preconditions import Result


@dataclass(frozen=True, slots=True)
class PullRequestSelector:
    """Selects for one request. `given_base` is None for the branch that the task started from."""

    task: Task
    result: Result
    given_base: str | None

    @property
    def base(self) -> str:
        """The branch into which the changes are to be merged."""
        return self.given_base or self.task.target_branch

    def find_stored(self, there: Iterable[GitHubPull]) -> GitHubPull | None:
        """Return the one whose number is stored with the task."""
        return next((pull for pull in there if pull.number == self.task.pr_number), None)

    def find_open(self, there: Iterable[GitHubPull]) -> GitHubPull | None:
        """Return the open one that is stored with the task, else the open one for the base.

        All others were opened by people for other bases, and are not changed. Raises `Conflict`
        when both exist and the caller asks for the base of the other one.
        """
        are_open = [pull for pull in there if pull.state == "open"]
        noted = self.find_stored(are_open)
        for_base = next((pull for pull in are_open if pull.base == self.base), None)
        if noted and for_base and noted != for_base and self.given_base is not None:
            raise pull_request_refusals.base_taken(noted, for_base)
        return noted or for_base

    def find_merged(
        self,
        there: Iterable[GitHubPull],
        commits: Callable[[GitHubPull], Iterable[GitHubCommit]],
    ) -> GitHubPull | None:
        """Return the one that merged the result into the base.

        The name of the branch is no proof, because tasks of an earlier database had the same
        numbers. If neither the number nor the commit is known, the commits of the newest one are
        compared with the result.
        """
        merged = [pull for pull in there if pull.is_merged and self._is_for_base(pull)]
        if matching := next((pull for pull in merged if self._is_known(pull)), None):
            return matching
        newest = next(iter(merged), None)
        return newest if newest and any(map(self.result.is_in, commits(newest))) else None

    def _is_for_base(self, pull: GitHubPull) -> bool:
        # People may have changed the base of the stored one.
        is_noted = pull.number == self.task.pr_number and self.given_base is None
        return is_noted or pull.base == self.base

    def _is_known(self, pull: GitHubPull) -> bool:
        pushed = self.task.pr_commit
        return pushed is not None and (
            pull.number == self.task.pr_number or pull.head_sha == pushed
        )
