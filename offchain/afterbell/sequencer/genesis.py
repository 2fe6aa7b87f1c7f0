"""Open a new journal with the markets and rules the chain has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from afterbell.domain.commands import Command


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
    raise NotImplementedError
