"""Run a real anvil with the real contracts, and trade on it without the sequencer: deposits, prices, batches, claims.

For benchmarks and for the verifier's tests, which need a short true history and full control over it. Everything
happens by transactions; senders are impersonated, so no key of the chain is needed. A block comes a second after the
one before unless told otherwise. Must not: keep state after it stopped, or be used for anything that holds money.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
from eth_account import Account

from afterbell.adapters.anvil import Anvil
from afterbell.adapters.deployment import KeySender, connect, deploy
from afterbell.adapters.deployment_plan import Roles, find_local_plan, read_plan
from afterbell.bench.scenarios import build_keys
from afterbell.domain.batch import BatchHeader, Payload, PriceRow, encode
from afterbell.domain.digests import DOMAIN_NAME, PRICE_DOMAIN_NAME, build_domain_separator
from afterbell.domain.errors import AfterbellError
from afterbell.domain.evidence import Evidence, PriceReport, build_proven_reports, encode_evidence, join_sections
from afterbell.domain.hashing import keccak
from afterbell.domain.manifest import Manifest
from afterbell.domain.session import Session
from afterbell.domain.words import SessionKeyWord
from afterbell.signing.keys import SigningKey
from afterbell.signing.typed_data import PriceRoot, digest

GENESIS_S: Final = 1_110_000_000
GAS_LIMIT: Final = 16_000_000
_ENOUGH_WEI: Final = 10**22
_E8_PER_TICK: Final = 10**6
_RECEIPT_TIMEOUT_S: Final = 30
_POLL_S: Final = 0.002
_KEY_SEED: Final = 20_050_301
_N_PUBLISHERS: Final = 3


class TransactionFailed(AfterbellError):
    """A transaction of the venue reverted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """A transaction on chain."""

    transaction: bytes
    gas_used: int
    created: bytes
    codes: bytes
    """Failure codes of a batch; empty when nothing failed."""


class LocalVenue:
    """A deployed instance on an anvil of its own. Use `start`."""

    def __init__(self, anvil: Anvil, manifest: Manifest, publishers: Sequence[SigningKey], folder: Path) -> None:
        self.anvil = anvil
        self.manifest = manifest
        self.manifest_path = folder / "manifest.json"
        self.clearinghouse = manifest.get_address("clearinghouse")
        self.vault = manifest.get_address("vault")
        self.token = manifest.get_address("token")
        self.sequencer = bytes.fromhex(manifest.sequencer[2:])
        self.market_ids = tuple(market.market_id for market in manifest.markets)
        self.domain_separator = build_domain_separator(
            name=DOMAIN_NAME, chain_id=manifest.chain_id, verifying_contract=self.clearinghouse
        )
        self._price_separator = build_domain_separator(
            name=PRICE_DOMAIN_NAME,
            chain_id=manifest.chain_id,
            verifying_contract=manifest.get_address("signed_price_source"),
        )
        self._publishers = sorted(publishers, key=lambda key: key.address)
        anvil.call("anvil_autoImpersonateAccount", True)
        self._funded: set[bytes] = set()

    @classmethod
    @contextmanager
    def start(cls, folder: Path, *, is_tiered: bool = True, n_markets: int = 5) -> Iterator[LocalVenue]:
        """Start anvil, deploy the local plan (without tiers, or with more markets), yield the venue, stop anvil."""
        with Anvil.start(genesis_s=GENESIS_S, log_path=folder / "anvil.log") as anvil:
            manifest, publishers = deploy_venue(anvil, folder, is_tiered=is_tiered, n_markets=n_markets)
            yield cls(anvil, manifest, publishers, folder)

    # The chain.

    def transact(self, sender: bytes, to: bytes | None, calldata: bytes) -> Mined:
        """Mine one transaction. Raises: TransactionFailed."""
        if sender not in self._funded:
            self.anvil.call("anvil_setBalance", _hex(sender), hex(_ENOUGH_WEI))
            self._funded.add(sender)
        fields = {"from": _hex(sender), "data": _hex(calldata), "gas": hex(GAS_LIMIT)}
        if to is not None:
            fields["to"] = _hex(to)
        transaction = _text(self.anvil.call("eth_sendTransaction", fields))
        receipt = self._await_receipt(transaction)
        if receipt["status"] != "0x1":
            raise TransactionFailed(f"transaction to {to.hex() if to else 'nobody'} failed: {self._explain(fields)}")
        topic = "0x" + keccak(b"BatchFailures(uint64,bytes)").hex()
        failures = [log["data"] for log in receipt["logs"] if log["topics"][:1] == [topic]]
        codes = b""
        for data in failures:
            content = bytes.fromhex(data[2:])
            codes = content[64 : 64 + int.from_bytes(content[32:64], "big")]
        return Mined(
            transaction=bytes.fromhex(transaction[2:]),
            gas_used=int(receipt["gasUsed"], 16),
            created=bytes.fromhex((receipt["contractAddress"] or "0x")[2:]),
            codes=codes,
        )

    def _await_receipt(self, transaction: str) -> dict[str, Any]:
        """Return the receipt as soon as the transaction is mined; anvil answers a moment before."""
        deadline = time.monotonic() + _RECEIPT_TIMEOUT_S
        while time.monotonic() < deadline:
            receipt = self.anvil.call("eth_getTransactionReceipt", transaction)
            if isinstance(receipt, dict):
                return receipt
            time.sleep(_POLL_S)
        raise TransactionFailed(f"transaction {transaction} was not mined within {_RECEIPT_TIMEOUT_S} s")

    def call(self, to: bytes, view: str, *arguments: int) -> bytes:
        """Return what a view returns."""
        fields = {"to": _hex(to), "data": _hex(build_call(view, *arguments))}
        return bytes.fromhex(_text(self.anvil.call("eth_call", fields, "latest"))[2:])

    def create(self, creation_code: bytes) -> bytes:
        """Deploy code; return its address."""
        return self.transact(self.sequencer, None, creation_code).created

    @property
    def time_s(self) -> int:
        """Return the time of the latest block."""
        block = self.anvil.call("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict):
            raise TransactionFailed("anvil has no latest block")
        return int(block["timestamp"], 16)

    def pass_time(self, time_s: int) -> None:
        """Give the next block a time."""
        self.anvil.call("evm_setNextBlockTimestamp", hex(time_s))

    def _explain(self, fields: Mapping[str, str]) -> str:
        try:
            self.anvil.call("eth_call", fields, "latest")
        except AfterbellError as error:
            return str(error)
        return "the same call passes now"

    # Money.

    def deposit(self, key: SigningKey, quote: int, *, subaccount: int = 0) -> Mined:
        """Mint, approve and deposit for a key's account."""
        owner = int.from_bytes(key.address, "big")
        self.transact(key.address, self.token, build_call("mint(address,uint256)", owner, quote))
        vault = int.from_bytes(self.vault, "big")
        self.transact(key.address, self.token, build_call("approve(address,uint256)", vault, quote))
        call = build_call("deposit(address,uint80,uint256)", owner, subaccount, quote)
        return self.transact(key.address, self.vault, call)

    def link_key(self, owner: SigningKey, key: SigningKey, *, subaccount: int = 0) -> Mined:
        """Let a key trade everything for an account, for a month."""
        limits = SessionKeyWord(
            expiry_s=self.time_s + 30 * 86_400, max_notional_quote=(1 << 63) - 1, markets=(1 << 32) - 1, trade_only=True
        ).pack()
        call = build_call("link_key(uint80,address,uint256)", subaccount, int.from_bytes(key.address, "big"), limits)
        return self.transact(owner.address, self.manifest.get_address("operations"), call)

    def claim(self, recipient: bytes) -> Mined:
        """Have a recipient's claim paid."""
        return self.transact(recipient, self.vault, build_call("claim(address)", int.from_bytes(recipient, "big")))

    # Batches.

    @property
    def head(self) -> bytes:
        """Return the head of the chain of batches."""
        return self.call(self.clearinghouse, "head()")

    def next_header(self, *, matched_at_s: int | None = None) -> BatchHeader:
        """Return the header of the next batch, matched now unless another time is given."""
        word = int.from_bytes(self.call(self.clearinghouse, "batch_word()"), "big")
        direct_op = int.from_bytes(self.call(self.clearinghouse, "operator_word()"), "big") >> 160 & 0xFFFFFFFFFF
        return BatchHeader(
            sequence=(word & 0xFFFFFFFFFF) + 1,
            matched_at_s=self.time_s if matched_at_s is None else matched_at_s,
            direct_op=direct_op,
            journal_hash=keccak(word.to_bytes(32, "big")),
        )

    def settle(self, payload: bytes) -> Mined:
        """Settle a batch as the sequencer."""
        return self.transact(self.sequencer, self.clearinghouse, build_settle_calldata(self.head, payload))

    def build_evidence(self, reports: Sequence[PriceReport], publish_time_s: int) -> bytes:
        """Return evidence of these reports in one section, signed by as many publishers as it takes."""
        root, proven = build_proven_reports(reports, publish_time_s)
        message = digest(PriceRoot(root=root, publish_time_s=publish_time_s), self._price_separator)
        signers = self._publishers[: self.manifest.threshold]
        section = encode_evidence(
            Evidence(
                publish_time_s=publish_time_s,
                root=root,
                signatures=tuple(key.sign(message) for key in signers),
                reports=proven,
            )
        )
        return join_sections([section])

    def build_price_payload(self, ticks: Mapping[int, int], *, publish_time_s: int | None = None) -> Payload:
        """Return a batch that carries nothing but fresh prices, session REGULAR."""
        header = self.next_header()
        rows, evidence = self.build_prices(ticks, header.matched_at_s if publish_time_s is None else publish_time_s)
        return Payload(header=header, rows=rows, evidence=evidence)

    def build_prices(
        self, ticks: Mapping[int, int], publish_time_s: int, *, is_funding: bool = False
    ) -> tuple[tuple[PriceRow, ...], bytes]:
        """Return rows and signed evidence that price markets, session REGULAR; with funding, rows accrue it."""
        reports = [
            PriceReport(
                market_id=market_id, session=Session.REGULAR, price_e8=price_ticks * _E8_PER_TICK, confidence_e8=0
            )
            for market_id, price_ticks in sorted(ticks.items())
        ]
        rows = tuple(
            PriceRow(market_id=market_id, mark_ticks=price_ticks, index_ticks=price_ticks, funding=int(is_funding))
            for market_id, price_ticks in sorted(ticks.items())
        )
        return rows, self.build_evidence(reports, publish_time_s)

    def set_prices(self, ticks: Mapping[int, int]) -> Mined:
        """Settle a batch of prices."""
        return self.settle(encode(self.build_price_payload(ticks)))


def deploy_venue(
    anvil: Anvil, folder: Path, *, is_tiered: bool = True, n_markets: int = 5
) -> tuple[Manifest, list[SigningKey]]:
    """Deploy the local plan with keys that depend on nothing; return its manifest and the publishers' keys."""
    source = random.Random(_KEY_SEED)
    deployer_key = source.randbytes(32)
    sequencer, *publishers = build_keys(source, 1 + _N_PUBLISHERS)
    governor, guardian, announcer = build_keys(source, 3)
    roles = Roles(
        sequencer=sequencer.address,
        publishers=tuple(publisher.address for publisher in publishers),
        proposers=(governor.address,),
        executors=(governor.address,),
        announcer=announcer.address,
        guardian=guardian.address,
    )
    plan = read_plan(find_local_plan(), roles=roles)
    last = plan.markets[-1]
    more = tuple(
        msgspec.structs.replace(last, market_id=market_id, symbol=f"MORE{market_id}")
        for market_id in range(len(plan.markets) + 1, n_markets + 1)
    )
    plan = replace(plan, markets=plan.markets + more)
    if not is_tiered:
        plan = replace(plan, markets=tuple(msgspec.structs.replace(market, tiers=()) for market in plan.markets))
    anvil.call("anvil_setBalance", _hex(SigningKey(deployer_key).address), hex(_ENOUGH_WEI))
    web3 = connect(anvil.url)
    sender = KeySender(web3, Account.from_key(deployer_key))
    return deploy(web3, sender, plan, manifest_path=folder / "manifest.json").manifest, publishers


def build_call(signature: str, *arguments: int) -> bytes:
    """Return calldata of a function whose arguments are single words."""
    return keccak(signature.encode())[:4] + b"".join(argument.to_bytes(32, "big") for argument in arguments)


def build_settle_calldata(previous_head: bytes, payload: bytes) -> bytes:
    """Return calldata of settle(bytes32, bytes)."""
    padded = payload + bytes(-len(payload) % 32)
    head = previous_head + (64).to_bytes(32, "big") + len(payload).to_bytes(32, "big")
    return keccak(b"settle(bytes32,bytes)")[:4] + head + padded


def _hex(content: bytes) -> str:
    return "0x" + content.hex()


def _text(answer: object) -> str:
    if not isinstance(answer, str):
        raise TransactionFailed(f"required text from anvil, found {type(answer).__name__}")
    return answer
