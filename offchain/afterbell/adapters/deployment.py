"""Deploy the contracts and write the manifest; do nothing where that has been done.

The deployer's nonce is the cursor. Vault, PriceOracle and Clearinghouse name each other immutably, so every address is
computed from the first nonce before the first transaction, and transaction i always carries nonce first + i. A run that
was interrupted finds the first nonce in its progress file, counts on chain how far it came and goes on from there; if
the account sent something else meanwhile, it begins again with new addresses. The manifest comes last: one that exists
names a complete venue, handed over to its Timelock, which a second run checks and leaves as it is.

    DeploymentError
    ├── DeploymentMismatch    a manifest exists, and chain or plan are not what it says
    └── DeploymentFailed      a transaction failed, or the result is not what the plan asks for

Must not: hold keys (a Sender does), follow the chain, or change a venue that is deployed: that is the Timelock's, see
governance.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import msgspec
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress, HexStr
from hexbytes import HexBytes
from web3 import HTTPProvider, Web3
from web3.contract.contract import Contract, ContractFunctions
from web3.exceptions import Web3Exception
from web3.types import Nonce, TxParams, TxReceipt, Wei

from afterbell.adapters.deployment_plan import DeploymentPlan
from afterbell.adapters.deployment_steps import (
    GOVERNED,
    SOURCE_NAMES,
    Step,
    build_steps,
    compute_addresses,
    describe_plan,
)
from afterbell.adapters.vyper_compiler import Artifacts, compile_contracts
from afterbell.domain.errors import AfterbellError
from afterbell.domain.hashing import keccak
from afterbell.domain.manifest import (
    MANIFEST_VERSION,
    Manifest,
    ManifestDomain,
    compute_abi_hash,
    format_manifest,
    parse_manifest,
)
from afterbell.domain.session import Session

_RECEIPT_TIMEOUT_S: Final = 120
_POLL_S: Final = 0.02
TIERS: Final = 1_024
"""Market offset of the tier words in the Clearinghouse's rules map."""
_OPERATOR_WORD: Final = keccak(b"operator_word()")[:4]


class DeploymentError(AfterbellError):
    """Nothing was deployed, or not all of it; the manifest was not written."""


class DeploymentMismatch(DeploymentError):
    """A manifest exists, and chain or plan are not what it says."""


class DeploymentFailed(DeploymentError):
    """A transaction failed, or the result is not what the plan asks for."""


class Sender(Protocol):
    """Who signs and pays: a key, or an account of ape."""

    @property
    def address(self) -> bytes:
        """Return the 20 bytes of the account."""

    def send(self, *, to: bytes | None, calldata: bytes, nonce: int) -> bytes:
        """Send one transaction (to None: create a contract) and return its hash; it need not be mined yet."""


class KeySender:
    """A Sender that signs with a private key."""

    def __init__(self, web3: Web3, account: LocalAccount) -> None:
        self._web3 = web3
        self._account = account

    @property
    def address(self) -> bytes:
        """Return the 20 bytes of the account."""
        return bytes.fromhex(self._account.address[2:])

    def send(self, *, to: bytes | None, calldata: bytes, nonce: int) -> bytes:
        """Estimate, sign and send."""
        transaction = build_transaction(self._web3, sender=self.address, to=to, calldata=calldata, nonce=nonce)
        signed = self._account.sign_transaction(cast(dict[str, Any], transaction))
        return bytes(self._web3.eth.send_raw_transaction(signed.raw_transaction))


def build_transaction(web3: Web3, *, sender: bytes, to: bytes | None, calldata: bytes, nonce: int) -> TxParams:
    """Return a transaction that lacks only its signature; the base fee may double before it is too cheap."""
    transaction: TxParams = {
        "from": _checksum(sender),
        "data": HexStr("0x" + calldata.hex()),
        "nonce": Nonce(nonce),
        "chainId": web3.eth.chain_id,
        "value": Wei(0),
        "type": 2,
    }
    if to is not None:
        transaction["to"] = _checksum(to)
    transaction["gas"] = web3.eth.estimate_gas(transaction)
    priority_wei = web3.eth.max_priority_fee
    base_wei = web3.eth.get_block("latest").get("baseFeePerGas", Wei(0))
    transaction["maxPriorityFeePerGas"] = priority_wei
    transaction["maxFeePerGas"] = Wei(2 * base_wei + priority_wei)
    return transaction


def send_and_wait(web3: Web3, sender: Sender, *, to: bytes | None, calldata: bytes, nonce: int) -> TxReceipt:
    """Send one transaction and return its receipt, whatever it says. Raises: Web3Exception, OSError."""
    transaction = sender.send(to=to, calldata=calldata, nonce=nonce)
    return web3.eth.wait_for_transaction_receipt(
        HexBytes(transaction), timeout=_RECEIPT_TIMEOUT_S, poll_latency=_POLL_S
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What `deploy` found or made."""

    manifest: Manifest
    n_transactions: int
    """Sent by this run: 0 when the venue was there."""


class _Progress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run must know to go on where another stopped: written before its first transaction."""

    chain_id: int
    block_0_hash: str
    deployer: str
    first_nonce: int
    first_block: int
    genesis_s: int
    plan_hash: str
    source_hash: str


def connect(url: str) -> Web3:
    """Return a synchronous client for one node."""
    return Web3(HTTPProvider(url, request_kwargs={"timeout": _RECEIPT_TIMEOUT_S}))


def deploy(
    web3: Web3,
    sender: Sender,
    plan: DeploymentPlan,
    *,
    manifest_path: Path,
    artifacts: Artifacts | None = None,
    report: Callable[[str], None] = lambda line: None,
    review: Callable[[Sequence[str]], None] = lambda lines: None,
) -> Deployment:
    """Make the chain hold the plan's venue and the file hold its manifest, sending only what is missing.

    artifacts: compiled already, else compiled here. report: gets a line a transaction. review: gets the whole
    deployment in lines before anything is written or sent; what it raises ends the run there.
    Raises: DeploymentMismatch, DeploymentFailed, CompilationFailed, BadManifest.
    """
    if manifest_path.exists():
        manifest = parse_manifest(manifest_path.read_bytes())
        _must_be_deployed(web3, manifest, plan)
        return Deployment(manifest=manifest, n_transactions=0)
    artifacts = artifacts or compile_contracts()
    progress_path = manifest_path.with_suffix(".progress")
    progress, n_done = _find_progress(web3, sender, plan, artifacts, progress_path)
    review(describe_plan(plan, sender.address, progress.first_nonce, n_done=n_done))
    if n_done == 0:
        _write_whole(progress_path, msgspec.json.encode(progress))
    addresses = compute_addresses(sender.address, plan, progress.first_nonce)
    steps = build_steps(plan, sender.address, addresses, progress.genesis_s)
    for index, step in enumerate(steps[n_done:], n_done):
        _send_step(web3, sender, step, artifacts, addresses, progress.first_nonce + index)
        report(f"{index + 1}/{len(steps)} {step.title}")
    manifest = _build_manifest(web3, sender, plan, artifacts, addresses, progress)
    _must_be_as_planned(web3, manifest, plan, artifacts)
    _write_whole(manifest_path, format_manifest(manifest))
    progress_path.unlink()
    return Deployment(manifest=manifest, n_transactions=len(steps) - n_done)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises: BadManifest, OSError.
    """
    return parse_manifest(path.read_bytes())


# ---------------------------------------------------------------- doing it


def _find_progress(
    web3: Web3, sender: Sender, plan: DeploymentPlan, artifacts: Artifacts, path: Path
) -> tuple[_Progress, int]:
    """Return the progress to go on from and how many steps are mined; a new one if none fits."""
    _wait_for_pool(web3, sender.address)
    block = web3.eth.get_block("latest")
    nonce = web3.eth.get_transaction_count(_checksum(sender.address))
    fresh = _Progress(
        chain_id=web3.eth.chain_id,
        block_0_hash=Web3.to_hex(web3.eth.get_block(0)["hash"]),
        deployer=_checksum(sender.address),
        first_nonce=nonce,
        first_block=block["number"] + 1,
        # Not in the future of the block that creates the Clearinghouse, and the same in a run that goes on.
        genesis_s=block["timestamp"],
        plan_hash=plan.compute_hash(),
        source_hash=artifacts.source_hash,
    )
    if path.exists():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_Progress)
        except msgspec.DecodeError:
            found = None
        if found is not None and _is_same_run(found, fresh):
            n_done = nonce - found.first_nonce
            if _has_happened(web3, sender, plan, artifacts, found, n_done):
                return found, n_done
    return fresh, 0


def _is_same_run(found: _Progress, fresh: _Progress) -> bool:
    replaced = {"first_nonce": fresh.first_nonce, "first_block": fresh.first_block, "genesis_s": fresh.genesis_s}
    return msgspec.structs.replace(found, **replaced) == fresh


def _has_happened(
    web3: Web3, sender: Sender, plan: DeploymentPlan, artifacts: Artifacts, progress: _Progress, n_done: int
) -> bool:
    """Tell whether the account's transactions since the first nonce were the first n_done steps.

    Creations are checked by their code. Calls are not: `_must_be_as_planned` asks for their effect at the end.
    """
    addresses = compute_addresses(sender.address, plan, progress.first_nonce)
    steps = build_steps(plan, sender.address, addresses, progress.genesis_s)
    return 0 <= n_done <= len(steps) and all(
        _get_code(web3, addresses[step.contract]).startswith(artifacts[SOURCE_NAMES[step.contract]].runtime_code)
        for step in steps[:n_done]
        if step.function is None
    )


def _send_step(
    web3: Web3, sender: Sender, step: Step, artifacts: Artifacts, addresses: Mapping[str, bytes], nonce: int
) -> None:
    artifact = artifacts[SOURCE_NAMES[step.contract]]
    contract = web3.eth.contract(abi=artifact.abi, bytecode=artifact.creation_code)
    if step.function is None:
        calldata = contract.constructor(*step.arguments).data_in_transaction
        to = None
    else:
        calldata = contract.encode_abi(step.function, args=step.arguments)
        to = addresses[step.contract]
    try:
        receipt = send_and_wait(web3, sender, to=to, calldata=bytes.fromhex(calldata[2:]), nonce=nonce)
    except (Web3Exception, OSError) as error:
        raise DeploymentFailed(f"{step.title} must succeed: {error}") from error
    if receipt["status"] != 1:
        raise DeploymentFailed(
            f"{step.title} must succeed, transaction {Web3.to_hex(receipt['transactionHash'])} reverted"
        )
    if to is None and receipt["contractAddress"] != _checksum(addresses[step.contract]):
        raise DeploymentFailed(
            f"{step.contract} must stand at {_checksum(addresses[step.contract])}, found at "
            f"{receipt['contractAddress']}: the account sent something else meanwhile; run again"
        )


def _wait_for_pool(web3: Web3, address: bytes) -> None:
    """Wait until nothing of the account waits to be mined: only then does its nonce say how far a run came."""
    deadline = time.monotonic() + _RECEIPT_TIMEOUT_S
    while web3.eth.get_transaction_count(_checksum(address), "pending") > web3.eth.get_transaction_count(
        _checksum(address)
    ):
        if time.monotonic() > deadline:
            raise DeploymentFailed(f"transactions of {_checksum(address)} are pending for {_RECEIPT_TIMEOUT_S} s")
        time.sleep(_POLL_S)


def _build_manifest(
    web3: Web3,
    sender: Sender,
    plan: DeploymentPlan,
    artifacts: Artifacts,
    addresses: Mapping[str, bytes],
    progress: _Progress,
) -> Manifest:
    return Manifest(
        version=MANIFEST_VERSION,
        chain_id=progress.chain_id,
        genesis_s=progress.genesis_s,
        deployed_at_block=progress.first_block,
        deployer=_checksum(sender.address),
        governor=_checksum(addresses["timelock"]),
        announcer=_checksum(plan.roles.announcer),
        guardian=_checksum(plan.roles.guardian),
        sequencer=_checksum(plan.roles.sequencer),
        publishers=tuple(_checksum(publisher) for publisher in plan.roles.publishers),
        threshold=plan.threshold,
        addresses={name: _checksum(address) for name, address in addresses.items()},
        code_hashes={name: "0x" + keccak(_get_code(web3, address)).hex() for name, address in addresses.items()},
        abi_hash=compute_abi_hash({name: artifacts[source].abi for name, source in SOURCE_NAMES.items()}),
        compiler=artifacts.compiler,
        domains={
            "orders": ManifestDomain(
                name="Afterbell", version="1", verifying_contract=_checksum(addresses["clearinghouse"])
            ),
            "prices": ManifestDomain(
                name="Afterbell Prices", version="1", verifying_contract=_checksum(addresses["signed_price_source"])
            ),
        },
        markets=plan.markets,
    )


# ---------------------------------------------------------------- checking it


def _must_be_deployed(web3: Web3, manifest: Manifest, plan: DeploymentPlan) -> None:
    """Refuse a manifest of another chain, of contracts that are not there, or of another plan."""
    chain_id = web3.eth.chain_id
    if chain_id != manifest.chain_id:
        raise DeploymentMismatch(f"the manifest is of chain {manifest.chain_id}, the node is chain {chain_id}")
    for name, (address, code_hash) in manifest.build_code_hashes().items():
        code = _get_code(web3, address)
        if not code:
            raise DeploymentMismatch(
                f"{name} must stand at {_checksum(address)}, found no code: start the chain from its saved state, or "
                "remove the manifest to deploy again"
            )
        if keccak(code) != code_hash:
            raise DeploymentMismatch(f"{name} at {_checksum(address)} has other code than the manifest names")
    planned = {
        "markets": (manifest.markets, plan.markets),
        "guardian": (manifest.guardian, _checksum(plan.roles.guardian)),
        "announcer": (manifest.announcer, _checksum(plan.roles.announcer)),
        "publishers": (manifest.publishers, tuple(_checksum(publisher) for publisher in plan.roles.publishers)),
        # Who settles now: a venue goes on with the key it was rotated to.
        "sequencer": (_read_sequencer(web3, manifest), _checksum(plan.roles.sequencer)),
        "threshold": (manifest.threshold, plan.threshold),
    }
    for name, (deployed, wanted) in planned.items():
        if deployed != wanted:
            raise DeploymentMismatch(
                f"the plan's {name} are not those of the venue that is deployed: a running venue is changed by its "
                "governor, not by deploying again"
            )


def _must_be_as_planned(web3: Web3, manifest: Manifest, plan: DeploymentPlan, artifacts: Artifacts) -> None:
    """Ask the contracts themselves for everything the plan and the manifest say of them."""
    contracts = {name: _contract(web3, artifacts, manifest, name).functions for name in SOURCE_NAMES}
    clearinghouse, registry = contracts["clearinghouse"], contracts["market_registry"]
    addresses = manifest.addresses
    wired = {
        "clearinghouse": {
            "VAULT": "vault",
            "ORACLE": "price_oracle",
            "REGISTRY": "market_registry",
            "OPERATIONS": "operations",
            "LIQUIDATIONS": "liquidations",
            "EXITS": "exits",
            "CORPORATE_ACTIONS": "corporate_actions",
        },
        "vault": {"CLEARINGHOUSE": "clearinghouse", "OPERATIONS": "operations", "TOKEN": "token"},
        "operations": {"CLEARINGHOUSE": "clearinghouse", "VAULT": "vault"},
        "liquidations": {"CLEARINGHOUSE": "clearinghouse", "CORPORATE_ACTIONS": "corporate_actions"},
        "exits": {"CLEARINGHOUSE": "clearinghouse", "VAULT": "vault"},
        "corporate_actions": {
            "CLEARINGHOUSE": "clearinghouse",
            "ORACLE": "price_oracle",
            "REGISTRY": "market_registry",
            "LIQUIDATIONS": "liquidations",
        },
        "price_oracle": {
            "CLEARINGHOUSE": "clearinghouse",
            "REGISTRY": "market_registry",
            "CORPORATE_ACTIONS": "corporate_actions",
        },
        "lens": {"CLEARINGHOUSE": "clearinghouse"},
        "market_lens": {"CLEARINGHOUSE": "clearinghouse"},
        "market_registry": {"CLEARINGHOUSE": "clearinghouse", "ORACLE": "price_oracle"},
    }
    for name in GOVERNED:
        wired.setdefault(name, {})["governor"] = "timelock"
    answers: list[tuple[str, object, object]] = [
        (f"{SOURCE_NAMES[name]}.{view}", contracts[name][view]().call(), addresses[neighbour])
        for name, views in wired.items()
        for view, neighbour in views.items()
    ]
    answers += [
        ("Clearinghouse.GENESIS_S", clearinghouse.GENESIS_S().call(), manifest.genesis_s),
        (
            "PriceOracle.source(0)",
            contracts["price_oracle"].source(0).call(),
            addresses["signed_price_source"],
        ),
        ("PriceOracle.n_boundaries", contracts["price_oracle"].n_boundaries().call(), len(plan.boundaries)),
        *(
            (
                f"PriceOracle.boundary({index})",
                tuple(contracts["price_oracle"].boundary(index).call()),
                (boundary.start_s, boundary.session),
            )
            for index, boundary in enumerate(plan.boundaries)
        ),
        ("SignedPriceSource.threshold", contracts["signed_price_source"].threshold().call(), manifest.threshold),
        (
            "SignedPriceSource.publishers",
            tuple(contracts["signed_price_source"].get_publishers().call()),
            manifest.publishers,
        ),
        ("MarketRegistry.guardian", registry.guardian().call(), manifest.guardian),
        ("CorporateActions.announcer", contracts["corporate_actions"].announcer().call(), manifest.announcer),
        *(
            (f"MarketRegistry.is_standby({_checksum(one)})", registry.is_standby(_checksum(one)).call(), True)
            for one in plan.roles.standbys
        ),
        *_list_timelock_answers(contracts["timelock"], manifest, plan),
    ]
    for market in plan.markets:
        symbol = registry.symbols(market.market_id).call()
        answers.append((f"MarketRegistry.symbols({market.market_id})", symbol, market.symbol))
        for session, word in market.build_rules_words().items():
            found = clearinghouse.rules_word(market.market_id, session).call()
            answers.append((f"rules of {market.symbol} {Session(session).name}", found, int.from_bytes(word, "big")))
            found = clearinghouse.rules_word(market.market_id + TIERS, session).call()
            answers.append((f"tiers of {market.symbol} {Session(session).name}", found, market.build_tier_word()))
    for what, found, required in answers:
        if found != required:
            raise DeploymentFailed(f"{what} must be {required}, found {found}")


def _list_timelock_answers(
    timelock: ContractFunctions, manifest: Manifest, plan: DeploymentPlan
) -> Iterator[tuple[str, object, object]]:
    """Yield what the Timelock says of its roles, and what it must say: nobody holds one he was not given."""
    yield "Timelock.get_minimum_delay", timelock.get_minimum_delay().call(), plan.timelock_delay_s
    roles = plan.roles
    held: dict[str, tuple[bytes, ...]] = {
        "DEFAULT_ADMIN_ROLE": (manifest.get_address("timelock"),),
        "PROPOSER_ROLE": roles.proposers,
        "EXECUTOR_ROLE": roles.executors,
        "CANCELLER_ROLE": (roles.guardian,),
    }
    people = {_checksum(one) for ones in held.values() for one in ones} | {Web3.to_checksum_address(manifest.deployer)}
    for role, holders in held.items():
        role_id = timelock[role]().call()
        for person in sorted(people):
            is_held = person in {_checksum(holder) for holder in holders}
            yield f"Timelock.hasRole({role}, {person})", timelock.hasRole(role_id, person).call(), is_held


# ---------------------------------------------------------------- small parts


def _read_sequencer(web3: Web3, manifest: Manifest) -> str:
    """Return who may settle now, from the operator word of the Clearinghouse."""
    word = web3.eth.call(
        {"to": _checksum(manifest.get_address("clearinghouse")), "data": HexStr("0x" + _OPERATOR_WORD.hex())}
    )
    return _checksum(bytes(word[12:32]))


def _contract(web3: Web3, artifacts: Artifacts, manifest: Manifest, name: str) -> Contract:
    return web3.eth.contract(address=_checksum(manifest.get_address(name)), abi=artifacts[SOURCE_NAMES[name]].abi)


def _checksum(address: bytes) -> ChecksumAddress:
    return Web3.to_checksum_address(address)


def _get_code(web3: Web3, address: bytes) -> bytes:
    return bytes(web3.eth.get_code(_checksum(address)))


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is found whole or not at all, whatever stops the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
