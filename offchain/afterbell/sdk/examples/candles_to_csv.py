"""Write candles as CSV, prices in USD and sizes in shares, exactly.

python -m afterbell.sdk.examples.candles_to_csv FILE [URL] [SYMBOL]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from afterbell.sdk import Client


def write_candles(path: Path, url: str, symbol: str, interval_s: int = 60) -> int:
    """Write the newest candles of the mark price; return how many. No key is needed to read."""
    with Client(url) as client, path.open("w", newline="") as file:
        market = client.market(symbol)
        rows = csv.writer(file)
        rows.writerow(["time_s", "open", "high", "low", "close", "volume_shares", "n_trades"])
        candles = client.candles(symbol, interval_s, limit=500, kind="mark")
        for candle in candles:
            prices = (candle.open_ticks, candle.high_ticks, candle.low_ticks, candle.close_ticks)
            usd = [market.to_usd(ticks) for ticks in prices]
            rows.writerow([candle.time_s, *usd, market.to_shares(candle.volume_lots), candle.n_trades])
        return len(candles)


if __name__ == "__main__":
    defaults = ["candles.csv", "http://127.0.0.1:8720", "AAPL"]
    file_name, venue_url, market_symbol = (sys.argv[1:] + defaults[len(sys.argv) - 1 :])[:3]
    print(write_candles(Path(file_name), venue_url, market_symbol), "candles in", file_name)
