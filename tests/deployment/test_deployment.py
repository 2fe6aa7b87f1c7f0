"""One deployment on a real chain: complete, found again unchanged, and finished after any interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from eth_account import Account
from web3 import Web3

from afterbell.adapters.anvil import Anvil
from afterbell.adapters.deployment import (
    Deployment,
    DeploymentMismatch,
    KeySender,
    compute_create_address,
    connect,
    deploy,
)
from afterbell.adapters.deployment_plan import BadPlan, DeploymentPlan, find_local_plan, read_plan
from afterbell.domain.manifest import CONTRACTS, BadManifest, compute_abi_hash, parse_manifest

GENESIS_S = 1_109_683_800
# The well-known keys of a development node's first accounts.
DEPLOYER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OUTSIDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
SEQUENCER = b"\x51" * 20
PUBLISHERS = (b"\x73" * 20, b"\x71" * 20, b"\x72" * 20)
# 7 contracts, 5 markets.
N_TRANSACTIONS = 12


class Interrupted(Exception):
    """The process died here."""


class InterruptedSender(KeySender):
    """Dies before or after sending its n-th transaction."""

    def __init__(self, web3: Web3, n_sent: int, *, is_sent: bool) -> None:
        super().__init__(web3, Account.from_key(DEPLOYER_KEY))
        self._n_left = n_sent
        self._is_sent = is_sent

    def send(self, *, to: bytes | None, calldata: bytes, nonce: int) -> bytes:
        if self._n_left == 0:
            if self._is_sent:
                super().send(to=to, calldata=calldata, nonce=nonce)
            raise Interrupted
        self._n_left -= 1
        return super().send(to=to, calldata=calldata, nonce=nonce)


@pytest.fixture
def web3(tmp_path: Path) -> Iterator[Web3]:
    with Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "anvil.log") as anvil:
        yield connect(anvil.url)


@pytest.fixture
def plan() -> DeploymentPlan:
    return read_plan(find_local_plan(), sequencer=SEQUENCER, publishers=PUBLISHERS)


def _deploy(web3: Web3, plan: DeploymentPlan, folder: Path) -> Deployment:
    sender = KeySender(web3, Account.from_key(DEPLOYER_KEY))
    return deploy(web3, sender, plan, manifest_path=folder / "manifest.json")


def test_deploy__fresh_chain__writes_one_manifest_of_what_stands_there(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    made = _deploy(web3, plan, tmp_path)

    written = json.loads((tmp_path / "manifest.json").read_text())
    assert made.n_transactions == N_TRANSACTIONS
    assert (written["version"], written["chain_id"], written["genesis_s"]) == (1, 31337, GENESIS_S)
    assert written["deployed_at_block"] == 1
    assert set(written["addresses"]) == set(CONTRACTS)
    assert written["code_hashes"] == {
        name: Web3.to_hex(Web3.keccak(web3.eth.get_code(address))) for name, address in written["addresses"].items()
    }
    assert written["publishers"] == [Web3.to_checksum_address(bytes([n]) * 20) for n in (0x71, 0x72, 0x73)]
    assert [(market["market_id"], market["symbol"], market["synthetic"]) for market in written["markets"]] == [
        (1, "AAPL", False),
        (2, "MSFT", False),
        (3, "IBM", False),
        (4, "GOOG", False),
        (5, "TSLA", True),
    ]
    assert not (tmp_path / "manifest.progress").exists()


def test_deploy__second_run__sends_nothing_and_leaves_the_manifest(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    _deploy(web3, plan, tmp_path)
    before = ((tmp_path / "manifest.json").read_bytes(), web3.eth.block_number)

    found = _deploy(web3, plan, tmp_path)

    assert found.n_transactions == 0
    assert ((tmp_path / "manifest.json").read_bytes(), web3.eth.block_number) == before


@pytest.mark.parametrize("is_sent", [False, True], ids=["before_sending", "after_sending"])
@pytest.mark.parametrize("n_sent", [0, 5, N_TRANSACTIONS - 1])
def test_deploy__interrupted__goes_on_where_it_stopped(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path, n_sent: int, is_sent: bool
) -> None:
    with pytest.raises(Interrupted):
        deploy(
            web3,
            InterruptedSender(web3, n_sent, is_sent=is_sent),
            plan,
            manifest_path=tmp_path / "manifest.json",
        )
    assert not (tmp_path / "manifest.json").exists()

    resumed = _deploy(web3, plan, tmp_path)

    assert resumed.n_transactions == N_TRANSACTIONS - n_sent - is_sent
    assert resumed.manifest.genesis_s == GENESIS_S
    assert web3.eth.block_number == N_TRANSACTIONS


def test_deploy__interrupted_and_the_account_used_elsewhere__begins_again(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        deploy(web3, InterruptedSender(web3, 2, is_sent=False), plan, manifest_path=tmp_path / "manifest.json")
    sender = KeySender(web3, Account.from_key(DEPLOYER_KEY))
    sender.send(to=bytes.fromhex(OUTSIDER[2:]), calldata=b"", nonce=2)

    made = _deploy(web3, plan, tmp_path)

    assert made.n_transactions == N_TRANSACTIONS
    assert made.manifest.deployed_at_block == 4


def test_deploy__manifest_of_a_chain_that_is_gone__is_refused(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    _deploy(web3, plan, tmp_path)

    with (
        Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "other.log") as other,
        pytest.raises(DeploymentMismatch, match="found no code"),
    ):
        _deploy(connect(other.url), plan, tmp_path)


def test_deploy__other_plan_over_a_venue__is_refused(web3: Web3, plan: DeploymentPlan, tmp_path: Path) -> None:
    _deploy(web3, plan, tmp_path)
    other = read_plan(find_local_plan(), sequencer=b"\x52" * 20, publishers=PUBLISHERS)

    with pytest.raises(DeploymentMismatch, match="plan's sequencer"):
        _deploy(web3, other, tmp_path)


def test_deploy__altered_code__is_refused(web3: Web3, plan: DeploymentPlan, tmp_path: Path) -> None:
    made = _deploy(web3, plan, tmp_path)
    web3.provider.make_request("anvil_setCode", [made.manifest.addresses["vault"], "0x00"])  # type: ignore[arg-type]

    with pytest.raises(DeploymentMismatch, match=r"vault .* has other code"):
        _deploy(web3, plan, tmp_path)


def test_create_address__golden__matches_the_yellow_paper_rule() -> None:
    # The first three contracts of the well-known development account, and one nonce on each side of the RLP short form.
    deployer = bytes.fromhex("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")

    found = [compute_create_address(deployer, nonce).hex() for nonce in (0, 1, 2)]

    assert found == [
        "5fbdb2315678afecb367f032d93f642f64180aa3",
        "e7f1725e7734ce288f8367e1bb143e90bb3f0512",
        "9fe46736679d2d9a65f0992f2272de9f3c7fa6e0",
    ]


def test_plan__history_given__market_is_not_synthetic() -> None:
    plan = read_plan(find_local_plan(), sequencer=SEQUENCER, publishers=PUBLISHERS, with_history=["TSLA"])

    assert [market.synthetic for market in plan.markets] == [False] * 5


def test_plan__history_of_an_unlisted_symbol__is_refused() -> None:
    with pytest.raises(BadPlan, match="NVDA"):
        read_plan(find_local_plan(), sequencer=SEQUENCER, publishers=PUBLISHERS, with_history=["NVDA"])


def test_plan__one_publisher_twice__is_refused() -> None:
    with pytest.raises(BadPlan, match="publishers"):
        read_plan(find_local_plan(), sequencer=SEQUENCER, publishers=[PUBLISHERS[0]] * 3)


def test_plan__settlement_margin_too_close_to_initial__is_refused(tmp_path: Path) -> None:
    text = find_local_plan().read_text().replace("settlement_margin_ppm: 150000", "settlement_margin_ppm: 180001")
    (tmp_path / "plan.yaml").write_text(text)

    # 20 % less two steps of 1 % is 18 %.
    with pytest.raises(BadPlan, match=r"two mark steps below initial .180000 ppm., found 180001 ppm"):
        read_plan(tmp_path / "plan.yaml", sequencer=SEQUENCER, publishers=PUBLISHERS)


def test_manifest__unknown_field__is_refused(web3: Web3, plan: DeploymentPlan, tmp_path: Path) -> None:
    made = _deploy(web3, plan, tmp_path)
    document = {**msgspec.to_builtins(made.manifest), "comment": "edited by hand"}

    with pytest.raises(BadManifest, match="comment"):
        parse_manifest(json.dumps(document))


def test_abi_hash__order_of_keys__does_not_matter() -> None:
    # sha256 of {"vault":[{"name":"claim","type":"function"}]}
    first = compute_abi_hash({"vault": [{"name": "claim", "type": "function"}]})
    second = compute_abi_hash({"vault": [{"type": "function", "name": "claim"}]})

    assert first == second == "0x6eebb7a7cf84d39799e8ee62f1dc41396b7a45b94716d40287f34a22de6ab298"
