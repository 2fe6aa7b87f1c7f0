"""The session calendar against facts of reference/domain.md §3 and §10: holidays, half days, daylight saving time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from scripts._exchange_days import build_year, read_trading_days

from afterbell.adapters.session_table import (
    TradingDay,
    at_new_york,
    build_boundaries,
    describe_second,
    list_samples,
)
from afterbell.domain.calendar import Boundary, Calendar, pack_boundaries, unpack_boundaries
from afterbell.domain.session import Session

NEW_YORK = ZoneInfo("America/New_York")
HOLIDAYS_2026 = ("01-01", "01-19", "02-16", "04-03", "05-25", "06-19", "07-03", "09-07", "11-26", "12-25")
HOLIDAYS_2027 = ("01-01", "01-18", "02-15", "03-26", "05-31", "06-18", "07-05", "09-06", "11-25", "12-24")


@pytest.fixture(scope="module")
def years() -> dict[int, Calendar]:
    return {year: Calendar(build_year(year)) for year in (2024, 2025, 2026, 2027)}


def session_at(years: dict[int, Calendar], text: str) -> Session:
    """Return the session at a New York wall clock time."""
    moment = datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)
    return Session(years[moment.year].window_at(int(moment.timestamp())).session)


@pytest.mark.parametrize(
    ("text", "session"),
    [
        ("2026-11-24 20:00", Session.OVERNIGHT),  # into the eve of Thanksgiving
        ("2026-11-25 19:59", Session.POST),
        ("2026-11-25 20:00", Session.CLOSED),  # Thanksgiving eve
        ("2026-11-26 12:00", Session.CLOSED),
        ("2026-11-26 19:59", Session.CLOSED),
        ("2026-11-26 20:00", Session.OVERNIGHT),
        ("2026-11-27 04:00", Session.PRE),
        ("2026-11-27 12:59", Session.REGULAR),
        ("2026-11-27 13:00", Session.POST),  # a half day
        ("2026-11-27 16:59", Session.POST),
        ("2026-11-27 17:00", Session.CLOSED),
        ("2026-11-29 19:59", Session.CLOSED),  # Sunday
        ("2026-11-29 20:00", Session.OVERNIGHT),
        ("2026-12-24 13:00", Session.POST),
        ("2026-12-24 20:00", Session.CLOSED),
        ("2026-03-06 09:29", Session.PRE),
        ("2026-03-06 09:30", Session.REGULAR),
        ("2026-03-06 15:59", Session.REGULAR),
        ("2026-03-06 16:00", Session.POST),
        ("2026-03-06 20:00", Session.CLOSED),  # Friday evening
        ("2026-03-07 12:00", Session.CLOSED),
        ("2026-03-08 20:00", Session.OVERNIGHT),
        ("2026-03-09 03:59", Session.OVERNIGHT),
        ("2026-03-09 04:00", Session.PRE),
    ],
)
def test_table__wall_clock_of_new_york__names_the_session(
    years: dict[int, Calendar], text: str, session: Session
) -> None:
    assert session_at(years, text) == session


@pytest.mark.parametrize(
    ("utc", "session"),
    [
        # the open before and after daylight saving time begins and ends, 2026-03-08 and 2026-11-01
        ("2026-03-06 14:30", Session.REGULAR),
        ("2026-03-06 14:29", Session.PRE),
        ("2026-03-09 13:30", Session.REGULAR),
        ("2026-03-09 13:29", Session.PRE),
        ("2026-10-30 13:30", Session.REGULAR),
        ("2026-11-02 14:30", Session.REGULAR),
        ("2026-11-02 14:29", Session.PRE),
        # 20:00 in New York is 00:00 UTC in summer, 01:00 in winter
        ("2026-03-09 00:00", Session.OVERNIGHT),
        ("2026-03-08 23:59", Session.CLOSED),
        ("2026-11-02 01:00", Session.OVERNIGHT),
        ("2026-11-02 00:59", Session.CLOSED),
        # half days end at 18:00 UTC in winter
        ("2026-11-27 17:59", Session.REGULAR),
        ("2026-11-27 18:00", Session.POST),
    ],
)
def test_table__around_daylight_saving_time__is_right_in_utc(
    years: dict[int, Calendar], utc: str, session: Session
) -> None:
    time_s = int(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp())
    assert years[2026].window_at(time_s).session == session


# both Sundays of 2024 to 2027, from the law: second of March, first of November
@pytest.mark.parametrize(
    ("before", "after", "shift_s"),
    [
        ("2024-03-08", "2024-03-11", -3_600), ("2024-11-01", "2024-11-04", 3_600),
        ("2025-03-07", "2025-03-10", -3_600), ("2025-10-31", "2025-11-03", 3_600),
        ("2026-03-06", "2026-03-09", -3_600), ("2026-10-30", "2026-11-02", 3_600),
        ("2027-03-12", "2027-03-15", -3_600), ("2027-11-05", "2027-11-08", 3_600),
    ],
)  # fmt: skip
def test_table__weekend_the_clocks_change__moves_the_open_by_an_hour(
    years: dict[int, Calendar], before: str, after: str, shift_s: int
) -> None:
    opens = []
    for text in (before, after):
        noon_s = int(datetime.fromisoformat(f"{text} 12:00").replace(tzinfo=NEW_YORK).timestamp())
        window = years[int(text[:4])].window_at(noon_s)
        assert (window.session, window.end_s - window.start_s) == (Session.REGULAR, 6 * 3_600 + 1_800)
        opens.append(window.start_s)
    assert opens[1] - opens[0] == 3 * 86_400 + shift_s


@pytest.mark.parametrize(("year", "holidays"), [(2026, HOLIDAYS_2026), (2027, HOLIDAYS_2027)])
def test_table__every_weekday__trades_at_noon_but_on_holidays(
    years: dict[int, Calendar], year: int, holidays: tuple[str, ...]
) -> None:
    day, closed = date(year, 1, 1), []
    while day.year == year:
        session = years[year].window_at(at_new_york(day, time(12))).session
        assert session in (Session.REGULAR, Session.CLOSED)
        if session == Session.CLOSED and day.weekday() < 5:
            closed.append(f"{day:%m-%d}")
        assert session == Session.CLOSED or day.weekday() < 5
        day += timedelta(days=1)
    assert tuple(closed) == holidays


def test_table__of_years__join_without_a_gap_and_pack(years: dict[int, Calendar]) -> None:
    for year, calendar in years.items():
        boundaries = calendar.boundaries
        assert boundaries[0].start_s == at_new_york(date(year, 1, 1), time(0))
        assert boundaries[-1] == Boundary(start_s=at_new_york(date(year + 1, 1, 1), time(0)), session=Session.UNKNOWN)
        assert all(
            left.start_s < right.start_s and left.session != right.session for left, right in pairwise(boundaries)
        )
        assert unpack_boundaries(pack_boundaries(boundaries)) == list(boundaries)
        # the contract's own rule takes each after the other
    joined = Calendar().appended(years[2026].boundaries, 0).appended(years[2027].boundaries, 0)
    assert len(joined.boundaries) == len(years[2026].boundaries) + len(years[2027].boundaries) - 1
    # at midnight of a new year that nobody trades before: closed, also where the old year ends
    assert joined.window_at(at_new_york(date(2027, 1, 1), time(0))).session == Session.CLOSED


def test_table__that_begins_in_a_night__begins_overnight() -> None:
    """2026-03-10, a Tuesday: midnight lies in the session that began on Monday at 20:00."""
    days = read_trading_days(date(2026, 3, 2), date(2026, 3, 20))

    boundaries = build_boundaries(days, date(2026, 3, 10), date(2026, 3, 11))

    assert [one.session for one in boundaries] == [
        Session.OVERNIGHT, Session.PRE, Session.REGULAR, Session.POST, Session.OVERNIGHT, Session.UNKNOWN,
    ]  # fmt: skip


def test_samples__of_a_year__show_half_days_holidays_and_their_eves() -> None:
    days = read_trading_days(date(2025, 12, 25), date(2027, 1, 8))

    samples = list_samples(days, 2026)

    assert len(samples) == 12 + 2 + 2 * 10 - 1  # the eve of January 1 lies in the year before
    assert at_new_york(date(2026, 11, 25), time(20)) in samples
    assert describe_second(at_new_york(date(2026, 11, 27), time(14))) == "2026-11-27 19:00 UTC, Fri 14:00 New York"


def test_days__by_hand__need_no_exchange() -> None:
    """The table is made of days alone: a venue of another exchange brings its own."""
    day = TradingDay(
        day=date(2026, 6, 1), open_s=at_new_york(date(2026, 6, 1), time(9, 30)),
        close_s=at_new_york(date(2026, 6, 1), time(16)),
    )  # fmt: skip

    table = Calendar(build_boundaries([day], date(2026, 6, 1), date(2026, 6, 2)))

    assert table.window_at(day.open_s).session == Session.REGULAR
    assert table.window_at(at_new_york(date(2026, 6, 1), time(20))).session == Session.CLOSED
