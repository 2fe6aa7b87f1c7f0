"""Decode the logs the follower reads. Layouts: contracts/README.md, "Events". Must not: know the node or a cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from afterbell.domain.commands import AdoptDirectOperation, CreditDeposit
from afterbell.domain.direct import DirectKind
from afterbell.domain.errors import Faulted
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import MAX_ACCOUNT_ID
from afterbell.domain.words import read_unsigned
from afterbell.ports import ChainLog

_WORD: Final = 32
_SIBLING_KINDS: Final = (
    DirectKind.APPLY_DELTAS,
    DirectKind.MOVE_MARKET,
    DirectKind.WITHDRAW_TO_CLAIM,
    DirectKind.SET_MODE,
)
DEPOSITED_TOPIC: Final = keccak(b"CollateralDeposited(uint256,uint64,address,uint256)")
DIRECT_OPERATION_TOPIC: Final = keccak(b"DirectOperation(uint256,uint64,uint8,uint256,uint256,uint64)")
POSITIONS_CHANGED_TOPIC: Final = keccak(b"PositionsChanged(uint64,uint256[])")
PRICE_CHANGED_TOPIC: Final = keccak(b"PriceChanged(uint8,uint256)")
INDEX_CHANGED_TOPIC: Final = keccak(b"IndexChanged(uint8,uint256)")
BATCH_SETTLED_TOPIC: Final = keccak(
    b"BatchSettled(uint64,bytes32,bytes32,bytes32,uint64,uint64,uint256,uint256,uint256)"
)
EFFECT_TOPICS: Final = (
    POSITIONS_CHANGED_TOPIC,
    PRICE_CHANGED_TOPIC,
    INDEX_CHANGED_TOPIC,
    BATCH_SETTLED_TOPIC,
    DIRECT_OPERATION_TOPIC,
)
"""What tells, beside DirectOperation, what a sibling did and when."""
CLAIM_PAID_TOPIC: Final = keccak(b"ClaimPaid(address,uint256)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPayment:
    """One ClaimPaid of the Vault: money left to `recipient`."""

    recipient: bytes
    quote: int
    block: int
    transaction: bytes
    log_index: int


def decode_direct_operation(log: ChainLog) -> CreditDeposit | AdoptDirectOperation:
    """Turn a CollateralDeposited or DirectOperation of the Clearinghouse into the command that adopts it.

    Raises: Faulted.
    """
    is_deposit = log.topics[:1] == (DEPOSITED_TOPIC,)
    _must_have(log, n_topics=3, n_words=2 if is_deposit else 4)
    account = int.from_bytes(log.topics[1], "big")
    if account > MAX_ACCOUNT_ID:
        raise Faulted(f"an account id has 240 bits, found {account:#x} in transaction 0x{log.transaction.hex()}")
    direct_op = int.from_bytes(log.topics[2], "big")
    words = [log.payload[start : start + _WORD] for start in range(0, len(log.payload), _WORD)]
    if is_deposit:
        return CreditDeposit(
            direct_op=direct_op,
            account=account,
            quote=int.from_bytes(words[1], "big"),
            sender=words[0][12:],
            block=log.block,
            transaction=log.transaction,
        )
    return AdoptDirectOperation(
        direct_op=direct_op,
        kind=int.from_bytes(words[0], "big"),
        account=account,
        subject=words[1],
        word=words[2],
        time_s=int.from_bytes(words[3], "big"),
        block=log.block,
        transaction=log.transaction,
    )


def is_by_sibling(command: CreditDeposit | AdoptDirectOperation) -> bool:
    """Tell whether other logs say what it did: kinds 5 to 8."""
    return isinstance(command, AdoptDirectOperation) and command.kind in _SIBLING_KINDS


def add_effects(
    command: AdoptDirectOperation, log: ChainLog, block_logs: Sequence[ChainLog], batch_before_block: int
) -> AdoptDirectOperation:
    """Complete the command of a sibling with what the logs beside it tell.

    log: its DirectOperation. block_logs: the logs of its block with EFFECT_TOPICS, in order. Its effects stand before
    it in its transaction, after the direct operation before. Raises: Faulted.
    """
    after_batch = batch_before_block
    effects: list[ChainLog] = []
    for other in block_logs:
        if other.log_index >= log.log_index:
            break
        if other.topics[0] == BATCH_SETTLED_TOPIC:
            after_batch = int.from_bytes(other.topics[1], "big")
        if other.transaction != log.transaction or other.topics[0] == DIRECT_OPERATION_TOPIC:
            effects = []
        else:
            effects.append(other)
    found: dict[str, bytes] = {}
    market = int.from_bytes(command.subject, "big")
    for other in effects:
        if command.kind == DirectKind.APPLY_DELTAS and other.topics[0] == POSITIONS_CHANGED_TOPIC:
            found["records"] = _read_words(other)
        elif command.kind == DirectKind.MOVE_MARKET and int.from_bytes(other.topics[1], "big") == market:
            name = {PRICE_CHANGED_TOPIC: "price_word", INDEX_CHANGED_TOPIC: "index_word"}.get(other.topics[0])
            if name is not None:
                found[name] = other.payload
    if command.kind == DirectKind.APPLY_DELTAS and "records" not in found:
        raise Faulted(
            f"direct operation {command.direct_op} moves positions of market {market} without a PositionsChanged "
            f"beside it in transaction 0x{log.transaction.hex()}"
        )
    return msgspec.structs.replace(command, after_batch=after_batch, **found)


def _read_words(log: ChainLog) -> bytes:
    """Return the words of PositionsChanged, joined. Raises: Faulted."""
    n_words = int.from_bytes(log.payload[_WORD : 2 * _WORD], "big")
    words = log.payload[2 * _WORD :]
    if len(log.topics) != 2 or len(words) != n_words * _WORD or n_words % 3:
        raise Faulted(f"PositionsChanged names {n_words} words, found {len(words)} bytes")
    return words


def decode_claim_payment(log: ChainLog) -> ClaimPayment:
    """Read the recipient from the topics, quote from the data. Raises: Faulted."""
    _must_have(log, n_topics=2, n_words=1)
    return ClaimPayment(
        recipient=log.topics[1][12:],
        quote=int.from_bytes(log.payload[:_WORD], "big"),
        block=log.block,
        transaction=log.transaction,
        log_index=log.log_index,
    )


def read_direct_op(operator_word: int) -> int:
    """Return the number of direct operations so far: bits 160-199 of the operator word."""
    return read_unsigned(operator_word, 40, 160)


def _must_have(log: ChainLog, *, n_topics: int, n_words: int) -> None:
    if len(log.topics) != n_topics or len(log.payload) != n_words * _WORD:
        raise Faulted(
            f"a log must have {n_topics} topics and {n_words} words, "
            f"found {len(log.topics)} and {len(log.payload)} bytes in transaction 0x{log.transaction.hex()}"
        )
