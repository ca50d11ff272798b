"""Defines the options of a request for a pull request."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class PullRequestOptions:
    """The fields of a request for a pull request. The server chooses a value for None.

    `base` defaults to the branch that the task started from. `repository` names one of several.
    """

    title: str | None = None
    body: str | None = None
    github_token: SecretStr | None = field(default=None, repr=False)
    draft: bool = False
    base: str | None = None
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    allow_simulated: bool = False
    allow_workflow_changes: bool = False
    allow_moved: bool = False
    repository: str | None = None
