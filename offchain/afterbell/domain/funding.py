"""Compute funding: the rate of a premium, and what the time since the last accrual adds to a market's indices.

Longs pay shorts what the indices rise, and the other way round; a position's pending is settled when it is touched.
What lay before the calendar's window is not made up for. Twin: contracts/modules/price_rules.vy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from afterbell.domain.market import is_fresh
from afterbell.domain.units import INDEX_SCALE, clamp, div_toward_zero
from afterbell.domain.words import IndexWord, PriceWord, RulesWord, TotalsWord

MAX_PREMIUM_PPB: Final = 40_000_000
"""4 % in 8 hours."""
MAX_RATE_PPB: Final = 20_000_000
"""2 % in 8 hours, 0.25 % an hour."""
CARRY_PPB: Final = 41_095
"""4.5 % a year in 8 hours."""
CARRY_CLAMP_PPB: Final = 500_000
MAX_FUNDING_S: Final = 8 * 3_600
"""One batch accrues at most this long."""
MAX_INDEX_E12: Final = 1 << 88
"""An index stays inside, so that pending funding fits its lanes."""
_PPB: Final = 10**9


def compute_rate_ppb(premium_ppb: int) -> int:
    """Return the rate of 8 hours, in parts per billion.

    Formula: premium = clamp(premium, ±4 %); clamp(premium + clamp(carry - premium, ±0.05 %), ±2 %).
    """
    premium_ppb = clamp(premium_ppb, -MAX_PREMIUM_PPB, MAX_PREMIUM_PPB)
    f8_ppb = premium_ppb + clamp(CARRY_PPB - premium_ppb, -CARRY_CLAMP_PPB, CARRY_CLAMP_PPB)
    return clamp(f8_ppb, -MAX_RATE_PPB, MAX_RATE_PPB)


def compute_step_e12(premium_ppb: int, index_ticks: int, seconds: int) -> int:
    """Return what both indices gain, 1e-12 quote a lot.

    Formula: rate x index x 1e12 x seconds / (1e9 x 28,800). Rounding: toward zero, so that neither side is favoured.
    """
    return div_toward_zero(compute_rate_ppb(premium_ppb) * index_ticks * INDEX_SCALE * seconds, _PPB * MAX_FUNDING_S)


def accrue(
    index: IndexWord,
    *,
    price: PriceWord,
    rules: RulesWord | None,
    totals: TotalsWord,
    premium_ppb: int,
    window_start_s: int,
    matched_at_s: int,
) -> IndexWord:
    """Return the indices after a row that accrues; the funding time is the batch's, whatever accrued.

    Nothing accrues the first time, without the rules' flag, without open interest, while the price is not fresh, and
    where an index would leave its range.
    """
    timed = replace(index, funding_time_s=matched_at_s)
    if not index.funding_time_s or rules is None or not rules.is_funding_on or not totals.open_interest_lots:
        return timed
    if not is_fresh(price, rules, matched_at_s):
        return timed
    seconds = min(matched_at_s - max(index.funding_time_s, window_start_s), MAX_FUNDING_S)
    step_e12 = compute_step_e12(premium_ppb, price.index_ticks, seconds)
    long_index_e12, short_index_e12 = index.long_index_e12 + step_e12, index.short_index_e12 + step_e12
    if not all(-MAX_INDEX_E12 < moved < MAX_INDEX_E12 for moved in (long_index_e12, short_index_e12)):
        return timed
    return replace(timed, long_index_e12=long_index_e12, short_index_e12=short_index_e12)
