"""Do again what a sibling did directly, from what its logs tell: deltas of positions, a moved market, an exit, a mode.

PositionsChanged tells the change and the resulting word of each position, not the deltas that were asked for. They
follow up to a split that no word shows: where a position ends at size zero, what was added to its entry and what to
its collateral are one sum. Run again by deltas.py's own rules, the result must be the told words; anything else means
that the words before differ. Must not: judge whether it was right to do. Twin: contracts/PROTOCOL.md §1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from afterbell.domain.chain_state import ChainState
from afterbell.domain.deltas import MAX_DELTAS, Delta, apply_deltas
from afterbell.domain.errors import DirectRefused
from afterbell.domain.ids import MAX_ACCOUNT_ID, AccountId, account_key, position_key
from afterbell.domain.outcomes import PositionChange
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.words import PositionWord, read_signed, read_unsigned

N_RECORD_WORDS: Final = 3
_N_WORD_BYTES: Final = 32
_N_RECORD_BYTES: Final = N_RECORD_WORDS * _N_WORD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRecord:
    """Three words of PositionsChanged: which position, its change, its resulting word."""

    account_id: AccountId
    market_id: int
    size_change_lots: int
    realised_quote: int
    """Everything added to collateral."""
    fees_quote: int
    position_word: int


def read_records(records: bytes) -> tuple[PositionRecord, ...]:
    """Read whole records. Raises: ValueError for a broken length, an account id of more than 240 bits."""
    if len(records) % _N_RECORD_BYTES:
        raise ValueError(f"position records are {_N_RECORD_BYTES} bytes each, found {len(records)} bytes")
    found = []
    for start in range(0, len(records), _N_RECORD_BYTES):
        key, change, word = (
            int.from_bytes(records[at : at + _N_WORD_BYTES], "big")
            for at in range(start, start + _N_RECORD_BYTES, _N_WORD_BYTES)
        )
        if key >> 16 > MAX_ACCOUNT_ID:
            raise ValueError(f"an account id has 240 bits, found {key >> 16:#x}")
        found.append(
            PositionRecord(
                account_id=AccountId(key >> 16),
                market_id=key & 0xFFFF,
                size_change_lots=read_signed(change, 64, 0),
                realised_quote=read_signed(change, 96, 64),
                fees_quote=read_unsigned(change, 96, 160),
                position_word=word,
            )
        )
    return tuple(found)


def check_records(
    state: ChainState, market_id: int, records: tuple[PositionRecord, ...], pot_change_quote: int
) -> None:
    """Check that the deltas behind these records lead to the told words, and change nothing.

    Raises: DirectRefused with the rule that is broken, or `deltas: words` when the words before must have been others;
    FieldOutOfRange.
    """
    if not 0 < len(records) <= MAX_DELTAS or any(record.market_id != market_id for record in records):
        raise DirectRefused("deltas: records")
    keys = [position_key(record.account_id, market_id) for record in records]
    account_keys = [account_key(record.account_id) for record in records]
    excerpt = ChainState(
        accounts={key: state.accounts[key] for key in account_keys if key in state.accounts},
        positions={key: state.positions[key] for key in keys if key in state.positions},
        indices={market_id: state.indices.get(market_id, 0)},
        totals={market_id: state.totals.get(market_id, 0)},
        batch_word=state.batch_word,
    )
    changes = apply_deltas(excerpt, market_id, [_find_delta(state, record) for record in records], pot_change_quote)
    told = [(record.realised_quote, record.position_word) for record in records]
    if [(change.realised_quote, change.position_word) for change in changes] != told:
        raise DirectRefused("deltas: words")


def apply_records(
    state: ChainState, market_id: int, records: tuple[PositionRecord, ...], pot_change_quote: int
) -> tuple[PositionChange, ...]:
    """Apply the deltas behind these records. Raises: as check_records, state unchanged."""
    check_records(state, market_id, records, pot_change_quote)
    return apply_deltas(state, market_id, [_find_delta(state, record) for record in records], pot_change_quote)


def _find_delta(state: ChainState, record: PositionRecord) -> Delta:
    old, new = state.position(record.account_id, record.market_id), PositionWord.unpack(record.position_word)
    # At size zero the rule takes the whole entry into collateral again: whatever is added to it cancels out.
    entry_quote = old.entry_quote + compute_pending_quote(old, state.index(record.market_id))
    return Delta(
        account_id=record.account_id,
        size_lots=record.size_change_lots,
        entry_quote=new.entry_quote - entry_quote,
        collateral_quote=record.realised_quote,
    )
