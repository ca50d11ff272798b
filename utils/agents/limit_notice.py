"""Recognises the notices of a reached usage limit, and the time at which it ends."""

from __future__ import annotations

import re
from datetime import UTC, datetime

NOTICE_CHARACTERS = 300

# Programs print them alone: words, a separator, and the time. No summary of an agent begins so.
_ONLY_NOTICE = re.compile(
    r"(?:you['\u2019](?:ve (?:hit|reached) your|re out of)"
    r"|[\w-]{1,20}(?: weekly|(?: ai)? usage)? limit reached)[^\n]{0,60}?[\u00b7\u2219\u2022|]",
    re.IGNORECASE,
)

_NOTICE = re.compile(
    r"\b(?:hit|reached|exceeded) your (?:[\w-]{1,20} ){0,4}limits?\b"
    r"|\b(?:[\w-]{1,20}-(?:hour|day|week)|usage|session|daily|weekly|monthly|message|plan|account"
    r"|subscription|opus|sonnet|haiku) limit (?:has been )?(?:reached|hit|exceeded)\b"
    r"|usage_limit_(?:reached|exceeded)|\byour limit will reset\b"
    r"|\bout of (?:extra usage|usage credits)\b|\bwill regain access\b",
    re.IGNORECASE,
)
# Limits of one request, and those that do not end at a certain time.
_OTHER_LIMIT = re.compile(
    r"\b(?:token|context|turns?|retry|size|time|length|depth|file|rate|spend|spending|credit|budget)"
    r" limits?\b",
    re.IGNORECASE,
)

_DAY = (
    r"(?:(?:[a-z]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?|\d{1,2}\.? [a-z]{3,9}\.?),?(?: \d{4})?,?(?: at)? "
    r"|tomorrow(?: at)? )?"
)
_CLOCK = r"(?:\d{1,2}(?::\d{2}){1,2}(?: ?[ap]\.?m\b)?|\d{1,2} ?[ap]\.?m\b)"
_ZONE = r"(?: ?\([a-z_/+0-9-]{1,40}\)| utc\b| gmt\b)?"
_ISO = (
    r"\d{4}-\d{2}-\d{2}(?:(?:t| | at )\d{2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?)?"
    r"(?:z|[+-]\d{2}:\d{2}| utc)?"
)
_DURATION = (
    r"in (?:(?:and )?\d{1,5} ?"
    r"(?:days?|hours?|hrs?|minutes?|mins?|seconds?|secs?|[dhms])\b,? ?){1,4}"
)
_TIME = re.compile(
    r"(?:\bresets?|\btry again|\bwill reset|\bregain access|\bavailable again)"
    rf"(?: on| at|:)? ({_DURATION}|{_ISO}|{_DAY}{_CLOCK}{_ZONE})",
    re.IGNORECASE,
)
_EPOCH = re.compile(r"\breached\|(\d{10,13})\b|\bresets_?at\"?: ?\"?(\d{10,13})\b", re.IGNORECASE)


def is_limit_notice(text: str) -> bool:
    """Tell whether a text says that a limit of the account is reached."""
    return any(not _OTHER_LIMIT.search(found[0]) for found in _NOTICE.finditer(text))


def is_only_notice(text: str) -> bool:
    """Tell whether a text is such a notice and nothing else."""
    short = text.strip()
    if len(short) > NOTICE_CHARACTERS or "\n" in short or not _ONLY_NOTICE.match(short):
        return False
    return is_limit_notice(short) and bool(end_of_limit(short))


def end_of_limit(text: str) -> str:
    """Return the time at which a limit ends as the text says it; empty when it does not."""
    if epoch := _EPOCH.search(text):
        return time_of_epoch(int(epoch[1] or epoch[2]))
    found = _TIME.search(text)
    return found[1].strip().rstrip(",") if found else ""


def time_of_epoch(epoch: int) -> str:
    """Return a time in seconds or milliseconds since 1970 for people; empty for none."""
    seconds = epoch / 1000 if epoch >= 10**11 else epoch
    if not 10**9 <= seconds < 10**11:
        return ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
