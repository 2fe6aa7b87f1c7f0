"""The deployed contracts in one process: revm through pyrevm, thousands of calls a second.

`Chain.deploy()` wires the whole system the way contracts/README.md "Deployment order" says. Reverts become `Reverted`
with the contract's reason; the logs of the last call are decoded by the ABIs. No mock: every byte is what Vyper made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address
from pyrevm import EVM, BlockEnv, CfgEnv, Env

from afterbell.adapters.vyper_compiler import Artifact, compile_contract
from afterbell.domain.calendar import Boundary, pack_boundaries
from afterbell.domain.hashing import keccak
from tests.support.cold import transact_once

GENESIS_S: Final = 1_890_000_000
START_S: Final = 1_900_000_000
CHAIN_ID: Final = 31_337
GAS: Final = 30_000_000
N_SESSIONS: Final = 9
N_WINDOWS_PER_CALL: Final = 139
_REVERT: Final = re.compile(r"Revert \{ gas_used: \d+, output: 0x([0-9a-f]*)")
ZERO_ADDRESS: Final = "0x" + "00" * 20

DEPLOYER: Final = to_checksum_address("0x" + "d0" * 20)
GOVERNOR: Final = to_checksum_address("0x" + "90" * 20)
SEQUENCER: Final = to_checksum_address("0x" + "5e" * 20)
OUTSIDER: Final = to_checksum_address("0x" + "0f" * 20)


ALWAYS_REGULAR: Final = (
    Boundary(start_s=GENESIS_S, session=2),
    Boundary(start_s=START_S + 10 * 365 * 86_400, session=0),
)
"""A market that never closes within the years a test lasts."""


class Reverted(Exception):
    """A call reverted. `reason` is the contract's string, empty for a bare revert."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Event(NamedTuple):
    """One decoded log."""

    contract: str
    name: str
    args: dict[str, Any]


class _Compiled(dict[str, Artifact]):
    """Contracts by name, each compiled when it is first asked for: a test needs only what it deploys to compile."""

    def __missing__(self, name: str) -> Artifact:
        self[name] = compile_contract(name)
        return self[name]


_COMPILED: Final = _Compiled()


def artifacts() -> Mapping[str, Artifact]:
    """Return the compiled contracts, once per process."""
    return _COMPILED


def _canonical(entry: dict[str, Any]) -> str:
    if entry["type"].startswith("tuple"):
        inner = ",".join(_canonical(part) for part in entry["components"])
        return f"({inner}){entry['type'][5:]}"
    return str(entry["type"])


def _types(entries: Sequence[dict[str, Any]]) -> list[str]:
    return [_canonical(entry) for entry in entries]


@cache
def _functions(contract: str) -> dict[str, tuple[bytes, list[str], list[str]]]:
    functions = {}
    for entry in artifacts()[contract].abi:
        if entry["type"] == "function":
            inputs = _types(entry["inputs"])
            selector = keccak(f"{entry['name']}({','.join(inputs)})".encode())[:4]
            functions[entry["name"]] = (selector, inputs, _types(entry["outputs"]))
    return functions


@cache
def _events(contract: str) -> dict[bytes, dict[str, Any]]:
    return {
        keccak(f"{entry['name']}({','.join(_types(entry['inputs']))})".encode()): entry
        for entry in artifacts()[contract].abi
        if entry["type"] == "event"
    }


def encode_call(contract: str, function: str, *args: Any) -> bytes:
    """Return the calldata of a call."""
    selector, inputs, _ = _functions(contract)[function]
    return selector + abi_encode(inputs, args)


def predict_address(deployer: str, nonce: int) -> str:
    """Return the address `deployer` creates with `nonce` (below 128, which RLP writes as one byte)."""
    encoded_nonce = b"\x80" if nonce == 0 else bytes([nonce])
    body = b"\x94" + bytes.fromhex(deployer[2:]) + encoded_nonce
    return to_checksum_address(keccak(bytes([0xC0 + len(body)]) + body)[12:])


def intrinsic_gas(calldata: bytes) -> int:
    """Return what a transaction costs before its first opcode: 21,000, 4 a zero byte, 16 another (EIP-2028)."""
    n_zeros = calldata.count(0)
    return 21_000 + 4 * n_zeros + 16 * (len(calldata) - n_zeros)


@dataclass(slots=True)
class Chain:
    """One chain with the system on it. Addresses by contract name; the token stands under "token"."""

    evm: EVM
    addresses: dict[str, str] = field(default_factory=dict)
    contracts: dict[str, str] = field(default_factory=dict)
    nonce: int = 0
    time_s: int = START_S

    @classmethod
    def deploy(
        cls,
        *,
        token: str = "TestStablecoin",
        make_token: Callable[[Chain], str] | None = None,
        make_uptime_feed: Callable[[Chain], str] | None = None,
        publishers: Sequence[str] = (),
        threshold: int = 1,
        sequencer: str = SEQUENCER,
        chain_id: int = CHAIN_ID,
        registry: str | None = None,
        machine: Any = None,
        calendar: Sequence[Boundary] = ALWAYS_REGULAR,
    ) -> Chain:
        """Return a chain with every contract deployed, a calendar and no market listed.

        `registry` replaces the MarketRegistry by an account of the test, which may then write rules no registry would.
        `make_token` puts another contract in the token's place and returns its address; `token` names its ABI.
        `make_uptime_feed` puts a feed of the chain's own uptime beside Exits. `machine` replaces revm,
        tests.support.node_chain.
        """
        chain = cls(evm=machine or cls._new_machine(START_S, chain_id))
        chain.addresses["token"] = make_token(chain) if make_token else chain.create(token)
        chain.contracts["token"] = token
        uptime_feed = make_uptime_feed(chain) if make_uptime_feed else ZERO_ADDRESS
        order = (
            "SignedPriceSource", "PriceOracle", "MarketRegistry", "Operations", "Liquidations", "Exits",
            "CorporateActions", "Vault", "Clearinghouse", "Lens", "MarketLens",
        )  # fmt: skip
        at = {name: predict_address(DEPLOYER, chain.nonce + i) for i, name in enumerate(order)}
        wired_registry = registry or at["MarketRegistry"]
        chain.create("SignedPriceSource", GOVERNOR, list(publishers) or [OUTSIDER], threshold)
        chain.create(
            "PriceOracle",
            GOVERNOR,
            at["SignedPriceSource"],
            at["Clearinghouse"],
            wired_registry,
            at["CorporateActions"],
        )
        chain.create("MarketRegistry", GOVERNOR, at["Clearinghouse"], at["PriceOracle"])
        chain.create("Operations", at["Clearinghouse"], at["Vault"])
        chain.create("Liquidations", at["Clearinghouse"], at["CorporateActions"])
        chain.create("Exits", at["Clearinghouse"], at["Vault"], uptime_feed)
        chain.create(
            "CorporateActions", GOVERNOR, at["Clearinghouse"], at["PriceOracle"], wired_registry, at["Liquidations"]
        )
        chain.create("Vault", chain.addresses["token"], at["Clearinghouse"], at["Operations"])
        chain.create(
            "Clearinghouse",
            at["Vault"],
            at["PriceOracle"],
            wired_registry,
            at["Operations"],
            at["Liquidations"],
            at["Exits"],
            at["CorporateActions"],
            chain.addresses["token"],
            sequencer,
            GENESIS_S,
        )
        chain.create("Lens", at["Clearinghouse"])
        chain.create("MarketLens", at["Clearinghouse"])
        assert {name: chain.addresses[name] for name in order} == at
        chain.append_calendar(calendar)
        return chain

    def append_calendar(self, calendar: Sequence[Boundary]) -> None:
        """Append a table, in as many calls as it takes; each call's last session must be UNKNOWN."""
        for first in range(0, max(len(calendar) - 1, 0), N_WINDOWS_PER_CALL):
            part = [*calendar[first : first + N_WINDOWS_PER_CALL + 1]]
            part[-1] = Boundary(start_s=part[-1].start_s, session=0)
            self.call("PriceOracle", "append_windows", pack_boundaries(part), sender=GOVERNOR)

    @staticmethod
    def _new_machine(time_s: int, chain_id: int = CHAIN_ID) -> EVM:
        env = Env(
            cfg=CfgEnv(chain_id=chain_id),
            block=BlockEnv(number=1, timestamp=time_s),
        )
        return EVM(env=env, gas_limit=10 * GAS, spec_id="PRAGUE")

    def create(self, contract: str, *args: Any) -> str:
        """Create a contract from the deployer and return its address."""
        artifact: Artifact = artifacts()[contract]
        inputs: list[str] = []
        for entry in artifact.abi:
            if entry["type"] == "constructor":
                inputs = _types(entry["inputs"])
        self.addresses[contract] = self.create_code(artifact.creation_code + abi_encode(inputs, args))
        self.contracts[contract] = contract
        return self.addresses[contract]

    def create_code(self, creation_code: bytes) -> str:
        """Create whatever this code makes, from the deployer, and return its address. Raises: Reverted."""
        try:
            return str(to_checksum_address(self.evm.deploy(DEPLOYER, creation_code, gas=GAS)))
        except RuntimeError as error:
            raise self.read_revert(error) from error
        finally:
            self.nonce += 1

    @staticmethod
    def read_revert(error: RuntimeError) -> Exception:
        """Return the Reverted a machine's error stands for, or the error if it is none."""
        found = _REVERT.search(str(error))
        if found is None:
            return error
        data = bytes.fromhex(found[1])
        if data[:4] == bytes.fromhex("08c379a0"):
            return Reverted(abi_decode(["string"], data[4:])[0])
        return Reverted(data.hex())

    def set_time(self, time_s: int) -> None:
        """Set the time of the next calls."""
        self.time_s = time_s
        self.evm.set_block_env(BlockEnv(number=1, timestamp=time_s))

    def transact(self, sender: str, to: str, calldata: bytes) -> bytes:
        """Send calldata and return what came back. Raises: Reverted."""
        try:
            return bytes(self.evm.message_call(caller=sender, to=to, calldata=calldata, gas=GAS))
        except RuntimeError as error:
            raise self.read_revert(error) from error
        finally:
            # A call is a transaction here: what it left in transient storage and access lists ends with it.
            self.evm.reset_transient_storage()

    def call(self, contract: str, function: str, *args: Any, sender: str = OUTSIDER) -> Any:
        """Call a function by name and return its decoded result. Raises: Reverted."""
        name = self.contracts[contract]
        output = self.transact(sender, self.addresses[contract], encode_call(name, function, *args))
        outputs = _functions(name)[function][2]
        decoded = abi_decode(outputs, output) if outputs else ()
        return decoded[0] if len(decoded) == 1 else decoded or None

    def settle(self, payload: bytes, *, previous_head: bytes | None = None, sender: str = SEQUENCER) -> None:
        """Settle a batch, on the chain's own head unless told otherwise. Raises: Reverted."""
        head = self.head if previous_head is None else previous_head
        self.call("Clearinghouse", "settle", head, payload, sender=sender)

    def measure_settle(self, payload: bytes, words: Iterable[tuple[str, *tuple[int, ...]]]) -> int:
        """Return the whole gas of settling a batch without evidence. Raises: Reverted, see measure."""
        return self.measure("Clearinghouse", "settle", self.head, payload, sender=SEQUENCER, words=words)

    def measure(
        self, contract: str, function: str, *args: Any, sender: str, words: Iterable[tuple[str, *tuple[int, ...]]]
    ) -> int:
        """Return the whole gas of a call that needs Clearinghouse and Operations: intrinsic plus execution, all cold.

        pyrevm keeps slots warm and forgets what a transaction began with, so both move to py-evm, the Clearinghouse
        with `words`, every (variable, keys) the call may touch: a word forgotten here reads as zero there. The chain
        of this object does not move.
        """
        clearinghouse = self.addresses["Clearinghouse"]
        slots = [self._slot(name) for name in ("batch", "operator", "head")]
        slots += [self._word_slot(variable, *keys) for variable, *keys in words]
        storage = {slot: self.evm.storage(clearinghouse, slot) for slot in slots}
        contracts: dict[bytes, tuple[bytes, dict[int, int]]] = {
            bytes.fromhex(self.addresses[name][2:]): (self.evm.get_code(self.addresses[name]) or b"", {})
            for name in ("Clearinghouse", "Operations")
        }
        contracts[bytes.fromhex(clearinghouse[2:])][1].update({slot: word for slot, word in storage.items() if word})
        return transact_once(
            contracts=contracts,
            to=bytes.fromhex(self.addresses[contract][2:]),
            sender=bytes.fromhex(sender[2:]),
            calldata=encode_call(contract, function, *args),
            time_s=self.time_s,
        )

    def events(self) -> list[Event]:
        """Decode the logs of the last call."""
        names = {address: name for name, address in self.addresses.items() if name in self.contracts}
        decoded = []
        assert self.evm.result is not None
        for log in self.evm.result.logs:
            contract = self.contracts[names[to_checksum_address(log.address)]]
            topics = [bytes.fromhex(topic[2:]) for topic in log.topics]
            data = bytes(log.data[1])
            entry = _events(contract).get(topics[0])
            if entry is None:
                decoded.append(Event(contract, topics[0].hex(), {}))
                continue
            indexed = [part for part in entry["inputs"] if part["indexed"]]
            plain = [part for part in entry["inputs"] if not part["indexed"]]
            args = {
                part["name"]: abi_decode([_canonical(part)], topic)[0]
                for part, topic in zip(indexed, topics[1:], strict=True)
            }
            args |= dict(zip([part["name"] for part in plain], abi_decode(_types(plain), data), strict=True))
            decoded.append(Event(contract, entry["name"], args))
        return decoded

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo whatever happens inside."""
        checkpoint = self.evm.snapshot()
        time_s = self.time_s
        try:
            yield
        finally:
            self.evm.revert(checkpoint)
            self.set_time(time_s)

    # What tests ask again and again.

    @property
    def head(self) -> bytes:
        """Return the Clearinghouse's head."""
        return bytes(self.call("Clearinghouse", "head"))

    @property
    def domain_separator(self) -> bytes:
        """Return what orders are signed under."""
        return bytes(self.call("Clearinghouse", "domain_separator"))

    @property
    def price_domain_separator(self) -> bytes:
        """Return what price roots are signed under."""
        return bytes(self.call("SignedPriceSource", "domain_separator"))

    @property
    def sequence(self) -> int:
        """Return the sequence of the last batch."""
        return int(self.call("Clearinghouse", "batch_word")) & (1 << 40) - 1

    def deposit(self, account_id: int, quote: int, *, sender: str = OUTSIDER) -> int:
        """Mint, approve and deposit; return the direct operation's number."""
        self.call("token", "mint", sender, quote)
        self.call("token", "approve", self.addresses["Vault"], quote, sender=sender)
        owner = to_checksum_address((account_id >> 80).to_bytes(20, "big"))
        return int(self.call("Vault", "deposit", owner, account_id & (1 << 80) - 1, quote, sender=sender))

    def list_market(
        self,
        market: int,
        rules: int | Sequence[int],
        *,
        symbol: str | None = None,
        lot_exponent: int = 4,
        source_id: int = 0,
        max_confidence_ppm: int = 5_000,
        reference_ticks: int = 10_000,
        tiers: int = 0,
    ) -> None:
        """List a market: one rules word for every session, or one each."""
        words = [rules] * N_SESSIONS if isinstance(rules, int) else list(rules)
        self.call(
            "MarketRegistry",
            "list_market",
            market,
            symbol or f"STOCK{market}",
            lot_exponent,
            source_id,
            max_confidence_ppm,
            reference_ticks,
            tiers,
            words,
            sender=GOVERNOR,
        )

    # Storage written past the code: states only later contracts, or years of trading, would reach.

    def _slot(self, variable: str) -> int:
        entry = artifacts()["Clearinghouse"].layout["storage_layout"][variable]
        return int(entry["slot"])

    def _word_slot(self, variable: str, *keys: int) -> int:
        """Return where variable[key] stands, or variable[key][key]."""
        slot = self._slot(variable)
        for key in keys:
            slot = int.from_bytes(keccak(slot.to_bytes(32, "big") + key.to_bytes(32, "big")), "big")
        return slot

    def write_word(self, variable: str, key: int, word: int) -> None:
        """Set `variable[key]` of the Clearinghouse: accounts, positions, lanes, prices, rules, indices, totals."""
        self.evm.insert_account_storage(self.addresses["Clearinghouse"], self._word_slot(variable, key), word)

    def read_word(self, variable: str, key: int) -> int:
        """Read `variable[key]` of the Clearinghouse from storage."""
        return int(self.evm.storage(self.addresses["Clearinghouse"], self._word_slot(variable, key)))

    def write_value(self, variable: str, word: int) -> None:
        """Set a plain storage variable of the Clearinghouse: batch, operator, head."""
        self.evm.insert_account_storage(self.addresses["Clearinghouse"], self._slot(variable), word)
