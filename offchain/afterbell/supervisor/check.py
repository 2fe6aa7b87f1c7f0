"""Check: trade once like a stranger and follow the fill until it is final on chain.

Through the public SDK alone: faucet, deposit, one IOC order against what the programs quote.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final

from afterbell.sdk import ApiRejected, ApiUnavailable, AsyncClient, Fill, Market, PlacedOrder

_DEPOSIT: Final = "5000"
_SYMBOL: Final = "AAPL"
_SIZE: Final = "2"
_POLL_S: Final = 0.3


class CheckFailed(Exception):
    """No fill became final in time."""


async def check_fill(url: str, *, timeout_s: float, report: Callable[[str], None]) -> None:
    """Trade and wait; report the life of the fill. Raises: CheckFailed and what the SDK raises."""
    deadline_s = time.monotonic() + timeout_s
    async with AsyncClient(url, private_key=secrets.token_bytes(32)) as client:
        report(f"account {client.account_id}")
        await client.faucet()
        deposit = await client.deposit(_DEPOSIT, timeout_s=max(deadline_s - time.monotonic(), 1.0))
        report(f"deposit of {_DEPOSIT} USDC credited: block {deposit.block}, transaction {deposit.transaction}")
        placed, market = await _trade(client, deadline_s)
        report(
            f"order {placed.order_id}: BUY {_SIZE} {_SYMBOL} IOC, limit {market.to_usd(placed.limit_ticks)} USD, "
            f"filled {market.to_shares(placed.filled_lots)}"
        )
        await _follow(client, placed, market, deadline_s, report)


async def _trade(client: AsyncClient, deadline_s: float) -> tuple[PlacedOrder, Market]:
    """Buy at the best offer until an order fills."""
    problem = "the book has no offer yet"
    while time.monotonic() < deadline_s:
        market = await client.market(_SYMBOL)
        if market.best_ask_ticks is not None and market.band_high_ticks is not None:
            limit_ticks = min(market.best_ask_ticks + market.best_ask_ticks // 100, market.band_high_ticks)
            try:
                placed = await client.place(_SYMBOL, "BUY", _SIZE, limit_ticks, time_in_force="IOC")
            except (ApiRejected, ApiUnavailable) as error:
                problem = str(error)
            else:
                if placed.filled_lots:
                    return placed, market
                problem = f"order {placed.order_id} found no counterpart: {placed.reason}"
        await asyncio.sleep(_POLL_S)
    raise CheckFailed(f"no order was filled in time; last: {problem}")


async def _follow(
    client: AsyncClient, placed: PlacedOrder, market: Market, deadline_s: float, report: Callable[[str], None]
) -> None:
    seen: dict[int, str] = {}
    while True:
        fills = (await client.order(placed.order_id)).fills
        for fill in fills:
            if seen.get(fill.fill_id) != fill.status:
                seen[fill.fill_id] = fill.status
                report(_describe(fill, market))
        rejected = [fill for fill in fills if fill.status == "rejected"]
        if rejected:
            raise CheckFailed(f"the chain refused fill {rejected[0].fill_id}: {rejected[0].code}")
        if fills and all(fill.status == "final" for fill in fills):
            return
        if time.monotonic() > deadline_s:
            raise CheckFailed(f"fills did not become final in time: {seen or 'none is shown'}")
        await asyncio.sleep(_POLL_S)


def _describe(fill: Fill, market: Market) -> str:
    place = f", transaction {fill.transaction}" if fill.transaction else ""
    if fill.block is not None:
        place = f", block {fill.block}{place}"
    return (
        f"fill {fill.fill_id}: {market.to_shares(fill.size_lots)} {fill.symbol} "
        f"at {market.to_usd(fill.price_ticks)} USD, batch {fill.sequence}: {fill.status}{place}"
    )
