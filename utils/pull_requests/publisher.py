"""Creates or updates the pull request of one task: read the state, push, open, store.

Each step first finds out whether an earlier request has done it, so that a repeated request
continues where an interrupted one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from database import Database
from utils.credentials.github_resolver import ChosenToken
from utils.errors import AppError, BranchChanged, Conflict, Forbidden, InvalidInput, NotFound
from utils.git.environment import AUTHOR_EMAIL, AUTHOR_NAME
from utils.github.client import GitHub
from utils.github.errors import RepositoryMoved
from utils.github.models import GitHubPull, GitHubRepository
from utils.models.events import Event, EventKind
from utils.pull_requests import errors as pull_request_refusals
from utils.pull_requests.concurrency import Deadline
from utils.pull_requests.labels_and_reviewers import LabelsAndReviewers
from utils.pull_requests.options import PullRequestOptions
from utils.pull_requests.preconditions import Result
from utils.pull_requests.repositories import Target
from utils.pull_requests.selection import PullRequestSelector
from utils.push.commit import CommitText, Identity
from utils.push.push import PushLimits, PushRequest, push_branch
from utils.redaction import Redactor

NO_DRAFTS = "drafts_not_supported"
"""The code of the error with which a repository refuses a draft."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class PullRequestPlan:
    """The branch, title and body of a new pull request, and the options of the caller.

    `draft` may be the wish of this server alone; then a repository without drafts gets none.
    The title and body of `options` are cut to GitHub's limits, or None when the caller sent none.
    """

    branch: str
    title: str
    body: str
    draft: bool
    options: PullRequestOptions


@dataclass(frozen=True, slots=True)
class PullRequestResult:
    """The pull request of a task, and the errors of refused labels and reviewers.

    `full_name` is the present one of the repository.
    """

    pull: GitHubPull
    full_name: str
    branch: str
    commit: str
    is_new: bool
    warnings: tuple[AppError, ...]


@dataclass(frozen=True, slots=True)
class PublishContext:
    """The dependencies of a publisher, for one token. `address` maps a name to its clone URL."""

    github: GitHub
    token: ChosenToken = field(repr=False)
    database: Database
    redactor: Redactor
    work_folder: Path
    environment: Mapping[str, str] = field(repr=False)
    deadline: Deadline
    address: Callable[[str], str]


class PullRequestPublisher:
    """Performs one request for the pull request of one task."""

    def __init__(
        self,
        context: PublishContext,
        target: Target,
        result: Result,
        plan: PullRequestPlan,
        full_name: str,
    ) -> None:
        self._context = context
        self._github = context.github
        self._target = target
        self._task = target.task
        self._result = result
        self._plan = plan
        self._selector = PullRequestSelector(target.task, result, plan.options.base)
        self._requested_name = full_name
        self._name = full_name
        self._is_pushed = False

    @property
    def is_pushed(self) -> bool:
        """True once this request has pushed a commit."""
        return self._is_pushed

    def run(self) -> PullRequestResult:
        """Create or update the pull request. Raise errors with a code and a remedy."""
        repository = self._repository()
        there = self._step("Nothing is pushed yet.", self._pulls)
        found = self._selector.find_open(there)
        if found is None or self._plan.options.base not in {None, found.base}:
            self._step("Nothing is pushed yet.", lambda: self._refuse_merged(there, found))
            self._step("Nothing is pushed yet.", lambda: self._check_base(repository))
        commit = self._pushed_before(found) or self._push(found)
        step = self._create if found is None else lambda: (self._update(found), False)
        pull, is_new = self._step("The branch is pushed.", step)
        self._store_pull(pull)
        if pull is not found or self._is_pushed:
            self._report(
                "pull_request", number=pull.number, url=pull.url, state=pull.outcome, is_new=is_new
            )
        options = self._plan.options
        extras = LabelsAndReviewers(self._github, self._context.deadline, self._name, pull)
        warnings = tuple(extras.add(options.labels, options.reviewers))
        return PullRequestResult(pull, self._name, self._plan.branch, commit, is_new, warnings)

    def _step(self, done: str, step: Callable[[], _Value]) -> _Value:
        self._context.deadline.check(done)
        return step()

    def _repository(self) -> GitHubRepository:
        found = self._github.repository(self._name)
        if found.moved_from is not None and not self._plan.options.allow_moved:
            raise Conflict(
                f"The repository has moved to {found.full_name}. If you trust the new address, "
                "send allow_moved: true, and change the address of the project.",
                "repository_moved",
            )
        if found.is_archived:
            raise Conflict(
                "The repository is archived and cannot be changed. Unarchive it and try again.",
                "repository_archived",
            )
        if found.can_push is False:
            raise Forbidden(
                "The token may not push to this repository. Ask for write access, or send the "
                "token of a user who has it.",
                "repository_no_permission",
            )
        self._name = found.full_name
        return found

    def _pulls(self) -> tuple[GitHubPull, ...]:
        """Return the pull requests of the branch, and store the state of the task's own."""
        there = self._github.find_pulls(self._name, self._plan.branch)
        noted = self._selector.find_stored(there)
        if noted and noted.outcome != self._task.pr_state:
            self._store_pull(noted)
        return there

    def _refuse_merged(self, there: tuple[GitHubPull, ...], found: GitHubPull | None) -> None:
        """Raise when the result was merged, alone or with later commits of others.

        After a squash the base does not contain the pushed commit, and the branch may be deleted.
        """
        pull = self._selector.find_merged(
            there, lambda pull: self._github.pull_commits(self._name, pull.number)
        )
        if pull is not None:
            if found is None:
                self._store_pull(pull)
            raise pull_request_refusals.merged(pull)

    def _check_base(self, repository: GitHubRepository) -> None:
        try:
            exists = self._github.branch_sha(self._name, self._selector.base) is not None
        except RepositoryMoved:  # the repository did not move, so the branch was renamed
            exists = False
        if not exists:
            raise Conflict(
                "The base branch was deleted or renamed. Send the name of another branch as base; "
                f"the default branch is {repository.default_branch}.",
                "base_branch_missing",
            )

    def _pushed_before(self, found: GitHubPull | None) -> str | None:
        """Return the pushed commit if an open pull request is still at it.

        A later turn of the task may have changed the result since then.
        """
        ours = self._task.pr_commit
        if ours is None or found is None or found.head_sha != ours:
            return None
        had_turns = (self._task.execution_metadata or {}).get("turn")
        return None if had_turns and not self._is_result(ours) else ours

    def _push(self, found: GitHubPull | None) -> str:
        context, task = self._context, self._task
        context.deadline.check("Nothing is pushed yet.")
        request = PushRequest(
            repo_url=self._url(),
            base_branch=task.target_branch,
            base_commit=self._result.base_commit,
            tree_hash=self._result.tree_hash,
            patch=self._result.patch,
            branch=self._plan.branch,
            text=self._commit_text(),
            token=context.token.token,
            expected_remote=task.pr_commit,
            allow_workflow_changes=self._plan.options.allow_workflow_changes,
            diff=self._task.git_diff,
        )
        # From now on no server deletes the task because of its age.
        self._store()
        limits = PushLimits(context.work_folder, context.deadline.seconds_left, context.environment)
        try:
            pushed = push_branch(request, limits, context.redactor)
            commit, was_there = pushed.commit, pushed.was_there
        except BranchChanged as error:
            commit = error.remote_commit
            if not self._step("Nothing is pushed yet.", lambda: self._is_result(commit)):
                if found is None:
                    raise
                raise pull_request_refusals.moved_on(found, self._name, commit) from None
            was_there = True
        branch, self._is_pushed = self._plan.branch, not was_there
        self._store(pr_branch=branch, pr_commit=commit)
        self._report("git", operation="push", branch=branch, commit=commit, was_there=was_there)
        return commit

    def _is_result(self, name: str) -> bool:
        """Tell whether a commit has the task's result, for example with another title.

        Then another process pushed it, or one that ended before it stored the commit.
        """
        try:
            commit = self._github.commit(self._name, name)
        except NotFound:
            return False
        return self._result.is_in(commit)

    def _url(self) -> str:
        has_moved = self._name.lower() != self._requested_name.lower()
        return self._context.address(self._name) if has_moved else self._task.repo_url

    def _commit_text(self) -> CommitText:
        task = self._task
        program = (task.execution_metadata or {}).get("agent_program") or task.agent
        return CommitText(
            message=f"{self._plan.title}\n\nTask: {task.id}",
            author=Identity(str(program), AUTHOR_EMAIL),
            committer=Identity(AUTHOR_NAME, AUTHOR_EMAIL),
            at=task.completed_at or task.created_at,
        )

    def _create(self) -> tuple[GitHubPull, bool]:
        """Return the pull request, and True if it is new."""
        try:
            created = self._open(draft=self._plan.draft)
        except InvalidInput as error:
            if error.code != NO_DRAFTS or self._plan.options.draft:
                raise
            created = self._open(draft=False)
        except Conflict as error:
            # Another process has opened it since the list was read.
            if error.code != pull_request_refusals.EXISTS:
                raise
            there = self._selector.find_open(self._pulls())
            if there is None:
                raise
            return self._update(there), False
        return created, True

    def _open(self, *, draft: bool) -> GitHubPull:
        plan = self._plan
        return self._github.create_pull(
            self._name,
            head=plan.branch,
            base=self._selector.base,
            title=plan.title,
            body=plan.body,
            draft=draft,
        )

    def _update(self, found: GitHubPull) -> GitHubPull:
        """Change the fields that the caller sent, and no others, which people may have edited."""
        given = {name: getattr(self._plan.options, name) for name in ("title", "body", "base")}
        changes: dict[str, Any] = {
            name: value
            for name, value in given.items()
            if value is not None and value != getattr(found, name)
        }
        return self._github.update_pull(self._name, found.number, **changes) if changes else found

    def _store_pull(self, pull: GitHubPull) -> None:
        self._store(pr_number=pull.number, pr_url=pull.url, pr_state=pull.outcome)

    def _report(self, kind: EventKind, **data: Any) -> None:
        """Append an event to those of the task."""
        if self._target.name:
            data["repository"] = self._target.name
        clean = self._context.redactor.redact_values(data)
        event = Event(kind, clean, datetime.now(UTC))
        self._context.database.append_events(self._task.user_id, self._task.id, [event])

    def _store(self, **fields: Any) -> None:
        database, task, position = self._context.database, self._task, self._target.position
        if position:
            database.set_repository_pull_request(task.user_id, task.id, position, fields)
        else:
            database.set_pull_request(task.user_id, task.id, fields)
