"""Write what a batch moved into the state: every word once, at the end, or nothing. Must not: judge anything."""

from __future__ import annotations

from dataclasses import replace

from afterbell.domain.chain_state import ChainState, store_word
from afterbell.domain.ids import AccountId, account_key, lane_key, position_key
from afterbell.domain.outcomes import PositionChange, Withdrawn
from afterbell.domain.words import BatchWord, LaneWord, TotalsWord, replace_key_limits, validate_entry
from afterbell.domain.working import AccountInBatch, Workbench


def write_back(bench: Workbench, *, batch_sequence: int, fees_quote: int, head: bytes) -> tuple[PositionChange, ...]:
    """Write every changed word; return the position changes. Raises: FieldOutOfRange, nothing written."""
    state = bench.state
    accounts: dict[int, int] = {}
    positions: dict[int, int] = {}
    lanes: dict[int, int] = {}
    changes: list[PositionChange] = []
    collateral_change_quote = 0
    for account_id, account in bench.accounts.items():
        collateral_change_quote += account.collateral_quote - account.start.collateral_quote
        accounts[account_key(account_id)] = _pack_account(account)
        lanes.update(_pack_lanes(state, account_id, account))
        for market_id in account.changes:
            changes.append(_build_change(account_id, account, market_id))
            positions[position_key(account_id, market_id)] = changes[-1].position_word
    totals = {
        market_id: TotalsWord(
            open_interest_lots=market.open_interest_lots,
            net_entry_quote=market.net_entry_quote,
            pot_quote=market.pot_quote,
        ).pack()
        for market_id, market in bench.markets.items()
    }
    batch = state.batch
    batch_word = BatchWord(
        sequence=batch_sequence,
        matched_at_s=bench.matched_at_s,
        fees_quote=batch.fees_quote + fees_quote,
        collateral_quote=batch.collateral_quote + collateral_change_quote,
    ).pack()
    for words, written in (
        (state.accounts, accounts),
        (state.positions, positions),
        (state.lanes, lanes),
        (state.totals, totals),
        (state.prices, {market_id: price.pack() for market_id, price in bench.prices.items()}),
        (state.indices, {market_id: index.pack() for market_id, index in bench.indices.items()}),
    ):
        for key, word in written.items():
            store_word(words, key, word)
    for key, limits in bench.key_limits.items():
        state.session_keys[key] = replace_key_limits(state.session_keys.get(key, 0), limits)
    for effect in bench.effects:
        if isinstance(effect, Withdrawn):
            state.claims[effect.recipient] = state.claims.get(effect.recipient, 0) + effect.quote
    state.batch_word = batch_word
    state.head = head
    return tuple(changes)


def _build_change(account_id: int, account: AccountInBatch, market_id: int) -> PositionChange:
    position, change = account.positions[market_id], account.changes[market_id]
    validate_entry(position.entry_quote)
    record = PositionChange(
        account_id=AccountId(account_id),
        market_id=market_id,
        size_change_lots=change.size_change_lots,
        realised_quote=change.realised_quote,
        fees_quote=change.fees_quote,
        position_word=position.pack(),
    )
    _ = record.change_word  # range-checked here, before anything is written
    return record


def _pack_account(account: AccountInBatch) -> int:
    """Return the account word; a closed market frees its slot, a new one takes the first free slot."""
    slots = [
        market_id if market_id and account.positions[market_id].size_lots else 0
        for market_id in account.start.open_markets
    ]
    for market_id, position in account.positions.items():
        if position.size_lots and market_id not in slots:
            slots[slots.index(0)] = market_id
    seq, filled_lots = account.lanes.get(0, (account.start.lane0_seq, account.start.lane0_filled_lots))
    return replace(
        account.start,
        collateral_quote=account.collateral_quote,
        min_seq=account.min_seq,
        lane0_seq=seq,
        lane0_filled_lots=filled_lots,
        open_markets=tuple(slots),
    ).pack()


def _pack_lanes(state: ChainState, account_id: int, account: AccountInBatch) -> dict[int, int]:
    words: dict[int, LaneWord] = {}
    for lane, (seq, filled_lots) in account.lanes.items():
        if lane == 0:
            continue
        key = lane_key(account_id, lane)
        word = words.get(key) or LaneWord.unpack(state.lanes.get(key, 0))
        if lane & 1:
            words[key] = replace(word, odd_seq=seq, odd_filled_lots=filled_lots)
        else:
            words[key] = replace(word, even_seq=seq, even_filled_lots=filled_lots)
    return {key: word.pack() for key, word in words.items()}
