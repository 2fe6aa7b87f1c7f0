"""Match one incoming order against the book: price, then time, each fill checked by the chain's own rule first.

A maker that may not fill is cancelled with the reason and the next one is asked; a taker that may not fill stops.
When the market itself forbids the fill (stale, openings closed, price beyond the band) the taker stops and the makers
stay: nobody's quote is at fault. A fill-or-kill order first walks the same loop over a forked Execution and a book on
trial, so that nothing moves unless all of it fills. Must not: accept, reserve or rest anything; entry.py does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from afterbell.domain.codes import TAKER_SIDE, RejectReason, StatusCode
from afterbell.domain.events import Event
from afterbell.domain.ids import owner_of
from afterbell.domain.settlement import Execution, FillOutcome, TableOrder
from afterbell.engine.batching import add_fill
from afterbell.engine.book import BookSide, OpenOrder
from afterbell.engine.removal import cancel_live, end_partner, forget_order, is_left_behind, reduce_partner
from afterbell.engine.state import EngineState

BATCH_FULL = "BATCH_FULL"
"""Cancel reason: one taker met as many makers as a batch is sure to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What becomes of a pair that cannot fill."""

    is_maker_out: bool
    reason: str


class _LiveBook:
    """The opposite side as it is: fills and cancellations happen."""

    def __init__(self, state: EngineState, taker: OpenOrder, time_s: int, events: list[Event]) -> None:
        self._state = state
        self._side = _opposite_of(state, taker)
        self._time_s = time_s
        self._events = events
        self.execution = state.execution(time_s)

    def get_first(self) -> OpenOrder | None:
        return self._side.get_first()

    def remaining_lots(self, order: OpenOrder) -> int:
        return order.remaining_lots

    def drop(self, maker: OpenOrder, reason: str) -> None:
        self._events += cancel_live(self._state, maker, reason)

    def fill(
        self,
        maker: OpenOrder,
        taker: OpenOrder,
        table: tuple[TableOrder, TableOrder],
        size_lots: int,
        outcome: FillOutcome,
    ) -> None:
        state, events = self._state, self._events
        events.append(
            add_fill(state, self._time_s, maker=maker, taker=taker, table=table, size_lots=size_lots, outcome=outcome)
        )
        self._side.fill(maker, size_lots)
        taker.remaining_lots -= size_lots
        taker.filled_lots += size_lots
        if maker.remaining_lots == 0:
            forget_order(state, maker)
            events += end_partner(state, maker)
        else:
            events += reduce_partner(state, maker)
        if taker.remaining_lots:
            events += reduce_partner(state, taker)


class _TrialBook:
    """The opposite side as it would be after fills that only a forked Execution has seen."""

    def __init__(self, state: EngineState, taker: OpenOrder, time_s: int) -> None:
        self.execution = state.execution(time_s).fork()
        self._makers: Iterator[OpenOrder] = _opposite_of(state, taker).iterate_orders()
        self._first = next(self._makers, None)
        self._filled: dict[bytes, int] = {}
        """Order id -> lots its lane would have filled: its own and its OCO partner's."""
        self._gone: set[bytes] = set()

    def get_first(self) -> OpenOrder | None:
        while self._first is not None and self._has_left(self._first):
            self._first = next(self._makers, None)
        return self._first

    def _has_left(self, maker: OpenOrder) -> bool:
        return maker.order_id in self._gone or self.remaining_lots(maker) <= 0

    def remaining_lots(self, order: OpenOrder) -> int:
        return order.remaining_lots - self._filled.get(order.order_id, 0)

    def drop(self, maker: OpenOrder, reason: str) -> None:
        self._gone |= {maker.order_id, maker.partner_id}

    def fill(
        self,
        maker: OpenOrder,
        taker: OpenOrder,
        table: tuple[TableOrder, TableOrder],
        size_lots: int,
        outcome: FillOutcome,
    ) -> None:
        for order_id in (maker.order_id, maker.partner_id, taker.order_id):
            self._filled[order_id] = self._filled.get(order_id, 0) + size_lots
        if self.remaining_lots(maker) == 0:
            self._gone.add(maker.partner_id)


_Book: TypeAlias = _LiveBook | _TrialBook


def match_order(state: EngineState, taker: OpenOrder, time_s: int, events: list[Event]) -> str | None:
    """Fill `taker` as far as it goes; return why the rest must not rest, or None.

    Appends FillMatched and what follows for makers and OCO partners to `events`. After it the book is not crossed by
    what is left, or a reason is returned.
    """
    if not _opposite_of(state, taker).is_crossed_by(taker.record.limit_ticks):
        return None
    return _match(_LiveBook(state, taker, time_s, events), taker, state.config.max_makers_per_taker)


def would_fill_whole(state: EngineState, taker: OpenOrder, time_s: int) -> bool:
    """Tell whether all that is left of `taker` would fill now, and change nothing."""
    if not _opposite_of(state, taker).is_crossed_by(taker.record.limit_ticks):
        return False
    trial = _TrialBook(state, taker, time_s)
    _match(trial, taker, state.config.max_makers_per_taker)
    return trial.remaining_lots(taker) == 0


def _opposite_of(state: EngineState, taker: OpenOrder) -> BookSide:
    return state.books[taker.record.market_id].side(taker.side.opposite)


def _match(book: _Book, taker: OpenOrder, max_makers: int) -> str | None:
    taker_entry = _build_entry(book.execution, taker)
    n_makers = 0
    while book.remaining_lots(taker) > 0:
        maker = book.get_first()
        if maker is None or not _do_cross(maker, taker):
            break
        if owner_of(maker.account) == owner_of(taker.account):
            return RejectReason.SELF_TRADE.value
        if n_makers == max_makers:
            return BATCH_FULL
        if _reducible_lots(book, taker) == 0:
            return RejectReason.REDUCE_ONLY.value
        verdict = _try_fill(book, maker, taker, (_build_entry(book.execution, maker), taker_entry))
        if verdict is None:
            n_makers += 1
        elif verdict.is_maker_out:
            book.drop(maker, verdict.reason)
        else:
            return verdict.reason
    return None


def _do_cross(maker: OpenOrder, taker: OpenOrder) -> bool:
    maker_ticks, taker_ticks = maker.record.limit_ticks, taker.record.limit_ticks
    return maker_ticks <= taker_ticks if taker.record.is_buy else maker_ticks >= taker_ticks


def _try_fill(book: _Book, maker: OpenOrder, taker: OpenOrder, table: tuple[TableOrder, TableOrder]) -> _Verdict | None:
    """Fill the pair and return None, or return why not."""
    execution = book.execution
    if table[0].code:
        return _Verdict(is_maker_out=True, reason=StatusCode(table[0].code).name)
    maker_lots = _reducible_lots(book, maker)
    if maker_lots == 0:
        return _Verdict(is_maker_out=True, reason=RejectReason.REDUCE_ONLY.value)
    size_lots = min(maker_lots, _reducible_lots(book, taker))
    outcome = execution.apply_fill(*table, size_lots)
    if not outcome.is_settled:
        return _judge_failure(execution, maker, taker, outcome.code)
    book.fill(maker, taker, table, size_lots, outcome)
    return None


def _build_entry(execution: Execution, order: OpenOrder) -> TableOrder:
    # The signature was checked when the order came in; its digest is checked again by the mirror at the seal.
    code = execution.check_order(
        order.account, order.record, domain_separator=None, recover=None, signer=order.signer or None
    )
    return TableOrder(account_id=order.account, record=order.record, code=code)


def _reducible_lots(book: _Book, order: OpenOrder) -> int:
    """Return how much of an order may fill now: all of it, or under reduce_only what closes the position."""
    remaining_lots = book.remaining_lots(order)
    if not order.record.reduce_only:
        return remaining_lots
    size_lots = book.execution.position(order.account, order.record.market_id).size_lots
    return min(remaining_lots, max(-size_lots if order.record.is_buy else size_lots, 0))


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
