"""Judge an order: what it says, its lane, and whether it may act now.

The checks run from cheap and certain to dear and circumstantial; the first failure is the answer. `check_acting` is
asked again when a waiting order's trigger is met. Must not: change anything; orders.py and triggers.py do.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from afterbell.domain.batch import build_order_record
from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.commands import PlaceOrder
from afterbell.domain.digests import build_digest, hash_order
from afterbell.domain.errors import FieldOutOfRange
from afterbell.domain.ids import N_ADDRESS_BYTES, build_account_id, lane_of, seq_of
from afterbell.domain.order import FLAG_HAS_TRIGGER, Order, SignedOrder, TimeInForce, TriggerKind
from afterbell.domain.order_checks import check_expiry
from afterbell.domain.settlement import Execution
from afterbell.engine.book import BookSide, OpenOrder
from afterbell.engine.keys import KEY_CODES, check_order_signer
from afterbell.engine.refusals import Refusal, refuse_malformed, refuse_order_code
from afterbell.engine.removal import get_partner, is_left_behind
from afterbell.engine.risk import check_order_risk
from afterbell.engine.state import EngineState

N_SIGNATURE_WORD_BYTES: Final = 32


def read_order(command: PlaceOrder) -> Order | Refusal:
    """Return what was signed, or why it is not an order."""
    try:
        order = Order(
            owner=command.owner,
            subaccount=command.subaccount,
            market_id=command.market,
            epoch=command.epoch,
            is_buy=command.is_buy,
            size_lots=command.size_lots,
            limit_ticks=command.limit_ticks,
            max_fee_ppm=command.max_fee_ppm,
            expiry_s=command.expiry_s,
            lane=lane_of(command.nonce),
            seq=seq_of(command.nonce),
            reduce_only=command.reduce_only,
            post_only=command.post_only,
            time_in_force=TimeInForce(command.time_in_force),
            trigger_ticks=command.trigger_ticks,
            trigger_kind=TriggerKind(command.trigger_kind),
        )
        order.validate_ranges()
    except (FieldOutOfRange, ValueError) as error:
        return refuse_malformed(str(error))
    if len(command.r) != N_SIGNATURE_WORD_BYTES or len(command.vs) != N_SIGNATURE_WORD_BYTES:
        return refuse_malformed(f"r of {len(command.r)} bytes, vs of {len(command.vs)} bytes")
    if command.signer and len(command.signer) != N_ADDRESS_BYTES:
        return refuse_malformed(f"signer of {len(command.signer)} bytes")
    if order.trigger_kind is TriggerKind.NONE and order.trigger_ticks:
        # A batch carries the price only with a kind, so this digest could not be built again.
        return refuse_malformed(f"trigger_ticks {order.trigger_ticks} without a trigger_kind")
    return order


def check_terms(state: EngineState, command: PlaceOrder, order: Order, time_ms: int) -> Refusal | None:
    """Check what does not depend on the account: market, epoch, digest, seq window."""
    info = state.markets.get(order.market_id)
    if info is None:
        return Refusal(
            reason=RejectReason.UNKNOWN_MARKET,
            required="a listed market",
            found=f"market {order.market_id}",
            action="choose a market of GET /v1/markets",
        )
    if info.halt_reason is not None:
        return Refusal(
            reason=RejectReason.MARKET_HALTED,
            required="a market that is not halted",
            found=f"{info.symbol} halted: {info.halt_reason}",
            action="wait until it resumes",
        )
    epoch = state.chain.price(order.market_id).epoch
    if order.epoch != epoch and not (order.reduce_only and order.epoch == epoch - 1 and epoch > 1):
        return Refusal(
            reason=RejectReason.WRONG_EPOCH,
            required=f"epoch {epoch}, or {epoch - 1} with reduce_only",
            found=f"epoch {order.epoch}",
            action="sign for the epoch of GET /v1/markets",
        )
    digest = build_digest(state.domain_separator, hash_order(order))
    if digest != command.order_id:
        return Refusal(
            reason=RejectReason.BAD_SIGNATURE,
            required=f"the digest of the order, 0x{digest.hex()}",
            found=f"0x{command.order_id.hex()}",
            action="hash the order for this chain and contract (GET /v1/venue)",
        )
    return _check_seq(state, order, time_ms)


def build_open_order(state: EngineState, command: PlaceOrder, order: Order, time_ms: int) -> OpenOrder:
    """Return the order as the engine will keep it; nothing is registered yet."""
    record = build_order_record(
        SignedOrder(order=order, r=command.r, vs=command.vs),
        taker_fee_ppm=state.config.taker_fee_ppm,
        maker_fee_ppm=state.config.maker_fee_ppm,
        previous_epoch=order.epoch != state.chain.price(order.market_id).epoch,
        session_key=bool(command.signer),
    )
    return OpenOrder(
        order_id=command.order_id,
        account=build_account_id(order.owner, order.subaccount),
        record=record,
        epoch=order.epoch,
        nonce=command.nonce,
        client_id=command.client_id,
        accepted_ms=time_ms,
        signer=command.signer,
        remaining_lots=order.size_lots,
    )


def check_code(state: EngineState, order: OpenOrder, time_s: int) -> tuple[Refusal | None, bool]:
    """Return (refusal by the chain's order code, whether the order must wait for its trigger)."""
    record = order.record
    execution = state.execution(time_s)
    code = _judge(execution, order)
    must_wait = code == StatusCode.TRIGGER_NOT_MET
    if must_wait:
        # What comes after the trigger in the chain's list must hold all the same.
        code = _judge(execution, order, has_trigger=False)
    if code == StatusCode.OK and record.expiry_s < time_s:
        # A batch may have begun a moment ago; the clock has moved on.
        code = check_expiry(record.expiry_s, time_s)
    if code in (StatusCode.OK, *KEY_CODES):
        # The key's codes come last in the chain's list, and here they are worded and judged by the clock too.
        return check_order_signer(state, order, execution, max(time_s, execution.matched_at_s)), must_wait
    price = execution.price(record.market_id)
    rules = state.rules_of(record.market_id, price.session, execution.matched_at_s)
    return refuse_order_code(code, record, rules, max(time_s, execution.matched_at_s), price.session), must_wait


def check_lane(state: EngineState, order: OpenOrder, *, is_amend: bool, time_s: int) -> tuple[Refusal | None, bytes]:
    """Return (refusal, order id of the partner if the order is the second of an OCO).

    A seq above all that its lane has seen is new. An equal one is the second of an OCO if the first lives, alone, in
    the same market, and its fills leave something of the second's size; `order.remaining_lots` is then what.
    """
    record = order.record
    chain_seq, filled_lots = state.execution(time_s).lane(order.account, record.lane)
    last_seq = max(state.lane_seqs.get(order.lane_key, -1), chain_seq or -1)
    if record.seq > last_seq:
        return None, b""
    required, found = f"a seq above {last_seq} in lane {record.lane}", f"seq {record.seq}"
    in_lane = state.lane_orders.get(order.lane_key, [])
    if record.seq == last_seq and len(in_lane) == 1 and not is_amend and in_lane[0].order_id != order.order_id:
        (first,) = in_lane
        used_lots = filled_lots if chain_seq == record.seq else 0
        if first.record.seq != record.seq or first.partner_id:
            found += ", of a lane that has had its two orders"
        elif first.record.market_id != record.market_id:
            found += f", of an order of market {first.record.market_id}: an OCO is of one market"
        elif used_lots >= record.size_lots:
            found += f", and {used_lots} lots of the lane filled against a size of {record.size_lots}"
        else:
            return None, first.order_id
    return (
        Refusal(
            reason=RejectReason.DEAD_LANE,
            required=required,
            found=found,
            action="sign anew with the venue clock's time; use another lane for orders that live beside each other",
        ),
        b"",
    )


def check_count(state: EngineState, order: OpenOrder, leaving: Collection[OpenOrder]) -> Refusal | None:
    """Check the number of live orders of the account, this one included."""
    n_open = len(state.account_orders.get(order.account, {})) - len(leaving)
    if n_open < state.config.max_open_orders_per_account:
        return None
    return Refusal(
        reason=RejectReason.TOO_MANY_ORDERS,
        required=f"at most {state.config.max_open_orders_per_account} open orders per account",
        found=f"{n_open} open orders",
        action="cancel some, or use another subaccount",
    )


def check_waiting(state: EngineState, order: OpenOrder, time_s: int) -> Refusal | None:
    """Check what an order must fulfil to wait: an account with money, so that nobody piles them up for nothing."""
    equity_quote = state.execution(time_s).health(order.account).equity_quote
    if equity_quote > 0:
        return None
    return Refusal(
        reason=RejectReason.INSUFFICIENT_MARGIN,
        required="equity above 0 quote to let an order wait for its trigger",
        found=f"{equity_quote} quote",
        action="deposit first",
    )


def check_acting(state: EngineState, order: OpenOrder, leaving: Collection[OpenOrder], time_s: int) -> Refusal | None:
    """Check what an order must fulfil at the moment it acts: post-only, band, margin. `leaving`: what it replaces."""
    record = order.record
    execution = state.execution(time_s)
    opposite = state.books[record.market_id].side(order.side.opposite)
    if record.post_only and opposite.is_crossed_by(record.limit_ticks):
        return Refusal(
            reason=RejectReason.WOULD_TAKE,
            required=f"a limit {'below' if record.is_buy else 'above'} {opposite.best_ticks} ticks",
            found=f"{record.limit_ticks} ticks",
            action="move the limit away from the other side, or sign without post_only",
        )
    refusal = _check_band(opposite, order, execution.band(record.market_id))
    if refusal is not None:
        return refusal
    partner = get_partner(state, order)
    if partner is not None and record.time_in_force.is_immediate:
        leaving = [*leaving, partner]  # as acting.act does
    return check_order_risk(state, execution, order, leaving, max(time_s, execution.matched_at_s))


def seq_time_ms(state: EngineState, seq: int) -> int:
    """Return the venue time a seq stands for, milliseconds since the UNIX epoch."""
    return state.config.genesis_s * 1_000 + seq


def limit_time_ms(state: EngineState, time_ms: int) -> int:
    """Return the latest venue time a seq may stand for now."""
    return time_ms + state.config.max_seq_ahead_ms


def _judge(execution: Execution, order: OpenOrder, *, has_trigger: bool = True) -> StatusCode:
    record = order.record
    if not has_trigger:
        record = replace(record, flags=record.flags & ~FLAG_HAS_TRIGGER, trigger_kind=0, trigger_ticks=0)
    return execution.check_order(
        order.account, record, domain_separator=None, recover=None, signer=order.signer or None
    )


def _check_seq(state: EngineState, order: Order, time_ms: int) -> Refusal | None:
    limit_ms = limit_time_ms(state, time_ms)
    if seq_time_ms(state, order.seq) > limit_ms:
        genesis_ms = state.config.genesis_s * 1_000
        return Refusal(
            reason=RejectReason.SEQ_TOO_FAR_AHEAD,
            required=f"a seq of at most {limit_ms - genesis_ms} ms since genesis (1 s ahead of the venue clock)",
            found=f"{order.seq} ms",
            action="take the seq from the venue clock (GET /v1/clock)",
        )
    min_seq = state.min_seqs.get(order.account_id, 0)
    if order.seq < min_seq:
        return Refusal(
            reason=RejectReason.SEQ_BELOW_MINIMUM,
            required=f"a seq of at least {min_seq} ms since genesis (the account's last cancel-all)",
            found=f"{order.seq} ms",
            action="sign anew with the venue clock's time",
        )
    return None


def _check_band(opposite: BookSide, order: OpenOrder, band: tuple[int, int] | None) -> Refusal | None:
    """Refuse what could only rest beyond the band, where it cannot fill and would block the book."""
    record = order.record
    if record.time_in_force.is_immediate or opposite.is_crossed_by(record.limit_ticks):
        return None
    if band is None or not is_left_behind(record, band):
        return None
    return Refusal(
        reason=RejectReason.PRICE_OUTSIDE_BAND,
        required=f"a limit at or {'below' if record.is_buy else 'above'} {band[1 if record.is_buy else 0]} ticks",
        found=f"{record.limit_ticks} ticks",
        action="move the limit inside the band around the external price",
    )
