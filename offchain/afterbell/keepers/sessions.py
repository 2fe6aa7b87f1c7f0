"""Sessions: when the New York stock market is open on a day that is known to be a trading day.

This version knows REGULAR, 09:30 to 16:00 New York, and calls everything else CLOSED. Which days trade is what the
price history says; half-days therefore run to 16:00 like others. Must not: read a clock.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

NEW_YORK: Final = ZoneInfo("America/New_York")
_OPEN: Final = time(9, 30)
_CLOSE: Final = time(16, 0)


def compute_open_s(day: date) -> int:
    """Return the UNIX second of 09:30 New York, daylight saving time included."""
    return _to_unix_s(day, _OPEN)


def compute_close_s(day: date) -> int:
    """Return the UNIX second of 16:00 New York."""
    return _to_unix_s(day, _CLOSE)


def compute_midnight_s(day: date) -> int:
    """Return the UNIX second at which `day` begins in New York."""
    return _to_unix_s(day, time(0, 0))


def compute_day(time_s: int) -> date:
    """Return the New York date of a UNIX second."""
    return datetime.fromtimestamp(time_s, tz=UTC).astimezone(NEW_YORK).date()


def _to_unix_s(day: date, at: time) -> int:
    return int(datetime.combine(day, at, tzinfo=NEW_YORK).timestamp())
