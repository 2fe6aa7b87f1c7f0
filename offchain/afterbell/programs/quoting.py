"""Quoting: turn a price, an inventory and a style into the quotes a market maker wants on the book.

Pure integers: ticks, lots, ppm. Must not: talk to anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from afterbell.sdk import Market

_PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteStyle:
    """How wide, how deep and how large a maker quotes.

    half_spread_ppm: distance of the first level from the centre. level_gap_ppm: between levels. level_quote: notional
    of a level. limit_quote: notional of the position at which it stops adding on that side. skew_ppm: shift of the
    centre at that limit.
    """

    n_levels: int
    half_spread_ppm: int
    level_gap_ppm: int
    level_quote: int
    limit_quote: int
    skew_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One wanted order. `slot` numbers the quote within its market: two slots a level, bid then ask."""

    slot: int
    is_buy: bool
    price_ticks: int
    size_lots: int


def build_quotes(market: Market, position_lots: int, style: QuoteStyle) -> tuple[Quote, ...]:
    """Return the quotes around the external price, shifted against the inventory; none without a price or while halted.

    Rounding: bids down, asks up, both to the price step, at least one step apart from the centre.
    """
    rules = market.rules
    if rules is None or market.is_halted or not rules.is_opening_allowed or market.external_ticks == 0:
        return ()
    external_ticks = market.external_ticks
    position_quote = position_lots * external_ticks
    lean_ppm = max(-_PPM, min(_PPM, position_quote * _PPM // style.limit_quote))
    centre_ppt = external_ticks * (_PPM - lean_ppm * style.skew_ppm // _PPM)  # ticks x 1e6
    size_lots = style.level_quote // external_ticks // rules.size_step_lots * rules.size_step_lots
    if size_lots == 0 or size_lots * external_ticks < rules.min_notional_quote:
        return ()
    quotes: list[Quote] = []
    for level in range(style.n_levels):
        distance_ppt = external_ticks * (style.half_spread_ppm + level * style.level_gap_ppm)
        bid_ticks = _snap_down((centre_ppt - distance_ppt) // _PPM, rules.price_step_ticks)
        ask_ticks = -_snap_down(-((centre_ppt + distance_ppt + _PPM - 1) // _PPM), rules.price_step_ticks)
        if position_quote < style.limit_quote and _is_inside(market, bid_ticks):
            quotes.append(Quote(slot=2 * level, is_buy=True, price_ticks=bid_ticks, size_lots=size_lots))
        if position_quote > -style.limit_quote and _is_inside(market, ask_ticks):
            quotes.append(Quote(slot=2 * level + 1, is_buy=False, price_ticks=ask_ticks, size_lots=size_lots))
    return tuple(quotes)


def _snap_down(ticks: int, step_ticks: int) -> int:
    return ticks // step_ticks * step_ticks


def _is_inside(market: Market, price_ticks: int) -> bool:
    low_ticks, high_ticks = market.band_low_ticks, market.band_high_ticks
    return price_ticks > 0 and (low_ticks is None or high_ticks is None or low_ticks <= price_ticks <= high_ticks)
