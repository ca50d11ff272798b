"""Translates the exceptions of E2B's SDK into `SandboxError`s, in one table.

From docs/e2b.md sections 3 and 4: transport failures of the control plane are httpx's own
exceptions; a dead sandbox is a subclass of the SDK's TimeoutException, so the order of the table
matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import structlog
from e2b import CommandExitException, exceptions

from utils.error_rules import Rule, first_match
from utils.errors import (
    SandboxError,
    SandboxLost,
    SandboxQuotaExceeded,
    SandboxUnavailable,
)
from utils.sandboxes.e2b.network_rules import EGRESS_UNAVAILABLE

TEMPLATE_NOT_FOUND = "e2b_template_not_found"

SANDBOX_TIMEOUT = "sandbox_timeout"
"""The code of the error that the plan ends the sandbox."""

DETAIL_CHARACTERS = 500
"""Length to which the SDK's message is cut in the log."""

log = structlog.get_logger(__name__)

_QUOTA = re.compile(
    r"maximum number of concurrent(?:.{0,200}?sandboxes\D{0,50}([0-9]{1,9}))?", re.IGNORECASE
)
_BAD_REQUEST, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _SERVER_ERROR = 400, 403, 404, 409, 500

# What a refusal is about is only in its text; each says the like in other words, too.
_ABOUT_TEMPLATE = re.compile(r"\btemplate\b", re.IGNORECASE)
_ABOUT_LIFE = re.compile(r"timeout|instance length", re.IGNORECASE)
_ABOUT_RULES = re.compile(r"network.{0,20}\brules?\b|\brule domain\b|transform rule", re.IGNORECASE)
_IN_RULE = re.compile(r"\bin rule for domain\b|\bheaders per rule\b", re.IGNORECASE)


def _auth_failed(_error: Exception) -> SandboxError:
    return SandboxError(
        "E2B refused the key. Set E2B_API_KEY to a key of https://e2b.dev/dashboard and restart; "
        "./run.sh doctor checks it.",
        "e2b_auth_failed",
    )


def _limited(error: Exception) -> SandboxError:
    quota = _QUOTA.search(str(error))
    if quota is None:
        return SandboxUnavailable(
            "E2B limits the rate of requests. Waiting tasks start automatically. If a task has "
            "failed, start it again in a minute, or lower MAX_CONCURRENT_TASKS.",
            "e2b_rate_limited",
        )
    if quota[1] == "0":
        return SandboxError(
            "This E2B account may not run any sandboxes, so waiting does not help. Its dashboard "
            "shows the reason: https://e2b.dev/dashboard",
            SandboxQuotaExceeded.default_code,
        )
    limit = f"limit of {quota[1]} sandboxes" if quota[1] else "limit of sandboxes"
    return SandboxQuotaExceeded(f"E2B {limit}")


def _unavailable(_error: Exception) -> SandboxError:
    return SandboxUnavailable(
        "E2B does not respond correctly. Start the task again later. https://status.e2b.dev shows "
        "outages, and ./run.sh doctor checks the connection."
    )


def _lost(_error: Exception) -> SandboxError:
    return SandboxLost(
        "The cloud sandbox no longer exists: it was ended, crashed, or reached its time limit. "
        "Start the task again. With RETRY_LOST_SANDBOX=true the server does this itself."
    )


def _template_not_found(_error: Exception) -> SandboxError:
    return SandboxError(
        "E2B does not have this template, or it is too old. Build it with ./run.sh build-template, "
        "or set E2B_TEMPLATE_ID (or the project's settings.template_id) to an existing one.",
        TEMPLATE_NOT_FOUND,
    )


def _disk_full(_error: Exception) -> SandboxError:
    return SandboxError(
        "The disk of the sandbox is full. Use a template with a larger disk, or a smaller "
        "repository.",
        "disk_full",
    )


def _forbidden(error: Exception) -> SandboxError:
    if _ABOUT_TEMPLATE.search(str(error)):
        return SandboxError(
            "The team of this E2B key may not use the template: it belongs to another team. Build "
            "your own with ./run.sh build-template, or set E2B_TEMPLATE_ID (or the project's "
            "settings.template_id) to one of this team.",
            TEMPLATE_NOT_FOUND,
        )
    return SandboxError(
        "E2B does not allow this account to do that; it may be blocked. Its dashboard shows the "
        "reason: https://e2b.dev/dashboard",
        "e2b_auth_failed",
    )


def _bad_request(error: Exception) -> SandboxError:
    text = str(error)
    if _ABOUT_LIFE.search(text):
        return SandboxError(
            "The plan of this E2B account does not allow sandboxes to run that long. Lower "
            "SANDBOX_TIMEOUT_SECONDS.",
            SANDBOX_TIMEOUT,
        )
    if _ABOUT_RULES.search(text) or _IN_RULE.search(text):
        return SandboxError(
            "E2B refuses the network rules that SECRETS_MODE=egress needs. The plan of this E2B "
            "account may not have them. Set SECRETS_MODE=environment, or ask E2B for network "
            "transform rules; ./run.sh doctor tries them.",
            EGRESS_UNAVAILABLE,
        )
    return _refused(error)


def _by_status(error: Exception) -> SandboxError:
    status = getattr(error, "status_code", None) or 0
    explain = {
        _BAD_REQUEST: _bad_request,
        _FORBIDDEN: _forbidden,
        _NOT_FOUND: _template_not_found,
        # The state of the sandbox is changing.
        _CONFLICT: _unavailable,
    }.get(status)
    if explain is not None:
        return explain(error)
    return _unavailable(error) if status == 0 or status >= _SERVER_ERROR else _refused(error)


def _refused(error: Exception) -> SandboxError:
    return SandboxError(
        f"E2B refused a request ({type(error).__name__}). The server's log has the details.",
        "sandbox_error",
    )


# The first rule that matches decides.
EXCEPTION_RULES: tuple[Rule[Exception, Callable[[Exception], SandboxError]], ...] = (
    Rule(_auth_failed, kinds=(exceptions.AuthenticationException,)),
    Rule(_limited, kinds=(exceptions.RateLimitException,)),
    Rule(_unavailable, kinds=(exceptions.ServiceBusyException,)),
    Rule(
        _lost,
        kinds=(exceptions.SandboxNotRunningException, exceptions.SandboxNotFoundException),
    ),
    Rule(
        _unavailable,
        kinds=(exceptions.SandboxUnreachableException, exceptions.TimeoutException),
    ),
    Rule(_disk_full, kinds=(exceptions.NotEnoughSpaceException,)),
    Rule(_template_not_found, kinds=(exceptions.TemplateException,)),
    Rule(
        _refused,
        kinds=(
            exceptions.GuestUnresponsiveException,
            exceptions.InvalidArgumentException,
            exceptions.NotFoundException,
            CommandExitException,
        ),
    ),
    Rule(_by_status, kinds=(exceptions.SandboxException,)),
    Rule(
        _unavailable,
        kinds=(
            httpx.HTTPError,
            TimeoutError,
            ConnectionError,
        ),
    ),
)

FOREIGN = tuple(kind for rule in EXCEPTION_RULES for kind in rule.kinds)


def unreadable() -> SandboxError:
    """Return the error for a file of the backend that the daemon cannot open."""
    return SandboxError(
        "A file of the backend in the sandbox cannot be read; the agent may have replaced it. "
        "Start the task again, and tell the agent to change nothing outside the repository."
    )


def translate(error: Exception) -> SandboxError:
    """Return our error for one of the SDK's; unknown ones count as a broken connection."""
    create = first_match(EXCEPTION_RULES, error)
    return (create or _unavailable)(error)


@contextmanager
def translating() -> Iterator[None]:
    """Translate the exceptions that the SDK raises in the block."""
    try:
        yield
    except SandboxError:
        raise
    except Exception as error:
        ours = translate(error)
        detail = f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS]
        log.info(
            "request to E2B failed", action="e2b.request_failed", code=ours.code, detail=detail
        )
        raise ours from error
