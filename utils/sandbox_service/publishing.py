"""Pushes what was changed in a sandbox, and opens pull requests: outside of the sandbox.

The changes leave the sandbox as a patch, which is pushed as that of a task. So no token that can
push enters a sandbox, and nothing that a sandbox says is believed: the tree is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from utils.credentials.github_resolver import ChosenToken, GitHubTokenResolver
from utils.errors import Conflict, PushRefused
from utils.git.environment import AUTHOR_EMAIL, AUTHOR_NAME
from utils.git.repository_url import find_github_name, github_full_name
from utils.github.app import Purpose
from utils.github.client import GitHub
from utils.github.concurrency import ConcurrencyLimiter
from utils.github.models import GitHubPull
from utils.models.runs import Changes
from utils.models.sandboxes import StoredSandbox
from utils.models.tasks import Json
from utils.push.commit import CommitText, Identity
from utils.push.push import PushLimits, PushRequest, push_branch
from utils.push.workflows import is_workflow
from utils.redaction import Redactor

PUSH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PushOptions:
    """The branch and the message to push with, and the caller's token."""

    branch: str
    message: str
    token: SecretStr | None = field(default=None, repr=False)
    allow_workflow_changes: bool = False


@dataclass(frozen=True, slots=True)
class PullOptions:
    """A pull request to open; `base` is the branch of the clone by default."""

    title: str
    body: str
    base: str | None
    draft: bool


@dataclass(frozen=True, slots=True)
class OpenedPull:
    """A pull request, and whether it was opened now."""

    pull: GitHubPull
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Pushes and opens pull requests. It blocks; call it in the thread of a request."""

    tokens: GitHubTokenResolver
    limiter: ConcurrencyLimiter
    redactor: Redactor
    github_host: str
    work_folder: Path
    environment: Mapping[str, str] = field(repr=False)

    def push(
        self, stored: StoredSandbox, entry: Json, changes: Changes, wanted: PushOptions
    ) -> str:
        """Push the changes as one commit on a branch; return the commit.

        Raises `PushRefused`, and the errors of `push_branch` and of the tokens.
        """
        _require_patch(changes)
        workflows = any(map(is_workflow, changes.changed_files))
        chosen = self._token(stored.user_id, entry["repo_url"], wanted.token, workflows=workflows)
        person = Identity(AUTHOR_NAME, AUTHOR_EMAIL)
        request = PushRequest(
            repo_url=entry["repo_url"],
            base_branch=entry["branch"],
            base_commit=changes.base_commit,
            tree_hash=changes.tree_hash,
            patch=changes.patch or "",
            branch=wanted.branch,
            # The same time each time, so that a repeated request gives the same commit.
            text=CommitText(wanted.message, person, person, stored.created_at),
            token=chosen.token,
            expected_remote=entry.get("pushed", {}).get(wanted.branch),
            allow_workflow_changes=wanted.allow_workflow_changes,
            diff=changes.diff,
        )
        limits = PushLimits(self.work_folder, PUSH_SECONDS, self.environment)
        with self.limiter.slot():
            return push_branch(request, limits, self.redactor).commit

    def open_pull(
        self, stored: StoredSandbox, entry: Json, pushed: PushOptions, wanted: PullOptions
    ) -> OpenedPull:
        """Open the pull request of a pushed branch, or return the open one.

        Raises `RepositoryNotAllowed` (`repository_not_on_github`), and the errors of GitHub.
        """
        full_name = github_full_name(entry["repo_url"], self.github_host)
        chosen = self._token(stored.user_id, entry["repo_url"], pushed.token, workflows=False)
        base = wanted.base or entry["branch"]

        def open_one(github: GitHub) -> OpenedPull:
            for pull in github.find_pulls(full_name, pushed.branch):
                if pull.state == "open" and pull.base == base:
                    return OpenedPull(pull, is_new=False)
            created = github.create_pull(
                full_name,
                head=pushed.branch,
                base=base,
                title=wanted.title,
                body=wanted.body,
                draft=wanted.draft,
            )
            return OpenedPull(created, is_new=True)

        return self._on_github(full_name, chosen, open_one)

    def _on_github(
        self, full_name: str, chosen: ChosenToken, work: Callable[[GitHub], OpenedPull]
    ) -> OpenedPull:
        with (
            self.limiter.slot(),
            self.redactor.hold(chosen.token),
            self.tokens.open_client(chosen, full_name) as github,
        ):
            return work(github)

    def _token(
        self, user_id: str, repo_url: str, given: SecretStr | None, *, workflows: bool
    ) -> ChosenToken:
        full_name = find_github_name(repo_url, self.github_host)
        if full_name is None:
            return self.tokens.user_token(user_id, repo_url, given)
        purpose = Purpose.PUSH_WORKFLOWS if workflows else Purpose.PUSH
        return self.tokens.resolve(user_id, full_name, repo_url, purpose, given)


def _require_patch(changes: Changes) -> None:
    if not changes.changed_files:
        raise Conflict("Nothing has changed since the clone.", "no_changes")
    if changes.patch is None or changes.diff is None:
        raise PushRefused(
            "The changes are larger than MAX_PATCH_BYTES. Push fewer of them.", "patch_too_large"
        )
