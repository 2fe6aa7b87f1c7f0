"""Build the cheapest contract that could still settle a batch: the physical floor under our gas.

The floor transaction carries the very calldata of ours and does nothing but what no design of this trust model can
leave out: recover the signer of every order with the ecrecover precompile (r and vs read from that calldata, parity
split off), and change one cold storage word for every account, position, lane, totals and batch word that the batch
must change.
No hashing, no reading of state, no rules, no margin, no logs. The code is straight-line, made for one batch.
Must not: be mistaken for something that settles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_ADD: Final = 0x01
_SHL: Final = 0x1B
_SHR: Final = 0x1C
_CALLDATALOAD: Final = 0x35
_CALLDATACOPY: Final = 0x37
_CODECOPY: Final = 0x39
_NUMBER: Final = 0x43
_POP: Final = 0x50
_MSTORE: Final = 0x52
_SSTORE: Final = 0x55
_GAS: Final = 0x5A
_PUSH0: Final = 0x5F
_DUP1: Final = 0x80
_RETURN: Final = 0xF3
_STATICCALL: Final = 0xFA
_ECRECOVER: Final = 1


def _push(number: int) -> bytes:
    """Return the shortest push of a number below 2^16."""
    if number == 0:
        return bytes([_PUSH0])
    length = 1 if number < 1 << 8 else 2
    return bytes([_PUSH0 + length]) + number.to_bytes(length, "big")


def _recover_at(offset: int) -> bytes:
    """Return code that runs ecrecover on r, vs at this offset of the calldata, over a digest of zero."""
    copy_r = _push(32) + _push(offset) + _push(64) + bytes([_CALLDATACOPY])
    store_v = (
        _push(offset + 32)
        + bytes([_CALLDATALOAD, _DUP1])
        + _push(255)
        + bytes([_SHR])
        + _push(27)
        + bytes([_ADD])
        + _push(32)
        + bytes([_MSTORE])
    )
    store_s = _push(1) + bytes([_SHL]) + _push(1) + bytes([_SHR]) + _push(96) + bytes([_MSTORE])
    call = _push(32) + _push(128) + _push(128) + _push(0) + _push(_ECRECOVER) + bytes([_GAS, _STATICCALL, _POP])
    return copy_r + store_v + store_s + call


def _write_word(slot: int) -> bytes:
    """Return code that gives a slot the block number: never zero, never what an earlier block wrote."""
    return bytes([_NUMBER]) + _push(slot) + bytes([_SSTORE])


def build_floor_runtime(signature_offsets: Sequence[int], n_words: int) -> bytes:
    """Return runtime code: one recovery per offset, one write to each of n_words slots."""
    return b"".join(map(_recover_at, signature_offsets)) + b"".join(map(_write_word, range(n_words)))


def build_creation_code(runtime: bytes) -> bytes:
    """Return code that deploys a runtime."""
    length = bytes([_PUSH0 + 2]) + len(runtime).to_bytes(2, "big")
    head_size = len(length) + 2 + 1 + 1 + len(length) + 1 + 1
    code = length + _push(head_size) + bytes([_PUSH0, _CODECOPY]) + length + bytes([_PUSH0, _RETURN])
    return code + runtime
