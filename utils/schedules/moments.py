"""Reads cron forms and computes the moments that they name.

A form comes from a user. It has a bounded length and few kinds of characters, and a search for its
next moment ends after 50 years.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_CRON_CHARACTERS = 200

_FORM = re.compile(r"[0-9A-Za-z*/,#-]+( [0-9A-Za-z*/,#-]+){4}", re.ASCII)

_DAY_MINUTES = 24 * 60

CRON_INVALID = (
    "must have five fields: minute, hour, day of month, month, day of week, such as 30 6 * * 1-5"
)
NO_SUCH_ZONE = "must be a time zone of the IANA database, such as Europe/Berlin or UTC"


def normal_cron(text: str) -> str:
    """Return a cron form with single blanks between its fields. Raises `ValueError`."""
    cron = " ".join(text.split())
    if len(cron) > MAX_CRON_CHARACTERS or not _FORM.fullmatch(cron):
        raise ValueError(CRON_INVALID)
    if next_moment(cron, "UTC", datetime.now(UTC)) is None:
        raise ValueError("names no moment in the next 50 years")
    return cron


def check_time_zone(name: str) -> str:
    """Return the name of a time zone. Raises `ValueError` for an unknown one."""
    if name not in time_zones():
        raise ValueError(NO_SUCH_ZONE)
    return name


@cache
def time_zones() -> frozenset[str]:
    """Return the names of all time zones, the same ones on every server."""
    return frozenset((files("tzdata") / "zones").read_text("utf-8").split())


def next_moment(cron: str, time_zone: str, after: datetime) -> datetime | None:
    """Return the first moment of a form after another one, in UTC; None without one.

    In the hour that comes twice, CronSim begins with moments of its first pass, which may be over.
    Raises `ValueError` for an invalid form.
    """
    try:
        moments = CronSim(cron, after.astimezone(ZoneInfo(check_time_zone(time_zone))))
    except CronSimError as error:
        raise ValueError(f"{CRON_INVALID} ({error})") from None
    in_utc = (moment.astimezone(UTC) for moment in moments)
    return next((moment for moment in in_utc if moment > after), None)


def shortest_pause_minutes(cron: str) -> int:
    """Return the shortest pause between two moments of a form, of one day or of following days.

    Two moments around midnight count as if all days were in the form.
    """
    form = CronSim(cron, datetime.now(UTC))
    minutes = sorted(60 * hour + minute for hour in form.hours for minute in form.minutes)
    minutes.append(minutes[0] + _DAY_MINUTES)
    return min(later - earlier for earlier, later in pairwise(minutes))
