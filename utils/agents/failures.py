"""Builds the errors of agent runs. Each message tells the reader what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from utils.agents.limit_notice import end_of_limit, is_limit_notice
from utils.agents.spec import Program
from utils.error_rules import Rule, first_match
from utils.errors import AgentError
from utils.models.runs import KILLED

NOT_EXECUTABLE, NOT_FOUND = 126, 127
_SIGNALS = range(129, 193)

QUOTED_CHARACTERS = 500
"""Longer texts are left out, not cut: the redactor would not recognise half of a secret."""

SEARCHED_CHARACTERS = 8_192

NAMED_VARIABLES = 5

RATE_LIMITED = "agent_rate_limited"
"""The code of errors that pass by themselves with time."""


def not_configured(program: Program) -> AgentError:
    """Return the error for a run without any key."""
    return AgentError(
        f"{program.title} has no key. Set {program.key_setting.upper()} on the server, or your own "
        f"in {program.preferred_key}.",
        "agent_not_configured",
    )


def key_withheld(program: Program, names: Sequence[str]) -> AgentError:
    """Return the error for a user whose variables could send the server's key elsewhere."""
    return AgentError(
        f"The server's key for {program.title} is not given to a run with the variables "
        f"{', '.join(names[:NAMED_VARIABLES])} of preferences.{program.sections[0]}: they could "
        f"send it to another host. Remove them, or set your own key in {program.preferred_key}.",
        "agent_not_configured",
    )


def not_installed(program: Program) -> AgentError:
    """Return the error for a sandbox without the program."""
    return AgentError(
        f"The template has no `{program.command}` program that runs: build the template with "
        "./run.sh build-template. In isolated sandboxes: ./run.sh install-agents. With "
        "SIMULATE_WITH_REAL_AGENT, install it on this machine."
    )


def failed(
    program: Program, reason: str, ending: str, http_status: int = 0, until: str = ""
) -> AgentError:
    """Return the error for a run that its program reports as failed.

    `reason` is the program's own message, `ending` completes the sentence "The program ...",
    `http_status` is the status of the provider's answer, 0 when unknown, and `until` the time at
    which a reached limit ends, empty when unknown.
    """
    short, reason = reason.strip(), _searched(reason)
    quote = f" ({short})" if 0 < len(short) <= QUOTED_CHARACTERS else ""
    if is_limit_notice(reason) or (until and http_status in {0, 429}):
        return _limit_reached(program, until or end_of_limit(reason), quote)
    if re.search(_SPENT_LOGIN, reason, re.IGNORECASE):
        return _login_spent(program, quote)
    if http_status in {401, 403} or re.search(_AUTHENTICATION, reason, re.IGNORECASE):
        return AgentError(
            f"{program.provider} did not accept the key of {program.title}. Check "
            f"{program.key_setting.upper()} on the server, or {program.preferred_key} and the "
            f"credentials beside it.{quote}",
            "agent_auth_failed",
        )
    advice = first_match(_ADVICE, reason, status=http_status, text=reason, flags=re.IGNORECASE)
    if advice is not None:
        code = RATE_LIMITED if advice == _RATE_LIMITED else None
        return AgentError(f"{program.title} failed: {_fill(advice, program)}{quote}", code)
    return AgentError(f"{program.title} {ending}{f': {short}' if quote else '.'}")


def _searched(reason: str) -> str:
    """Return the parts of a message that are searched: its beginning and its end."""
    half = SEARCHED_CHARACTERS // 2
    return reason if len(reason) <= 2 * half else f"{reason[:half]}\n{reason[-half:]}"


def _limit_reached(program: Program, until: str, quote: str) -> AgentError:
    end = f" It ends: {until}." if until else ""
    return AgentError(
        f"The usage limit of the account that {program.title} runs with is reached.{end} Start the "
        f"task again after that, or use another key: {program.key_setting.upper()} on the server, "
        f"or {program.preferred_key}.{quote}",
        RATE_LIMITED,
    )


def _login_spent(program: Program, quote: str) -> AgentError:
    command = f" with `{program.login_command}`" if program.login_command else ""
    return AgentError(
        f"The stored sign-in of {program.title} cannot be renewed any more: it has expired, or "
        f"another copy of it was used. Sign in again{command} on your computer, and store the new "
        f"content of ~/{program.login_file} in preferences.{program.sections[0]}.credentials with "
        f"PUT /users/me. Do not use that copy elsewhere.{quote}",
        "agent_auth_failed",
    )


def is_signal(exit_code: int | None) -> bool:
    """Tell whether a signal ended a process."""
    return exit_code is not None and exit_code in _SIGNALS


def ending_of(exit_code: int | None) -> str:
    """Return a predicate for a failed process, such as `was killed`."""
    if exit_code == KILLED:
        return "was killed; most often the sandbox had no memory left"
    if exit_code is not None and is_signal(exit_code):
        return f"was ended by signal {exit_code - 128}"
    return f"ended with exit code {exit_code}" if exit_code else "ended without a result"


def _fill(advice: str, program: Program) -> str:
    return advice.format(provider=program.provider, models=program.models_setting.upper())


def _any_of(*patterns: str) -> str:
    return "|".join(patterns)


# The programs pass on the message of the provider or of their own sign-in; it has no code.
_SPENT_LOGIN = _any_of(
    r"refresh token (?:was|has been|has|is) (?:already )?(?:used|expired|revoked|invalid)",
    r"refresh_token_(?:reused|expired|invalidated|revoked)|invalid refresh token|invalid_grant",
    r"access token could not be refreshed|could not refresh (?:the )?(?:access )?token",
    r"since logged out or signed in to another account",
    r"OAuth (?:access )?(?:token|session) (?:has |was |has been )?(?:expired|revoked)",
    r"(?:your )?(?:login|session) has expired",
)
_AUTHENTICATION = _any_of(
    r"\b(?:API Error|status|status code):? 40[13]\b",
    r"\b401 Unauthorized|\b403 Forbidden",
    r"not logged in|please run /login",
    r"(?:invalid|incorrect) (?:x-)?api[ -]?key",
    r"(?:invalid|missing) bearer",
    r"authentication_(?:error|failed)|oauth_org_not_allowed",
    r"\btoken (?:has |was |has been )?(?:expired|revoked)",
)
_NO_CREDIT = (
    "the account behind the key has no credit left, or has reached its limit. {provider}'s "
    "console shows which."
)
_OVERLOADED = "{provider} is overloaded. Start the task again later."
_RATE_LIMITED = "{provider} is overloaded or limits the rate. Start the task again later."
_UNKNOWN_MODEL = (
    "{provider} does not know the model, or the key may not use it. Choose another "
    "agent_model, or change {models}."
)
_TOO_LARGE = "the task is too large for the model. Ask for less in one task."
_UNREACHABLE = "the sandbox does not reach {provider}. Check its network and proxy settings."

# The first rule that matches decides. Patterns ignore case.
_ADVICE: tuple[Rule[str, str], ...] = (
    Rule(_NO_CREDIT, statuses=(402,)),
    Rule(
        _NO_CREDIT,
        pattern=_any_of(
            r"credit balance|out of credits|billing_error|billing details|insufficient[_ ]quota",
            r"quota exceeded|exceeded your current quota|usage limit|spend(?:ing)? limit",
        ),
    ),
    Rule(_RATE_LIMITED, statuses=(429,)),
    Rule(
        _RATE_LIMITED,
        pattern=_any_of(
            r"rate[_ ]limit|too many requests|\b(?:API Error|status|status code):? 429\b"
        ),
    ),
    Rule(_OVERLOADED, statuses=(500, 502, 503, 504, 529)),
    Rule(
        _OVERLOADED,
        pattern=_any_of(
            r"overloaded|high demand|service unavailable",
            r"\b(?:API Error|status|status code):? 5\d\d\b",
        ),
    ),
    Rule(_UNKNOWN_MODEL, statuses=(404,)),
    Rule(
        _UNKNOWN_MODEL,
        pattern=_any_of(
            r"model.{0,80}(?:does not exist|not found|not supported|not available)",
            r"issue with the selected model|\bstatus:? 404\b",
        ),
    ),
    Rule(_TOO_LARGE, statuses=(413,)),
    Rule(_TOO_LARGE, pattern=_any_of(r"prompt is too long|context window|context_length_exceeded")),
    Rule(
        _UNREACHABLE,
        pattern=_any_of(
            r"stream disconnected|error sending request|connection (?:error|refused|reset)",
            r"dns error|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|unable to connect|certificate",
        ),
    ),
)
