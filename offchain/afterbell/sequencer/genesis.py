"""Open a new journal with the markets and rules the chain has.

Must not: read the chain or the manifest; bootstrap does and hands values over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from afterbell.domain.commands import Command, ListMarket, SetMarketRules


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisMarket:
    """One market of the manifest; rules_words: session -> 32 bytes, as set on chain."""

    market: int
    symbol: str
    epoch: int
    lot_exponent: int
    ticks_per_usd: int
    synthetic: bool
    rules_words: Mapping[int, bytes]


def build_genesis_commands(markets: tuple[GenesisMarket, ...]) -> list[Command]:
    """Return ListMarket and SetMarketRules of every market, ids and sessions ascending."""
    commands: list[Command] = []
    for market in sorted(markets, key=lambda market: market.market):
        commands.append(
            ListMarket(
                market=market.market,
                symbol=market.symbol,
                epoch=market.epoch,
                lot_exponent=market.lot_exponent,
                ticks_per_usd=market.ticks_per_usd,
                synthetic=market.synthetic,
            )
        )
        commands += [
            SetMarketRules(market=market.market, session=session, rules_word=market.rules_words[session])
            for session in sorted(market.rules_words)
        ]
    return commands
