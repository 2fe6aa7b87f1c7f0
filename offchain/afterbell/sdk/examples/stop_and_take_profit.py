"""Protect a position: a stop-loss and a take-profit that share what is filled, so that one ends the other (OCO).

python -m afterbell.sdk.examples.stop_and_take_profit [URL] [SYMBOL]
"""

from __future__ import annotations

import sys

from afterbell.sdk import Client, OrderTerms, PlacedOrder, generate_key


def protect(url: str, symbol: str) -> tuple[PlacedOrder, PlacedOrder]:
    """Buy, then place both exits. Both triggers are inside the signed orders: the chain checks them too."""
    with Client(url, key=generate_key().private_key) as client:
        client.faucet()
        client.deposit("5000")
        bought = client.market_order(symbol, "BUY", "0.5", max_slippage="0.02")
        if not bought.filled_lots:
            raise SystemExit(f"nothing to buy within 2 %: {bought.reason}")
        market = client.market(symbol)
        assert market.rules is not None
        step, entry = market.rules.price_step_ticks, bought.fills[0].price_ticks
        size = bought.filled_lots
        return client.oco(
            # Falls by 3 %: sell at what there is, at worst 2 % below the trigger.
            OrderTerms.stop(symbol, "SELL", size, entry * 97 // 100 // step * step, max_slippage="0.02"),
            # Rises by 5 %: sell at the trigger's price or better, resting if need be.
            OrderTerms.take_profit(
                symbol, "SELL", size, entry * 105 // 100 // step * step, price=entry * 105 // 100 // step * step
            ),
        )


if __name__ == "__main__":
    venue_url, market_symbol = (sys.argv[1:] + ["http://127.0.0.1:8720", "AAPL"][len(sys.argv) - 1 :])[:2]
    for order in protect(venue_url, market_symbol):
        print(order.status, "at", order.trigger_ticks, "ticks, limit", order.limit_ticks)
