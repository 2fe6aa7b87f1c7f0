"""Progress: what `up` says while the venue runs.

On a terminal one line at the bottom is kept up to date; elsewhere (a log file, a pipe) one plain line is printed per
trading day. A market that is halted is said once, in both. Must not: ask the venue; venue.py does and hands it over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from rich.console import Console

from afterbell.keepers.sessions import NEW_YORK

Reading = Mapping[str, Any]
"""A JSON object of the public API."""
_N_PLAIN_PRICES: Final = 3


class Progress:
    """Remember what was said already."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console
        self._halted: set[str] = set()
        self._last_day: date | None = None

    def tell_halts(self, markets: Sequence[Reading]) -> None:
        """Print each market that is halted and was not when last asked."""
        for market in markets:
            symbol = market["symbol"]
            if market["is_halted"] and symbol not in self._halted:
                self._console.print(
                    f"halted  {symbol}: {market['halt_reason']}", style="bold yellow", markup=False, soft_wrap=True
                )
        self._halted = {market["symbol"] for market in markets if market["is_halted"]}

    def tell_day(self, clock: Reading, batch: Reading, markets: Sequence[Reading]) -> None:
        """Print a line on the first look at each trading day."""
        at = _to_new_york(clock)
        if at.date() == self._last_day or all(market["session"] != "REGULAR" for market in markets):
            return
        self._last_day = at.date()
        prices = _describe_prices(markets[:_N_PLAIN_PRICES])
        self._console.print(
            f"{at:%a %Y-%m-%d}  step {clock['step']}  {_describe_batch(batch)}  {prices}", markup=False, soft_wrap=True
        )


def describe_now(clock: Reading, batch: Reading, markets: Sequence[Reading]) -> str:
    """Return the status line; what a narrow terminal must not lose comes first, the prices last."""
    return (
        f"{_to_new_york(clock):%a %Y-%m-%d %H:%M} New York · {_describe_batch(batch)} · {markets[0]['session']} · "
        f"{_describe_prices(markets)}"
    )


def _to_new_york(clock: Reading) -> datetime:
    return datetime.fromtimestamp(clock["venue_time_ms"] // 1000, tz=UTC).astimezone(NEW_YORK)


def _describe_batch(batch: Reading) -> str:
    return f"batch {batch['sequence']} {batch['status']}"


def _describe_prices(markets: Sequence[Reading]) -> str:
    return "  ".join(f"{market['symbol']} {market['mark_ticks'] / market['ticks_per_usd']:.2f}" for market in markets)
