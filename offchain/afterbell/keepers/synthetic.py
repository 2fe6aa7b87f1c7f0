"""Synthetic bars: a made-up history for a market whose real prices nobody supplied.

Not a forecast and not real: everything that shows it says "synthetic". Deterministic from the seed; integers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from afterbell.domain.units import div_toward_zero
from afterbell.keepers.bars import DailyBar
from afterbell.keepers.seeded import draw_bell_ppm

_CENT_E8: Final = 10**6
_OVERNIGHT_SIGMA_PPM: Final = 9_000
_SESSION_SIGMA_PPM: Final = 22_000
_WICK_SIGMA_PPM: Final = 8_000
_FLOOR_E8: Final = 10 * 10**8
_CEILING_E8: Final = 400 * 10**8
_PULL_PPM: Final = 1_000
"""Each day starts pulled by this much toward the start price, so that thousands of days stay tradable."""


def build_synthetic_bars(
    symbol: str, days: Sequence[date], seed: str, start_e8: int = 40 * 10**8
) -> tuple[DailyBar, ...]:
    """Draw one bar per day: gap, session move and two wicks, each bell-shaped, in whole cents.

    Shapes: `days` ascending; one bar each, in order. No gap comes near 35 %, so no synthetic bar looks like a split.
    """
    bars: list[DailyBar] = []
    close_e8 = start_e8
    for day in days:
        pull_e8 = div_toward_zero((start_e8 - close_e8) * _PULL_PPM, 10**6)
        open_e8 = _move(close_e8 + pull_e8, _OVERNIGHT_SIGMA_PPM, seed, symbol, day, "gap")
        close_e8 = _move(open_e8, _SESSION_SIGMA_PPM, seed, symbol, day, "session")
        high_e8 = max(open_e8, close_e8, _wick(max(open_e8, close_e8), 1, seed, symbol, day))
        low_e8 = min(open_e8, close_e8, _wick(min(open_e8, close_e8), -1, seed, symbol, day))
        bars.append(DailyBar(day=day, open_e8=open_e8, high_e8=high_e8, low_e8=low_e8, close_e8=close_e8))
    return tuple(bars)


def _move(price_e8: int, sigma_ppm: int, *words: object) -> int:
    """Move a price by one drawn step and round to a whole cent, kept inside floor and ceiling."""
    # price <= 4e10, sigma <= 2.2e4, draw <= 6e6: the product stays below 6e21, plain Python integers.
    step_e8 = div_toward_zero(price_e8 * sigma_ppm * draw_bell_ppm(*words), 10**12)
    moved_e8 = min(max(price_e8 + step_e8, _FLOOR_E8), _CEILING_E8)
    return moved_e8 // _CENT_E8 * _CENT_E8


def _wick(price_e8: int, sign: int, *words: object) -> int:
    reach_e8 = price_e8 * _WICK_SIGMA_PPM * abs(draw_bell_ppm(*words, sign)) // 10**12
    return (price_e8 + sign * reach_e8) // _CENT_E8 * _CENT_E8
