"""Defines the error tree of this backend.

    AppError                     500  internal_error
    ├── InvalidInput             400  invalid_request
    │   ├── RepositoryNotAllowed 400  repository_not_allowed
    │   └── InvalidBranch        400  invalid_branch
    ├── Unauthenticated          401  unauthenticated
    ├── Forbidden                403  forbidden
    ├── NotFound                 404  not_found
    │   └── TaskArchived         410  task_archived
    ├── Conflict                 409  conflict
    │   ├── BranchChanged        409  branch_changed
    │   ├── PushRefused          409  push_rejected, tree_mismatch, repository_archived, ...
    │   └── RowUnreadable        409  row_unreadable
    ├── SandboxGone              410  sandbox_gone
    ├── TooLarge                 413  body_too_large, sandbox_file_too_large
    ├── BudgetExceeded           402  budget_exceeded
    ├── RateLimited              429  rate_limited
    ├── QueueFull                429  queue_full
    ├── SandboxLimitReached      429  sandbox_limit_reached
    ├── Unavailable              503  unavailable
    │   └── DatabaseUnavailable  503  database_unavailable
    ├── CommandTimedOut          504  command_timeout
    ├── ConfigurationError       500  configuration_error   (the server refuses to start)
    └── TaskError                500  task_failed, token_unreadable, environment_invalid, ...
        │                             (ends a task; its code names the cause)
        ├── CloneError                clone_failed, repo_not_found, branch_not_found, ...
        ├── AgentError                agent_failed, agent_timeout, agent_auth_failed,
        │                             agent_not_configured, agent_rate_limited
        ├── SetupError                setup_failed, setup_timeout
        ├── CaptureError              capture_failed, capture_timeout
        ├── TaskStopped               cancelled, sandbox_timeout, shutdown, budget_exceeded
        └── SandboxError              sandbox_error, e2b_auth_failed, e2b_template_not_found,
            │                         disk_full, sandbox_timeout, egress_unavailable
            ├── SandboxUnavailable    e2b_unavailable, e2b_rate_limited   (may pass by itself)
            ├── SandboxQuotaExceeded  e2b_quota_exceeded            (passes when another one ends)
            └── SandboxLost           sandbox_lost

In a request an error becomes `{"error": message, "code": code}` with `http_status`; in a task it
becomes `tasks.error`, `tasks.error_code` and `tasks.error_stage`. A message tells its reader what
to do and never repeats input of a client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from types import MappingProxyType
from typing import ClassVar

_counts: Counter[str] = Counter()
_counts_lock = Lock()


def error_counts() -> dict[str, int]:
    """Return the number of errors of this process by code, for the metrics.

    A request to E2B, GitHub or the database that fails and is repeated counts each time.
    """
    with _counts_lock:
        return dict(_counts)


class AppError(Exception):
    """Base class. `message` tells the reader what to do; `code` is stable and machine-readable."""

    http_status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"
    details: Mapping[str, object] = MappingProxyType({})
    """Further fields of the answer."""

    def __init__(
        self, message: str, code: str | None = None, *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        with _counts_lock:
            _counts[self.code] += 1
        self.retry_after_seconds = retry_after_seconds


class InvalidInput(AppError):
    """The request is invalid; sending it again unchanged does not help."""

    http_status = 400
    default_code = "invalid_request"


class RepositoryNotAllowed(InvalidInput):
    """The repository URL is malformed, or its host is not allowed."""

    default_code = "repository_not_allowed"


class InvalidBranch(InvalidInput):
    """The branch name breaks git's rules (git-check-ref-format)."""

    default_code = "invalid_branch"


class Unauthenticated(AppError):
    """The caller is unknown; the message names the credentials to send."""

    http_status = 401
    default_code = "unauthenticated"


class Forbidden(AppError):
    """The caller is known but not allowed to do this."""

    http_status = 403
    default_code = "forbidden"


class NotFound(AppError):
    """The caller has no such row. Rows of other users raise the same error."""

    http_status = 404
    default_code = "not_found"


class TaskArchived(NotFound):
    """The caller's task is in the archive and no longer in the database."""

    http_status = 410
    default_code = "task_archived"


class Conflict(AppError):
    """The state of the row does not allow this."""

    http_status = 409
    default_code = "conflict"


class BranchChanged(Conflict):
    """Someone else pushed to the branch of a task; `remote_commit` is its present commit."""

    default_code = "branch_changed"

    def __init__(self, message: str, remote_commit: str) -> None:
        super().__init__(message)
        self.remote_commit = remote_commit


class PushRefused(Conflict):
    """The result of a task cannot be pushed in the present state of the repository."""

    default_code = "push_rejected"


class RowUnreadable(Conflict):
    """A front end stored a JSON document that this backend cannot read."""

    default_code = "row_unreadable"


class SandboxGone(AppError):
    """The sandbox has ended."""

    http_status = 410
    default_code = "sandbox_gone"


class TooLarge(AppError):
    """The request body is larger than the limit."""

    http_status = 413
    default_code = "body_too_large"


class BudgetExceeded(AppError):
    """A budget that the task would draw on is spent."""

    http_status = 402
    default_code = "budget_exceeded"


class RateLimited(AppError):
    """The caller sends more requests of this kind than allowed."""

    http_status = 429
    default_code = "rate_limited"


class QueueFull(AppError):
    """The queue holds as many tasks as allowed, of this user or of all users."""

    http_status = 429
    default_code = "queue_full"


class SandboxLimitReached(AppError):
    """The user has as many sandboxes as allowed."""

    http_status = 429
    default_code = "sandbox_limit_reached"


class Unavailable(AppError):
    """A service that this server depends on is unavailable at the moment."""

    http_status = 503
    default_code = "unavailable"


class DatabaseUnavailable(Unavailable):
    """The database did not respond."""

    default_code = "database_unavailable"


class CommandTimedOut(AppError):
    """A command in a sandbox took too long; `details` hold its output until then."""

    http_status = 504
    default_code = "command_timeout"

    def __init__(self, message: str, details: Mapping[str, object]) -> None:
        super().__init__(message)
        self.details = details


class ConfigurationError(AppError):
    """The settings are contradictory or unsafe; the server does not start."""

    default_code = "configuration_error"


class TaskError(AppError):
    """Ends a task. The pipeline sets `stage` when the code that raises it does not know it."""

    default_code = "task_failed"

    def __init__(self, message: str, code: str | None = None, *, stage: str | None = None) -> None:
        super().__init__(message, code)
        self.stage = stage


class CloneError(TaskError):
    """The repository could not be cloned."""

    default_code = "clone_failed"


class AgentError(TaskError):
    """The agent ended without finishing its work."""

    default_code = "agent_failed"


class SetupError(TaskError):
    """The setup script of the project failed."""

    default_code = "setup_failed"


class CaptureError(TaskError):
    """The changes could not be read from the sandbox."""

    default_code = "capture_failed"


class TaskStopped(TaskError):
    """The task was stopped by its user, by its deadline or by a shutdown."""

    default_code = "cancelled"


class SandboxError(TaskError):
    """The sandbox cannot run commands."""

    default_code = "sandbox_error"


class SandboxUnavailable(SandboxError):
    """No sandbox is available at the moment; a later attempt may succeed."""

    default_code = "e2b_unavailable"


class SandboxQuotaExceeded(SandboxError):
    """The account already runs as many sandboxes as its plan allows."""

    default_code = "e2b_quota_exceeded"


class SandboxLost(SandboxError):
    """The sandbox no longer exists, and its unread contents are lost."""

    default_code = "sandbox_lost"
