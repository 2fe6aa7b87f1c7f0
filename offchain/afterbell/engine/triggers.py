"""Let triggers follow the prices: stop and take-profit orders act, or go back to waiting, when prices are adopted.

Prices hold for a whole batch and the chain judges every trigger by them, so an order with a trigger may rest only
while it is met. Met ones act first accepted first, each once; what the open batch has no room for acts right after the
next seal, before any order that comes later (batching.needs_seal_before). Must not: judge or match by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from afterbell.domain.events import Event, OrderTriggered, OrderWaiting
from afterbell.engine.acting import act
from afterbell.engine.book import OpenOrder
from afterbell.engine.entry import check_acting, check_code
from afterbell.engine.removal import build_cancelled, end_partner, forget_order, take_out
from afterbell.engine.state import EngineState


def disarm(state: EngineState, markets: Iterable[int], time_s: int) -> list[Event]:
    """Take resting orders whose trigger the prices do not meet any more off their books; they wait again."""
    execution = state.execution(time_s)
    events: list[Event] = []
    for market in markets:
        for order in state.triggers.list_unmet(market, execution.price(market)):
            take_out(state, order)
            state.triggers.wait(order)
            events.append(
                OrderWaiting(
                    order_id=order.order_id,
                    account=order.account,
                    market=market,
                    remaining_lots=order.remaining_lots,
                )
            )
    return events


def act_on_triggers(state: EngineState, markets: Iterable[int], time_s: int) -> list[Event]:
    """Let the waiting orders of these markets whose trigger is met act, while the open batch has room."""
    execution = state.execution(time_s)
    events: list[Event] = []
    state.triggers.is_pending = False
    for order in state.triggers.list_met({market: execution.price(market) for market in markets}):
        if order.order_id not in state.orders:
            continue  # ended a moment ago, with its partner
        if state.is_open_batch_half_full:
            state.triggers.is_pending = True
            break
        events += _trigger(state, order, time_s)
    return events


def act_on_pending(state: EngineState, time_s: int) -> list[Event]:
    """After a seal: go on with the triggers that had no room in the batch before."""
    return act_on_triggers(state, sorted(state.markets), time_s) if state.triggers.is_pending else []


def _trigger(state: EngineState, order: OpenOrder, time_s: int) -> list[Event]:
    take_out(state, order)
    refusal, _ = check_code(state, order, time_s)
    if refusal is None:
        refusal = check_acting(state, order, (), time_s)
    after: list[Event] = []
    reason = act(state, order, time_s, after) if refusal is None else refusal.reason.value
    rests = order.remaining_lots > 0 and reason is None
    if not rests:
        forget_order(state, order)
        if reason is not None:
            after.append(build_cancelled(order, reason))
        after += end_partner(state, order)
    triggered = OrderTriggered(
        order_id=order.order_id,
        account=order.account,
        market=order.record.market_id,
        trigger_ticks=order.record.trigger_ticks,
        resting_lots=order.remaining_lots if rests else 0,
    )
    return [triggered, *after]
