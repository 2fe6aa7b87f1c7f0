"""Adopt what owners and the registry did directly on chain, and end at once what it dooms.

The mirror takes the word over; there, as on chain, a cancel-all, a revocation and new rules bind matches later than
SETTLE_LAG. The engine need not wait that long: orders below the new minimum and orders of the revoked key leave now.
Batches sealed before, and the open one, are not touched: heard of within SETTLE_LAG, nothing in them can have been
bound. Heard of later, fills of the open batch that it binds are refused by the mirror at the seal, as on chain.
Liquidations, exits and corporate actions are siblings.py's.
Must not: judge who did it; the contract has.
"""

from __future__ import annotations

from typing import Final

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.commands import AdoptDirectOperation
from afterbell.domain.direct import TIER_MARKETS, DirectKind, apply_direct
from afterbell.domain.events import CancelAllAdopted, Event, KeyLinked, KeyRevoked, RulesAdopted
from afterbell.domain.ids import MAX_ACCOUNT_ID, N_ADDRESS_BYTES, AccountId
from afterbell.domain.session import MAX_SESSION
from afterbell.domain.words import OverflowWord
from afterbell.engine.batching import rebuild_open_batch
from afterbell.engine.cancels import cancel_below
from afterbell.engine.keys import cancel_orders_of_key
from afterbell.engine.siblings import KINDS, adopt_sibling, find_sibling_misfit
from afterbell.engine.state import EngineState

_N_WORD_BYTES: Final = 32


def find_misfit(state: EngineState, command: AdoptDirectOperation) -> str | None:
    """Return why a direct operation does not fit the state, or None: a bug of who reads the chain."""
    if command.direct_op != state.chain.direct_op + 1:
        return f"direct operation {state.chain.direct_op + 1} must come next, found {command.direct_op}"
    subject = int.from_bytes(command.subject, "big")
    if len(command.word) != _N_WORD_BYTES or len(command.subject) > _N_WORD_BYTES:
        return f"word of {len(command.word)} bytes, subject of {len(command.subject)} bytes"
    if not 0 <= command.account <= MAX_ACCOUNT_ID or not 0 <= command.time_s < 1 << 40:
        return f"account {command.account:#x} at {command.time_s} s"
    if command.kind in (DirectKind.LINK_KEY, DirectKind.REVOKE_KEY):
        return None if subject < 1 << 160 else f"key {subject:#x}"
    if command.kind == DirectKind.CHANGE_RULES:
        # Words of tiers stand above those of rules: the low byte is the market all the same.
        is_known = subject >> 8 & 0xFF in state.markets and subject & 0xFF <= MAX_SESSION and subject < 1 << 19
        return None if is_known else f"rules of market {subject >> 8}, session {subject & 0xFF}"
    if command.kind in KINDS:
        return find_sibling_misfit(state, command)
    return None if command.kind == DirectKind.CANCEL_ALL else f"kind {command.kind} of a direct operation"


def adopt_direct_operation(state: EngineState, command: AdoptDirectOperation, time_s: int) -> list[Event]:
    """Take one direct operation into the mirror; return what it is and what it ended."""
    if command.kind in KINDS:
        return adopt_sibling(state, command, time_s)
    account, subject = AccountId(command.account), int.from_bytes(command.subject, "big")
    word = int.from_bytes(command.word, "big")
    apply_direct(state.chain, command.kind, account, subject, word, command.time_s)
    state.drop_draft()
    if state.batch is not None and command.kind != DirectKind.CHANGE_RULES:
        state.batch.execution.note_direct(account)
    if command.kind == DirectKind.CANCEL_ALL:
        return _adopt_cancel_all(state, command, account, word)
    if command.kind == DirectKind.CHANGE_RULES and subject >> 8 >= TIER_MARKETS:
        # At a listing tiers stand at once; later they count with the rules word beside them, whose change comes next.
        rebuild_open_batch(state)
        return []
    if command.kind == DirectKind.CHANGE_RULES:
        return [
            RulesAdopted(
                direct_op=command.direct_op,
                market=subject >> 8,
                session=subject & 0xFF,
                rules_word=command.word,
                binds_after_s=command.time_s + SETTLE_LAG_S,
            )
        ]
    key = subject.to_bytes(N_ADDRESS_BYTES, "big")
    kind = KeyLinked if command.kind == DirectKind.LINK_KEY else KeyRevoked
    changed = kind(
        operation_id=b"",
        sequence=0,
        account=account,
        key=key,
        word=state.chain.session_key_word(account, key).to_bytes(_N_WORD_BYTES, "big"),
        transaction=command.transaction,
    )
    return [changed] if kind is KeyLinked else [changed, *cancel_orders_of_key(state, account, key)]


def _adopt_cancel_all(state: EngineState, command: AdoptDirectOperation, account: AccountId, word: int) -> list[Event]:
    overflow = OverflowWord.unpack(word)
    min_seq_ms = max(overflow.pending_min_seq, overflow.bound_min_seq)
    state.min_seqs[account] = max(state.min_seqs.get(account, 0), min_seq_ms)
    adopted = CancelAllAdopted(
        direct_op=command.direct_op,
        account=account,
        min_seq_ms=overflow.pending_min_seq,
        since_s=overflow.pending_since_s,
        block=command.block,
        transaction=command.transaction,
    )
    return [adopted, *cancel_below(state, account, min_seq_ms)]
