"""Paths: expand a daily bar into a price at every second of its session.

The path starts at the open, visits both extremes exactly (which first, and when, is drawn from the seed), ends at the
close, and never leaves [low, high]. Between those four knots it is a bridge built by midpoint displacement, so any
second can be asked for directly. Integers only. Must not: know a calendar.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

from afterbell.domain.units import clamp
from afterbell.keepers.bars import DailyBar
from afterbell.keepers.seeded import draw_below, draw_between

SESSION_S: Final = 23_400
"""09:30 to 16:00."""
KNOT_STEP_S: Final = 600
"""Extremes fall on multiples of the default replay step, so that a replay at that step sees them."""
_N_KNOT_STEPS: Final = SESSION_S // KNOT_STEP_S
_ROUGHNESS_DIVISOR: Final = 3
"""A displacement is at most (high - low) / 3 x sqrt(length / session)."""


def build_knots(bar: DailyBar, seed: str, symbol: str) -> tuple[tuple[int, int], ...]:
    """Return the four fixed points of a path.

    Shapes: (second of the session, price in 1e-8 USD), seconds ascending: open, one extreme, the other, close.
    """
    first_step = draw_between(1, _N_KNOT_STEPS - 2, seed, symbol, bar.day, "first extreme")
    second_step = draw_between(first_step + 1, _N_KNOT_STEPS - 1, seed, symbol, bar.day, "second extreme")
    low_first = draw_below(2, seed, symbol, bar.day, "order") == 0
    first_e8, second_e8 = (bar.low_e8, bar.high_e8) if low_first else (bar.high_e8, bar.low_e8)
    return (
        (0, bar.open_e8),
        (first_step * KNOT_STEP_S, first_e8),
        (second_step * KNOT_STEP_S, second_e8),
        (SESSION_S, bar.close_e8),
    )


def compute_price_e8(bar: DailyBar, second: int, seed: str, symbol: str) -> int:
    """Return the price `second` seconds after the open. Units: 1e-8 USD. Raises: ValueError outside [0, SESSION_S]."""
    if not 0 <= second <= SESSION_S:
        raise ValueError(f"second must lie in [0, {SESSION_S}], found {second}")
    knots = build_knots(bar, seed, symbol)
    segment = next(i for i in range(3) if second <= knots[i + 1][0])
    (left_s, left_e8), (right_s, right_e8) = knots[segment], knots[segment + 1]
    while True:
        if second == left_s:
            return left_e8
        if second == right_s:
            return right_e8
        middle_s = (left_s + right_s) // 2
        middle_e8 = _displace(bar, (left_e8 + right_e8) // 2, right_s - left_s, middle_s, seed, symbol)
        if second <= middle_s:
            right_s, right_e8 = middle_s, middle_e8
        else:
            left_s, left_e8 = middle_s, middle_e8


def _displace(bar: DailyBar, price_e8: int, length_s: int, second: int, seed: str, symbol: str) -> int:
    """Move a midpoint by a drawn distance that shrinks with the square root of the segment, reflected into the bar."""
    # isqrt on a scaled square keeps six digits: reach = range / 3 x sqrt(length / session).
    reach_e8 = (bar.high_e8 - bar.low_e8) * isqrt(length_s * 10**12 // SESSION_S) // (_ROUGHNESS_DIVISOR * 10**6)
    moved_e8 = price_e8 + draw_between(-reach_e8, reach_e8, seed, symbol, bar.day, second)
    if moved_e8 > bar.high_e8:
        moved_e8 = 2 * bar.high_e8 - moved_e8
    elif moved_e8 < bar.low_e8:
        moved_e8 = 2 * bar.low_e8 - moved_e8
    return clamp(moved_e8, bar.low_e8, bar.high_e8)
