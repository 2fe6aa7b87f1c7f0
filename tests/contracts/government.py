"""The venue as it is governed after a deployment: a Timelock, its proposer and executor, a guardian, a standby."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address

from afterbell.domain.hashing import keccak
from tests.support.chain import GOVERNOR, Chain, encode_call

PROPOSER, EXECUTOR, GUARDIAN, STANDBY = (
    to_checksum_address(bytes([number]) * 20) for number in (0xA1, 0xA2, 0xA3, 0x5B)
)
FORTNIGHT_S: Final = 1_209_600
GOVERNED: Final = ("PriceOracle", "SignedPriceSource", "MarketRegistry", "CorporateActions")
# keccak of the roles' names, as OpenZeppelin's: written out, not asked of the contract
ROLES: Final = {
    "DEFAULT_ADMIN_ROLE": bytes(32),
    "PROPOSER_ROLE": bytes.fromhex("b09aa5aeb3702cfd50b6b62bc4532604938f21248a27a1d5ca736082b6819cc1"),
    "EXECUTOR_ROLE": bytes.fromhex("d8aa0f3194971a2a116679f7c2090f6939c8d4e01a2a8d7e41d55e5351469e63"),
    "CANCELLER_ROLE": bytes.fromhex("fd643c72710c63c0180259aba6b2d05451e3591a24e58b62239378085726f783"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call the Timelock may make."""

    target: str
    calldata: bytes
    predecessor: bytes = bytes(32)
    salt: bytes = bytes(32)

    @classmethod
    def of(cls, chain: Chain, contract: str, function: str, *arguments: Any, **changes: bytes) -> Call:
        call = cls(target=chain.addresses[contract], calldata=encode_call(contract, function, *arguments))
        return replace(call, **changes)  # type: ignore[arg-type]

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.target, 0, self.calldata, self.predecessor, self.salt

    @property
    def call_id(self) -> bytes:
        return keccak(abi_encode(["address", "uint256", "bytes", "bytes32", "bytes32"], self.arguments))


def hand_over(chain: Chain) -> Chain:
    """Do what a deployment does at its end; the first governor holds nothing afterwards."""
    chain.create("Timelock", FORTNIGHT_S, [PROPOSER], [EXECUTOR], GUARDIAN)
    chain.call("MarketRegistry", "set_guardian", GUARDIAN, sender=GOVERNOR)
    chain.call("MarketRegistry", "approve_sequencer", STANDBY, sender=GOVERNOR)
    for contract in GOVERNED:
        chain.call(contract, "propose_governor", chain.addresses["Timelock"], sender=GOVERNOR)
        chain.call("Timelock", "accept", chain.addresses[contract])
    return chain


def schedule(chain: Chain, call: Call, *, delay_s: int = FORTNIGHT_S, sender: str = PROPOSER) -> None:
    chain.call("Timelock", "schedule", *call.arguments, delay_s, sender=sender)


def execute(chain: Chain, call: Call, *, sender: str = EXECUTOR) -> None:
    chain.call("Timelock", "execute", *call.arguments, sender=sender)


def wait(chain: Chain, seconds: int) -> None:
    chain.set_time(chain.time_s + seconds)
