"""Decode the logs the follower reads. Layouts: contracts/README.md, "Events". Must not: know the node or a cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from afterbell.domain.commands import AdoptDirectOperation, CreditDeposit
from afterbell.domain.errors import Faulted
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import MAX_ACCOUNT_ID
from afterbell.domain.words import read_unsigned
from afterbell.ports import ChainLog

_WORD: Final = 32
DEPOSITED_TOPIC: Final = keccak(b"CollateralDeposited(uint256,uint64,address,uint256)")
DIRECT_OPERATION_TOPIC: Final = keccak(b"DirectOperation(uint256,uint64,uint8,uint256,uint256,uint64)")
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
