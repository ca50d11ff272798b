"""Every error this backend raises on purpose.

    AppError                     500  internal_error
    ├── InvalidInput             400  invalid_request
    │   ├── RepositoryNotAllowed 400  repository_not_allowed
    │   └── InvalidBranch        400  invalid_branch
    ├── Unauthenticated          401  unauthenticated
    ├── Forbidden                403  forbidden
    ├── NotFound                 404  not_found
    ├── Conflict                 409  conflict
    │   ├── BranchChanged        409  branch_changed
    │   ├── PushRefused          409  push_rejected, tree_mismatch, repository_archived, ...
    │   └── RowUnreadable        409  row_unreadable
    ├── TooLarge                 413  body_too_large
    ├── QueueFull                429  queue_full
    ├── Unavailable              503  unavailable
    │   └── DatabaseUnavailable  503  database_unavailable
    ├── ConfigurationError       500  configuration_error   (the server refuses to start)
    └── TaskError                500  task_failed, token_unreadable, internal_error
        │                             (ends a task; its code names the cause)
        ├── CloneError                clone_failed, repo_not_found, branch_not_found, ...
        ├── AgentError                agent_failed, agent_timeout, agent_auth_failed,
        │                             agent_not_configured
        ├── CaptureError              capture_failed, capture_timeout
        ├── TaskStopped               cancelled, sandbox_timeout, shutdown
        └── SandboxError              sandbox_error, e2b_auth_failed, e2b_template_not_found,
            │                         disk_full, sandbox_timeout
            ├── SandboxUnavailable    e2b_unavailable, e2b_rate_limited   (may pass by itself)
            ├── SandboxQuotaExceeded  e2b_quota_exceeded            (passes when another one ends)
            └── SandboxLost           sandbox_lost

In a request an error becomes `{"error": message, "code": code}` with `http_status`; in a task it
becomes `tasks.error`, `tasks.error_code` and `tasks.error_stage`. A message is written for the
person who has to act on it and never repeats what a client sent.
"""

from __future__ import annotations

from typing import ClassVar


class AppError(Exception):
    """The root. `message` says what to do next; `code` is stable and machine-readable."""

    http_status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, code: str | None = None, *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.retry_after_seconds = retry_after_seconds


class InvalidInput(AppError):
    """The request itself is wrong; sending it again unchanged cannot help."""

    http_status = 400
    default_code = "invalid_request"


class RepositoryNotAllowed(InvalidInput):
    """The repository URL is malformed or its host is not one this server clones from."""

    default_code = "repository_not_allowed"


class InvalidBranch(InvalidInput):
    """The branch name breaks git's own rules (git-check-ref-format)."""

    default_code = "invalid_branch"


class Unauthenticated(AppError):
    """No caller could be established; the message names what to send."""

    http_status = 401
    default_code = "unauthenticated"


class Forbidden(AppError):
    """The caller is known and may not do this."""

    http_status = 403
    default_code = "forbidden"


class NotFound(AppError):
    """No such row for this caller. Another user's row gives the same answer."""

    http_status = 404
    default_code = "not_found"


class Conflict(AppError):
    """The row is in a state that does not allow this."""

    http_status = 409
    default_code = "conflict"


class BranchChanged(Conflict):
    """Someone else pushed to a task's branch; `remote_commit` is what is there now."""

    default_code = "branch_changed"

    def __init__(self, message: str, remote_commit: str) -> None:
        super().__init__(message)
        self.remote_commit = remote_commit


class PushRefused(Conflict):
    """The result of a task cannot become a branch of its repository as things are."""

    default_code = "push_rejected"


class RowUnreadable(Conflict):
    """A front end has stored a document that this program cannot read."""

    default_code = "row_unreadable"


class TooLarge(AppError):
    """The body is over the limit."""

    http_status = 413
    default_code = "body_too_large"


class QueueFull(AppError):
    """As many tasks wait as `MAX_QUEUED_TASKS` allows."""

    http_status = 429
    default_code = "queue_full"


class Unavailable(AppError):
    """Something this server depends on is away for the moment."""

    http_status = 503
    default_code = "unavailable"


class DatabaseUnavailable(Unavailable):
    """The database did not answer."""

    default_code = "database_unavailable"


class ConfigurationError(AppError):
    """The settings contradict each other or are unsafe; the server does not start."""

    default_code = "configuration_error"


class TaskError(AppError):
    """Ends a task. `stage` is filled in by the pipeline when the raiser does not know it."""

    default_code = "task_failed"

    def __init__(self, message: str, code: str | None = None, *, stage: str | None = None) -> None:
        super().__init__(message, code)
        self.stage = stage


class CloneError(TaskError):
    """The repository could not be cloned."""

    default_code = "clone_failed"


class AgentError(TaskError):
    """The agent ended without doing its work."""

    default_code = "agent_failed"


class CaptureError(TaskError):
    """The result could not be read out of the sandbox."""

    default_code = "capture_failed"


class TaskStopped(TaskError):
    """The task was stopped from outside: by its user, by its deadline, or by a shutdown."""

    default_code = "cancelled"


class SandboxError(TaskError):
    """The sandbox cannot run commands."""

    default_code = "sandbox_error"


class SandboxUnavailable(SandboxError):
    """No sandbox can be had right now, and trying again later may help."""

    default_code = "e2b_unavailable"


class SandboxQuotaExceeded(SandboxError):
    """As many sandboxes run as the account allows."""

    default_code = "e2b_quota_exceeded"


class SandboxLost(SandboxError):
    """The sandbox is gone, with everything in it that was not read."""

    default_code = "sandbox_lost"
