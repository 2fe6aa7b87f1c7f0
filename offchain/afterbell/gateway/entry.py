"""Take what owners and session keys sign: check it, count it, hand it to the sequencer, show what came of it.

The routes for one order and for a batch of them share this. Acknowledged means durable: an answer leaves after the
sequencer has synced the journal. The same order again is answered with its present state, whether it is live, ended or
accepted a moment ago by the copy that arrived first. Must not: judge an order; the engine does.
"""

from __future__ import annotations

from collections.abc import Sequence

from afterbell import failpoints
from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import CancelAll, CancelOrder, PlaceOrder
from afterbell.domain.events import CancelRejected, Event, FillMatched, OrderAccepted, OrderCancelled, OrderRejected
from afterbell.domain.ids import (
    OPERATION_LANE,
    account_hex,
    address_hex,
    build_account_id,
    lane_of,
    owner_of,
    parse_account_hex,
    seq_of,
    subaccount_of,
)
from afterbell.domain.order import CancelAll as CancelAllMessage
from afterbell.domain.order import CancelOrder as CancelOrderMessage
from afterbell.domain.order import Operation, Order, TimeInForce, TriggerKind
from afterbell.engine import queries
from afterbell.gateway.deps import Desk, catch_up
from afterbell.gateway.errors import ApiError
from afterbell.gateway.requests import AmendOrderIn, CancelAllIn, CancelOrderIn, DomainIn, OrderIn, PlaceOrderIn
from afterbell.gateway.schemas import CancelOut, OrderOut
from afterbell.gateway.services import Services
from afterbell.gateway.signatures import CheckedSignature
from afterbell.gateway.views import build_accepted_order, build_matched_fill, build_order, build_order_fills
from afterbell.ports import Frame


def must_be_operation(nonce: int) -> int:
    """Return the seq of an operation's nonce. Raises: ApiError if it is not in lane 65535."""
    if lane_of(nonce) != OPERATION_LANE:
        raise ApiError(
            RejectReason.MALFORMED_REQUEST,
            "the nonce is not one of an operation",
            required="lane 65535: nonce = 65535 << 40 | seq",
            found=f"lane {lane_of(nonce)}",
            action="use milliseconds of venue time since genesis_s as seq",
        )
    return seq_of(nonce)


async def authorise(
    desk: Desk,
    message: Operation,
    signature: str | None,
    *,
    is_approved: bool,
    named: DomainIn | None,
) -> CheckedSignature:
    """Return who stands behind an operation of a batch: the owner, a key, or an approval on chain; and count it.

    Raises: ApiError (BAD_SIGNATURE, WRONG_CHAIN, NOT_APPROVED, MALFORMED_REQUEST, NOT_READY), RateLimited, Unavailable.
    """
    if not is_approved:
        account = build_account_id(message.owner, message.subaccount)
        checked = desk.signatures.check(message, signature, named, is_key=desk.key_test(account))
        desk.count(message.owner)
        return checked
    if signature is not None:
        raise ApiError(
            RejectReason.MALFORMED_REQUEST,
            "an operation is signed or approved, not both",
            required='"signature", or "approved": true',
            found="both",
            action="send the one the account's owner has given",
        )
    approvals = desk.services.approvals
    if approvals is None:
        raise ApiError(
            RejectReason.NOT_READY, "approvals on chain are not read here", action="sign the operation instead"
        )
    signed = desk.signatures.digest(message)
    if not await approvals.is_approved(message.owner, signed):
        raise ApiError(
            RejectReason.NOT_APPROVED,
            "the owner has not approved this operation on chain",
            required=f"Operations.approve(0x{signed.hex()}) by {address_hex(message.owner)}, mined",
            found="no approval of that digest",
            action="send the approval first and wait for its receipt; every field counts for the digest",
            details={"digest": "0x" + signed.hex(), "owner": address_hex(message.owner)},
        )
    desk.count(message.owner)
    return CheckedSignature(digest=signed, is_approved=True)


def must_be_owner(checked: CheckedSignature, owner: bytes, what: str) -> None:
    """Refuse what a session key has signed and may not. Raises: ApiError KEY_LIMIT."""
    if checked.signer:
        raise ApiError(
            RejectReason.KEY_LIMIT,
            f"a session key may not {what}",
            required=f"the signature of the owner {address_hex(owner)}",
            found=f"that of the session key {address_hex(checked.signer)}",
            action="sign with the owner's key",
            details={"digest": "0x" + checked.digest.hex()},
        )


# ------------------------------------------------------------------------ orders


async def place(desk: Desk, request: PlaceOrderIn) -> OrderOut:
    """Enter a signed order."""
    return await _enter(desk, request.order, request, amends=b"", amends_filled_lots=0)


async def amend(desk: Desk, request: AmendOrderIn) -> OrderOut:
    """Enter a signed order in the place of another."""
    amends = bytes.fromhex(request.order_id[2:])
    return await _enter(desk, request.order, request, amends=amends, amends_filled_lots=request.filled_lots)


def _build_message(order: OrderIn) -> Order:
    account = parse_account_hex(order.account)
    return Order(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        market_id=order.market,
        epoch=order.epoch,
        is_buy=order.is_buy,
        size_lots=order.size_lots,
        limit_ticks=order.limit_ticks,
        max_fee_ppm=order.max_fee_ppm,
        expiry_s=order.expiry_s,
        lane=lane_of(order.nonce),
        seq=seq_of(order.nonce),
        reduce_only=order.reduce_only,
        post_only=order.post_only,
        time_in_force=TimeInForce[order.time_in_force],
        trigger_ticks=order.trigger_ticks,
        trigger_kind=TriggerKind(order.trigger_kind),
    )


async def _enter(
    desk: Desk, fields: OrderIn, request: PlaceOrderIn | AmendOrderIn, *, amends: bytes, amends_filled_lots: int
) -> OrderOut:
    services = desk.services
    if fields.market not in services.hub.symbols:
        raise ApiError(
            RejectReason.UNKNOWN_MARKET,
            "no such market",
            required="a market id of /v1/markets",
            found=str(fields.market),
            action="GET /v1/markets",
        )
    message = _build_message(fields)
    account = parse_account_hex(fields.account)
    checked = desk.signatures.check(message, request.signature, request.domain, is_key=desk.key_test(account))
    desk.count(message.owner)
    desk.notes.order_ids.append("0x" + checked.digest.hex())
    failpoints.reach("order.received")
    was_used = queries.is_lane_used(services.state(), account, fields.nonce)
    if was_used:
        repeat = await _find_repeat(services, checked.digest)
        if repeat is not None:
            return repeat
    command = PlaceOrder(
        order_id=checked.digest,
        owner=message.owner,
        subaccount=message.subaccount,
        market=message.market_id,
        epoch=message.epoch,
        is_buy=message.is_buy,
        size_lots=message.size_lots,
        limit_ticks=message.limit_ticks,
        max_fee_ppm=message.max_fee_ppm,
        expiry_s=message.expiry_s,
        nonce=fields.nonce,
        reduce_only=message.reduce_only,
        post_only=message.post_only,
        time_in_force=int(message.time_in_force),
        trigger_ticks=message.trigger_ticks,
        trigger_kind=int(message.trigger_kind),
        r=checked.r,
        vs=checked.vs,
        client_id=request.client_id,
        signer=checked.signer,
        amends=amends,
        amends_filled_lots=amends_filled_lots,
    )
    frame, events = await services.submitter.submit(command)
    for event in events:
        if isinstance(event, OrderRejected) and event.order_id == checked.digest:
            # Its copy may have been accepted while this one waited.
            if not was_used and queries.is_lane_used(services.state(), account, fields.nonce):
                repeat = await _find_repeat(services, checked.digest)
                if repeat is not None:
                    return repeat
            raise _refuse_order(event)
    answer = _show_accepted(services, checked.digest, frame, events)
    failpoints.reach("order.acknowledged")
    return answer


async def _find_repeat(services: Services, order_id: bytes) -> OrderOut | None:
    """Return what became of an order that was accepted before."""
    await catch_up(services)
    order = await services.readmodel.run(services.readmodel.get_order, order_id)
    if order is None or order.status == "REJECTED":
        return None
    fills = await services.readmodel.run(services.readmodel.read_fills_of_order, order_id)
    symbols = services.hub.symbols
    return build_order(order, build_order_fills(fills, order_id, symbols), symbols, is_repeat=True)


def _show_accepted(services: Services, order_id: bytes, frame: Frame, events: Sequence[Event]) -> OrderOut:
    accepted = next(event for event in events if isinstance(event, OrderAccepted) and event.order_id == order_id)
    cancelled = next(
        (event for event in events if isinstance(event, OrderCancelled) and event.order_id == order_id), None
    )
    fills = [
        build_matched_fill(event, frame.time_ms)
        for event in events
        if isinstance(event, FillMatched) and order_id in (event.taker_order_id, event.maker_order_id)
    ]
    symbols = services.hub.symbols
    return build_accepted_order(
        accepted,
        cancelled=cancelled,
        live=queries.find_order(services.state(), order_id),
        fills=build_order_fills(fills, order_id, symbols),
        frame=frame,
        symbols=symbols,
    )


def _refuse_order(event: OrderRejected) -> ApiError:
    return ApiError(
        RejectReason(event.reason),
        f"the order is refused: {event.reason}",
        required=event.required,
        found=event.found,
        action=event.action,
        details={"order_id": "0x" + event.order_id.hex(), "client_id": event.client_id},
    )


# ----------------------------------------------------------------------- cancels


async def cancel(desk: Desk, request: CancelOrderIn) -> CancelOut:
    """Cancel the orders of a nonce; binding off chain. Counts in no bucket."""
    fields = request.cancel
    account = parse_account_hex(fields.account)
    message = CancelOrderMessage(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        order_nonce=fields.order_nonce,
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = desk.signatures.check(message, request.signature, request.domain, is_key=desk.key_test(account))
    _, events = await desk.services.submitter.submit(
        CancelOrder(
            account=account,
            order_nonce=fields.order_nonce,
            expiry_s=fields.expiry_s,
            nonce=fields.nonce,
            r=checked.r,
            vs=checked.vs,
            signer=checked.signer,
        )
    )
    return _answer_cancel(desk, fields.account, events)


async def cancel_all(desk: Desk, request: CancelAllIn) -> CancelOut:
    """Cancel every order with a lower seq; binding off chain. Counts in no bucket."""
    fields = request.cancel_all
    account = parse_account_hex(fields.account)
    message = CancelAllMessage(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        min_seq=fields.min_seq_ms,
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = desk.signatures.check(message, request.signature, request.domain, is_key=desk.key_test(account))
    _, events = await desk.services.submitter.submit(
        CancelAll(
            account=account,
            min_seq_ms=fields.min_seq_ms,
            expiry_s=fields.expiry_s,
            nonce=fields.nonce,
            r=checked.r,
            vs=checked.vs,
            signer=checked.signer,
        )
    )
    return _answer_cancel(desk, fields.account, events)


def _answer_cancel(desk: Desk, account: str, events: Sequence[Event]) -> CancelOut:
    for event in events:
        if isinstance(event, CancelRejected):
            raise ApiError(
                RejectReason(event.reason),
                f"the cancellation is refused: {event.reason}",
                required=event.required,
                found=event.found,
                action=event.action,
            )
    # The same frame may also remove expired orders, of anybody.
    order_ids = [
        "0x" + event.order_id.hex()
        for event in events
        if isinstance(event, OrderCancelled) and event.reason == "USER" and account_hex(event.account) == account
    ]
    desk.notes.order_ids += order_ids
    return CancelOut(account=account, order_ids=order_ids)
