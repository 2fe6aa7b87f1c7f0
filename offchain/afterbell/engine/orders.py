"""Take orders and cancels: validate, check risk, match, rest.

The checks run from cheap and certain to dear and circumstantial; the first failure is the answer. Must not: touch books
beside matching.py and removal.py.
"""

from __future__ import annotations

from afterbell.domain.batch import OrderRecord, build_order_record
from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.commands import CancelAll, CancelOrder, PlaceOrder
from afterbell.domain.digests import build_digest, hash_order
from afterbell.domain.errors import FieldOutOfRange
from afterbell.domain.events import CancelRejected, Event, OrderAccepted, OrderRejected
from afterbell.domain.execution import check_expiry
from afterbell.domain.ids import MAX_ACCOUNT_ID, AccountId, build_account_id, lane_of, seq_of
from afterbell.domain.order import MAX_LIFETIME_S, Order, SignedOrder, TimeInForce, TriggerKind
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine.book import BookSide, OpenOrder
from afterbell.engine.matching import match_order
from afterbell.engine.refusals import Refusal, refuse_order_code
from afterbell.engine.removal import build_cancelled, cancel_resting, is_left_behind, rest_order
from afterbell.engine.risk import check_order_risk
from afterbell.engine.state import EngineState

N_SIGNATURE_WORD_BYTES = 32
N_HASH_BYTES = 32


def place_order(state: EngineState, command: PlaceOrder, time_ms: int) -> list[Event]:
    """Accept (fill, rest, give up the rest) or reject one order.

    Event order: what left the book for it and its fills, OrderAccepted, then OrderCancelled for a rest given up.
    """
    time_s = milliseconds_to_seconds(time_ms)
    order = _read_order(command)
    if isinstance(order, Refusal):
        return [_reject(command, order)]
    refusal = _check_terms(state, command, order, time_ms)
    if refusal is not None:
        return [_reject(command, refusal)]
    opened = _build_open_order(state, command, order, time_ms)
    lane_key = opened.account << 16 | order.lane
    replaced = state.lane_orders.get(lane_key)
    refusal = _check_state(state, opened, replaced, time_s)
    if refusal is not None:
        return [_reject(command, refusal)]

    events: list[Event] = []
    state.lane_seqs[lane_key] = order.seq
    if replaced is not None:
        events.append(cancel_resting(state, replaced, "REPLACED"))
    give_up_reason = match_order(state, opened, time_s, events)
    if give_up_reason is None and order.time_in_force.is_immediate:
        give_up_reason = "IOC"
    if give_up_reason is None and is_left_behind(opened.record, state.execution(time_s).band(order.market_id)):
        give_up_reason = RejectReason.PRICE_OUTSIDE_BAND.value
    rests = opened.remaining_lots > 0 and give_up_reason is None
    if rests:
        rest_order(state, opened)
    events.append(_build_accepted(opened, rests))
    if opened.remaining_lots > 0 and give_up_reason is not None:
        events.append(build_cancelled(opened, give_up_reason))
    return events


def cancel_order(state: EngineState, command: CancelOrder, time_ms: int) -> list[Event]:
    """Cancel one resting order; its nonce is dead from now on, even if the order arrives later."""
    account = AccountId(command.account)
    refusal = _check_cancel(command, time_ms)
    if refusal is not None:
        return [_reject_cancel(command, refusal)]
    lane_key = account << 16 | lane_of(command.order_nonce)
    seq = seq_of(command.order_nonce)
    if seq_time_ms(state, seq) <= time_ms + state.config.max_seq_ahead_ms:
        state.lane_seqs[lane_key] = max(state.lane_seqs.get(lane_key, 0), seq)
    order = state.lane_orders.get(lane_key)
    if order is None or order.nonce != command.order_nonce:
        refusal = Refusal(
            reason=RejectReason.UNKNOWN_ORDER,
            required="the nonce of a resting order",
            found=f"nonce {command.order_nonce} (lane {lane_of(command.order_nonce)}, seq {seq})",
            action="look at the open orders; it may have filled, expired or been cancelled",
        )
        return [_reject_cancel(command, refusal)]
    return [cancel_resting(state, order, "USER")]


def cancel_all(state: EngineState, command: CancelAll, time_ms: int) -> list[Event]:
    """Cancel every resting order with a lower seq, oldest first; lower seqs are dead from now on."""
    account = AccountId(command.account)
    refusal = _check_cancel(command, time_ms)
    limit_ms = time_ms + state.config.max_seq_ahead_ms
    if refusal is None and seq_time_ms(state, command.min_seq_ms) > limit_ms:
        refusal = Refusal(
            reason=RejectReason.SEQ_TOO_FAR_AHEAD,
            required=f"a min_seq at or before {limit_ms - state.config.genesis_s * 1_000} ms since genesis",
            found=f"{command.min_seq_ms} ms",
            action="use the venue clock (GET /v1/clock): a later one would lock the account",
        )
    if refusal is not None:
        return [_reject_cancel(command, refusal)]
    state.min_seqs[account] = max(state.min_seqs.get(account, 0), command.min_seq_ms)
    doomed = [
        order for order in state.account_orders.get(account, {}).values() if order.record.seq < command.min_seq_ms
    ]
    return [cancel_resting(state, order, "USER") for order in doomed]


def seq_time_ms(state: EngineState, seq: int) -> int:
    """Return the venue time a seq stands for, milliseconds since the UNIX epoch."""
    return state.config.genesis_s * 1_000 + seq


def refuse_malformed(detail: str) -> Refusal:
    """Word a field that does not fit its signed type."""
    return Refusal(
        reason=RejectReason.MALFORMED_REQUEST,
        required="every field inside its signed type (contracts/README.md, Typed data)",
        found=detail,
        action="build the message with the SDK",
    )


def _read_order(command: PlaceOrder) -> Order | Refusal:
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
    return order


def _check_terms(state: EngineState, command: PlaceOrder, order: Order, time_ms: int) -> Refusal | None:
    """Check what does not depend on the account: market, kind, epoch, digest, seq window."""
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
    if order.trigger_kind != TriggerKind.NONE or order.trigger_ticks or order.time_in_force is TimeInForce.FOK:
        return Refusal(
            reason=RejectReason.UNSUPPORTED,
            required="GTC, GTT or IOC without a trigger",
            found=f"{order.time_in_force.name}, trigger {order.trigger_kind.name} at {order.trigger_ticks} ticks",
            action="watch the price yourself and send an IOC",
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


def _check_seq(state: EngineState, order: Order, time_ms: int) -> Refusal | None:
    limit_ms = time_ms + state.config.max_seq_ahead_ms
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


def _build_open_order(state: EngineState, command: PlaceOrder, order: Order, time_ms: int) -> OpenOrder:
    record = build_order_record(
        SignedOrder(order=order, r=command.r, vs=command.vs),
        taker_fee_ppm=state.config.taker_fee_ppm,
        maker_fee_ppm=state.config.maker_fee_ppm,
        previous_epoch=order.epoch != state.chain.price(order.market_id).epoch,
    )
    return OpenOrder(
        order_id=command.order_id,
        account=build_account_id(order.owner, order.subaccount),
        record=record,
        epoch=order.epoch,
        nonce=command.nonce,
        client_id=command.client_id,
        accepted_ms=time_ms,
        remaining_lots=order.size_lots,
    )


def _check_state(state: EngineState, order: OpenOrder, replaced: OpenOrder | None, time_s: int) -> Refusal | None:
    """Check what depends on account, prices and book: the chain's order code, lane, post-only, counts, margin."""
    record = order.record
    execution = state.execution(time_s)
    price = execution.price(record.market_id)
    rules = state.rules_of(record.market_id, price.session)
    code = execution.check_order(order.account, record, domain_separator=None, recover=None)
    if code == StatusCode.OK:
        # A batch may have begun a moment ago; the clock has moved on.
        code = check_expiry(record.expiry_s, time_s) if record.expiry_s < time_s else StatusCode.OK
    if code != StatusCode.OK:
        return refuse_order_code(code, record, rules, max(time_s, execution.matched_at_s), price.session)
    refusal = _check_lane(state, order, time_s)
    if refusal is not None:
        return refusal
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
    n_open = len(state.account_orders.get(order.account, {})) - (replaced is not None)
    if not record.time_in_force.is_immediate and n_open >= state.config.max_open_orders_per_account:
        return Refusal(
            reason=RejectReason.TOO_MANY_ORDERS,
            required=f"at most {state.config.max_open_orders_per_account} open orders per account",
            found=f"{n_open} open orders",
            action="cancel some, or use another subaccount",
        )
    return check_order_risk(state, execution, order, replaced)


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


def _check_lane(state: EngineState, order: OpenOrder, time_s: int) -> Refusal | None:
    record: OrderRecord = order.record
    lane_key = order.account << 16 | record.lane
    chain_seq, _ = state.execution(time_s).lane(order.account, record.lane)
    last_seq = max(state.lane_seqs.get(lane_key, -1), chain_seq or -1)
    if record.seq > last_seq:
        return None
    return Refusal(
        reason=RejectReason.DEAD_LANE,
        required=f"a seq above {last_seq} in lane {record.lane}",
        found=f"seq {record.seq}",
        action="sign anew with the venue clock's time; use another lane for orders that live beside each other",
    )


def _check_cancel(command: CancelOrder | CancelAll, time_ms: int) -> Refusal | None:
    time_s = milliseconds_to_seconds(time_ms)
    if not 0 <= command.account <= MAX_ACCOUNT_ID:
        return refuse_malformed(f"account {command.account:#x}")
    code = check_expiry(command.expiry_s, time_s)
    if code == StatusCode.OK:
        return None
    return Refusal(
        reason=RejectReason.EXPIRED if code == StatusCode.EXPIRED else RejectReason.EXPIRY_TOO_FAR,
        required=f"an expiry in [{time_s}, {time_s + MAX_LIFETIME_S}] s",
        found=f"{command.expiry_s} s",
        action="sign the cancel anew by the venue clock (GET /v1/clock)",
    )


def _build_accepted(order: OpenOrder, rests: bool) -> OrderAccepted:
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
        resting_lots=order.remaining_lots if rests else 0,
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


def _reject_cancel(command: CancelOrder | CancelAll, refusal: Refusal) -> CancelRejected:
    return CancelRejected(
        account=command.account,
        nonce=command.order_nonce if isinstance(command, CancelOrder) else command.nonce,
        reason=refusal.reason.value,
        required=refusal.required,
        found=refusal.found,
        action=refusal.action,
    )
