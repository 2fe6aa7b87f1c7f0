"""Hold what a batch adopts from the oracle: rows, evidence, and what the oracle makes of the evidence.

What it makes of it stands in the journal, so that a replay needs neither calendar nor publishers. Must not: know an
engine state. Twin: domain/prices.py, whose two halves these are: stated by the keeper, moved here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from afterbell.domain.batch import PriceRow
from afterbell.domain.chain_state import ChainState
from afterbell.domain.errors import BatchReverted
from afterbell.domain.ids import MAX_MARKETS
from afterbell.domain.prices import MarketUpdate, StatedMarket, move_markets


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedPrices:
    """Rows and evidence of a batch, and what the oracle finds before the rows move anything."""

    rows: tuple[PriceRow, ...] = ()
    evidence: bytes = b""
    stated: tuple[StatedMarket, ...] = ()

    def compute_updates(self, chain: ChainState, matched_at_s: int) -> Sequence[MarketUpdate]:
        """Return the words of every market that changes.

        Raises: BatchReverted `prices: no external`, `prices: unknown market`; FieldOutOfRange.
        """
        for market in self.stated:
            if not 1 <= market.market_id <= MAX_MARKETS or chain.price(market.market_id).epoch == 0:
                raise BatchReverted("prices: unknown market")
        updates = move_markets(chain, self.stated, self.rows, matched_at_s)
        for update in updates:
            # Range-checked here, before anything is adopted.
            _ = update.price.pack(), update.index.pack()
        return updates
