"""Read the trading days of the New York Stock Exchange, as exchange_calendars knows them.

Here and not in offchain/: only who makes a calendar needs the package, the venue does not. `ape run` takes a file whose
name begins with an underscore for no command.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import exchange_calendars

from afterbell.adapters.session_table import TradingDay, build_boundaries
from afterbell.domain.calendar import Boundary
from afterbell.domain.errors import AfterbellError

_EXCHANGE: Final = "XNYS"
_NS_PER_S: Final = 10**9


class DaysUnknown(AfterbellError):
    """The exchange's days are not published as far as asked."""


def read_trading_days(first: date, end: date) -> tuple[TradingDay, ...]:
    """Return the exchange's days from `first` to before `end`. Raises: DaysUnknown."""
    try:
        exchange = exchange_calendars.get_calendar(_EXCHANGE, start=first.isoformat(), end=end.isoformat())
    except ValueError as error:
        raise DaysUnknown(f"days of {_EXCHANGE} from {first} to {end} are required: {error}") from error
    return tuple(
        TradingDay(
            day=session.date(),
            open_s=exchange.session_open(session).value // _NS_PER_S,
            close_s=exchange.session_close(session).value // _NS_PER_S,
        )
        for session in exchange.sessions
        if first <= session.date() < end
    )


def read_days_around(year: int) -> tuple[TradingDay, ...]:
    """Return the days of a year and a week on either side, which its first and last sessions need."""
    week = timedelta(days=7)
    return read_trading_days(date(year, 1, 1) - week, date(year + 1, 1, 1) + week)


def build_year(year: int) -> tuple[Boundary, ...]:
    """Return the calendar of a year. Raises: DaysUnknown."""
    return build_boundaries(read_days_around(year), date(year, 1, 1), date(year + 1, 1, 1))
