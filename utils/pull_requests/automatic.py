"""Opens the pull requests of tasks that asked for them, when they complete.

The database makes a pull request due in the transaction that completes its task, and it stays due
until it was tried. So a process that is killed at any moment loses none, and since each step of a
pull request detects the results of earlier calls, none is opened twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog
from pydantic import SecretStr

from database import Database
from utils.credentials.vault import Vault
from utils.errors import (
    AppError,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    RateLimited,
    Unavailable,
)
from utils.models.automatic_pulls import AutomaticPull
from utils.models.events import Event
from utils.models.tasks import NewTask, Task
from utils.pull_requests.options import PullRequestOptions
from utils.pull_requests.repositories import targets_of
from utils.pull_requests.service import PullRequests
from utils.redaction import Redactor

SCAN_SECONDS = 15.0
"""Longest pause between two looks for pull requests of other servers, and for later tries."""

LEASE = timedelta(seconds=60)
"""Time after which another server may take a pull request; more than one try takes."""

MAX_TRIES = 10
"""Tries while GitHub is unavailable, in about an hour."""

FIRST_PAUSE_SECONDS = 10.0
"""Pause after the first try. Each further one is twice as long, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = timedelta(minutes=15)

SETTING = "auto_pr"
"""The name of the wish, in requests and in the settings of projects."""

_NOT_IN_GROUPS = (
    "auto_pr: the pull request of a group is that of its chosen task. Leave it out, choose a task, "
    "then send POST /create-pr."
)
_WITHOUT = "To start the task without a pull request, send auto_pr: false."
_DEFECT = "The pull request failed because of a defect in this server; its log has the details."

log = structlog.get_logger(__name__)


class AutomaticPullRequests:
    """Looks for pull requests that are due, in a thread; `due` wakes it."""

    def __init__(
        self,
        database: Database,
        pull_requests: PullRequests,
        vault: Vault,
        redactor: Redactor,
        due: threading.Event,
    ) -> None:
        self._database = database
        self._pull_requests = pull_requests
        self._vault = vault
        self._redactor = redactor
        self._due = due
        self._scan_seconds = SCAN_SECONDS
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="automatic pulls", daemon=True)

    def with_wish(
        self,
        user_id: str,
        group: Sequence[NewTask],
        git_token: SecretStr | None,
        *,
        wish: bool | None,
    ) -> list[NewTask]:
        """Return the tasks to start; a single one asks for its pull request if that is the wish.

        Without a wish the settings of its project decide. Raises `InvalidInput` for a group, and
        where no pull request can ever be opened, `NotFound` for another user's project.
        """
        if len(group) > 1:
            if wish:
                raise InvalidInput(_NOT_IN_GROUPS)
            return list(group)
        (new,) = group
        if wish is None and new.project_id is not None:
            settings = self._database.get_project_settings(user_id, new.project_id)
            wish = settings.get(SETTING) is True
        if not wish:
            return [new]
        urls = [new.repo_url, *(one.repo_url for one in new.further)]
        try:
            self._pull_requests.require_possible(user_id, urls, git_token)
        except AppError as error:
            error.message = f"{SETTING}: {error.message} {_WITHOUT}"
            error.args = (error.message,)
            raise
        return [replace(new, auto_pr=True)]

    def start(self) -> None:
        """Start with those that an earlier process has left."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the pull request that is being opened."""
        self._is_stopping = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.clear()
            if self._is_stopping:
                return
            try:
                self._open_all()
            except DatabaseUnavailable as error:
                reason = error.message
                log.warning("pulls wait", action="automatic_pull.delayed", reason=reason)
            except Exception:
                log.exception("pulls crashed", action="automatic_pull.crashed")
            self._due.wait(self._scan_seconds)

    def _open_all(self) -> None:
        while not self._is_stopping:
            pull = self._database.claim_automatic_pull(datetime.now(UTC) + LEASE)
            if pull is None:
                return
            with structlog.contextvars.bound_contextvars(task_id=pull.task_id):
                self._open(pull)

    def _open(self, pull: AutomaticPull) -> None:
        """Open a pull request; store when to try again, or why it could not be opened."""
        try:
            self._create(pull)
        except DatabaseUnavailable:
            raise
        except (Unavailable, RateLimited) as error:
            if pull.tries < MAX_TRIES:
                log.info("pull put off", action="automatic_pull.put_off", code=error.code)
                self._database.end_automatic_pull(pull, _next_try(pull, error))
                return
            self._tell(pull, error)
        except AppError as error:
            self._tell(pull, error)
        except Exception:
            log.exception("pull crashed", action="automatic_pull.crashed")
            self._tell(pull, AppError(_DEFECT))
        self._database.end_automatic_pull(pull)

    def _create(self, pull: AutomaticPull) -> None:
        task = self._database.get_task(pull.user_id, pull.task_id)
        if not self._has_changes(task):
            return
        token: SecretStr | None = None
        if pull.ciphertext is not None:
            token = self._vault.decrypt(pull.ciphertext)
        self._pull_requests.create(
            pull.user_id, pull.task_id, PullRequestOptions(github_token=token)
        )

    def _has_changes(self, task: Task) -> bool:
        return any(target.has_changes for target in targets_of(self._database, task))

    def _tell(self, pull: AutomaticPull, error: AppError) -> None:
        """Write why there is no pull request to the events of the task, which stays completed."""
        log.warning("pull refused", action="automatic_pull.refused", code=error.code)
        message = (
            f"auto_pr: the pull request was not opened or updated. {error.message} To try again, "
            f"send POST /create-pr/{pull.task_id}."
        )
        data = {"code": error.code, "message": self._redactor.redact(message)}
        event = Event("error", data, datetime.now(UTC))
        try:
            self._database.append_events(pull.user_id, pull.task_id, [event])
        except NotFound:  # deleted meanwhile
            return


def _next_try(pull: AutomaticPull, error: AppError) -> datetime:
    seconds = max(error.retry_after_seconds or 0, FIRST_PAUSE_SECONDS * 2 ** (pull.tries - 1))
    return datetime.now(UTC) + min(timedelta(seconds=seconds), LONGEST_PAUSE)
