"""Move the prices of a market: accept a report, then draw mark and index with a row of the batch.

The mark is drawn toward the row's mark, never outside the band around the external price, and never faster than one
step per 3 s since it last moved (D-004): the step wins over the band. Must not: check signatures; evidence.py does.
Twin: contracts/README.md, "settle()" step 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from afterbell.domain.batch import PriceRow
from afterbell.domain.errors import BatchReverted
from afterbell.domain.market import compute_band, is_fresh
from afterbell.domain.units import PPM, clamp, div_down, mul_div_down
from afterbell.domain.words import PriceWord, RulesWord

MARK_STEP_S: Final = 3
MAX_MARK_STEPS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedReport:
    """One report that passed every guard of PriceOracle."""

    market_id: int
    external_ticks: int
    external_time_s: int
    session: int


def apply_report(price: PriceWord, report: AcceptedReport) -> PriceWord:
    """Return the prices with external price, its time and the session replaced."""
    return replace(
        price,
        external_ticks=report.external_ticks,
        external_time_s=report.external_time_s,
        session=report.session,
    )


def compute_mark_ticks(
    price: PriceWord, rules: RulesWord | None, row_mark_ticks: int, matched_at_s: int
) -> tuple[int, int]:
    """Return (mark_ticks, mark_time_s) after a row.

    Formula: target = clamp(row, external -+ band); n_steps = min((matched_at - mark_time) // 3, 20);
    move = mark x step_ppm x n_steps // 1e6; mark = clamp(target, mark -+ move). Rounding: the move down. An unset mark
    jumps to the target; with no room to move, neither mark nor its time changes.
    """
    low_ticks, high_ticks = compute_band(price.external_ticks, rules.band_ppm if rules else 0)
    target_ticks = clamp(row_mark_ticks, low_ticks, high_ticks)
    if price.mark_ticks == 0:
        return target_ticks, matched_at_s
    n_steps = min(div_down(matched_at_s - price.mark_time_s, MARK_STEP_S), MAX_MARK_STEPS)
    move_ticks = mul_div_down(price.mark_ticks, (rules.mark_step_ppm if rules else 0) * n_steps, PPM)
    if move_ticks == 0:
        return price.mark_ticks, price.mark_time_s
    return clamp(target_ticks, price.mark_ticks - move_ticks, price.mark_ticks + move_ticks), matched_at_s


def apply_price_row(price: PriceWord, rules: RulesWord | None, row: PriceRow, matched_at_s: int) -> PriceWord:
    """Return the prices after a row of the batch. Raises: BatchReverted `prices: no external`."""
    if price.external_ticks == 0:
        raise BatchReverted("prices: no external")
    mark_ticks, mark_time_s = compute_mark_ticks(price, rules, row.mark_ticks, matched_at_s)
    price = replace(price, mark_ticks=mark_ticks, mark_time_s=mark_time_s)
    if is_fresh(price, rules, matched_at_s):
        return replace(price, index_ticks=price.external_ticks)
    low_ticks, high_ticks = compute_band(price.external_ticks, rules.band_ppm if rules else 0)
    return replace(price, index_ticks=clamp(row.index_ticks, low_ticks, high_ticks))
