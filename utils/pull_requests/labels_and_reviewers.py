"""Adds missing labels and review requests; reports the ones that GitHub refuses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from utils.errors import AppError, InvalidInput
from utils.github.client import GitHub
from utils.github.models import GitHubPull
from utils.pull_requests.concurrency import Deadline

_Add = Callable[[str, int, Collection[str]], None]


@dataclass(frozen=True, slots=True)
class LabelsAndReviewers:
    """Adds labels and review requests to one pull request."""

    github: GitHub
    deadline: Deadline
    full_name: str
    pull: GitHubPull

    def add(self, labels: Collection[str], reviewers: Collection[str]) -> Iterator[AppError]:
        """Add missing labels and review requests; yield the errors of refused ones."""
        there = {label.lower() for label in self.pull.labels}
        added = tuple(sorted({label for label in labels if label.lower() not in there}))
        if refusal := self._refusal(self.github.add_labels, added):
            yield refusal
        requested = {login.lower() for login in self.pull.reviewers}
        requested |= {_team(slug) for slug in self.pull.teams}
        missing = {name for name in reviewers if _reviewer(name) not in requested}
        yield from self._refused_reviewers(tuple(sorted(missing)))

    def _refused_reviewers(self, names: tuple[str, ...]) -> Iterator[AppError]:
        # If one of several reviewers is invalid, GitHub requests no review and does not name it.
        together = self._refusal(self.github.request_reviews, names)
        if together is None:
            return
        if not isinstance(together, InvalidInput):
            yield together
            return
        for name in names:
            alone = len(names) == 1
            refusal = together if alone else self._refusal(self.github.request_reviews, (name,))
            if isinstance(refusal, InvalidInput):
                yield InvalidInput(f"{name}: {refusal.message}", refusal.code)
            elif refusal is not None:
                yield refusal
                return

    def _refusal(self, add: _Add, names: tuple[str, ...]) -> AppError | None:
        if names:
            try:
                self.deadline.check(
                    "The pull request is open, but labels or reviewers are missing."
                )
                add(self.full_name, self.pull.number, names)
            except AppError as error:
                return error
        return None


def _reviewer(name: str) -> str:
    # Only teams of the repository's owner can review; GitHub lists them without the owner.
    return _team(name.rpartition("/")[2]) if "/" in name else name.lower()


def _team(slug: str) -> str:
    return f"/{slug.lower()}"
