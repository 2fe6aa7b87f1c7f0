"""Sample the premium of each market's book over its index, and say what a batch's rows accrue (D-122).

Once in every minute of venue time, before the first command of that minute, the book as it stood since the sample
before is measured, weighted by the minutes that have passed (at most an hour: history may have stepped). The premium
of a row is the mean of the samples since funding last accrued; a row accrues in the first price adoption of each hour
while the rules of its session have funding on. All from the journal: same frames, same premiums.

    premium = (max(impact bid - index, 0) - max(index - impact ask, 0)) / index, in 1e-9
    impact price: average price of selling into the bids (buying from the asks) impact_notional_quote

Rounding: the impact bid down, the impact ask up, the premium toward zero. A side that is not that deep adds nothing.
Must not: move an index; the chain's rule does (domain/funding.py). Source: PROTOCOL.md §2, reference/domain.md §7.
"""

from __future__ import annotations

from typing import Final

from afterbell.domain.units import div_down, div_up
from afterbell.engine.book import BookSide
from afterbell.engine.state import EngineState, PremiumSamples

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
_MAX_WEIGHT: Final = 60
_PPB: Final = 1_000_000_000


def sample_premiums(state: EngineState, time_s: int) -> None:
    """Measure every book once a minute; call before a command of this second changes anything."""
    minute = div_down(time_s, MINUTE_S)
    if minute <= state.sampled_minute:
        return
    weight = min(minute - state.sampled_minute, _MAX_WEIGHT) if state.sampled_minute else 1
    state.sampled_minute = minute
    execution = state.read_execution(time_s)
    for market in sorted(state.markets):
        index_ticks = execution.price(market).index_ticks
        if index_ticks == 0:
            continue
        samples = state.premiums.get(market, PremiumSamples())
        state.premiums[market] = PremiumSamples(
            sum_ppb=samples.sum_ppb + weight * compute_premium_ppb(state, market, index_ticks),
            n_minutes=samples.n_minutes + weight,
        )


def compute_premium_ppb(state: EngineState, market: int, index_ticks: int) -> int:
    """Return the premium of a book over an index price now, in 1e-9 of the index."""
    book, impact_quote = state.books[market], state.config.impact_notional_quote
    bid_ticks = compute_impact_ticks(book.bids, impact_quote, rounds_up=False)
    ask_ticks = compute_impact_ticks(book.asks, impact_quote, rounds_up=True)
    above_ticks = 0 if bid_ticks is None else max(bid_ticks - index_ticks, 0)
    below_ticks = 0 if ask_ticks is None else max(index_ticks - ask_ticks, 0)
    if above_ticks >= below_ticks:
        return div_down((above_ticks - below_ticks) * _PPB, index_ticks)
    return -div_down((below_ticks - above_ticks) * _PPB, index_ticks)


def compute_impact_ticks(side: BookSide, impact_quote: int, *, rounds_up: bool) -> int | None:
    """Return the average price of trading `impact_quote` against a side, or None if it is not that deep.

    Of the last level only as many whole lots count as the rest of the sum buys.
    """
    lots = quote = 0
    for price_ticks, level in side.iterate_levels():
        taken_lots = min(level.size_lots, div_up(impact_quote - quote, price_ticks))
        lots += taken_lots
        quote += taken_lots * price_ticks
        if quote >= impact_quote:
            return div_up(quote, lots) if rounds_up else div_down(quote, lots)
    return None


def is_accrual_due(state: EngineState, market: int, time_s: int) -> bool:
    """Tell whether a row of this second should accrue funding: once an hour by the clock."""
    return div_down(state.chain.index(market).funding_time_s, HOUR_S) < div_down(time_s, HOUR_S)
