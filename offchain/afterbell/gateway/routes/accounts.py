"""Serve accounts: money and positions from the engine, history from the read model.

Public, like every position on chain.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from afterbell.domain.ids import account_hex
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine import queries
from afterbell.engine.queries import AccountSummary
from afterbell.gateway.deps import AccountPath, Before, CaughtUp, Limit, ServicesDep, row_key
from afterbell.gateway.errors import ERROR_RESPONSES
from afterbell.gateway.schemas import AccountOut, FillOut, FillsOut, OrdersOut, PositionsOut, TransfersOut
from afterbell.gateway.services import Services
from afterbell.gateway.views import (
    build_account,
    build_account_fills,
    build_open_order,
    build_order,
    build_position,
    build_transfer,
)

router = APIRouter(prefix="/v1/accounts/{account}", tags=["accounts"], responses=ERROR_RESPONSES)
_MAX_FILLS_OF_PAGE = 2_000


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
    status: Annotated[Literal["open", "closed", "all"], Query()] = "open",
    limit: Limit = 100,
    before: Before = None,
) -> OrdersOut:
    """Return orders, newest first. `open` comes from the engine itself; `before` is the time of order, not an id."""
    symbols = services.hub.symbols
    if status == "open":
        resting = queries.read_open_orders(services.state(), account)
        return OrdersOut(
            account=account_hex(account),
            orders=[build_open_order(order, symbols) for order in reversed(resting)][:limit],
        )
    readmodel = services.readmodel
    is_open = False if status == "closed" else None
    orders = await readmodel.run(readmodel.read_orders, row_key(account), is_open=is_open, limit=limit, before=before)
    fills = await readmodel.run(
        readmodel.read_fills_of_orders, [order.order_id for order in orders], _MAX_FILLS_OF_PAGE
    )
    by_order: dict[str, list[FillOut]] = {}
    for shown in build_account_fills(fills, row_key(account), symbols):
        by_order.setdefault(shown.order_id, []).append(shown)
    return OrdersOut(
        account=account_hex(account),
        orders=[build_order(order, by_order.get("0x" + order.order_id.hex(), []), symbols) for order in orders],
    )


@router.get("/fills")
async def get_fills(services: CaughtUp, account: AccountPath, limit: Limit = 100, before: Before = None) -> FillsOut:
    """Return fills with their life, newest first; `before` is a fill_id."""
    readmodel = services.readmodel
    fills = await readmodel.run(readmodel.read_fills, row_key(account), limit=limit, before=before)
    return FillsOut(
        account=account_hex(account), fills=build_account_fills(fills, row_key(account), services.hub.symbols)
    )


@router.get("/transfers")
async def get_transfers(
    services: CaughtUp, account: AccountPath, limit: Limit = 100, before: Before = None
) -> TransfersOut:
    """Return deposits and withdrawals, newest first."""
    readmodel = services.readmodel
    transfers = await readmodel.run(readmodel.read_transfers, row_key(account), limit=limit, before=before)
    return TransfersOut(account=account_hex(account), transfers=[build_transfer(transfer) for transfer in transfers])
