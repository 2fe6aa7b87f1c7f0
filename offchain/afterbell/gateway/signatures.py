"""Find out who signed, and when it is the wrong one say why as exactly as can be known.

One recovery costs about 60 us: it runs on the event loop. Must not: decide anything but the signature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from afterbell.domain.codes import RejectReason
from afterbell.domain.ids import address_hex, parse_address_hex
from afterbell.domain.order import Operation, Order
from afterbell.gateway.errors import ApiError
from afterbell.gateway.requests import DomainIn
from afterbell.signing.keys import recover, split_signature
from afterbell.signing.typed_data import TypedDataDomain, digest, exchange_domain

_COMMON_CHAIN_IDS: Final = (1, 10, 137, 1337, 8453, 31337, 42161, 11155111)
"""Where a wallet may be by mistake; asked only after a signature has failed."""
_SIGN_AGAIN: Final = "sign the message with the account's own key, or link the signer, under the domain of /v1/venue"
KeyTest = Callable[[bytes], bool]
"""Tells whether an address is a session key that may sign this kind of message for this account."""


def _is_no_key(_signer: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSignature:
    """What stands behind a message; `digest` is what was signed and names it.

    signer: the session key, empty for the owner. An approved digest has no signature: r and vs are zero.
    """

    digest: bytes
    r: bytes = bytes(32)
    vs: bytes = bytes(32)
    signer: bytes = b""
    is_approved: bool = False


class SignatureChecker:
    """Checks messages of one instance."""

    def __init__(self, domain: TypedDataDomain) -> None:
        self._domain = domain
        self._separator = domain.separator()

    def digest(self, message: Order | Operation) -> bytes:
        """Return what has to be signed or approved."""
        return digest(message, self._separator)

    def check(
        self, message: Order | Operation, signature: str | None, named: DomainIn | None, *, is_key: KeyTest = _is_no_key
    ) -> CheckedSignature:
        """Return the split signature of the owner or of a key. Raises: ApiError (BAD_SIGNATURE, WRONG_CHAIN)."""
        signed = self.digest(message)
        facts = {"digest": "0x" + signed.hex(), "expected_signer": address_hex(message.owner)}
        self._must_be_our_domain(message, signature, named, facts)
        if signature is None:
            raise ApiError(
                RejectReason.BAD_SIGNATURE,
                "the request is not signed",
                required=f"a signature of {facts['expected_signer']}",
                found="none",
                action=_SIGN_AGAIN,
                details=facts,
            )
        try:
            r, vs = split_signature(bytes.fromhex(signature[2:]))
        except ValueError as error:
            raise self._bad(facts, str(error)) from error
        signer = recover(signed, r, vs)
        if signer == message.owner:
            return CheckedSignature(digest=signed, r=r, vs=vs)
        if signer is None:
            raise self._bad(facts, "no valid low-s signature")
        if is_key(signer):
            return CheckedSignature(digest=signed, r=r, vs=vs, signer=signer)
        chain_id = self._find_chain(message, r, vs)
        facts["recovered_signer"] = address_hex(signer)
        if chain_id is not None:
            raise self._wrong_chain(f"signed for chain id {chain_id}", facts | {"signed_chain_id": str(chain_id)})
        raise self._bad(facts, f"signer {facts['recovered_signer']}")

    def _must_be_our_domain(
        self, message: Order | Operation, signature: str | None, named: DomainIn | None, facts: dict[str, str]
    ) -> None:
        if named is None:
            return
        chain_id = self._domain.chain_id if named.chain_id is None else named.chain_id
        contract = self._domain.verifying_contract
        if named.verifying_contract is not None:
            contract = parse_address_hex(named.verifying_contract)
        if (chain_id, contract) == (self._domain.chain_id, self._domain.verifying_contract):
            return
        is_valid_there = False
        if signature is not None:
            there = digest(message, exchange_domain(chain_id, contract).separator())
            try:
                is_valid_there = recover(there, *split_signature(bytes.fromhex(signature[2:]))) == message.owner
            except ValueError:
                is_valid_there = False
        raise self._wrong_chain(
            f"chain id {chain_id}, contract {address_hex(contract)}",
            facts | {"signature_is_valid_there": str(is_valid_there).lower()},
        )

    def _find_chain(self, message: Order | Operation, r: bytes, vs: bytes) -> int | None:
        for chain_id in _COMMON_CHAIN_IDS:
            other = exchange_domain(chain_id, self._domain.verifying_contract)
            if (
                chain_id != self._domain.chain_id
                and recover(digest(message, other.separator()), r, vs) == message.owner
            ):
                return chain_id
        return None

    def _wrong_chain(self, found: str, facts: dict[str, str]) -> ApiError:
        return ApiError(
            RejectReason.WRONG_CHAIN,
            "the message is signed for another chain or contract",
            required=f"chain id {self._domain.chain_id}, contract {address_hex(self._domain.verifying_contract)}",
            found=found,
            action="switch the wallet to the chain of /v1/venue and sign again",
            details=facts,
        )

    @staticmethod
    def _bad(facts: dict[str, str], found: str) -> ApiError:
        return ApiError(
            RejectReason.BAD_SIGNATURE,
            "the signature is neither the owner's nor that of a session key of the account",
            required=f"signer {facts['expected_signer']} over digest {facts['digest']}",
            found=found,
            action=_SIGN_AGAIN,
            details=facts,
        )
