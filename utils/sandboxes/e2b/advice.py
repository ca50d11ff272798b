"""Explains errors of E2B's API to the person at a terminal, for commands.

The errors of tasks are in `utils.sandboxes.e2b.errors`.
"""

from __future__ import annotations

import os
import re
import sys
from typing import NoReturn

import httpx
from e2b.exceptions import (
    AuthenticationException,
    BuildException,
    RateLimitException,
    SandboxException,
    ServiceBusyException,
    TemplateException,
)

from utils.sandboxes.e2b.errors import FOREIGN

KEYS_PAGE = "https://e2b.dev/dashboard?tab=keys"
STATUS_PAGE = "https://status.e2b.dev"
NOT_FOUND = 404

E2B_ERRORS: tuple[type[Exception], ...] = (*FOREIGN, BuildException)
"""Every exception that a call to the API raises; the SDK's exceptions have no common base."""


def explain_e2b(error: Exception) -> tuple[str, str]:
    """Return the cause of an error and the advice against it. Neither contains the key."""
    cause = f"E2B answered: {_text(error)}"
    advice = f"Look at {STATUS_PAGE} and try again"
    match error:
        case AuthenticationException():
            cause = "E2B does not accept the key"
            advice = f"Set E2B_API_KEY to a key from {KEYS_PAGE}"
        case RateLimitException():
            cause = f"E2B refuses: {_text(error)}"
            advice = _advice_against_limit(str(error))
        case ServiceBusyException():
            cause, advice = "E2B has no capacity at the moment", "Try again in a minute"
        case httpx.HTTPError() | TimeoutError() | ConnectionError():
            cause = f"E2B cannot be reached ({type(error).__name__})"
            advice = f"Check the network, HTTPS_PROXY, E2B_DOMAIN and {STATUS_PAGE}"
        case TemplateException():
            cause = "The template is too old for this SDK"
            advice = "Run ./run.sh build-template"
        case SandboxException(status_code=403):
            cause = f"E2B does not allow this: {_text(error)}"
            advice = _advice_against_refusal(str(error))
    return cause, advice


def _advice_against_limit(text: str) -> str:
    """Return the advice for a 429, whose text alone tells what there is too much of."""
    if re.search(r"\bbuilds?\b", text):
        return "Wait until other builds have ended, or raise the limit of the plan"
    if "sandboxes" in text:
        return "Wait until other sandboxes have stopped, or raise the limit of the plan"
    return "Try again in a minute: there were too many requests"


def _advice_against_refusal(text: str) -> str:
    """Return the advice for a 403."""
    if "template" in text:
        return (
            "Run ./run.sh build-template and set E2B_TEMPLATE_ID to the id it prints: this "
            "template belongs to another team"
        )
    return "Look at https://e2b.dev/dashboard: the account may be blocked"


def exit_immediately(code: int) -> NoReturn:
    """End the process at once.

    After refused connections the SDK's network threads sometimes abort an interpreter that exits in
    the usual way, and the exit code is lost.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _text(error: Exception) -> str:
    return str(error).partition("\n")[0]
