"""The moments that cron forms name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from utils.schedules.moments import (
    check_time_zone,
    next_moment,
    normal_cron,
    shortest_pause_minutes,
)

BERLIN = "Europe/Berlin"


def moments(cron: str, after: str, count: int, time_zone: str = BERLIN) -> list[str]:
    """Return moments of a form in UTC, as texts."""
    found = [datetime.fromisoformat(f"{after}+00:00")]
    for _ in range(count):
        moment = next_moment(cron, time_zone, found[-1])
        assert moment is not None
        assert moment.tzinfo is UTC
        found.append(moment)
    return [f"{one:%m-%d %H:%M}" for one in found[1:]]


def test_a_moment_keeps_its_place_on_the_clock_when_the_clocks_change() -> None:
    daily = moments("30 6 * * *", "2026-10-23T12:00", 3)
    assert daily == ["10-24 04:30", "10-25 05:30", "10-26 05:30"]


def test_a_moment_in_the_hour_that_is_left_out_comes_right_after_it() -> None:
    assert moments("30 2 * * *", "2026-03-28T12:00", 2) == ["03-29 01:00", "03-30 00:30"]


def test_a_moment_in_the_hour_that_comes_twice_is_there_once() -> None:
    assert moments("30 2 * * *", "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]
    hourly = moments("0 * * * *", "2026-10-24T23:30", 3)
    assert hourly == ["10-25 00:00", "10-25 01:00", "10-25 02:00"]
    # From the second pass of the hour, in which a start that is late looks for the next moment.
    assert moments("15,45 2 * * *", "2026-10-25T01:05", 1) == ["10-26 01:15"]
    assert moments("30 1 * * *", "2026-11-01T06:10", 1, "America/New_York") == ["11-02 06:30"]


@pytest.mark.parametrize(
    ("time_zone", "around"),
    [
        (BERLIN, "2026-10-25T01:00"),
        (BERLIN, "2026-03-29T01:00"),
        ("America/New_York", "2026-11-01T06:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ],
)
def test_a_moment_is_after_the_one_that_it_follows(time_zone: str, around: str) -> None:
    changes_at = datetime.fromisoformat(f"{around}+00:00")
    for cron in ("15,45 2 * * *", "30 1 * * *", "*/20 1-2 * * *", "0 * * * *", "45 1 1 11 *"):
        for minutes in range(-180, 180, 5):
            after = changes_at + timedelta(minutes=minutes)
            moment = next_moment(cron, time_zone, after)
            assert moment is not None
            assert moment > after


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "0 0 * * * *",
        "@daily",
        "60 * * * *",
        "0 0 31 2 *",
        "*/0 * * * *",
        "0 0 * * mond",
        "0 0 * * \u0662",
        f"{'9' * 5000} * * * *",
        f"{','.join(['0'] * 100)} * * * *",
    ],
)
def test_a_form_that_names_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must have five fields"):
        normal_cron(text)


def test_blanks_do_not_matter_and_names_of_days_may_be_used() -> None:
    assert normal_cron(" 0  6 * * mon-fri ") == "0 6 * * mon-fri"


@pytest.mark.parametrize(
    ("cron", "minutes"),
    [
        ("*/5 * * * *", 5),
        ("0 3 * * *", 1440),
        ("0,59 * * * *", 1),
        ("58 23,0 * * *", 60),
        ("2-50/8 */6 1 * *", 8),
    ],
)
def test_the_shortest_pause_is_found(cron: str, minutes: int) -> None:
    assert shortest_pause_minutes(cron) == minutes
    with time_machine.travel(datetime(2026, 6, 1, tzinfo=UTC)):
        assert shortest_pause_minutes(cron) == minutes


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "", "europe/berlin"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    assert check_time_zone(BERLIN) == BERLIN
    with pytest.raises(ValueError, match=r"must be a time zone"):
        check_time_zone(name)
