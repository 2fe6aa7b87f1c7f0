"""Take signed orders and cancellations; serve an order with the life of its fills.

Acknowledged means durable: the answer leaves after the sequencer has synced the journal.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from afterbell import failpoints
from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import CancelAll, CancelOrder, PlaceOrder
from afterbell.domain.events import CancelRejected, Event, FillMatched, OrderAccepted, OrderCancelled, OrderRejected
from afterbell.domain.ids import (
    OPERATION_LANE,
    account_hex,
    lane_of,
    owner_of,
    parse_account_hex,
    seq_of,
    subaccount_of,
)
from afterbell.domain.order import CancelAll as CancelAllMessage
from afterbell.domain.order import CancelOrder as CancelOrderMessage
from afterbell.domain.order import Order, TimeInForce, TriggerKind
from afterbell.gateway.deps import CaughtUp, RequestsLimiter, ServicesDep, Signatures, parse_digest
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.schemas import CancelAllIn, CancelOrderIn, CancelOut, OrderIn, OrderOut, PlaceOrderIn
from afterbell.gateway.views import build_accepted_order, build_matched_fill, build_order, build_order_fills

router = APIRouter(prefix="/v1/orders", tags=["orders"], responses=ERROR_RESPONSES)


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


@router.post("")
async def place_order(
    services: ServicesDep, signatures: Signatures, limiter: RequestsLimiter, request: PlaceOrderIn
) -> OrderOut:
    """Enter a signed order; the answer shows it after matching, with its fills."""
    if request.order.market not in services.hub.symbols:
        raise ApiError(
            RejectReason.UNKNOWN_MARKET,
            "no such market",
            required="a market id of /v1/markets",
            found=str(request.order.market),
            action="GET /v1/markets",
        )
    message = _build_message(request.order)
    checked = signatures.check(message, request.signature, request.domain)
    limiter.take(message.owner)
    failpoints.reach("order.received")
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
        nonce=request.order.nonce,
        reduce_only=message.reduce_only,
        post_only=message.post_only,
        time_in_force=int(message.time_in_force),
        trigger_ticks=message.trigger_ticks,
        trigger_kind=int(message.trigger_kind),
        r=checked.r,
        vs=checked.vs,
        client_id=request.client_id,
    )
    frame, events = await services.submitter.submit(command)
    for event in events:
        if isinstance(event, OrderRejected) and event.order_id == checked.digest:
            raise _refuse_order(event)
    accepted = next(event for event in events if isinstance(event, OrderAccepted) and event.order_id == checked.digest)
    cancelled = next(
        (event for event in events if isinstance(event, OrderCancelled) and event.order_id == checked.digest), None
    )
    fills = [
        build_matched_fill(event, frame.time_ms)
        for event in events
        if isinstance(event, FillMatched) and checked.digest in (event.taker_order_id, event.maker_order_id)
    ]
    shown = build_order_fills(fills, checked.digest, services.hub.symbols)
    answer = build_accepted_order(accepted, cancelled=cancelled, fills=shown, frame=frame, symbols=services.hub.symbols)
    failpoints.reach("order.acknowledged")
    return answer


def _refuse_order(event: OrderRejected) -> ApiError:
    return ApiError(
        RejectReason(event.reason),
        f"the order is refused: {event.reason}",
        required=event.required,
        found=event.found,
        action=event.action,
        details={"order_id": "0x" + event.order_id.hex(), "client_id": event.client_id},
    )


@router.post("/cancel")
async def cancel_order(
    services: ServicesDep, signatures: Signatures, limiter: RequestsLimiter, request: CancelOrderIn
) -> CancelOut:
    """Take one order off the book; binding off chain."""
    fields = request.cancel
    account = parse_account_hex(fields.account)
    message = CancelOrderMessage(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        order_nonce=fields.order_nonce,
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = signatures.check(message, request.signature, request.domain)
    limiter.take(message.owner)
    _, events = await services.submitter.submit(
        CancelOrder(
            account=account,
            order_nonce=fields.order_nonce,
            expiry_s=fields.expiry_s,
            nonce=fields.nonce,
            r=checked.r,
            vs=checked.vs,
        )
    )
    return _answer_cancel(fields.account, events)


@router.post("/cancel-all")
async def cancel_all(
    services: ServicesDep, signatures: Signatures, limiter: RequestsLimiter, request: CancelAllIn
) -> CancelOut:
    """Take every order with a lower seq off the book; binding off chain."""
    fields = request.cancel_all
    account = parse_account_hex(fields.account)
    message = CancelAllMessage(
        owner=owner_of(account),
        subaccount=subaccount_of(account),
        min_seq=fields.min_seq_ms,
        expiry_s=fields.expiry_s,
        seq=must_be_operation(fields.nonce),
    )
    checked = signatures.check(message, request.signature, request.domain)
    limiter.take(message.owner)
    _, events = await services.submitter.submit(
        CancelAll(
            account=account,
            min_seq_ms=fields.min_seq_ms,
            expiry_s=fields.expiry_s,
            nonce=fields.nonce,
            r=checked.r,
            vs=checked.vs,
        )
    )
    return _answer_cancel(fields.account, events)


def _answer_cancel(account: str, events: Sequence[Event]) -> CancelOut:
    for event in events:
        if isinstance(event, CancelRejected):
            raise ApiError(
                RejectReason(event.reason),
                f"the cancellation is refused: {event.reason}",
                required=event.required,
                found=event.found,
                action=event.action,
            )
    return CancelOut(
        account=account,
        # The same frame may also remove expired orders, of anybody.
        order_ids=[
            "0x" + event.order_id.hex()
            for event in events
            if isinstance(event, OrderCancelled) and event.reason == "USER" and account_hex(event.account) == account
        ],
    )


@router.get("/{order_id}")
async def get_order(services: CaughtUp, order_id: str) -> OrderOut:
    """Return an order and the life of each of its fills."""
    digest = parse_digest(order_id, "an order id")
    order = await services.readmodel.run(services.readmodel.get_order, digest)
    if order is None:
        raise ApiError(
            RejectReason.UNKNOWN_ORDER,
            "no such order",
            required="the id of an order sent to this instance",
            found=order_id,
            action="the id is the EIP-712 digest; GET /v1/accounts/{account}/orders lists yours",
        )
    fills = await services.readmodel.run(services.readmodel.read_fills_of_order, digest)
    symbols = services.hub.symbols
    return build_order(order, build_order_fills(fills, digest, symbols), symbols)
