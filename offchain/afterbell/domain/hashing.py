"""Hash with Keccak-256, the chain's hash. Must not: know what it hashes."""

from __future__ import annotations

from typing import Final

import sha3  # type: ignore[import-not-found,import-untyped,unused-ignore]  # safe-pysha3 ships no types

EMPTY_HASH: Final = bytes(32)


def keccak(payload: bytes) -> bytes:
    """Return the 32 bytes of Keccak-256 (not SHA3-256: the padding differs)."""
    digest: bytes = sha3.keccak_256(payload).digest()
    return digest
