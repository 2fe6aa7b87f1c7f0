"""Serve accounts: money and positions from the engine, history from the read model.

Public, like every position on chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Path, Query

from afterbell.domain.codes import RejectReason
from afterbell.domain.ids import account_hex
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine import queries
from afterbell.engine.queries import AccountSummary
from afterbell.gateway.deps import AccountPath, Before, CaughtUp, Limit, MarketFilter, ServicesDep, row_key
from afterbell.gateway.errors import ERROR_RESPONSES, ApiError
from afterbell.gateway.requests import CLIENT_ID_PATTERN
from afterbell.gateway.schemas import (
    AccountOut,
    FillOut,
    FillsOut,
    FundingOut,
    KeysOut,
    OrderOut,
    OrdersOut,
    PositionsOut,
    TransfersOut,
)
from afterbell.gateway.services import Services
from afterbell.gateway.views import (
    build_account,
    build_account_fills,
    build_funding_payment,
    build_key,
    build_order,
    build_order_fills,
    build_position,
    build_transfer,
)

router = APIRouter(prefix="/v1/accounts/{account}", tags=["accounts"], responses=ERROR_RESPONSES)
ClientIdPath = Annotated[str, Path(pattern=CLIENT_ID_PATTERN, description="as it was sent with the order")]
_MAX_FILLS_OF_PAGE: Final = 2_000
_IS_OPEN: Final = {"open": True, "closed": False, "all": None}


def _summary(services: Services, account: int) -> AccountSummary:
    return queries.read_account(services.state(), account, milliseconds_to_seconds(services.clock.now_ms()))


@router.get("")
async def get_account(services: ServicesDep, account: AccountPath) -> AccountOut:
    """Return balances, margin and positions now; an account nobody has used is all zeros."""
    return build_account(_summary(services, account), services.hub.symbols, sequence=services.hub.last_sequence)


@router.get("/positions")
async def get_positions(services: ServicesDep, account: AccountPath) -> PositionsOut:
    """Return open positions."""
    positions = _summary(services, account).positions
    return PositionsOut(
        account=account_hex(account),
        positions=[build_position(position, services.hub.symbols) for position in positions],
    )


@router.get("/orders")
async def get_orders(
    services: CaughtUp,
    account: AccountPath,
    market: MarketFilter,
    status: Annotated[Literal["open", "closed", "all"], Query(description="open: resting or waiting")] = "open",
    limit: Limit = 100,
    before: Before = None,
) -> OrdersOut:
    """Return orders, newest first, with the newest 2,000 fills of the page; each order alone has all of its own."""
    readmodel, symbols = services.readmodel, services.hub.symbols
    orders = await readmodel.run(
        readmodel.read_orders,
        row_key(account),
        is_open=_IS_OPEN[status],
        market=market,
        limit=limit,
        before=before,
    )
    fills = await readmodel.run(
        readmodel.read_fills_of_orders, [order.order_id for order in orders], _MAX_FILLS_OF_PAGE
    )
    by_order: dict[str, list[FillOut]] = {}
    for shown in build_account_fills(fills, row_key(account), symbols):
        by_order.setdefault(shown.order_id, []).append(shown)
    return OrdersOut(
        account=account_hex(account),
        orders=[build_order(order, by_order.get("0x" + order.order_id.hex(), []), symbols) for order in orders],
        next_before=_next_before([order.placed_sequence for order in orders], limit),
    )


@router.get("/client-orders/{client_id}")
async def get_order_of_client(services: CaughtUp, account: AccountPath, client_id: ClientIdPath) -> OrderOut:
    """Return the order of a client's id, the newest if it was used again."""
    readmodel, symbols = services.readmodel, services.hub.symbols
    order = await readmodel.run(readmodel.get_order_of_client, row_key(account), client_id)
    if order is None:
        raise ApiError(
            RejectReason.UNKNOWN_ORDER,
            "no order has this client id",
            required="the client_id of an order of this account",
            found=client_id,
            action="to be certain, send the same bytes again (it counts once) or cancel its nonce",
        )
    fills = await readmodel.run(readmodel.read_fills_of_order, order.order_id)
    return build_order(order, build_order_fills(fills, order.order_id, symbols), symbols)


@router.get("/fills")
async def get_fills(
    services: CaughtUp, account: AccountPath, market: MarketFilter, limit: Limit = 100, before: Before = None
) -> FillsOut:
    """Return fills with their life, newest first."""
    readmodel = services.readmodel
    fills = await readmodel.run(readmodel.read_fills, row_key(account), market=market, limit=limit, before=before)
    return FillsOut(
        account=account_hex(account),
        fills=build_account_fills(fills, row_key(account), services.hub.symbols),
        next_before=_next_before([fill.fill_id for fill in fills], limit),
    )


@router.get("/transfers")
async def get_transfers(
    services: CaughtUp, account: AccountPath, limit: Limit = 100, before: Before = None
) -> TransfersOut:
    """Return deposits, withdrawals and transfers between subaccounts with each step, newest first."""
    readmodel = services.readmodel
    transfers = await readmodel.run(readmodel.read_transfers, row_key(account), limit=limit, before=before)
    return TransfersOut(
        account=account_hex(account),
        transfers=[build_transfer(transfer) for transfer in transfers],
        next_before=_next_before([transfer.placed_sequence for transfer in transfers], limit),
    )


@router.get("/funding")
async def get_funding(
    services: CaughtUp, account: AccountPath, market: MarketFilter, limit: Limit = 100, before: Before = None
) -> FundingOut:
    """Return funding payments, newest first; a payment is settled by the next fill of its position."""
    readmodel = services.readmodel
    payments = await readmodel.run(readmodel.read_funding, row_key(account), market=market, limit=limit, before=before)
    return FundingOut(
        account=account_hex(account),
        payments=[build_funding_payment(payment, services.hub.symbols) for payment in payments],
        next_before=_next_before([payment.payment_id for payment in payments], limit),
    )


@router.get("/keys")
async def get_keys(services: CaughtUp, account: AccountPath) -> KeysOut:
    """Return session keys, newest first."""
    readmodel = services.readmodel
    keys = await readmodel.run(readmodel.read_keys, row_key(account))
    now_s = milliseconds_to_seconds(services.clock.now_ms())
    return KeysOut(account=account_hex(account), keys=[build_key(key, now_s) for key in keys])


def _next_before(ids: Sequence[int], limit: int) -> int | None:
    """Return where the next page goes on, None when this one was not full."""
    return ids[-1] if len(ids) == limit else None
