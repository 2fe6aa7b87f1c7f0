"""Match one incoming order against the book: price, then time, each fill checked by the chain's own rule first.

A maker that may not fill is cancelled with the reason and the next one is asked; a taker that may not fill stops.
When the market itself forbids the fill (stale, openings closed, price beyond the band) the taker stops and the makers
stay: nobody's quote is at fault. Must not: accept, reserve or rest anything; orders.py does.
"""

from __future__ import annotations

from dataclasses import dataclass

from afterbell.domain.codes import TAKER_SIDE, RejectReason, StatusCode
from afterbell.domain.events import Event
from afterbell.domain.ids import owner_of
from afterbell.domain.settlement import Execution, TableOrder
from afterbell.engine.batching import add_fill
from afterbell.engine.book import BookSide, OpenOrder
from afterbell.engine.removal import cancel_resting, forget_order, is_left_behind
from afterbell.engine.state import EngineState

BATCH_FULL = "BATCH_FULL"
"""Cancel reason: one taker met as many makers as a batch is sure to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What becomes of a pair that cannot fill."""

    is_maker_out: bool
    reason: str


def match_order(state: EngineState, taker: OpenOrder, time_s: int, events: list[Event]) -> str | None:
    """Fill `taker` as far as it goes; return why the rest must not rest, or None.

    Appends FillMatched and OrderCancelled (of makers) to `events`. After it the book is not crossed by what is left,
    or a reason is returned.
    """
    opposite = state.books[taker.record.market_id].side(taker.side.opposite)
    if not opposite.is_crossed_by(taker.record.limit_ticks):
        return None
    execution = state.execution(time_s)
    taker_entry = _build_entry(execution, taker)
    n_makers = 0
    while taker.remaining_lots > 0 and opposite.is_crossed_by(taker.record.limit_ticks):
        maker = opposite.get_first()
        if maker is None:
            break
        if owner_of(maker.account) == owner_of(taker.account):
            return RejectReason.SELF_TRADE.value
        if n_makers == state.config.max_makers_per_taker:
            return BATCH_FULL
        if _reducible_lots(execution, taker) == 0:
            return RejectReason.REDUCE_ONLY.value
        maker_entry = _build_entry(execution, maker)
        verdict = _try_fill(state, opposite, maker, taker, (maker_entry, taker_entry), time_s, events)
        if verdict is None:
            n_makers += 1
        elif verdict.is_maker_out:
            events.append(cancel_resting(state, maker, verdict.reason))
        else:
            return verdict.reason
    return None


def _try_fill(
    state: EngineState,
    opposite: BookSide,
    maker: OpenOrder,
    taker: OpenOrder,
    table: tuple[TableOrder, TableOrder],
    time_s: int,
    events: list[Event],
) -> _Verdict | None:
    """Fill the pair and return None, or return why not."""
    execution = state.execution(time_s)
    if table[0].code:
        return _Verdict(is_maker_out=True, reason=StatusCode(table[0].code).name)
    maker_lots = _reducible_lots(execution, maker)
    if maker_lots == 0:
        return _Verdict(is_maker_out=True, reason=RejectReason.REDUCE_ONLY.value)
    size_lots = min(maker_lots, _reducible_lots(execution, taker))
    outcome = execution.apply_fill(*table, size_lots)
    if not outcome.is_settled:
        return _judge_failure(execution, maker, taker, outcome.code)
    events.append(add_fill(state, time_s, maker=maker, taker=taker, table=table, size_lots=size_lots, outcome=outcome))
    opposite.fill(maker, size_lots)
    taker.remaining_lots -= size_lots
    taker.filled_lots += size_lots
    if maker.remaining_lots == 0:
        forget_order(state, maker)
    return None


def _build_entry(execution: Execution, order: OpenOrder) -> TableOrder:
    # The signature was checked when the order came in; its digest is checked again by the mirror at the seal.
    code = execution.check_order(order.account, order.record, domain_separator=None, recover=None)
    return TableOrder(account_id=order.account, record=order.record, code=code)


def _reducible_lots(execution: Execution, order: OpenOrder) -> int:
    """Return how much of an order may fill now: all of it, or under reduce_only what closes the position."""
    if not order.record.reduce_only:
        return order.remaining_lots
    size_lots = execution.position(order.account, order.record.market_id).size_lots
    return min(order.remaining_lots, max(-size_lots if order.record.is_buy else size_lots, 0))


def _judge_failure(execution: Execution, maker: OpenOrder, taker: OpenOrder, code: int) -> _Verdict:
    is_taker_at_fault = code >= TAKER_SIDE
    status = StatusCode(code - TAKER_SIDE if is_taker_at_fault else code)
    if is_taker_at_fault or status in (StatusCode.OPEN_INTEREST_CAP, StatusCode.OPENING_NOT_ALLOWED):
        return _Verdict(is_maker_out=False, reason=status.name)
    market = maker.record.market_id
    if status == StatusCode.STALE_PRICE and not execution.is_market_fresh(market):
        return _Verdict(is_maker_out=False, reason=status.name)
    if status == StatusCode.PRICE_OUTSIDE_BAND:
        # Beyond the band and worse for the taker: the taker has eaten through all the band allows, and the quote may
        # wait for the price to come. Better for the taker: a quote the market has left behind, which blocks the book.
        return _Verdict(is_maker_out=is_left_behind(maker.record, execution.band(market)), reason=status.name)
    return _Verdict(is_maker_out=True, reason=status.name)
