"""An EIP-7702 account: a key whose address runs OpenZeppelin's ERC-7821 executor, by signed type-4 transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_account.signers.local import LocalAccount

from afterbell.domain.hashing import keccak
from tests.support.chain import CHAIN_ID, ZERO_ADDRESS, Chain, encode_call

# ERC-7821: one batch of calls, all or nothing
BATCH_MODE: Final = b"\x01" + bytes(31)
_GAS: Final = 2_000_000
_FEE_WEI: Final = 10**11


@dataclass(frozen=True, slots=True)
class DelegatedAccount:
    """A key and the chain it sends to. Every transaction is signed and sent raw: no unlocked account helps."""

    chain: Chain
    key: LocalAccount

    @classmethod
    def make(cls, chain: Chain, secret: bytes) -> DelegatedAccount:
        account = cls(chain, Account.from_key(secret))
        chain.evm.fund(account.address)
        return account

    @property
    def address(self) -> str:
        return str(self.key.address)

    @property
    def code(self) -> bytes:
        return bytes(self.chain.evm.get_code(self.address))

    def call(self, contract: str, function: str, *arguments: Any) -> tuple[str, int, bytes]:
        """Return one call of a batch."""
        return self.chain.addresses[contract], 0, encode_call(self.chain.contracts[contract], function, *arguments)

    def delegate(self, target: str, calls: Sequence[tuple[str, int, bytes]] = ()) -> None:
        """Put a contract's code behind the address, and make calls through it in the same transaction."""
        nonce = self._nonce()
        # the account sends the transaction itself, so its nonce has moved when the authorization is looked at
        authorization = self.key.sign_authorization({"chainId": CHAIN_ID, "address": target, "nonce": nonce + 1})
        self._send(nonce, encode_batch(calls) if calls else b"", {"type": 4, "authorizationList": [authorization]})

    def clear(self) -> None:
        """Take the code away again."""
        self.delegate(ZERO_ADDRESS)

    def execute(self, calls: Sequence[tuple[str, int, bytes]]) -> None:
        """Make a batch of calls through the code at the own address."""
        self._send(self._nonce(), encode_batch(calls), {"type": 2})

    def _nonce(self) -> int:
        return int(str(self.chain.evm.anvil.call("eth_getTransactionCount", self.address, "latest")), 16)

    def _send(self, nonce: int, calldata: bytes, kind: dict[str, Any]) -> None:
        signed = self.key.sign_transaction(
            {
                "chainId": CHAIN_ID, "nonce": nonce, "to": self.address, "value": 0, "data": calldata, "gas": _GAS,
                "maxFeePerGas": _FEE_WEI, "maxPriorityFeePerGas": 0, **kind,
            }
        )  # fmt: skip
        try:
            self.chain.evm.send_raw(bytes(signed.raw_transaction))
        except RuntimeError as error:
            raise self.chain.read_revert(error) from error


def encode_batch(calls: Sequence[tuple[str, int, bytes]]) -> bytes:
    """Return the calldata of ERC-7821's execute."""
    batch = abi_encode(["(address,uint256,bytes)[]"], [list(calls)])
    return keccak(b"execute(bytes32,bytes)")[:4] + abi_encode(["bytes32", "bytes"], [BATCH_MODE, batch])
