"""Take the call `settle(bytes32 previous_head, bytes payload)` apart, refusing every encoding but the plain one.

Must not: read the payload; domain/batch.py does. Twin: the ABI of contracts/Clearinghouse.vy.
"""

from __future__ import annotations

from typing import Final

from afterbell.domain.hashing import keccak

SETTLE_SELECTOR: Final = keccak(b"settle(bytes32,bytes)")[:4]
_N_HEAD_BYTES: Final = 4 + 3 * 32


class UnreadableCalldata(Exception):
    """The calldata is no call of settle()."""


def decode_settle(calldata: bytes) -> tuple[bytes, bytes]:
    """Return (previous_head, payload). Raises: UnreadableCalldata."""
    if calldata[:4] != SETTLE_SELECTOR:
        raise UnreadableCalldata(f"selector 0x{calldata[:4].hex()} is not settle's 0x{SETTLE_SELECTOR.hex()}")
    if len(calldata) < _N_HEAD_BYTES:
        raise UnreadableCalldata(f"{len(calldata)} bytes are too few for settle")
    previous_head = calldata[4:36]
    offset = int.from_bytes(calldata[36:68], "big")
    length = int.from_bytes(calldata[4 + offset : 36 + offset], "big")
    payload = calldata[36 + offset : 36 + offset + length]
    if len(payload) != length:
        raise UnreadableCalldata(f"payload must be {length} bytes, found {len(payload)}")
    return previous_head, payload
