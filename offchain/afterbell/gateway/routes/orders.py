"""Take signed orders and cancellations, one or many at once; serve an order with the life of its fills."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from afterbell.domain.codes import RejectReason
from afterbell.domain.errors import AfterbellError
from afterbell.gateway import entry
from afterbell.gateway.deps import CaughtUp, Desk, DeskDep, parse_digest
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError, describe_refusal
from afterbell.gateway.requests import AmendOrderIn, BatchItemIn, CancelAllIn, CancelOrderIn, OrderBatchIn, PlaceOrderIn
from afterbell.gateway.schemas import BatchResultOut, CancelOut, OrderBatchOut, OrderOut
from afterbell.gateway.views import build_order, build_order_fills

router = APIRouter(prefix="/v1/orders", tags=["orders"], responses=ERROR_RESPONSES)


@router.post("")
async def place_order(desk: DeskDep, request: PlaceOrderIn) -> OrderOut:
    """Enter a signed order; the answer shows it after matching, with its fills.

    The same order again is answered with its present state and `is_repeat`: after a timeout, send the same bytes.
    """
    return await entry.place(desk, request)


@router.post("/amend")
async def amend_order(desk: DeskDep, request: AmendOrderIn) -> OrderOut:
    """Replace a live order of the same lane; an equal limit and a smaller size keep its place in the queue."""
    return await entry.amend(desk, request)


@router.post("/batch")
async def enter_batch(desk: DeskDep, request: OrderBatchIn) -> OrderBatchOut:
    """Enter up to twenty orders, amendments and cancellations, in order, each on its own.

    A body that is malformed in one item is refused whole, and nothing of it is done.
    """
    if all(item.is_cancel for item in request.items):
        desk.notes.counts_nowhere = True
    else:
        desk.limiters.reads.must_have_room(desk.notes.address)
    # Each reaches the sequencer's queue before the next begins, and one sync makes all of them durable.
    return OrderBatchOut(results=await asyncio.gather(*(_enter_item(desk, item) for item in request.items)))


async def _enter_item(desk: Desk, item: BatchItemIn) -> BatchResultOut:
    try:
        return BatchResultOut(status=200, result=await _carry_out(desk, item), error=None)
    except AfterbellError as error:
        refusal = describe_refusal(error)
        return BatchResultOut(status=refusal.status, result=None, error=refusal.body)


async def _carry_out(desk: Desk, item: BatchItemIn) -> OrderOut | CancelOut:
    match item.request:
        case PlaceOrderIn() as request:
            return await entry.place(desk, request)
        case AmendOrderIn() as request:
            return await entry.amend(desk, request)
        case CancelOrderIn() as request:
            return await entry.cancel(desk, request)
        case CancelAllIn() as request:
            return await entry.cancel_all(desk, request)


@router.post("/cancel")
async def cancel_order(desk: DeskDep, request: CancelOrderIn) -> CancelOut:
    """Take the orders of one nonce off the book; binding off chain."""
    return await entry.cancel(desk, request)


@router.post("/cancel-all")
async def cancel_all(desk: DeskDep, request: CancelAllIn) -> CancelOut:
    """Take every order with a lower seq off the book; binding off chain."""
    return await entry.cancel_all(desk, request)


@router.get("/{order_id}")
async def get_order(services: CaughtUp, order_id: str) -> OrderOut:
    """Return an order and the life of each of its fills."""
    digest = parse_digest(order_id, "an order id")
    order = await services.readmodel.run(services.readmodel.get_order, digest)
    if order is None:
        raise ApiError(
            RejectReason.UNKNOWN_ORDER,
            "no such order",
            required="the id of an order this instance has taken; the id is the EIP-712 digest",
            found=order_id,
            action="to be certain, send the same bytes again (it counts once) or cancel its nonce",
        )
    fills = await services.readmodel.run(services.readmodel.read_fills_of_order, digest)
    symbols = services.hub.symbols
    return build_order(order, build_order_fills(fills, digest, symbols), symbols)
