"""Divide what the Vault holds when trading has ended for good: tally every account, fix one ratio, pay shares.

Every position is worth its market's last external price. Must not: care in which order accounts come; the ratio is
fixed when all are in. Twin: contracts/Exits.vy (tally, claim), PROTOCOL.md §5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.deltas import withdraw_to_claim
from afterbell.domain.errors import DirectRefused
from afterbell.domain.exit_requests import ExitsState, check_account
from afterbell.domain.ids import MAX_MARKETS, owner_of
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.units import mul_div_down
from afterbell.domain.words import read_signed, read_unsigned, signed_lane, unsigned_lane

CLAIMED: Final = 1 << 254
TALLIED: Final = 1 << 255
_EQUITY_MASK: Final = (1 << 128) - 1


def compute_final_equity_quote(state: ChainState, account_id: int) -> int:
    """Return collateral + sum of (lots x last external price - entry - pending funding)."""
    equity_quote = state.account(account_id).collateral_quote
    for market_id, position in state.open_positions(account_id).items():
        price_ticks = state.price(market_id).external_ticks
        pending_quote = compute_pending_quote(position, state.index(market_id))
        equity_quote += position.size_lots * price_ticks - position.entry_quote - pending_quote
    return equity_quote


def tally(state: ChainState, exits: ExitsState, account_ids: Sequence[int], *, insurance_owner: bytes) -> bool:
    """Add accounts to the sums, each once; fix the ratio when the sums reach the running totals; return whether.

    insurance_owner: Liquidations, whose accounts count as collateral and claim nothing.
    Raises: DirectRefused not settled, ratio fixed, account id.
    """
    if state.mode != Mode.SETTLED:
        raise DirectRefused("exits: not settled")
    if exits.is_ratio_fixed:
        raise DirectRefused("exits: ratio fixed")
    for account_id in account_ids:
        check_account(account_id)
    for account_id in account_ids:
        if account_id in exits.tallies:
            continue
        exits.tallied_collateral_quote += state.account(account_id).collateral_quote
        for market_id, position in state.open_positions(account_id).items():
            sums = exits.market_tallies.get(market_id, 0)
            exits.market_tallies[market_id] = _add_position(sums, position.size_lots, position.entry_quote)
        equity_quote = compute_final_equity_quote(state, account_id)
        payable_quote = 0 if owner_of(account_id) == insurance_owner else max(equity_quote, 0)
        exits.positive_equity_quote += payable_quote
        exits.tallies[account_id] = TALLIED | payable_quote
    if not is_tally_complete(state, exits):
        return False
    exits.assets_quote = state.tracked_quote - sum(state.claims.values())
    exits.is_ratio_fixed = True
    return True


def _add_position(sums: int, size_lots: int, entry_quote: int) -> int:
    """Add to a market's sums: 0-63 long lots | 64-127 short lots | 128-223 entries int96."""
    return (
        unsigned_lane(read_unsigned(sums, 64, 0) + max(size_lots, 0), 64, 0, "long_lots")
        | unsigned_lane(read_unsigned(sums, 64, 64) + max(-size_lots, 0), 64, 64, "short_lots")
        | signed_lane(read_signed(sums, 96, 128) + entry_quote, 96, 128, "net_entry_quote")
    )


def is_tally_complete(state: ChainState, exits: ExitsState) -> bool:
    """Tell whether collateral, long lots, short lots and entries all equal the running totals."""
    if exits.tallied_collateral_quote != state.batch.collateral_quote:
        return False
    return count_incomplete_markets(state, exits) == 0


def count_incomplete_markets(state: ChainState, exits: ExitsState) -> int:
    """Return how many markets have positions that are not tallied."""
    n_incomplete = 0
    for market_id in range(1, MAX_MARKETS + 1):
        sums, totals = exits.market_tallies.get(market_id, 0), state.totals_of(market_id)
        found = (read_unsigned(sums, 64, 0), read_unsigned(sums, 64, 64), read_signed(sums, 96, 128))
        n_incomplete += found != (totals.open_interest_lots, totals.open_interest_lots, totals.net_entry_quote)
    return n_incomplete


def compute_claimable_quote(exits: ExitsState, account_id: int) -> int:
    """Return floor(equity x min(1, assets / positive equities)); 0 before the ratio is fixed and after the claim."""
    word = exits.tallies.get(account_id, 0)
    if not exits.is_ratio_fixed or word & CLAIMED:
        return 0
    equity_quote = word & _EQUITY_MASK
    if exits.assets_quote >= exits.positive_equity_quote:
        return equity_quote
    return mul_div_down(equity_quote, exits.assets_quote, exits.positive_equity_quote)


def claim(state: ChainState, exits: ExitsState, account_id: int) -> int:
    """Turn an account's share into a claim of its owner, once; return it. Raises: DirectRefused nothing to claim."""
    check_account(account_id)
    quote = compute_claimable_quote(exits, account_id)
    if quote == 0:
        raise DirectRefused("exits: nothing to claim")
    withdraw_to_claim(state, account_id, owner_of(account_id), quote)
    exits.tallies[account_id] |= CLAIMED
    return quote
