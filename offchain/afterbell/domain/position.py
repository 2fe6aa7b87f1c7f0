"""Move one position: touch it with the funding index, fill it, realise it.

A position is a cash-flow ledger (entry): what was paid for the lots, plus fees, plus funding touched. Its unrealised
PnL at price p is lots x p - entry. When the lots reach zero the ledger moves to collateral at once (D-005), so the
result does not depend on where batches are cut. Must not: judge margin. Twin: contracts/README.md, "settle()" step 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from afterbell.domain.units import INDEX_SCALE, Quote, div_up
from afterbell.domain.words import IndexWord, PositionWord


def index_of_side(index: IndexWord, size_lots: int) -> int:
    """Return the funding index of the side a position of this sign is on. Units: 1e-12 quote per lot."""
    return index.long_index_e12 if size_lots > 0 else index.short_index_e12


def compute_pending_quote(position: PositionWord, index: IndexWord) -> Quote:
    """Return the funding payment since the last touch; positive = the account pays.

    Formula: ceil(lots x (index of its side - snapshot) / 1e12). Rounding: up, so a payer pays the fraction and a
    receiver loses it; the dust stays in the market's pot.
    """
    if position.size_lots == 0:
        return Quote(0)
    growth_e12 = index_of_side(index, position.size_lots) - position.index_snapshot_e12
    return Quote(div_up(position.size_lots * growth_e12, INDEX_SCALE))


@dataclass(frozen=True, slots=True, kw_only=True)
class FillEffect:
    """What one fill does to one position and to the totals beside it."""

    position: PositionWord
    pending_quote: int
    """Funding touched: added to the entry and to the market's pot."""
    realised_quote: int
    """Added to collateral; not zero only when the size became zero."""
    entry_change_quote: int
    """Added to the market's net entry."""


def apply_fill(
    position: PositionWord, *, size_change_lots: int, price_ticks: int, fee_quote: int, index: IndexWord
) -> FillEffect:
    """Return the position after a fill.

    Formula: entry += pending + size_change x price + fee; at size zero collateral -= entry and entry = 0. The snapshot
    becomes the index of the side now held, or of the side held before if nothing is left.
    """
    pending_quote = compute_pending_quote(position, index)
    size_lots = position.size_lots + size_change_lots
    entry_quote = position.entry_quote + pending_quote + size_change_lots * price_ticks + fee_quote
    realised_quote = 0
    side_lots = size_lots
    if size_lots == 0:
        realised_quote = -entry_quote
        entry_quote = 0
        side_lots = position.size_lots
    return FillEffect(
        position=PositionWord(
            size_lots=size_lots, entry_quote=entry_quote, index_snapshot_e12=index_of_side(index, side_lots)
        ),
        pending_quote=pending_quote,
        realised_quote=realised_quote,
        entry_change_quote=entry_quote - position.entry_quote,
    )


def is_reducing(old_lots: int, new_lots: int) -> bool:
    """Tell whether a change lowers risk: fewer lots on the same side, or none."""
    return abs(new_lots) < abs(old_lots) and old_lots * new_lots >= 0
