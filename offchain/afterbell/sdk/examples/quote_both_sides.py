"""Quote both sides of a market: two post-only orders a round, each in a lane of its own, replaced in one step.

python -m afterbell.sdk.examples.quote_both_sides [URL] [SYMBOL]
"""

from __future__ import annotations

import asyncio
import sys

from afterbell.sdk import AsyncClient, OrderTerms, PlacedOrder, generate_key

BID_LANE, ASK_LANE = 1, 2
HALF_SPREAD_PPM = 1_000
SIZE = "1"


async def quote_both_sides(url: str, symbol: str, n_rounds: int = 3) -> list[PlacedOrder]:
    """Quote around the mark for some rounds; return the quotes of the last one, which rest on the book."""
    async with AsyncClient(url, key=generate_key().private_key) as client:
        await client.faucet()
        await client.deposit("5000")
        quotes: list[PlacedOrder] = []
        for _ in range(n_rounds):
            market = await client.market(symbol)
            assert market.rules is not None
            step = market.rules.price_step_ticks
            away = max(market.mark_ticks * HALF_SPREAD_PPM // 1_000_000, 2 * step)
            bid = (market.mark_ticks - away) // step * step
            ask = -(-(market.mark_ticks + away) // step) * step
            outcomes = await client.place_many(
                [
                    OrderTerms.limit(symbol, "BUY", SIZE, bid, post_only=True, lane=BID_LANE),
                    OrderTerms.limit(symbol, "SELL", SIZE, ask, post_only=True, lane=ASK_LANE),
                ]
            )
            quotes = []
            for outcome in outcomes:
                if isinstance(outcome, PlacedOrder):
                    quotes.append(outcome)
                else:
                    print(f"refused: {outcome}")  # e.g. WOULD_TAKE: the market moved; the next round sees it
            await asyncio.sleep(0.2)
        # The same price and a smaller size: the place in the queue is kept.
        return [await client.amend(quote, size="0.5") for quote in quotes]


if __name__ == "__main__":
    venue_url, market_symbol = (sys.argv[1:] + ["http://127.0.0.1:8720", "AAPL"][len(sys.argv) - 1 :])[:2]
    for placed in asyncio.run(quote_both_sides(venue_url, market_symbol)):
        print(placed.status, "bid" if placed.is_buy else "ask", placed.remaining_lots, "lots at", placed.limit_ticks)
