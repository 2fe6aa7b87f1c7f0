"""Move words outside batches, as Liquidations, Exits and CorporateActions may: the narrow doors of the Clearinghouse.

Each function checks what the Clearinghouse itself checks, then writes everything at once, and counts one direct
operation; whether the move is deserved is the caller's to judge. A refusal leaves the state as it was. Must not: value
a position or look at a clock. Twin: contracts/PROTOCOL.md §1, contracts/Clearinghouse.vy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from afterbell.domain.chain_state import ChainState, Mode, store_word
from afterbell.domain.errors import DirectRefused, Faulted
from afterbell.domain.ids import MAX_ACCOUNT_ID, AccountId, account_key, position_key
from afterbell.domain.outcomes import PositionChange
from afterbell.domain.position import compute_pending_quote, index_of_side
from afterbell.domain.session import MAX_SESSION
from afterbell.domain.words import (
    AccountWord,
    IndexWord,
    PositionWord,
    PriceWord,
    TotalsWord,
    validate_collateral,
    validate_entry,
)

MAX_DELTAS: Final = 34
MAX_EXTERNAL_TICKS: Final = (1 << 32) - 1
MAX_MARK_TICKS: Final = (1 << 33) - 1
N_INDEX_BITS: Final = 88
"""|index| stays below 2^88, part of the proof that the lanes suffice (contracts/README.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What one account's position in a market and its collateral change by."""

    account_id: int
    size_lots: int = 0
    entry_quote: int = 0
    collateral_quote: int = 0


def apply_deltas(
    state: ChainState, market_id: int, deltas: Sequence[Delta], pot_change_quote: int = 0
) -> tuple[PositionChange, ...]:
    """Move value between accounts and the pot of one market; return the records of PositionsChanged, one a delta.

    Each position is touched (pending funding into entry and pot), size and entry are added, and at size zero the entry
    is realised into collateral. A position that is nothing before and after keeps its word. `realised_quote` of a
    record is everything added to the collateral.

    Raises: DirectRefused `deltas: account order`, `deltas: open markets` (a seventh), `deltas: sizes` (they must sum to
    zero, and open interest must not grow), `deltas: value` (so must collateral - entry and the pot); FieldOutOfRange.
    State unchanged.
    """
    if len(deltas) > MAX_DELTAS:
        raise Faulted(f"at most {MAX_DELTAS} deltas go into one call, found {len(deltas)}: cut them")
    index, totals = state.index(market_id), state.totals_of(market_id)
    moves: list[_Move] = []
    previous_id = 0
    for delta in deltas:
        if delta.account_id <= previous_id:
            raise DirectRefused("deltas: account order")
        previous_id = delta.account_id
        moves.append(_plan_delta(state, market_id, delta, index))
    # a longer number would be another name of the same account
    if previous_id > MAX_ACCOUNT_ID:
        raise DirectRefused("deltas: account order")
    long_change_lots = sum(move.long_change_lots for move in moves)
    if sum(delta.size_lots for delta in deltas) or long_change_lots > 0:
        raise DirectRefused("deltas: sizes")
    if sum(delta.collateral_quote - delta.entry_quote for delta in deltas) + pot_change_quote:
        raise DirectRefused("deltas: value")
    totals_word = TotalsWord(
        open_interest_lots=totals.open_interest_lots + long_change_lots,
        net_entry_quote=totals.net_entry_quote + sum(move.entry_change_quote for move in moves),
        pot_quote=totals.pot_quote + pot_change_quote + sum(move.pending_quote for move in moves),
    ).pack()
    batch = state.batch
    collateral_quote = batch.collateral_quote + sum(move.change.realised_quote for move in moves)
    batch_word = replace(batch, collateral_quote=collateral_quote).pack()
    for move in moves:
        store_word(state.accounts, account_key(move.change.account_id), move.account_word)
        store_word(state.positions, position_key(move.change.account_id, market_id), move.change.position_word)
    store_word(state.totals, market_id, totals_word)
    state.batch_word = batch_word
    state.direct_op += 1
    return tuple(move.change for move in moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """One delta worked out: words to write and what it adds to the totals."""

    change: PositionChange
    account_word: int
    pending_quote: int
    entry_change_quote: int
    long_change_lots: int


def _plan_delta(state: ChainState, market_id: int, delta: Delta, index: IndexWord) -> _Move:
    account, old = state.account(delta.account_id), state.position(delta.account_id, market_id)
    pending_quote = compute_pending_quote(old, index)
    size_lots = old.size_lots + delta.size_lots
    entry_quote = old.entry_quote + pending_quote + delta.entry_quote
    realised_quote = delta.collateral_quote
    if size_lots == 0:
        realised_quote -= entry_quote
        entry_quote = 0
    snapshot_e12 = old.index_snapshot_e12
    if old.size_lots or size_lots:
        snapshot_e12 = index_of_side(index, size_lots or old.size_lots)
    position = PositionWord(size_lots=size_lots, entry_quote=entry_quote, index_snapshot_e12=snapshot_e12)
    validate_entry(entry_quote)
    validate_collateral(account.collateral_quote + realised_quote)
    account = replace(account, collateral_quote=account.collateral_quote + realised_quote)
    change = PositionChange(
        account_id=AccountId(delta.account_id),
        market_id=market_id,
        size_change_lots=delta.size_lots,
        realised_quote=realised_quote,
        fees_quote=0,
        position_word=position.pack(),
    )
    _ = change.change_word  # range-checked here, before anything is written
    return _Move(
        change=change,
        account_word=_list_market(account, market_id, is_open=size_lots != 0).pack(),
        pending_quote=pending_quote,
        entry_change_quote=entry_quote - old.entry_quote,
        long_change_lots=max(size_lots, 0) - max(old.size_lots, 0),
    )


def _list_market(account: AccountWord, market_id: int, *, is_open: bool) -> AccountWord:
    """Return the account word with a market in or out of its list of open ones."""
    slots = [0 if slot == market_id else slot for slot in account.open_markets]
    if is_open:
        if market_id in account.open_markets:
            return account
        if 0 not in slots:
            raise DirectRefused("deltas: open markets")
        slots[slots.index(0)] = market_id
    return replace(account, open_markets=tuple(slots))


def move_market(state: ChainState, market_id: int, price_word: int, index_word: int) -> None:
    """Replace the price and the index word of a market.

    Raises: DirectRefused `prices: unknown market` (not listed), `move: out of range` (external >= 2^32, mark or index
    >= 2^33, session > 8, a funding index outside [-2^88, 2^88), or an epoch that falls).
    """
    price, index, before = PriceWord.unpack(price_word), IndexWord.unpack(index_word), state.price(market_id)
    low, high = -(1 << N_INDEX_BITS), 1 << N_INDEX_BITS
    if not state.prices.get(market_id):
        raise DirectRefused("prices: unknown market")
    if (
        price.external_ticks > MAX_EXTERNAL_TICKS
        or max(price.mark_ticks, price.index_ticks) > MAX_MARK_TICKS
        or price.session > MAX_SESSION
        or not (low <= index.long_index_e12 < high and low <= index.short_index_e12 < high)
        or price.epoch < before.epoch
    ):
        raise DirectRefused("move: out of range")
    store_word(state.prices, market_id, price_word)
    store_word(state.indices, market_id, index_word)
    state.direct_op += 1


def withdraw_to_claim(state: ChainState, account_id: int, recipient: bytes, quote: int) -> None:
    """Turn collateral into a claim of `recipient`, outside a batch. Raises: FieldOutOfRange, state unchanged."""
    account, batch = state.account(account_id), state.batch
    validate_collateral(account.collateral_quote - quote)
    account_word = replace(account, collateral_quote=account.collateral_quote - quote).pack()
    state.batch_word = replace(batch, collateral_quote=batch.collateral_quote - quote).pack()
    store_word(state.accounts, account_key(account_id), account_word)
    state.claims[recipient] = state.claims.get(recipient, 0) + quote
    state.direct_op += 1


def set_mode(state: ChainState, mode: Mode) -> None:
    """Change the mode of the venue. Raises: DirectRefused `clearinghouse: settled`."""
    if state.mode == Mode.SETTLED:
        raise DirectRefused("clearinghouse: settled")
    state.mode = mode
    state.direct_op += 1
