"""Take orders: judge, replace, match, rest or let wait, and say so.

Event order of an accepted order: what left for it and its fills, OrderAccepted, then OrderCancelled for a rest given
up. Must not: judge (entry.py, amend.py) or touch books beside acting.py and removal.py.
"""

from __future__ import annotations

from afterbell.domain.commands import PlaceOrder
from afterbell.domain.events import Event, OrderAccepted, OrderCancelled, OrderRejected
from afterbell.domain.ids import build_account_id
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine.acting import act
from afterbell.engine.amend import check_amend, keeps_priority
from afterbell.engine.batching import refuse_obstacle
from afterbell.engine.book import OpenOrder
from afterbell.engine.client_ids import check_client_id, remember_client_id
from afterbell.engine.entry import (
    build_open_order,
    check_acting,
    check_code,
    check_count,
    check_lane,
    check_terms,
    check_waiting,
    read_order,
)
from afterbell.engine.refusals import Refusal
from afterbell.engine.removal import (
    build_cancelled,
    build_reduced,
    cancel_each,
    end_partner,
    forget_order,
    register_order,
)
from afterbell.engine.state import EngineState


def place_order(state: EngineState, command: PlaceOrder, time_ms: int) -> list[Event]:
    """Accept (fill, rest, let wait, give up the rest) or reject one order."""
    time_s = milliseconds_to_seconds(time_ms)
    signed = read_order(command)
    if isinstance(signed, Refusal):
        return [_reject(command, signed)]
    refusal = refuse_obstacle(state, command) or check_terms(state, command, signed, time_ms)
    if refusal is not None:
        return [_reject(command, refusal)]
    order = build_open_order(state, command, signed, time_ms)
    leaving = [older for older in state.lane_orders.get(order.lane_key, []) if older.record.seq < order.record.seq]
    refusal = _check(state, command, order, leaving, time_s)
    if refusal is not None:
        return [_reject(command, refusal)]
    return _enter(state, command, order, leaving, time_s)


def _check(
    state: EngineState, command: PlaceOrder, order: OpenOrder, leaving: list[OpenOrder], time_s: int
) -> Refusal | None:
    """Judge what depends on account, prices and book; on success `order` knows its partner, rest and waiting."""
    refusal, order.is_waiting = check_code(state, order, time_s)
    refusal = refusal or check_client_id(state, order) or check_amend(state, command, order)
    if refusal is not None:
        return refusal
    refusal, order.partner_id = check_lane(state, order, is_amend=bool(command.amends), time_s=time_s)
    if refusal is not None:
        return refusal
    if order.partner_id:
        order.remaining_lots -= state.orders[order.partner_id].filled_lots
    may_stay = order.is_waiting or not order.record.time_in_force.is_immediate
    refusal = check_count(state, order, leaving) if may_stay else None
    if refusal is not None:
        return refusal
    return check_waiting(state, order, time_s) if order.is_waiting else check_acting(state, order, leaving, time_s)


def _enter(
    state: EngineState, command: PlaceOrder, order: OpenOrder, leaving: list[OpenOrder], time_s: int
) -> list[Event]:
    state.lane_seqs[order.lane_key] = order.record.seq
    order.order_number = state.next_order_number
    state.next_order_number += 1
    remember_client_id(state, order)
    if order.partner_id:
        state.orders[order.partner_id].partner_id = order.order_id
    if command.amends and keeps_priority(leaving[0], order):
        return _take_place(state, leaving[0], order)
    events = cancel_each(state, leaving, "AMENDED" if command.amends else "REPLACED")
    if order.is_waiting:
        register_order(state, order)
        state.triggers.wait(order)
        events.append(_build_accepted(order, resting_lots=0, amends=command.amends))
        return events + _tell_reduced(order)
    reason = act(state, order, time_s, events)
    rests = order.remaining_lots > 0 and reason is None
    if rests:
        register_order(state, order)
    events.append(_build_accepted(order, resting_lots=order.remaining_lots if rests else 0, amends=command.amends))
    if rests:
        return events + _tell_reduced(order)
    if reason is not None:
        events.append(build_cancelled(order, reason))
    return events + end_partner(state, order)


def _take_place(state: EngineState, old: OpenOrder, order: OpenOrder) -> list[Event]:
    """Put an amended order where the old one stands; it takes nothing, because the old one crosses nothing."""
    cancelled: OrderCancelled = build_cancelled(old, "AMENDED")
    state.books[old.record.market_id].side(old.side).swap(old, order)
    forget_order(state, old)
    register_order(state, order)
    if order.record.has_trigger:
        state.triggers.rest(order)
    return [
        cancelled,
        _build_accepted(order, resting_lots=order.remaining_lots, amends=old.order_id, keeps_priority=True),
    ]


def _tell_reduced(order: OpenOrder) -> list[Event]:
    """Say what is left of the second order of an OCO when the first has filled before."""
    is_reduced = order.filled_lots + order.remaining_lots < order.record.size_lots
    return [build_reduced(order)] if is_reduced else []


def _build_accepted(
    order: OpenOrder, *, resting_lots: int, amends: bytes, keeps_priority: bool = False
) -> OrderAccepted:
    record = order.record
    return OrderAccepted(
        order_id=order.order_id,
        account=order.account,
        market=record.market_id,
        is_buy=record.is_buy,
        size_lots=record.size_lots,
        limit_ticks=record.limit_ticks,
        nonce=order.nonce,
        time_in_force=int(record.time_in_force),
        reduce_only=record.reduce_only,
        post_only=record.post_only,
        expiry_s=record.expiry_s,
        max_fee_ppm=record.max_fee_ppm,
        client_id=order.client_id,
        filled_lots=order.filled_lots,
        resting_lots=resting_lots,
        trigger_ticks=record.trigger_ticks,
        trigger_kind=record.trigger_kind,
        is_waiting=order.is_waiting,
        signer=order.signer,
        amends=amends,
        keeps_priority=keeps_priority,
    )


def _reject(command: PlaceOrder, refusal: Refusal) -> OrderRejected:
    try:
        account = int(build_account_id(command.owner, command.subaccount))
    except ValueError:
        account = 0
    return OrderRejected(
        order_id=command.order_id,
        account=account,
        market=command.market,
        reason=refusal.reason.value,
        required=refusal.required,
        found=refusal.found,
        action=refusal.action,
        client_id=command.client_id,
    )
