"""Buy what there is, at most so much worse than the mark, and wait until the fill is final on chain.

python -m afterbell.sdk.examples.take [URL] [SYMBOL]
"""

from __future__ import annotations

import sys

from afterbell.sdk import Client, Fill, NotFinalInTime, generate_key


def take(url: str, symbol: str) -> tuple[Fill, ...]:
    """Return the fills, each with its transaction; none if nobody sells within one percent."""
    with Client(url, key=generate_key().private_key) as client:
        client.faucet()
        client.deposit("5000")
        order = client.market_order(symbol, "BUY", "0.5", max_slippage="0.01")
        if not order.filled_lots:
            print(f"nothing to buy within 1 %: {order.status}, {order.reason}")
            return ()
        try:
            return client.wait_for_order(order.order_id, status="final", timeout_s=120).fills
        except NotFinalInTime as error:
            print(f"still on its way: {error}")  # It will be final; the venue carries on without us.
            raise


if __name__ == "__main__":
    venue_url, market_symbol = (sys.argv[1:] + ["http://127.0.0.1:8720", "AAPL"][len(sys.argv) - 1 :])[:2]
    for fill in take(venue_url, market_symbol):
        print(fill.size_lots, "lots at", fill.price_ticks, "ticks,", fill.status, "in", fill.transaction)
