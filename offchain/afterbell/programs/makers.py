"""Market maker: keeps a two-sided book of several levels in every market.

Each quote has a lane of its own for good: a new quote sent in the lane replaces the old one in one step, with no moment
without a quote and no cancel to send (lane recycling).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from afterbell.domain.ids import lane_of
from afterbell.programs.quoting import Quote, QuoteStyle, build_quotes
from afterbell.programs.trader import Trader
from afterbell.sdk import ApiRejected, AsyncClient, Market, PlacedOrder

_FIRST_LANE: Final = 1
"""Lane 0 is cheapest for takers; quotes start behind it."""
_MAX_SLOTS: Final = 32
_LIFETIME_S: Final = 7 * 86_400
_RENEW_BEFORE_S: Final = 3 * 86_400
_N_AT_ONCE: Final = 8


class MarketMaker(Trader):
    """One maker."""

    def __init__(
        self,
        name: str,
        client: AsyncClient,
        style: QuoteStyle,
        *,
        target_quote: int,
        interval_s: float = 0.4,
    ) -> None:
        super().__init__(name, client, target_quote=target_quote, interval_s=interval_s)
        self._style = style
        self._at_once = asyncio.Semaphore(_N_AT_ONCE)

    async def trade_once(self) -> None:
        """Bring the book to what the style wants now: replace what is off, cancel what is not wanted."""
        markets = await self.client.markets()
        account = await self.client.account()
        resting = {lane_of(order.nonce): order for order in await self.client.orders(only_open=True)}
        positions_lots = {position.market: position.size_lots for position in account.positions}
        now_s = await self.client.now_ms() // 1000
        # Quotes that retreat go first: after a move of the price, those that follow it would meet our own old ones.
        retreating: list[Callable[[], Awaitable[None]]] = []
        following: list[Callable[[], Awaitable[None]]] = []
        for market in markets:
            wanted = {
                _lane_of(market, quote.slot): quote
                for quote in build_quotes(market, positions_lots.get(market.market, 0), self._style)
            }
            for lane, quote in wanted.items():
                order = resting.get(lane)
                if not _is_good(order, quote, now_s):
                    jobs = retreating if _is_retreat(order, quote) else following
                    jobs.append(partial(self._replace, market, lane, quote))
            for slot in range(_MAX_SLOTS):
                order = resting.get(_lane_of(market, slot))
                if order is not None and _lane_of(market, slot) not in wanted and not market.is_halted:
                    retreating.append(partial(self._cancel, order))
        outcomes = await asyncio.gather(*(job() for job in retreating), return_exceptions=True)
        outcomes += await asyncio.gather(*(job() for job in following), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _replace(self, market: Market, lane: int, quote: Quote) -> None:
        async with self._at_once:
            self.n_orders += 1
            try:
                await self.client.place(
                    market.symbol,
                    "BUY" if quote.is_buy else "SELL",
                    quote.size_lots,
                    quote.price_ticks,
                    post_only=True,
                    lifetime_s=_LIFETIME_S,
                    client_id=f"{self.name}-{lane}",
                    lane=lane,
                )
            except ApiRejected as refusal:
                self.note_refusal(refusal)

    async def _cancel(self, order: PlacedOrder) -> None:
        async with self._at_once:
            try:
                await self.client.cancel(order)
            except ApiRejected as refusal:
                self.note_refusal(refusal)


def _lane_of(market: Market, slot: int) -> int:
    return _FIRST_LANE + (market.market - 1) * _MAX_SLOTS + slot


def _is_retreat(order: PlacedOrder | None, quote: Quote) -> bool:
    """Tell whether a new quote stands farther from the other side than the order it replaces."""
    if order is None:
        return False
    return quote.price_ticks < order.limit_ticks if quote.is_buy else quote.price_ticks > order.limit_ticks


def _is_good(order: PlacedOrder | None, quote: Quote, now_s: int) -> bool:
    """Tell whether a resting order may stay: same side and price, more than half its size left, not about to expire."""
    return (
        order is not None
        and order.is_buy == quote.is_buy
        and order.limit_ticks == quote.price_ticks
        and 2 * order.remaining_lots > quote.size_lots
        and order.expiry_s - now_s > _RENEW_BEFORE_S
    )
