"""The machine of tests.support.chain on a real node: every call that writes is a transaction in a block of its own.

`Chain.deploy(machine=...)` deploys on it and works as in pyrevm; what pyrevm lacks is here: signed transactions of any
type, delegated accounts, receipts with their gas.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address
from pyrevm import BlockEnv

from afterbell.adapters.anvil import Anvil
from afterbell.adapters.vyper_compiler import compile_contracts
from tests.support.chain import START_S

GAS = 16_000_000


@dataclass(frozen=True, slots=True)
class Log:
    """One log as pyrevm gives it."""

    address: str
    topics: list[str]
    data: tuple[None, bytes]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the last transaction."""

    logs: list[Log]
    gas_used: int
    contract: str | None


@cache
def _views() -> frozenset[bytes]:
    """Return the selectors of our functions that write nothing."""
    selectors = set()
    for artifact in compile_contracts().contracts.values():
        free = {
            entry["name"]
            for entry in artifact.abi
            if entry["type"] == "function" and entry["stateMutability"] in ("view", "pure")
        }
        for signature, selector in artifact.method_identifiers.items():
            if signature.split("(")[0] in free:
                selectors.add(int(selector, 16).to_bytes(4, "big"))
    return frozenset(selectors)


def _read_log(log: Any) -> Log:
    return Log(log["address"], log["topics"], (None, bytes.fromhex(log["data"][2:])))


class NodeMachine:
    """The part of pyrevm.EVM that Chain uses, answered by anvil. Anybody may send: the node asks for no key."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil
        self.result: Receipt | None = None
        self._funded: set[str] = set()
        anvil.call("anvil_autoImpersonateAccount", True)

    def message_call(self, *, caller: str, to: str, calldata: bytes, gas: int) -> bytes:
        """Call a view, or send a transaction and return what it returned. Raises: RuntimeError if it reverts."""
        if calldata[:4] in _views():
            return self.view(to, calldata, caller=caller)
        return self._send({"from": caller, "to": to, "data": "0x" + calldata.hex()})

    def deploy(self, caller: str, code: bytes, *, gas: int) -> str:
        """Create a contract. Raises: RuntimeError if it reverts."""
        self._send({"from": caller, "data": "0x" + code.hex()})
        assert self.result is not None
        assert self.result.contract
        return self.result.contract

    def view(self, to: str, calldata: bytes, *, caller: str | None = None) -> bytes:
        """Call without a transaction."""
        call = {"to": to, "data": "0x" + calldata.hex()} | ({"from": caller} if caller else {})
        return bytes.fromhex(str(self.anvil.call("eth_call", call, "latest"))[2:])

    def send_raw(self, raw: bytes) -> bytes:
        """Send a signed transaction of any type. Raises: RuntimeError if it reverts."""
        return self._land(str(self.anvil.call("eth_sendRawTransaction", "0x" + raw.hex())))

    def fund(self, address: str) -> None:
        """Give an address ether for gas, once."""
        if address not in self._funded:
            self._funded.add(address)
            self.anvil.call("anvil_setBalance", address, hex(10**24))

    def _send(self, transaction: dict[str, str]) -> bytes:
        self.fund(transaction["from"])
        return self._land(str(self.anvil.call("eth_sendTransaction", transaction | {"gas": hex(GAS)})))

    def _land(self, transaction: str) -> bytes:
        receipt: Any = None
        while receipt is None:  # the hash is returned before the block is made
            receipt = self.anvil.call("eth_getTransactionReceipt", transaction)
        trace: Any = self.anvil.call("debug_traceTransaction", transaction, {"tracer": "callTracer"})
        output = bytes.fromhex(trace.get("output", "0x")[2:])
        self.result = Receipt(
            logs=[_read_log(log) for log in receipt["logs"]],
            gas_used=int(receipt["gasUsed"], 16),
            contract=receipt["contractAddress"] and str(to_checksum_address(receipt["contractAddress"])),
        )
        if receipt["status"] != "0x1":
            raise RuntimeError(f"Revert {{ gas_used: {self.result.gas_used}, output: 0x{output.hex()} }}")
        return output

    def get_code(self, address: str) -> bytes:
        """Return what stands at an address."""
        return bytes.fromhex(str(self.anvil.call("eth_getCode", address, "latest"))[2:])

    def storage(self, address: str, slot: int) -> int:
        """Return a word of storage."""
        return int(str(self.anvil.call("eth_getStorageAt", address, hex(slot), "latest")), 16)

    def snapshot(self) -> str:
        """Remember the state."""
        return str(self.anvil.call("evm_snapshot"))

    def revert(self, checkpoint: str) -> None:
        """Go back to a remembered state."""
        self._funded.clear()
        assert self.anvil.call("evm_revert", checkpoint)

    def set_block_env(self, env: BlockEnv) -> None:
        """Set the time of the next block; those behind it are a second apart."""
        self.anvil.call("evm_setNextBlockTimestamp", env.timestamp)

    def reset_transient_storage(self) -> None:
        """Do nothing: a transaction takes its transient storage with it."""


@contextmanager
def open_machine(folder: Path) -> Iterator[NodeMachine]:
    """Yield a machine on a fresh node at the time the tests begin."""
    with Anvil.start(genesis_s=START_S, log_path=folder / "anvil.log") as anvil:
        yield NodeMachine(anvil)
