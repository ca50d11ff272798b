"""Service that creates pull requests from the results of tasks and checks tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import structlog
from pydantic import SecretStr

from database import Database
from utils.config.settings import Settings
from utils.credentials.github_resolver import GitHubTokenResolver, TokenSource, token_needed
from utils.errors import AppError, InvalidInput, NotFound, RepositoryNotAllowed, Unavailable
from utils.git.repository_url import github_full_name, validate_branch
from utils.github.app import Purpose
from utils.github.client import GitHub
from utils.github.concurrency import ConcurrencyLimiter
from utils.github.refusal import UNAVAILABLE_SECONDS
from utils.github.token_access import TokenAccess, check_access
from utils.models.tasks import Task
from utils.models.usage import Usage, UsageRecord
from utils.pull_requests.concurrency import Deadline, KeyedLocks
from utils.pull_requests.conventional_commits import require_conventional
from utils.pull_requests.links import Published, PullRequestLinker
from utils.pull_requests.options import PullRequestOptions
from utils.pull_requests.preconditions import (
    Result,
    capture_notes,
    changes_workflows,
    is_simulated,
    require_chosen,
    require_result,
)
from utils.pull_requests.publisher import (
    PublishContext,
    PullRequestPlan,
    PullRequestPublisher,
)
from utils.pull_requests.repositories import Target, selected, targets_of
from utils.pull_requests.text import (
    PullRequestFacts,
    cut_body,
    cut_title,
    default_body,
    default_title,
    mark_simulated,
    result_notice,
)
from utils.redaction import Redactor
from utils.telemetry import Metrics

log = structlog.get_logger(__name__)

TOTAL_SECONDS = 25.0
"""Time limit of a request. Web pages wait 30 s for the answer."""

TOKEN_SECONDS = 15.0
"""Time limit of a token check. Web pages wait 30 s, and a retried step takes longer."""

_NOT_PUBLISHED = "The pull request could not be opened or updated:"

STEP_SECONDS = 5
"""Read timeout of GitHub. No step begins with less time left."""


class PullRequests:
    """Creates pull requests, several at a time but one after the other for each task."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        tokens: GitHubTokenResolver,
        redactor: Redactor,
        environment: Mapping[str, str],
        limiter: ConcurrencyLimiter,
        metrics: Metrics,
    ) -> None:
        """`environment` holds the variables that git needs: PATH, proxies, certificates."""
        self._settings = settings
        self._database = database
        self._tokens = tokens
        self._redactor = redactor
        self._environment = environment
        self._limiter = limiter
        self._metrics = metrics
        self._locks = KeyedLocks()

    def create(self, user_id: str, task_id: int, options: PullRequestOptions) -> list[Published]:
        """Create or update the pull request of a task; return it.

        A task over several repositories gets one in each that has changes, or in that of the
        options, linked to one another. Raises `NotFound`, and errors whose code names the cause.
        After an error another call continues where this one ended.
        """
        deadline = Deadline(TOTAL_SECONDS, STEP_SECONDS)
        self._database.get_task_status(user_id, task_id)  # check the owner before taking a slot
        with self._limiter.slot(), self._locks.lock(task_id, deadline):
            task = self._database.get_task(user_id, task_id)
            with self._telling(task):
                if task.group_id is not None:
                    group = self._database.get_task_group(user_id, task.group_id)
                    require_chosen(task, group)
                targets = targets_of(self._database, task)
                chosen = selected(targets, options.repository)
                plans = [self._checked(one, options) for one in chosen]
                published = [
                    self._publish(one, *plan, options, deadline)
                    for one, plan in zip(chosen, plans, strict=True)
                ]
                if len(targets) == 1:
                    return published
                return self._linker(options, deadline).link(published, targets)

    def require_possible(
        self, user_id: str, repo_urls: Sequence[str], given: SecretStr | None
    ) -> None:
        """Raise the error of `create` if no pull request can ever be opened in a repository.

        That is `repository_not_on_github` or `github_token_needed`. Asks nobody outside.
        """
        for url in repo_urls:
            full_name = self._full_name(url)
            own = self._tokens.user_token(user_id, url, given)
            is_none = own.source is TokenSource.NONE
            if is_none and not self._tokens.may_use_server_token(user_id, full_name):
                raise token_needed()

    def _checked(self, target: Target, options: PullRequestOptions) -> tuple[Result, str]:
        """Return the result of a repository and its name on GitHub, before anything is pushed."""
        with _naming(target):
            result = self._require_result(target.task, options)
            return result, self._full_name(target.task.repo_url)

    def _linker(self, options: PullRequestOptions, deadline: Deadline) -> PullRequestLinker:
        def open_github(target: Target, name: str) -> AbstractContextManager[PublishContext]:
            return self._github(target.task, name, options.github_token, deadline)

        return PullRequestLinker(open_github, self._full_name, deadline)

    def _require_result(self, task: Task, options: PullRequestOptions) -> Result:
        redactor, given = self._redactor.child(), options.github_token
        takes_simulated = self._settings.environment != "production"
        with redactor.hold(given.get_secret_value() if given else None):
            return require_result(task, options, redactor.finds_in, takes_simulated=takes_simulated)

    def _publish(
        self,
        target: Target,
        result: Result,
        full_name: str,
        options: PullRequestOptions,
        deadline: Deadline,
    ) -> Published:
        task, token = target.task, options.github_token
        plan = self._plan(task, options)
        with _naming(target), self._github(task, full_name, token, deadline) as context:
            publisher = PullRequestPublisher(context, target, result, plan, full_name)
            with self._counting(task, publisher):
                published = publisher.run()
            log.info(
                "pull request published",
                action="pull_request.published",
                task_id=task.id,
                number=published.pull.number,
                is_new=published.is_new,
                token_source=str(context.token.source),
            )
            return Published(target, published)

    @contextmanager
    def _counting(self, task: Task, publisher: PullRequestPublisher) -> Iterator[None]:
        """Record the push and the pull request as git operations, also if they fail."""
        failed = 1
        try:
            yield
            failed = 0
        finally:
            usage = Usage(git_operations=publisher.is_pushed + 1, failed_git_operations=failed)
            run, now = f"pull request {uuid4().hex}", datetime.now(UTC)
            record = UsageRecord(
                task.user_id, task.id, run, task.project_id, task.agent, now, usage
            )
            self._metrics.usage_recorded(task.agent, usage)
            # The pull request itself matters more than that it is counted.
            with suppress(AppError):
                self._database.add_usage(task.user_id, record)

    @contextmanager
    def _telling(self, task: Task) -> Iterator[None]:
        """Add the reason of a refusal to the conversation: pages show no other text of it."""
        try:
            yield
        except AppError as error:
            said = self._redactor.redact(f"{_NOT_PUBLISHED} {error.message}")
            last = task.chat_messages[-1] if task.chat_messages else {}
            if last.get("content") != said:
                # The refusal itself matters more than that it is written down.
                with suppress(AppError):
                    self._database.append_chat_message(task.user_id, task.id, "assistant", said)
            raise

    def check_token(
        self, user_id: str | None, token: SecretStr | None, repo_url: str | None
    ) -> TokenAccess:
        """Return the permissions of a token, with requests that only read.

        A blank address counts as none. Raises the errors of these requests, and `Unavailable`
        (`github_unavailable`) when they are too slow.
        """
        deadline = Deadline(TOKEN_SECONDS, STEP_SECONDS)
        host = self._settings.github_host
        address = (repo_url or "").strip()
        full_name = github_full_name(address, host) if address else None
        text = self._tokens.decrypt_request_token(user_id, token)
        redactor = self._redactor.child()
        api_url = self._settings.github_api_url
        with (
            self._limiter.slot(),
            redactor.hold(text),
            _redacting(redactor),
            GitHub(api_url, text, timeout_seconds=STEP_SECONDS) as github,
        ):
            return check_access(github, full_name, lambda: _refuse_slow(deadline))

    @contextmanager
    def _github(
        self, task: Task, full_name: str, given: SecretStr | None, deadline: Deadline
    ) -> Iterator[PublishContext]:
        purpose = Purpose.PUSH_WORKFLOWS if changes_workflows(task) else Purpose.PUSH
        chosen = self._tokens.resolve(task.user_id, full_name, task.repo_url, purpose, given)
        deadline.check("Nothing is pushed yet.")
        redactor = self._redactor.child()
        with (
            redactor.hold(chosen.token),
            _redacting(redactor),
            self._tokens.open_client(chosen, full_name, STEP_SECONDS) as github,
        ):
            yield PublishContext(
                github=github,
                token=chosen,
                database=self._database,
                redactor=self._redactor,
                work_folder=pushes_folder(self._settings),
                environment=self._environment,
                deadline=deadline,
                address=self._settings.github_clone_url,
            )

    def _full_name(self, repo_url: str) -> str:
        try:
            return github_full_name(repo_url, self._settings.github_host)
        except RepositoryNotAllowed as error:
            raise RepositoryNotAllowed(
                f"{error.message} For other hosts, download the patch with GET /tasks/{{id}}/patch "
                "and apply it with git am.",
                error.code,
            ) from None

    def _plan(self, task: Task, options: PullRequestOptions) -> PullRequestPlan:
        branch = self._branch(task)
        if options.base is not None and validate_branch(options.base) == branch:
            raise InvalidInput("base: must not be the branch to which the changes are pushed.")
        conventional = self._wants_conventional(task)
        facts = self._facts(task)
        title = cut_title(options.title or "") or None
        if title and conventional:
            require_conventional(title)
        simulated = is_simulated(task)
        if title and simulated:
            title = mark_simulated(title)
        notice = result_notice(task)
        body = None if options.body is None else cut_body(notice + options.body)
        default = default_title(facts, conventional=conventional)
        return PullRequestPlan(
            branch=branch,
            title=title or (mark_simulated(default) if simulated else default),
            body=cut_body(notice + default_body(facts)) if body is None else body,
            draft=options.draft or simulated,
            options=replace(options, title=title, body=body),
        )

    def _branch(self, task: Task) -> str:
        # The setting may have changed; the pull request keeps its branch.
        pushed = task.pr_branch if task.pr_commit else None
        return pushed or self._settings.task_branch(task.id)

    def _wants_conventional(self, task: Task) -> bool:
        if task.project_id is None:
            return False
        try:
            project = self._database.get_project(task.user_id, task.project_id)
        except NotFound:
            return False
        return project.settings.get("conventional_commits") is True

    def _facts(self, task: Task) -> PullRequestFacts:
        return PullRequestFacts(
            task_id=task.id,
            prompt=task.prompt,
            agent=task.agent,
            changed_files=task.changed_files or (),
            notes=capture_notes(task),
            link=self._settings.task_url(task.id),
        )


def pushes_folder(settings: Settings) -> Path:
    """Return the folder of temporary repositories, which is cleaned when the server starts."""
    return settings.data_dir / "pushes"


@contextmanager
def _naming(target: Target) -> Iterator[None]:
    """Name the repository in an error, when the task has several."""
    try:
        yield
    except AppError as error:
        if target.name:
            error.message = f"{target.name}: {error.message}"
            error.args = (error.message,)
        raise


@contextmanager
def _redacting(redactor: Redactor) -> Iterator[None]:
    # Messages that quote the host are logged after the token has left the redactor.
    try:
        yield
    except AppError as error:
        error.message = redactor.redact(error.message)
        error.args = (error.message,)
        raise


def _refuse_slow(deadline: Deadline) -> None:
    if deadline.seconds_left <= 0:
        raise Unavailable(
            "GitHub took too long to check the token; try again later.",
            "github_unavailable",
            retry_after_seconds=UNAVAILABLE_SECONDS,
        )
