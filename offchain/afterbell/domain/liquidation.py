"""Find the mark at which a position brings its account down to maintenance margin. For people: nothing acts on it.

The rule that the worse of mark and external counts is left aside: the mark alone moves. Must not: look anything up.
"""

from __future__ import annotations

from typing import Final

from afterbell.domain.units import PPM, Ticks, div_down, div_up
from afterbell.domain.words import PositionWord

MAX_MARK_TICKS: Final = (1 << 33) - 1
"""No mark is higher: external < 2^32 and a band below 100 % (contracts/README.md, "Why the lanes suffice")."""


def compute_liquidation_ticks(
    position: PositionWord, *, pending_quote: int, maintenance_margin_ppm: int, rest_quote: int
) -> Ticks | None:
    """Return the last healthy mark: there equity >= maintenance margin, one tick further (long lower) it is not.

    rest_quote: collateral plus equity less maintenance margin of every other position, all unchanged.
    Formula, with n = |lots|, c = rest - entry - pending, m = maintenance fraction and x - ceil(x m) = floor(x (1 - m)):
        long   c + n p - ceil(n p m) >= 0   <=>   floor(n p (1 - m)) >= -c   <=>   p >= -c / (n (1 - m))
        short  c - n p - ceil(n p m) >= 0   <=>   ceil(n p (1 + m)) <= c     <=>   p <= c / (n (1 + m))
    Rounding: a long up, a short down, both exact at whole ticks. None: no mark in [1, 2^33) is the last healthy one,
    because all are healthy or none is.
    """
    n_lots = abs(position.size_lots)
    cushion_quote = rest_quote - position.entry_quote - pending_quote
    if position.size_lots > 0:
        per_tick_ppm = n_lots * (PPM - maintenance_margin_ppm)
        if per_tick_ppm == 0:
            return None
        ticks = div_up(-cushion_quote * PPM, per_tick_ppm)
        return Ticks(ticks) if 1 < ticks <= MAX_MARK_TICKS else None
    ticks = div_down(cushion_quote * PPM, n_lots * (PPM + maintenance_margin_ppm))
    return Ticks(ticks) if 1 <= ticks < MAX_MARK_TICKS else None
