"""When recurring work is due: cron's five fields in a time zone, and intervals."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.ledger.jobs import Timetable


def ticks(rule: str, time_zone: str, after: str, count: int) -> list[str]:
    """The next ticks, as UTC."""
    timetable, moment, found = Timetable(rule, time_zone), datetime.fromisoformat(after), []
    for _ in range(count):
        moment = timetable.after(moment)
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("rule", "time_zone", "after", "said"),
    [
        ("*/15 * * * *", "UTC", "2026-11-22T04:59:59Z", ["11-22 05:00", "11-22 05:15"]),
        ("*/15 * * * *", "UTC", "2026-11-22T05:00:00Z", ["11-22 05:15", "11-22 05:30"]),
        ("30 9 * * MON-FRI", "Asia/Kolkata", "2026-11-20T12:00:00Z", ["11-23 04:00", "11-24 04:00"]),
        ("0 0 L * *", "UTC", "2026-02-01T00:00:00Z", ["02-28 00:00", "03-31 00:00"]),
        ("@every 1h30m", "UTC", "2026-11-22T05:00:00Z", ["11-22 06:00", "11-22 07:30"]),
        ("@every 1d", "Asia/Kolkata", "2026-11-22T05:00:00Z", ["11-23 00:00", "11-24 00:00"]),
    ],
)
def test_a_rule_gives_its_ticks(rule: str, time_zone: str, after: str, said: list[str]) -> None:
    assert ticks(rule, time_zone, after, len(said)) == said


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        # 02:00 to 03:00 do not exist on 28 March 2027 in Prague: 03:00 there is 01:00 UTC.
        ("30 2 * * *", ["03-27 01:30", "03-28 01:00", "03-29 00:30"]),
        ("0,30 2 * * *", ["03-27 01:00", "03-27 01:30", "03-28 01:00", "03-29 00:00"]),
        ("*/30 2 * * *", ["03-27 01:00", "03-27 01:30", "03-29 00:00"]),
        ("@every 12h", ["03-27 12:00", "03-28 00:00", "03-28 12:00"]),
    ],
)
def test_where_clocks_go_forward_a_fixed_time_is_not_lost(rule: str, said: list[str]) -> None:
    assert ticks(rule, "Europe/Prague", "2027-03-27T00:30:00Z", len(said)) == said


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        # 02:00 to 03:00 come twice on 25 October 2026 in Prague: 00:00 to 02:00 UTC.
        ("30 2 * * *", ["10-25 00:30", "10-26 01:30"]),
        ("*/30 2 * * *", ["10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30", "10-26 01:00"]),
        ("0 * * * *", ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00"]),
    ],
)
def test_where_clocks_go_back_a_fixed_time_comes_once(rule: str, said: list[str]) -> None:
    assert ticks(rule, "Europe/Prague", "2026-10-24T22:30:00Z", len(said)) == said


def test_between_the_two_times_of_an_hour_the_next_tick_is_never_in_the_past() -> None:
    second_time = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time
    assert Timetable("30 2 * * *", "Europe/Prague").after(second_time) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("* * * *", "five fields of cron"),
        ("* * * * * *", "five fields of cron"),
        ("", "five fields of cron"),
        ("61 * * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 * * FOO", "Bad day-of-week"),
        ("@every", "an interval is `@every 10m`"),
        ("@every 0s", "1 second to 366 days"),
        ("@every 10", "an interval is `@every 10m`"),
        ("@every 367d", "1 second to 366 days"),
        ("@every 99999999999999d", "1 second to 366 days"),
        ("@hourly", "an interval is `@every 10m`"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(rule: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Timetable(rule)


@pytest.mark.parametrize("zone", ["", "Nowhere/Town", "../etc/passwd", "utc+2"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone: give a name such as Europe/Prague or UTC"):
        Timetable("0 0 * * *", zone)


RULES = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "0 */5 * * SUN", "15 2 1,15 * *", "@every 50m"]
ZONES = ["UTC", "Europe/Prague", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata"]
# The nights on which the clocks of these zones change, and some around them.
MOMENTS = st.timedeltas(timedelta(0), timedelta(days=230)).map(
    lambda passed: datetime(2026, 3, 20, tzinfo=UTC) + passed
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(RULES), st.sampled_from(ZONES), MOMENTS, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_of_ticks_that_were_missed_the_newest_is_made_up_for(
    rule: str, zone: str, begin: datetime, away: timedelta
) -> None:
    timetable = Timetable(rule, zone)
    due = timetable.after(begin)
    now = due + away
    all_ticks = [due]
    while all_ticks[-1] <= now:
        all_ticks.append(timetable.after(all_ticks[-1]))
    assert all(one < another for one, another in pairwise(all_ticks))
    assert timetable.tick(due=due, now=now) == (all_ticks[-2], all_ticks[-1])


@pytest.mark.parametrize(("rule", "newest"), [("* * * * *", "2026-11-22T05:00"), ("0 0 29 2 *", "2024-02-29T00:00")])
def test_years_of_missed_ticks_cost_nothing(rule: str, newest: str) -> None:
    tick = Timetable(rule).tick(due=datetime(1996, 2, 29, tzinfo=UTC), now=datetime(2026, 11, 22, 5, 0, 1, tzinfo=UTC))
    assert tick.at == datetime.fromisoformat(newest).replace(tzinfo=UTC)
