"""Let one order act: match it, rest what is left, or give it up. For orders that enter and for triggers that are met.

An order that may never rest consumes its lane on chain whether it fills or not, so its OCO partner leaves before it
acts. Must not: judge whether it may; entry.py does.
"""

from __future__ import annotations

from afterbell.domain.codes import RejectReason
from afterbell.domain.errors import InvariantBroken
from afterbell.domain.events import Event
from afterbell.domain.order import TimeInForce
from afterbell.engine.book import OpenOrder
from afterbell.engine.matching import match_order, would_fill_whole
from afterbell.engine.removal import end_partner, is_left_behind, rest_order
from afterbell.engine.state import EngineState


def act(state: EngineState, order: OpenOrder, time_s: int, events: list[Event]) -> str | None:
    """Fill and rest an order; return why its rest is given up, or None if it rests or has nothing left.

    Appends what happens to others and its fills to `events`. The caller knows the indices: it registers what rests
    and forgets what does not.
    """
    record = order.record
    if record.time_in_force.is_immediate:
        events += end_partner(state, order)
    if record.time_in_force is TimeInForce.FOK and not would_fill_whole(state, order, time_s):
        return RejectReason.CANNOT_FILL.value
    reason = match_order(state, order, time_s, events)
    if order.remaining_lots == 0:
        return None
    if record.time_in_force is TimeInForce.FOK:
        raise InvariantBroken(
            f"FOK 0x{order.order_id.hex()} was to fill whole and has {order.remaining_lots} lots left"
        )
    if reason is None and record.time_in_force.is_immediate:
        reason = "IOC"
    if reason is None and is_left_behind(record, state.execution(time_s).band(record.market_id)):
        reason = RejectReason.PRICE_OUTSIDE_BAND.value
    if reason is None:
        rest_order(state, order)
    return reason
