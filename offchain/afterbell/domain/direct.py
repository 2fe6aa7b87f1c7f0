"""Apply what owners and the registry do directly on chain, past every batch.

Two sides. The chain's: `record_*` check a call as Operations and Clearinghouse do, move the state and return what they
log. The mirror's: `apply_direct` takes such a log, perhaps after batches the chain had not seen then, and ends with the
same words: limits of a key come from the last batch that set them, or from a direct link of a word still zero; the
time of a revocation comes only from here; everything else binds SETTLE_LAG later, so no batch can have missed it.
Deposits are chain_state.apply_deposit. Must not: judge who called. Twin: contracts/Operations.vy, "Direct operations".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, unique
from typing import Final

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.chain_state import ChainState, store_word
from afterbell.domain.errors import DirectRefused, Faulted
from afterbell.domain.ids import (
    N_ADDRESS_BYTES,
    account_key,
    overflow_key,
    owner_of,
    rules_binds_after_key,
    rules_key,
    rules_successor_key,
    session_key_id,
    tier_key,
)
from afterbell.domain.session_keys import has_bad_limits
from afterbell.domain.units import seconds_to_milliseconds
from afterbell.domain.words import (
    ACCOUNT_FLAG_OVERFLOW,
    KEY_LINKED,
    KEY_REVOKED_AT_MASK,
    RULES_FLAG_CHANGING,
    OverflowWord,
    SessionKeyWord,
)

TIER_MARKETS: Final = 1024
"""Market numbers of the rules map from which on its words are tier words (ids.tier_key)."""


@unique
class DirectKind(IntEnum):
    """What was done directly; the kinds of DirectOperation."""

    CANCEL_ALL = 1
    LINK_KEY = 2
    REVOKE_KEY = 3
    CHANGE_RULES = 4
    # Done by siblings (deltas.py): they bind at once.
    APPLY_DELTAS = 5
    MOVE_MARKET = 6
    WITHDRAW_TO_CLAIM = 7
    SET_MODE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectOperation:
    """One DirectOperation log.

    subject: 0, the key's address, the key's address, market << 8 | session (of a tier word: its own key in the rules).
    word: the resulting overflow word, session key word, session key word, the rules word that follows or the tier word.
    account_id is 0 for rules.
    """

    direct_op: int
    kind: int
    account_id: int
    subject: int
    word: int
    time_s: int


def apply_direct(state: ChainState, kind: int, account_id: int, subject: int, word: int, time_s: int) -> int:
    """Take one DirectOperation log into the mirror; return its number. Raises: Faulted on an unknown kind.

    Where a batch is open over the state, call Execution.note_direct afterwards.
    """
    if kind == DirectKind.CANCEL_ALL:
        state.overflows[overflow_key(account_id)] = word
        account = state.account(account_id)
        state.accounts[account_key(account_id)] = replace(account, flags=account.flags | ACCOUNT_FLAG_OVERFLOW).pack()
    elif kind == DirectKind.LINK_KEY:
        # A word that is not zero was set by a batch the chain settled, or will settle, after this link.
        state.session_keys.setdefault(_key_id(account_id, subject), word)
    elif kind == DirectKind.REVOKE_KEY:
        key = _key_id(account_id, subject)
        state.session_keys[key] = state.session_keys.get(key, 0) & ~KEY_REVOKED_AT_MASK | word & KEY_REVOKED_AT_MASK
    elif kind == DirectKind.CHANGE_RULES:
        if subject >> 8 < TIER_MARKETS:
            _install_rules(state, subject >> 8, subject & 0xFF, word, time_s)
        else:
            store_word(state.rules, subject, word)
    else:
        raise Faulted(
            f"kind of a direct operation must be 1 to 4, found {kind}: this version does not know the chain's"
        )
    state.direct_op += 1
    return state.direct_op


def _key_id(account_id: int, subject: int) -> int:
    return session_key_id(account_id, subject.to_bytes(N_ADDRESS_BYTES, "big"))


def _install_rules(state: ChainState, market_id: int, session: int, word: int, time_s: int) -> None:
    """Let `word` follow the rules in force. A successor that is there binds every batch to come, so it moves up."""
    key, successor_key = rules_key(market_id, session), rules_successor_key(market_id, session)
    current = state.rules.get(key, 0)
    if current & RULES_FLAG_CHANGING:
        current = state.rules[successor_key]
    state.rules[key] = current | RULES_FLAG_CHANGING
    state.rules[successor_key] = word
    state.rules[rules_binds_after_key(market_id, session)] = time_s + SETTLE_LAG_S


def _record(
    state: ChainState, kind: DirectKind, *, account_id: int, subject: int, word: int, time_s: int
) -> DirectOperation:
    direct_op = apply_direct(state, kind, account_id, subject, word, time_s)
    return DirectOperation(
        direct_op=direct_op, kind=kind, account_id=account_id, subject=subject, word=word, time_s=time_s
    )


def record_cancel_all(state: ChainState, account_id: int, min_seq: int, *, time_s: int) -> DirectOperation:
    """Cancel everything below min_seq on chain.

    Raises: DirectRefused `operations: min seq` (later than now + SETTLE_LAG), `operations: cancel pending`.
    """
    if min_seq > seconds_to_milliseconds(time_s + SETTLE_LAG_S - state.genesis_s):
        raise DirectRefused("operations: min seq")
    overflow = OverflowWord.unpack(state.overflows.get(overflow_key(account_id), 0))
    # Until then a batch may still come that was matched before the pending one binds: it must not be pushed out.
    if time_s <= overflow.pending_since_s + 2 * SETTLE_LAG_S:
        raise DirectRefused("operations: cancel pending")
    word = OverflowWord(
        pending_min_seq=min_seq,
        pending_since_s=time_s,
        bound_min_seq=max(overflow.bound_min_seq, overflow.pending_min_seq),
    ).pack()
    return _record(state, DirectKind.CANCEL_ALL, account_id=account_id, subject=0, word=word, time_s=time_s)


def record_key_link(state: ChainState, account_id: int, key: bytes, limits: int, *, time_s: int) -> DirectOperation:
    """Link a key on chain. Raises: DirectRefused `operations: bad key`, `operations: key in use`."""
    if has_bad_limits(owner_of(account_id), key, limits, time_s):
        raise DirectRefused("operations: bad key")
    if state.session_key_word(account_id, key):
        raise DirectRefused("operations: key in use")
    subject = int.from_bytes(key, "big")
    return _record(
        state, DirectKind.LINK_KEY, account_id=account_id, subject=subject, word=limits | KEY_LINKED, time_s=time_s
    )


def record_key_revocation(state: ChainState, account_id: int, key: bytes, *, time_s: int) -> DirectOperation:
    """Revoke a key on chain, linked or not. Raises: DirectRefused `operations: key revoked`."""
    found = SessionKeyWord.unpack(state.session_key_word(account_id, key))
    if found.revoked_at_s:
        raise DirectRefused("operations: key revoked")
    word = replace(found, revoked_at_s=time_s).pack()
    subject = int.from_bytes(key, "big")
    return _record(state, DirectKind.REVOKE_KEY, account_id=account_id, subject=subject, word=word, time_s=time_s)


def record_tiers(
    state: ChainState, market_id: int, session: int, tier_word: int, *, is_successor: bool, time_s: int
) -> DirectOperation | None:
    """Write the tiers beside the rules word of a session, or beside its successor; None where they are so already."""
    key = tier_key((rules_successor_key if is_successor else rules_key)(market_id, session))
    if state.rules.get(key, 0) == tier_word:
        return None
    return _record(state, DirectKind.CHANGE_RULES, account_id=0, subject=key, word=tier_word, time_s=time_s)


def record_rules(state: ChainState, market_id: int, session: int, word: int, *, time_s: int) -> DirectOperation:
    """Change the rules of a listed market; its tiers come before, by record_tiers.

    Raises: DirectRefused `rules: pending`.
    """
    # The one before must bind every batch that can still come; then it moves up and nothing remembers the oldest.
    if time_s <= state.rules.get(rules_binds_after_key(market_id, session), 0) + SETTLE_LAG_S:
        raise DirectRefused("rules: pending")
    subject = rules_key(market_id, session)
    return _record(state, DirectKind.CHANGE_RULES, account_id=0, subject=subject, word=word, time_s=time_s)


def approve(state: ChainState, owner: bytes, digest: bytes) -> None:
    """Let the digest of an operation stand for a signature of its owner."""
    state.approvals.add((owner, digest))
