"""Put orders on the engine and take them off: every index that knows an order learns and forgets it here.

A live order rests in its book or waits in the trigger book. The end of one order of an OCO is the end of the other:
their lane on chain is one, so whatever ends here leaves with its partner. Must not: match or judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import RejectReason
from afterbell.domain.events import Event, OrderCancelled, OrderReduced
from afterbell.domain.words import SessionKeyWord
from afterbell.engine.book import OpenOrder
from afterbell.engine.state import EngineState

OCO: Final = "OCO"
"""Cancel reason: the other order of its pair has filled or left."""
_HEAP_SLACK = 1_024


def register_order(state: EngineState, order: OpenOrder) -> None:
    """Put a live order into every index; rest_order or wait_order says where it is."""
    state.orders[order.order_id] = order
    state.account_orders.setdefault(order.account, {})[order.order_id] = order
    state.lane_orders.setdefault(order.lane_key, []).append(order)
    heappush(state.expiries, (find_last_second(state, order), order.order_id))


def rest_order(state: EngineState, order: OpenOrder) -> None:
    """Put an order on its book, behind all others at its price."""
    state.books[order.record.market_id].side(order.side).add(order)
    if order.record.has_trigger:
        state.triggers.rest(order)


def take_out(state: EngineState, order: OpenOrder) -> None:
    """Take a live order off its book or out of the trigger book; the indices still know it."""
    if not order.is_waiting:
        state.books[order.record.market_id].side(order.side).remove(order)
    state.triggers.forget(order)


def forget_order(state: EngineState, order: OpenOrder) -> None:
    """Drop an order that is off its book already from the other indices."""
    state.triggers.forget(order)
    del state.orders[order.order_id]
    own = state.account_orders[order.account]
    del own[order.order_id]
    if not own:
        del state.account_orders[order.account]
    in_lane = state.lane_orders[order.lane_key]
    in_lane.remove(order)
    if not in_lane:
        del state.lane_orders[order.lane_key]


def cancel_live(state: EngineState, order: OpenOrder, reason: str) -> list[Event]:
    """End a live order and its OCO partner; return their events."""
    return [_cancel_alone(state, order, reason), *end_partner(state, order)]


def cancel_each(state: EngineState, doomed: Iterable[OpenOrder], reason: str) -> list[Event]:
    """End several live orders for one reason, in this order; partners that are not among them end as OCO."""
    orders = list(doomed)
    events: list[Event] = [_cancel_alone(state, order, reason) for order in orders]
    for order in orders:
        events += end_partner(state, order)
    return events


def get_partner(state: EngineState, order: OpenOrder) -> OpenOrder | None:
    """Return the other order of an OCO while it lives."""
    return state.orders.get(order.partner_id) if order.partner_id else None


def end_partner(state: EngineState, order: OpenOrder) -> list[Event]:
    """End the other order of an OCO, if it lives."""
    partner = get_partner(state, order)
    return [] if partner is None else [_cancel_alone(state, partner, OCO)]


def reduce_partner(state: EngineState, order: OpenOrder) -> list[Event]:
    """After a fill of `order`: leave its OCO partner what the lane they share still allows; nothing: it leaves."""
    partner = get_partner(state, order)
    if partner is None:
        return []
    # From the partner's side: its size, less everything their lane has filled.
    remaining_lots = partner.record.size_lots - partner.filled_lots - order.filled_lots
    if remaining_lots <= 0:
        return [_cancel_alone(state, partner, OCO)]
    if partner.is_waiting:
        partner.remaining_lots = remaining_lots
    else:
        state.books[partner.record.market_id].side(partner.side).shrink(partner, remaining_lots)
    return [build_reduced(partner)]


def build_reduced(order: OpenOrder) -> OrderReduced:
    """Return the event of an order that its OCO partner's fills have made smaller."""
    return OrderReduced(
        order_id=order.order_id,
        account=order.account,
        market=order.record.market_id,
        remaining_lots=order.remaining_lots,
    )


def build_cancelled(order: OpenOrder, reason: str) -> OrderCancelled:
    """Return the event of an order whose rest is given up."""
    return OrderCancelled(
        order_id=order.order_id,
        account=order.account,
        market=order.record.market_id,
        remaining_lots=order.remaining_lots,
        reason=reason,
    )


def is_left_behind(record: OrderRecord, band: tuple[int, int] | None) -> bool:
    """Tell whether a quote is so generous that the band forbids its fills: a bid above it, an ask below it.

    Such a quote cannot trade and would stand in the way of all that can, so it neither rests nor stays.
    """
    if band is None:
        return False
    return record.limit_ticks > band[1] if record.is_buy else record.limit_ticks < band[0]


def purge_left_behind(state: EngineState, market: int, band: tuple[int, int] | None) -> list[Event]:
    """Cancel the quotes of a market that new prices have left behind, best first."""
    events: list[Event] = []
    book = state.books[market]
    for side in (book.bids, book.asks):
        order = side.get_first()
        while order is not None and is_left_behind(order.record, band):
            events += cancel_live(state, order, RejectReason.PRICE_OUTSIDE_BAND.value)
            order = side.get_first()
    return events


def find_last_second(state: EngineState, order: OpenOrder) -> int:
    """Return the last second at which an order lives: its expiry, or that of the session key that signed it."""
    if not order.signer:
        return order.record.expiry_s
    # The open batch may have linked it, for longer or for the first time.
    word = state.read_execution(0).session_key_word(order.account, order.signer)
    key = SessionKeyWord.unpack(word)
    return min(order.record.expiry_s, key.expiry_s)


def purge_expired(state: EngineState, time_s: int) -> list[Event]:
    """Cancel every live order that is dead at this second: alive while time <= expiry, its own and its key's."""
    events: list[Event] = []
    heap = state.expiries
    while heap and heap[0][0] < time_s:
        _, order_id = heappop(heap)
        order = state.orders.get(order_id)
        if order is None:
            continue
        last_s = find_last_second(state, order)
        if last_s >= time_s:
            heappush(heap, (last_s, order_id))  # its key was linked again for longer
            continue
        reason = RejectReason.EXPIRED if order.record.expiry_s < time_s else RejectReason.KEY_EXPIRED
        events += cancel_live(state, order, reason.value)
    if len(heap) > 2 * len(state.orders) + _HEAP_SLACK:
        # Entries of orders that left early; without this a market maker's cancelled quotes stay for their 30 days.
        state.expiries = [(expiry_s, order_id) for expiry_s, order_id in heap if order_id in state.orders]
        heapify(state.expiries)
    return events


def _cancel_alone(state: EngineState, order: OpenOrder, reason: str) -> OrderCancelled:
    take_out(state, order)
    forget_order(state, order)
    return build_cancelled(order, reason)
