"""Follow a book and an account through lost connections and restarts of the venue, and say what happens.

python -m afterbell.sdk.examples.resilient_stream [URL] [SYMBOL]
"""

from __future__ import annotations

import asyncio
import sys

from afterbell.sdk import AsyncClient, LiveBook, generate_key


async def follow_book(client: AsyncClient, symbol: str, n_updates: int) -> LiveBook:
    """Print the best prices of some updates; return the last one. The book is verified by its checksum."""
    n_seen = 0
    async for book in client.live_book(symbol, depth=5):
        if book.event:
            # lost, connected, resumed: nothing is missing. restarted, gap, checksum: a snapshot follows.
            print(f"stream: {book.event}; so far {book.n_resyncs} books begun anew")
            continue
        n_seen += 1
        best = [levels[0].price_ticks if levels else None for levels in (book.bids, book.asks)]
        print(f"#{book.sequence} bid {best[0]} ask {best[1]}")
        if n_seen >= n_updates:
            return book
    raise AssertionError("a live book never ends by itself")


async def follow_account(client: AsyncClient, n_updates: int) -> int:
    """Print what happens to the account; return its free quote units after some updates."""
    n_seen = 0
    async for update in client.live_account():
        for fill in update.fills:
            print(f"filled {fill.size_lots} lots at {fill.price_ticks}")
        for ended in update.ended:
            print(f"order {ended['order_id'][:10]} ended: {ended['status']} {ended.get('reason') or ''}")
        n_seen += not update.event
        if n_seen >= n_updates:
            return update.account.free_quote
    raise AssertionError("a live account never ends by itself")


async def main(url: str, symbol: str, n_updates: int = 10) -> tuple[LiveBook, int]:
    """Follow both at once."""
    async with AsyncClient(url, key=generate_key().private_key) as client:
        return await asyncio.gather(follow_book(client, symbol, n_updates), follow_account(client, 1))


if __name__ == "__main__":
    venue_url, market_symbol = (sys.argv[1:] + ["http://127.0.0.1:8720", "AAPL"][len(sys.argv) - 1 :])[:2]
    asyncio.run(main(venue_url, market_symbol))
