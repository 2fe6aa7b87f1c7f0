"""Sign digests and recover signers with libsecp256k1.

A signature is (r, vs): 32 bytes each, EIP-2098, the parity of R's y in the top bit of vs. Only low s passes, and a
recovered zero never does. Must not: know what a digest means. Source: EIP-2, EIP-2098.
"""

from __future__ import annotations

from typing import Final

from coincurve import PrivateKey, PublicKey

from afterbell.domain.hashing import keccak

N_SIGNATURE_BYTES: Final = 64
N_KEY_BYTES: Final = 32
CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MAX_LOW_S: Final = CURVE_ORDER // 2
_PARITY: Final = 1 << 255
_S_MASK: Final = _PARITY - 1


class SigningKey:
    """One private key, kept parsed: signing costs about 40 us instead of 90."""

    __slots__ = ("_key", "address")

    def __init__(self, private_key: bytes) -> None:
        """Take the 32 bytes of the key. Raises: ValueError outside [1, curve order)."""
        if len(private_key) != N_KEY_BYTES:
            raise ValueError(f"a private key is 32 bytes, found {len(private_key)}")
        self._key = PrivateKey(private_key)
        self.address: bytes = address_of_public_key(self._key.public_key.format(compressed=False))

    def sign(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return (r, vs), low s, deterministic nonce (RFC 6979)."""
        return split_signature(self._key.sign_recoverable(digest, hasher=None))


def address_of_public_key(public_key: bytes) -> bytes:
    """Return the address of an uncompressed public key (65 bytes, leading 4)."""
    return keccak(public_key[1:])[12:]


def address_of(private_key: bytes) -> bytes:
    """Return the address of a private key."""
    return SigningKey(private_key).address


def sign(private_key: bytes, digest: bytes) -> tuple[bytes, bytes]:
    """Return (r, vs) of a digest. For many signatures keep a SigningKey."""
    return SigningKey(private_key).sign(digest)


def split_signature(signature: bytes) -> tuple[bytes, bytes]:
    """Return (r, vs) of 65 bytes r ‖ s ‖ v (v 0, 1, 27 or 28) or of 64 bytes r ‖ vs.

    Raises: ValueError on any other length or v, or on an s that already uses the parity bit in the 65-byte form.
    """
    if len(signature) == N_SIGNATURE_BYTES:
        return signature[:32], signature[32:]
    if len(signature) != N_SIGNATURE_BYTES + 1:
        raise ValueError(f"a signature is 64 or 65 bytes, found {len(signature)}")
    parity = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if parity not in (0, 1):
        raise ValueError(f"v must be 0, 1, 27 or 28, found {signature[64]}")
    s = int.from_bytes(signature[32:64], "big")
    if s >= _PARITY:
        raise ValueError("s is not low")
    return signature[:32], (parity << 255 | s).to_bytes(32, "big")


def join_signature(r: bytes, vs: bytes) -> bytes:
    """Return the 65 bytes r ‖ s ‖ v with v 27 or 28, as wallets and ecrecover want them."""
    number = int.from_bytes(vs, "big")
    return r + (number & _S_MASK).to_bytes(32, "big") + bytes([27 + (number >> 255)])


def recover(digest: bytes, r: bytes, vs: bytes) -> bytes | None:
    """Return the signer's address, or None if the signature is not one (high s, zero, r off the curve)."""
    number = int.from_bytes(vs, "big")
    s = number & _S_MASK
    if not 0 < s <= MAX_LOW_S or not 0 < int.from_bytes(r, "big") < CURVE_ORDER:
        return None
    signature = r + s.to_bytes(32, "big") + bytes([number >> 255])
    try:
        public_key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception:  # noqa: BLE001  # coincurve raises bare Exception when r is no x of a curve point
        return None
    address = address_of_public_key(public_key.format(compressed=False))
    return address if any(address) else None


def recover_signature(digest: bytes, signature: bytes) -> bytes | None:
    """Return the signer of 64 or 65 bytes, or None if they are no signature."""
    try:
        r, vs = split_signature(signature)
    except ValueError:
        return None
    return recover(digest, r, vs)
