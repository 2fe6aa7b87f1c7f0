"""Take orders off the engine: every index that knows an order forgets it here and nowhere else."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from afterbell.domain.batch import OrderRecord
from afterbell.domain.codes import RejectReason
from afterbell.domain.events import Event, OrderCancelled
from afterbell.engine.book import OpenOrder
from afterbell.engine.state import EngineState

_HEAP_SLACK = 1_024


def rest_order(state: EngineState, order: OpenOrder) -> None:
    """Put an order on its book and into every index."""
    state.books[order.record.market_id].side(order.side).add(order)
    state.orders[order.order_id] = order
    state.account_orders.setdefault(order.account, {})[order.order_id] = order
    state.lane_orders[order.account << 16 | order.record.lane] = order
    heappush(state.expiries, (order.record.expiry_s, order.order_id))


def forget_order(state: EngineState, order: OpenOrder) -> None:
    """Drop an order that is off its book already from the other indices."""
    del state.orders[order.order_id]
    own = state.account_orders[order.account]
    del own[order.order_id]
    if not own:
        del state.account_orders[order.account]
    lane_key = order.account << 16 | order.record.lane
    if state.lane_orders.get(lane_key) is order:
        del state.lane_orders[lane_key]


def cancel_resting(state: EngineState, order: OpenOrder, reason: str) -> OrderCancelled:
    """Take a resting order off the book and return its event."""
    state.books[order.record.market_id].side(order.side).remove(order)
    forget_order(state, order)
    return build_cancelled(order, reason)


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
            events.append(cancel_resting(state, order, RejectReason.PRICE_OUTSIDE_BAND.value))
            order = side.get_first()
    return events


def purge_expired(state: EngineState, time_s: int) -> list[Event]:
    """Cancel every resting order that is dead at this second: alive while time <= expiry."""
    events: list[Event] = []
    heap = state.expiries
    while heap and heap[0][0] < time_s:
        _, order_id = heappop(heap)
        order = state.orders.get(order_id)
        if order is not None:
            events.append(cancel_resting(state, order, RejectReason.EXPIRED.value))
    if len(heap) > 2 * len(state.orders) + _HEAP_SLACK:
        # Entries of orders that left early; without this a market maker's cancelled quotes stay for their 30 days.
        state.expiries = [(expiry_s, order_id) for expiry_s, order_id in heap if order_id in state.orders]
        heapify(state.expiries)
    return events
