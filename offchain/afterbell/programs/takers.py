"""Takers: programs that trade against the book with IOC orders, on noise or on momentum. Seeded, so runs are alike."""

from __future__ import annotations

import random
from collections import deque

import structlog

from afterbell.programs.trader import Trader
from afterbell.sdk import ApiRejected, AsyncClient, Market

_log = structlog.get_logger(__name__)
_PPM = 1_000_000


class Taker(Trader):
    """Sends one IOC order a round at most."""

    def __init__(
        self,
        name: str,
        client: AsyncClient,
        *,
        seed: str,
        target_quote: int,
        order_quote: int,
        limit_quote: int,
        interval_s: float,
    ) -> None:
        """order_quote: largest notional of an order; limit_quote: notional at which it only trades back."""
        super().__init__(name, client, target_quote=target_quote, interval_s=interval_s)
        self._draws = random.Random(seed)
        self._order_quote = order_quote
        self._limit_quote = limit_quote

    async def trade_once(self) -> None:
        """Choose a market and a side, and take what the best level offers."""
        markets = [market for market in await self.client.markets() if _is_tradable(market)]
        if not markets:
            return
        account = await self.client.account()
        positions_lots = {position.market: position.size_lots for position in account.positions}
        choice = self.choose(markets, positions_lots)
        if choice is None:
            return
        market, is_buy = choice
        position_quote = positions_lots.get(market.market, 0) * market.mark_ticks
        if abs(position_quote) >= self._limit_quote:
            is_buy = position_quote < 0
        await self._take(market, is_buy=is_buy)

    def choose(self, markets: list[Market], positions_lots: dict[int, int]) -> tuple[Market, bool] | None:
        """Return a market and whether to buy, or None to stand aside."""
        raise NotImplementedError

    async def _take(self, market: Market, *, is_buy: bool) -> None:
        best_ticks = market.best_ask_ticks if is_buy else market.best_bid_ticks
        rules = market.rules
        if best_ticks is None or rules is None:
            return
        draw_quote = self._draws.randint(self._order_quote // 10, self._order_quote)
        size_lots = max(draw_quote // best_ticks // rules.size_step_lots, 1) * rules.size_step_lots
        if size_lots * best_ticks < rules.min_notional_quote:
            return
        # A little beyond the best level, so that a quote that moves by a few ticks is still met.
        slack_ticks = max(best_ticks // 1000, rules.price_step_ticks) // rules.price_step_ticks * rules.price_step_ticks
        limit_ticks = best_ticks + slack_ticks if is_buy else max(best_ticks - slack_ticks, rules.price_step_ticks)
        if market.band_low_ticks is not None and market.band_high_ticks is not None:
            limit_ticks = max(market.band_low_ticks, min(market.band_high_ticks, limit_ticks))
        self.n_orders += 1
        try:
            order = await self.client.place(
                market.symbol,
                "BUY" if is_buy else "SELL",
                size_lots,
                limit_ticks // rules.price_step_ticks * rules.price_step_ticks,
                time_in_force="IOC",
            )
        except ApiRejected as refusal:
            self.note_refusal(refusal)
            return
        if order.filled_lots:
            _log.info(
                "order.filled",
                program=self.name,
                symbol=market.symbol,
                is_buy=is_buy,
                filled_lots=order.filled_lots,
                limit_ticks=order.limit_ticks,
            )


class NoiseTaker(Taker):
    """Buys and sells at random."""

    def choose(self, markets: list[Market], positions_lots: dict[int, int]) -> tuple[Market, bool] | None:
        """Draw a market and a side."""
        return self._draws.choice(markets), self._draws.random() < 0.5


class MomentumTaker(Taker):
    """Buys what has risen over the last prices it saw, sells what has fallen, ignores small moves."""

    def __init__(
        self,
        name: str,
        client: AsyncClient,
        *,
        seed: str,
        target_quote: int,
        order_quote: int,
        limit_quote: int,
        interval_s: float,
        n_prices: int = 6,
        threshold_ppm: int = 1_500,
    ) -> None:
        """n_prices: how many different external prices it looks back; threshold_ppm: the move it reacts to."""
        super().__init__(
            name,
            client,
            seed=seed,
            target_quote=target_quote,
            order_quote=order_quote,
            limit_quote=limit_quote,
            interval_s=interval_s,
        )
        self._threshold_ppm = threshold_ppm
        self._seen_ticks: dict[int, deque[int]] = {}
        self._n_prices = n_prices

    def choose(self, markets: list[Market], positions_lots: dict[int, int]) -> tuple[Market, bool] | None:
        """Return the market that moved most, if it moved enough."""
        best: tuple[int, Market] | None = None
        for market in markets:
            seen = self._seen_ticks.setdefault(market.market, deque(maxlen=self._n_prices))
            if not seen or seen[-1] != market.external_ticks:
                seen.append(market.external_ticks)
            move_ppm = (market.external_ticks - seen[0]) * _PPM // seen[0]
            if abs(move_ppm) >= self._threshold_ppm and (best is None or abs(move_ppm) > abs(best[0])):
                best = (move_ppm, market)
        return None if best is None else (best[1], best[0] > 0)


def _is_tradable(market: Market) -> bool:
    return not market.is_halted and market.external_ticks > 0 and market.mark_ticks > 0 and market.rules is not None
