"""Name the sessions of a stock market. Must not: know a calendar."""

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
