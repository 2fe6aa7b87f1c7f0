"""Make the session calendar of a stretch of days, as PriceOracle takes it, from the trading days of the exchange.

    PRE 04:00 to the open | REGULAR to the close | POST to 20:00, to 17:00 on a half day | OVERNIGHT 20:00 to 04:00

in New York, before a trading day alone: no overnight session leads into a holiday, one leads out of it. All else is
CLOSED. Overnight is the rule of the only venue that trades then; a table for people to read before it is proposed, not
code on chain. Must not: read a clock, a chain or the days themselves; scripts/_exchange_days.py does. Source:
reference/domain.md §3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from afterbell.domain.calendar import Boundary, Calendar
from afterbell.domain.session import Session

NEW_YORK: Final = ZoneInfo("America/New_York")
_PRE: Final = time(4, 0)
_POST_END: Final = time(20, 0)
_HALF_DAY_POST_END: Final = time(17, 0)
_FULL_CLOSE: Final = time(16, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingDay:
    """One day the exchange is open. UNIX seconds."""

    day: date
    open_s: int
    close_s: int


def build_boundaries(days: Sequence[TradingDay], first: date, end: date) -> tuple[Boundary, ...]:
    """Return the calendar from midnight of `first` to midnight of `end` in New York, where it becomes UNKNOWN.

    Days must begin no later than `first` and reach a day past `end`, whose overnight session begins the evening before.
    """
    start_s, end_s = at_new_york(first, time(0)), at_new_york(end, time(0))
    table = Calendar(tuple(_merge(_list_windows(days))))
    # what stands at midnight goes on from there
    begun = Boundary(start_s=start_s, session=_session_at(table, start_s))
    inside = [one for one in table.boundaries if start_s < one.start_s < end_s]
    return (*_merge([begun, *inside]), Boundary(start_s=end_s, session=Session.UNKNOWN))


def at_new_york(day: date, at: time) -> int:
    """Return the UNIX second of a time of day in New York."""
    return int(datetime.combine(day, at, tzinfo=NEW_YORK).timestamp())


def list_samples(days: Sequence[TradingDay], year: int) -> list[int]:
    """Return seconds worth a look before a year is proposed.

    Noon of the first trading day of each month; two in the afternoon of half days; noon of weekdays that do not trade,
    and 20:00 the evening before.
    """
    trading = {one.day: one for one in days if one.day.year == year}
    firsts = {min(day for day in trading if day.month == month) for month in range(1, 13)}
    samples = [at_new_york(day, time(12)) for day in firsts]
    samples += [at_new_york(day, time(14)) for day, one in trading.items() if _is_half(one)]
    one_day = timedelta(days=1)
    day = date(year, 1, 1)
    while day.year == year:
        if day.weekday() < 5 and day not in trading:
            samples += [at_new_york(day, time(12)), at_new_york(day - one_day, _POST_END)]
        day += one_day
    return sorted({sample for sample in samples if sample >= at_new_york(date(year, 1, 1), time(0))})


def describe_second(time_s: int) -> str:
    """Return a second as UTC and as New York's clock shows it."""
    moment = datetime.fromtimestamp(time_s, tz=UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC, {moment.astimezone(NEW_YORK):%a %H:%M} New York"


def _list_windows(days: Sequence[TradingDay]) -> Iterable[Boundary]:
    for one in days:
        yield Boundary(start_s=at_new_york(one.day - timedelta(days=1), _POST_END), session=Session.OVERNIGHT)
        yield Boundary(start_s=at_new_york(one.day, _PRE), session=Session.PRE)
        yield Boundary(start_s=one.open_s, session=Session.REGULAR)
        yield Boundary(start_s=one.close_s, session=Session.POST)
        post_end = _HALF_DAY_POST_END if _is_half(one) else _POST_END
        yield Boundary(start_s=at_new_york(one.day, post_end), session=Session.CLOSED)


def _is_half(one: TradingDay) -> bool:
    return one.close_s < at_new_york(one.day, _FULL_CLOSE)


def _merge(boundaries: Iterable[Boundary]) -> list[Boundary]:
    """Drop what is overtaken at its own second, and what changes nothing."""
    ordered = list(boundaries)
    lasting = [one for one, after in pairwise(ordered) if one.start_s < after.start_s] + ordered[-1:]
    merged: list[Boundary] = []
    for one in lasting:
        if not merged or merged[-1].session != one.session:
            merged.append(one)
    return merged


def _session_at(table: Calendar, time_s: int) -> int:
    session = table.window_at(time_s).session
    return Session.CLOSED if session == Session.UNKNOWN else session
