"""Encode `settle` and decode its events by hand.

A batch is already bytes; a general ABI encoder would spend about a hundred times longer on copying them. Layouts:
contracts/README.md, "Batch payload" and "Events". Must not: know the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from afterbell.domain.errors import Faulted
from afterbell.domain.hashing import keccak
from afterbell.ports import ChainLog

_WORD: Final = 32
SETTLE_SELECTOR: Final = keccak(b"settle(bytes32,bytes)")[:4]
BATCH_SETTLED_TOPIC: Final = keccak(
    b"BatchSettled(uint64,bytes32,bytes32,bytes32,uint64,uint64,uint256,uint256,uint256)"
)
BATCH_FAILURES_TOPIC: Final = keccak(b"BatchFailures(uint64,bytes)")
DEPOSITED_TOPIC: Final = keccak(b"CollateralDeposited(uint256,uint64,address,uint256)")
DIRECT_OPERATION_TOPIC: Final = keccak(b"DirectOperation(uint256,uint64,uint8,uint256,uint256,uint64)")
_N_BATCH_SETTLED_WORDS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledBatch:
    """What the events of one mined batch say."""

    sequence: int
    head: bytes
    payload_hash: bytes
    matched_at_s: int
    direct_op: int
    n_failures: int
    failure_codes: bytes
    """One byte per operation, order and fill; empty if nothing failed."""


def build_view_calldata(signature: bytes, *arguments: int) -> bytes:
    """Encode a call of a view whose arguments are all uint256."""
    return keccak(signature)[:4] + b"".join(argument.to_bytes(_WORD, "big") for argument in arguments)


def build_settle_calldata(previous_head: bytes, payload: bytes) -> bytes:
    """Encode settle(bytes32 previous_head, bytes payload)."""
    padding = bytes(-len(payload) % _WORD)  # the length is never negative, so the result lies in [0, 31]
    return b"".join(
        (
            SETTLE_SELECTOR,
            previous_head,
            (2 * _WORD).to_bytes(_WORD, "big"),
            len(payload).to_bytes(_WORD, "big"),
            payload,
            padding,
        )
    )


def find_settled_batch(logs: Sequence[ChainLog], clearinghouse: bytes, sequence: int) -> SettledBatch | None:
    """Return what `logs` say about batch `sequence`, None if they say nothing. Raises: Faulted on a malformed log."""
    topic = sequence.to_bytes(_WORD, "big")
    settled: bytes | None = None
    failure_codes = b""
    for log in logs:
        if log.address != clearinghouse or len(log.topics) != 2 or log.topics[1] != topic:
            continue
        if log.topics[0] == BATCH_SETTLED_TOPIC:
            settled = log.payload
        elif log.topics[0] == BATCH_FAILURES_TOPIC:
            failure_codes = _decode_bytes(log.payload)
    if settled is None:
        return None
    if len(settled) != _N_BATCH_SETTLED_WORDS * _WORD:
        raise Faulted(f"BatchSettled must carry {_N_BATCH_SETTLED_WORDS} words, found {len(settled)} bytes")
    words = [settled[start : start + _WORD] for start in range(0, len(settled), _WORD)]
    return SettledBatch(
        sequence=sequence,
        head=words[0],
        payload_hash=words[1],
        matched_at_s=int.from_bytes(words[3], "big"),
        direct_op=int.from_bytes(words[4], "big"),
        n_failures=int.from_bytes(words[5], "big"),
        failure_codes=failure_codes,
    )


def _decode_bytes(payload: bytes) -> bytes:
    """Decode one ABI `bytes` value: offset word, length word, bytes."""
    length = int.from_bytes(payload[_WORD : 2 * _WORD], "big")
    if len(payload) < 2 * _WORD + length:
        raise Faulted(f"BatchFailures names {length} codes, found {len(payload)} bytes")
    return payload[2 * _WORD : 2 * _WORD + length]
