"""A Safe as its package ships it, deployed by its own factory; owners sign by eth_account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from afterbell.domain.hashing import keccak
from tests.support.chain import CHAIN_ID, OUTSIDER, ZERO_ADDRESS, Chain, encode_call
from tests.support.counterparts import published

OWNERS: Final[list[LocalAccount]] = [Account.from_key(bytes([number]) * 32) for number in (0xA1, 0xA2, 0xA3)]
THRESHOLD: Final = 2
_SAFE_TX: Final = [
    ("to", "address"), ("value", "uint256"), ("data", "bytes"), ("operation", "uint8"), ("safeTxGas", "uint256"),
    ("baseGas", "uint256"), ("gasPrice", "uint256"), ("gasToken", "address"), ("refundReceiver", "address"),
    ("nonce", "uint256"),
]  # fmt: skip


def _call(signature: str, *arguments: Any) -> bytes:
    types = signature[signature.index("(") + 1 : -1].split(",")
    return keccak(signature.encode())[:4] + abi_encode([kind for kind in types if kind], arguments)


@dataclass(frozen=True, slots=True)
class SafeFactory:
    """The singleton and the factory every Safe comes from."""

    chain: Chain
    singleton: str
    address: str

    @classmethod
    def deploy(cls, chain: Chain) -> SafeFactory:
        return cls(
            chain,
            chain.create_code(published("Safe").creation_code),
            chain.create_code(published("SafeProxyFactory").creation_code),
        )

    def create(self, salt: int) -> Safe:
        """Create a Safe of the three owners, two of whom must sign."""
        owners = [owner.address for owner in OWNERS]
        setup = _call(
            "setup(address[],uint256,address,bytes,address,address,uint256,address)",
            owners, THRESHOLD, ZERO_ADDRESS, b"", ZERO_ADDRESS, ZERO_ADDRESS, 0, ZERO_ADDRESS,
        )  # fmt: skip
        created = self.chain.transact(
            OUTSIDER, self.address, _call("createProxyWithNonce(address,bytes,uint256)", self.singleton, setup, salt)
        )
        return Safe(self.chain, str(to_checksum_address(abi_decode(["address"], created)[0])))


@dataclass(frozen=True, slots=True)
class Safe:
    """One Safe."""

    chain: Chain
    address: str

    def call(self, contract: str, function: str, *arguments: Any, n_signers: int = THRESHOLD) -> None:
        """Make a call from the Safe by a Safe transaction that an outsider brings. Raises: Reverted."""
        calldata = encode_call(self.chain.contracts[contract], function, *arguments)
        self.execute(self.chain.addresses[contract], calldata, n_signers=n_signers)

    def execute(self, to: str, calldata: bytes, *, n_signers: int = THRESHOLD) -> None:
        nonce = int.from_bytes(self.chain.evm.view(self.address, _call("nonce()")), "big")
        message = {
            "to": to, "value": 0, "data": calldata, "operation": 0, "safeTxGas": 0, "baseGas": 0, "gasPrice": 0,
            "gasToken": ZERO_ADDRESS, "refundReceiver": ZERO_ADDRESS, "nonce": nonce,
        }  # fmt: skip
        signers = sorted(OWNERS[:n_signers], key=lambda owner: int(owner.address, 16))
        signatures = b"".join(
            owner.sign_typed_data(
                {"chainId": CHAIN_ID, "verifyingContract": self.address},
                {"SafeTx": [{"name": name, "type": kind} for name, kind in _SAFE_TX]},
                message,
            ).signature
            for owner in signers
        )
        execution = _call(
            "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
            to, 0, calldata, 0, 0, 0, 0, ZERO_ADDRESS, ZERO_ADDRESS, signatures,
        )  # fmt: skip
        self.chain.transact(OUTSIDER, self.address, execution)
