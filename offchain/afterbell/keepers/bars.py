"""Daily bars: the raw price history of one stock, checked, and the splits hidden in it.

Prices are integers in 1e-8 USD per share (`_e8`). Must not: read files (adapters/history.py) or know a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final

from afterbell.domain.errors import AfterbellError
from afterbell.domain.units import PPM

SPLIT_MOVE_PPM: Final = 350_000
"""A gap within 35 % of the previous close is never taken for a split; 3:2 and smaller therefore pass unseen."""
SPLIT_TOLERANCE_PPM: Final = 80_000
"""How far open / previous close may lie from k:1 or 1:k, k >= 3.

A gap by such a factor is hardly ever anything else, and halting is the safe mistake. TSLA's 5:1 of 2020-08-31 opens
5.6 % off in bars that include extended hours.
"""
HALVING_TOLERANCE_PPM: Final = 30_000
"""The same for 2:1 and 1:2, where a genuine gap is thinkable.

2:1 splits in the bundled data open 0.25 % (AAPL 2000-06-21), 0.42 % (AAPL 2005-02-28) and 1.95 % (MSFT 2003-02-18)
from a half. The genuine -47.3 % gap of AAPL on 2000-09-29 lies 5.4 % away: 3 % tells them apart with room on both
sides.
"""
SPLIT_FACTORS: Final = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100)


class BadHistory(AfterbellError):
    """A price history breaks a rule; the message names source and line, what was required and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyBar:
    """One regular session of one stock. Units: 1e-8 USD per share."""

    day: date
    open_e8: int
    high_e8: int
    low_e8: int
    close_e8: int

    def __post_init__(self) -> None:
        prices = f"open {self.open_e8}, high {self.high_e8}, low {self.low_e8}, close {self.close_e8} (1e-8 USD)"
        if self.low_e8 <= 0:
            raise BadHistory(f"{self.day}: prices must be positive, found {prices}")
        if not self.low_e8 <= min(self.open_e8, self.close_e8) <= max(self.open_e8, self.close_e8) <= self.high_e8:
            raise BadHistory(f"{self.day}: required low <= open, close <= high, found {prices}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A gap that looks like `n_new` shares for `n_old`."""

    day: date
    n_new: int
    n_old: int
    previous_close_e8: int
    open_e8: int

    def describe(self, symbol: str) -> str:
        """Return the sentence shown to people and journalled as the halt's reason."""
        return (
            f"{symbol} opens {self.day} at {format_e8(self.open_e8)} USD after a close of "
            f"{format_e8(self.previous_close_e8)} USD: looks like a {self.n_new}:{self.n_old} split; "
            "halted, since this version does not adjust positions"
        )


def validate_ascending(bars: Sequence[DailyBar]) -> None:
    """Raise BadHistory unless every day is later than the one before."""
    for previous, bar in pairwise(bars):
        if bar.day <= previous.day:
            raise BadHistory(f"days must ascend: {bar.day} follows {previous.day}")


def compute_split(previous_close_e8: int, open_e8: int, day: date) -> Split | None:
    """Return the split that a gap between two sessions looks like, or None for an ordinary (or merely terrible) gap.

    Formula: |open - close| > 35 % of close, and open x k near close (k new for 1) or open near close x k (1 new for k),
    k one of SPLIT_FACTORS, near = within 3 % for k = 2, else 8 %; compared by cross-multiplication.
    """
    if abs(open_e8 - previous_close_e8) * PPM <= SPLIT_MOVE_PPM * previous_close_e8:
        return None
    for k in SPLIT_FACTORS:
        tolerance_ppm = HALVING_TOLERANCE_PPM if k == 2 else SPLIT_TOLERANCE_PPM
        for n_new, n_old in ((k, 1), (1, k)):
            distance = abs(open_e8 * n_new - previous_close_e8 * n_old)
            if distance * PPM <= tolerance_ppm * previous_close_e8 * n_old:
                return Split(day=day, n_new=n_new, n_old=n_old, previous_close_e8=previous_close_e8, open_e8=open_e8)
    return None


def find_split(bars: Sequence[DailyBar], from_day: date) -> Split | None:
    """Return the first split on a day after `from_day`; the gap into `from_day` itself is before anybody trades."""
    for previous, bar in pairwise(bars):
        if bar.day > from_day:
            split = compute_split(previous.close_e8, bar.open_e8, bar.day)
            if split is not None:
                return split
    return None


def format_e8(price_e8: int) -> str:
    """Write a price in USD with two to eight decimals, exactly."""
    whole, rest = divmod(price_e8, 10**8)
    digits = f"{rest:08d}".rstrip("0")
    return f"{whole}.{digits.ljust(2, '0')}"


def parse_e8(text: str) -> int:
    """Read a plain decimal into 1e-8 USD exactly.

    Raises: BadHistory on signs, exponents, or more than 8 decimals that matter.
    """
    whole, _, rest = text.strip().partition(".")
    digits = rest.rstrip("0")
    if not (whole.isascii() and whole.isdigit()) or (digits and not (digits.isascii() and digits.isdigit())):
        raise BadHistory(f"a price is a plain decimal number, found {text!r}")
    if len(digits) > 8:
        raise BadHistory(f"a price has at most 8 decimals, found {text!r}")
    return int(whole) * 10**8 + int(digits.ljust(8, "0") or "0")
