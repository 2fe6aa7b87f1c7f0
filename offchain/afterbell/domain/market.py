"""Answer the questions asked of one market: is it fresh, what is its band, at which price a position is valued.

Must not: change anything; prices.py builds the next price word. Twin: contracts/README.md, "settle()".
"""

from __future__ import annotations

from afterbell.domain.units import PPM, Ticks, mul_div_down
from afterbell.domain.words import PriceWord, RulesWord


def is_fresh(price: PriceWord, rules: RulesWord | None, matched_at_s: int) -> bool:
    """Tell whether the prices may carry risk: rules given, both prices set, the external one young enough.

    max_age_s 0 = no limit. A session without rules has no margin either, so it must never look fresh. Nor does a price
    whose session was stated only until now (D-019): a closed market cannot stay closed by silence.
    """
    if rules is None or price.mark_ticks == 0 or price.external_ticks == 0:
        return False
    if matched_at_s >= price.external_time_s + 60 * price.session_minutes:
        return False
    return rules.max_age_s == 0 or price.external_time_s + rules.max_age_s >= matched_at_s


def compute_band(external_ticks: int, band_ppm: int) -> tuple[Ticks, Ticks]:
    """Return (lowest, highest) price allowed around the external price.

    Formula: external ∓ external x band_ppm / 1e6. Rounding: the width rounds down, so the band never grows; a lowest
    price below zero counts as zero.
    """
    width_ticks = mul_div_down(external_ticks, band_ppm, PPM)
    return Ticks(max(external_ticks - width_ticks, 0)), Ticks(external_ticks + width_ticks)


def compute_valuation_ticks(size_lots: int, mark_ticks: int, external_ticks: int, reserve_ticks: int = 0) -> Ticks:
    """Return the price at which a position is valued: the worse of mark and external (long lower, short higher).

    reserve_ticks: a dividend announced for the market, which shorts will pay: added to their price.
    """
    if size_lots > 0:
        return Ticks(min(mark_ticks, external_ticks))
    return Ticks(max(mark_ticks, external_ticks) + reserve_ticks)
