"""Find the mark at which a position brings its account down to maintenance margin. For people: nothing acts on it.

The rule that the worse of mark and external counts is left aside: the mark alone moves. Must not: look anything up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from afterbell.domain.margin import MAINTENANCE_TIER_WEIGHT, compute_margin_quote
from afterbell.domain.units import Ticks, compute_notional_quote, div_down
from afterbell.domain.words import PositionWord

MAX_MARK_TICKS: Final = (1 << 33) - 1
"""No mark is higher: external < 2^32 and a band below 100 % (contracts/README.md, "Why the lanes suffice")."""


def compute_liquidation_ticks(
    position: PositionWord,
    *,
    pending_quote: int,
    maintenance_margin_ppm: int,
    rest_quote: int,
    tiers: Sequence[tuple[int, int]] = (),
    reserve_ticks: int = 0,
) -> Ticks | None:
    """Return the last healthy mark: there equity >= maintenance margin, one tick further (long lower) it is not.

    rest_quote: collateral plus equity less maintenance margin of every other position, all unchanged. reserve_ticks:
    added to the price of a short. What a position adds less what it requires never falls in the price for a long and
    never rises for a short (no margin with its tiers exceeds 100 %), so the edge is found by halving.
    None: no mark in [1, 2^33) is the last healthy one, because all are healthy or none is.
    """
    cushion_quote = rest_quote - position.entry_quote - pending_quote
    added_ticks = 0 if position.size_lots > 0 else reserve_ticks

    def is_healthy(mark_ticks: int) -> bool:
        price_ticks = mark_ticks + added_ticks
        margin_quote = compute_margin_quote(
            compute_notional_quote(position.size_lots, price_ticks),
            maintenance_margin_ppm,
            tiers,
            MAINTENANCE_TIER_WEIGHT,
        )
        return cushion_quote + position.size_lots * price_ticks >= margin_quote

    if is_healthy(1) == is_healthy(MAX_MARK_TICKS):
        return None
    if position.size_lots > 0:
        return Ticks(_find_first(is_healthy))
    return Ticks(_find_first(lambda ticks: not is_healthy(ticks)) - 1)


def _find_first(holds: Callable[[int], bool]) -> int:
    """Return the least price from which on `holds`; it must not hold at 1 and must hold at the highest mark."""
    low, high = 1, MAX_MARK_TICKS
    while high - low > 1:
        middle = div_down(low + high, 2)
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
