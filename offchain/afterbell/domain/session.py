"""Name the sessions of a stock market and say which is stricter. Must not: know a calendar."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Final


@unique
class Session(IntEnum):
    """What the stock market is doing; the number is what price words and reports carry."""

    UNKNOWN = 0
    PRE = 1
    REGULAR = 2
    POST = 3
    OVERNIGHT = 4
    CLOSED = 5
    HALTED = 6
    CORPORATE_ACTION = 7
    DISRUPTED = 8


MAX_SESSION: Final = max(Session)

_STRICTNESS: Final = {
    Session.REGULAR: 0,
    Session.PRE: 1,
    Session.POST: 1,
    Session.OVERNIGHT: 2,
    Session.CLOSED: 3,
    Session.UNKNOWN: 4,
    Session.DISRUPTED: 5,
    Session.HALTED: 6,
    Session.CORPORATE_ACTION: 7,
}


def is_stricter(session: int, other: int) -> bool:
    """Tell whether the first is stricter; PRE and POST are alike."""
    return _STRICTNESS[Session(session)] > _STRICTNESS[Session(other)]
