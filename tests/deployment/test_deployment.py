"""One deployment on a real chain: complete, found again unchanged, and finished after any interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eth_account import Account
from web3 import Web3

from afterbell.adapters.anvil import Anvil
from afterbell.adapters.deployment import (
    Deployment,
    DeploymentMismatch,
    KeySender,
    connect,
    deploy,
)
from afterbell.adapters.deployment_plan import BadPlan, DeploymentPlan, Roles, find_local_plan, read_plan
from afterbell.adapters.deployment_steps import compute_create_address
from afterbell.domain.manifest import CONTRACTS, BadManifest, compute_abi_hash, parse_manifest

GENESIS_S = 1_109_683_800
# The well-known keys of a development node's first accounts.
DEPLOYER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OUTSIDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ROLES = Roles(
    sequencer=b"\x51" * 20,
    publishers=(b"\x73" * 20, b"\x71" * 20, b"\x72" * 20),
    proposers=(b"\x90" * 20, b"\x91" * 20),
    executors=(b"\x91" * 20,),
    announcer=b"\x93" * 20,
    guardian=b"\x92" * 20,
    standbys=(b"\x53" * 20, b"\x52" * 20),
)
# 13 contracts, the calendar, 5 markets, guardian, announcer, 2 standbys, 4 governorships offered and taken.
N_TRANSACTIONS = 31


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
    return read_plan(find_local_plan(), roles=ROLES)


def _deploy(web3: Web3, plan: DeploymentPlan, folder: Path) -> Deployment:
    sender = KeySender(web3, Account.from_key(DEPLOYER_KEY))
    return deploy(web3, sender, plan, manifest_path=folder / "manifest.json")


def test_deploy__fresh_chain__writes_one_manifest_of_what_stands_there(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    made = _deploy(web3, plan, tmp_path)

    written = json.loads((tmp_path / "manifest.json").read_text())
    assert made.n_transactions == N_TRANSACTIONS
    assert (written["version"], written["chain_id"], written["genesis_s"]) == (3, 31337, GENESIS_S)
    assert written["deployed_at_block"] == 1
    assert set(written["addresses"]) == set(CONTRACTS)
    assert written["code_hashes"] == {
        name: Web3.to_hex(Web3.keccak(web3.eth.get_code(address))) for name, address in written["addresses"].items()
    }
    assert written["publishers"] == [Web3.to_checksum_address(bytes([n]) * 20) for n in (0x71, 0x72, 0x73)]
    assert written["governor"] == written["addresses"]["timelock"]
    assert written["guardian"] == Web3.to_checksum_address(b"\x92" * 20)
    assert written["announcer"] == Web3.to_checksum_address(b"\x93" * 20)
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


def test_deploy__finished__the_timelock_governs_and_the_deployer_holds_nothing(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    manifest = _deploy(web3, plan, tmp_path).manifest

    def ask(name: str, signature: str, *words: str) -> str:
        calldata = Web3.keccak(text=signature)[:4].hex() + "".join(
            word.removeprefix("0x").rjust(64, "0") for word in words
        )
        return web3.eth.call({"to": manifest.addresses[name], "data": "0x" + calldata}).hex()  # type: ignore[typeddict-item]

    timelock = manifest.addresses["timelock"][2:].lower().rjust(64, "0")
    for name in ("price_oracle", "market_registry", "signed_price_source", "corporate_actions"):
        assert ask(name, "governor()") == timelock
        assert ask(name, "pending_governor()") == "0" * 64
    roles = {
        role: [
            person
            for person in ("90", "91", "92", "51", manifest.deployer[2:], manifest.addresses["timelock"][2:])
            if int(ask("timelock", "hasRole(bytes32,address)", role_id, person if len(person) > 2 else person * 20), 16)
        ]
        for role, role_id in {
            "admin": "0",
            # keccak of the role's name, as OpenZeppelin's too
            "proposer": "b09aa5aeb3702cfd50b6b62bc4532604938f21248a27a1d5ca736082b6819cc1",
            "executor": "d8aa0f3194971a2a116679f7c2090f6939c8d4e01a2a8d7e41d55e5351469e63",
            "canceller": "fd643c72710c63c0180259aba6b2d05451e3591a24e58b62239378085726f783",
        }.items()
    }
    assert roles == {
        "admin": [manifest.addresses["timelock"][2:]],
        "proposer": ["90", "91"],
        "executor": ["91"],
        "canceller": ["92"],
    }
    assert ask("market_registry", "guardian()") == ("92" * 20).rjust(64, "0")
    assert ask("corporate_actions", "announcer()") == ("93" * 20).rjust(64, "0")
    assert [int(ask("market_registry", "is_standby(address)", one * 20), 16) for one in ("51", "52", "53")] == [0, 1, 1]


def test_deploy__rotated_to_another_sequencer__goes_on_with_its_key_alone(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    """The manifest keeps the first sequencer; who may settle now is asked of the chain."""
    made = _deploy(web3, plan, tmp_path)
    guardian = Web3.to_checksum_address(b"\x92" * 20)
    for method, arguments in (("anvil_impersonateAccount", [guardian]), ("anvil_setBalance", [guardian, hex(10**18)])):
        web3.provider.make_request(method, arguments)  # type: ignore[arg-type]
    calldata = Web3.keccak(text="rotate_sequencer(address)")[:4] + bytes(12) + b"\x52" * 20
    web3.eth.wait_for_transaction_receipt(
        web3.eth.send_transaction(
            {"from": guardian, "to": made.manifest.addresses["market_registry"], "data": Web3.to_hex(calldata)}  # type: ignore[typeddict-item]
        )
    )
    rotated = read_plan(find_local_plan(), roles=replace(ROLES, sequencer=b"\x52" * 20, standbys=(b"\x51" * 20,)))

    with pytest.raises(DeploymentMismatch, match="plan's sequencer"):
        _deploy(web3, plan, tmp_path)
    assert _deploy(web3, rotated, tmp_path).n_transactions == 0


def test_deploy__reviewed_and_declined__writes_and_sends_nothing(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    shown: list[str] = []

    def decline(lines: Sequence[str]) -> None:
        shown.extend(lines)
        raise Interrupted

    with pytest.raises(Interrupted):
        deploy(
            web3, KeySender(web3, Account.from_key(DEPLOYER_KEY)), plan, manifest_path=tmp_path / "manifest.json",
            review=decline,
        )  # fmt: skip

    assert (list(tmp_path.glob("manifest*")), web3.eth.block_number) == ([], 0)
    # Thirteen people, the Timelock among them, and every transaction.
    assert len(shown) == 13 + N_TRANSACTIONS
    # The first contract of the well-known development account.
    assert "  1 nonce 0    create TestStablecoin at 0x5FbDB2315678afecb367f032d93F642f64180aa3" in shown
    assert " 20 nonce 19   MarketRegistry.set_guardian 0x" + "92" * 20 in shown
    assert " 31 nonce 30   Timelock.accept CorporateActions" in shown


@pytest.mark.parametrize("is_sent", [False, True], ids=["before_sending", "after_sending"])
@pytest.mark.parametrize("n_sent", [0, 9, 25, N_TRANSACTIONS - 1])
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


def test_deploy__stranger_lets_the_timelock_accept_in_between__is_finished_all_the_same(
    web3: Web3, plan: DeploymentPlan, tmp_path: Path
) -> None:
    # Everything but the four acceptances.
    with pytest.raises(Interrupted):
        deploy(
            web3,
            InterruptedSender(web3, N_TRANSACTIONS - 4, is_sent=False),
            plan,
            manifest_path=tmp_path / "manifest.json",
        )
    deployer = bytes.fromhex("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
    timelock, registry = compute_create_address(deployer, 12), compute_create_address(deployer, 3)
    calldata = Web3.keccak(text="accept(address)")[:4] + bytes(12) + registry
    web3.eth.wait_for_transaction_receipt(
        web3.eth.send_transaction(
            {
                "from": Web3.to_checksum_address(OUTSIDER),
                "to": Web3.to_checksum_address(timelock),
                "data": Web3.to_hex(calldata),
            }
        )
    )

    made = _deploy(web3, plan, tmp_path)

    assert made.n_transactions == 4
    assert made.manifest.addresses["timelock"] == Web3.to_checksum_address(timelock)


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


def test_deploy__manifest_of_a_chain_that_is_gone__is_refused(web3: Web3, plan: DeploymentPlan, tmp_path: Path) -> None:
    _deploy(web3, plan, tmp_path)

    with (
        Anvil.start(genesis_s=GENESIS_S, log_path=tmp_path / "other.log") as other,
        pytest.raises(DeploymentMismatch, match="found no code"),
    ):
        _deploy(connect(other.url), plan, tmp_path)


def test_deploy__other_plan_over_a_venue__is_refused(web3: Web3, plan: DeploymentPlan, tmp_path: Path) -> None:
    _deploy(web3, plan, tmp_path)
    other = read_plan(find_local_plan(), roles=replace(ROLES, sequencer=b"\x54" * 20))

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
    plan = read_plan(find_local_plan(), roles=ROLES, with_history=["TSLA"])

    assert [market.synthetic for market in plan.markets] == [False] * 5


def test_plan__history_of_an_unlisted_symbol__is_refused() -> None:
    with pytest.raises(BadPlan, match="NVDA"):
        read_plan(find_local_plan(), roles=ROLES, with_history=["NVDA"])


def test_plan__one_publisher_twice__is_refused() -> None:
    with pytest.raises(BadPlan, match="publishers"):
        read_plan(find_local_plan(), roles=replace(ROLES, publishers=(b"\x71" * 20,) * 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proposers": ()}, "different proposers are required, found 0"),
        ({"executors": (b"\x91" * 20,) * 2}, "different executors are required, found 2"),
        (
            {"executors": tuple(bytes([n]) * 20 for n in range(17))},
            "1 to 16 different executors .* found 17",
        ),
        ({"guardian": b"\x91" * 20}, "guardian 0x919191"),
        ({"guardian": b"\x51" * 20}, "guardian 0x515151"),
        ({"guardian": b"\x53" * 20}, "guardian 0x535353"),
        ({"standbys": (b"\x51" * 20,)}, "must be different addresses"),
    ],
)
def test_plan__roles_that_defeat_each_other__are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadPlan, match=message):
        read_plan(find_local_plan(), roles=replace(ROLES, **changes))


@pytest.mark.parametrize("delay_s", [14 * 86_400 - 1, 14 * 86_400 * 1_000])
def test_plan__timelock_delay_too_short_or_in_other_units__is_refused(tmp_path: Path, delay_s: int) -> None:
    text = find_local_plan().read_text().replace("timelock_delay_s: 1209600", f"timelock_delay_s: {delay_s}")
    (tmp_path / "plan.yaml").write_text(text)

    with pytest.raises(BadPlan, match=f"timelock_delay_s must be 1209600 .*found {delay_s} s"):
        read_plan(tmp_path / "plan.yaml", roles=ROLES)


def test_plan__settlement_margin_too_close_to_initial__is_refused(tmp_path: Path) -> None:
    text = find_local_plan().read_text().replace("settlement_margin_ppm: 150000", "settlement_margin_ppm: 180001")
    (tmp_path / "plan.yaml").write_text(text)

    # 20 % less two steps of 1 % is 18 %.
    with pytest.raises(BadPlan, match=r"two mark steps below initial .180000 ppm., found 180001 ppm"):
        read_plan(tmp_path / "plan.yaml", roles=ROLES)


def test_manifest__unknown_field__is_refused(web3: Web3, plan: DeploymentPlan, tmp_path: Path) -> None:
    made = _deploy(web3, plan, tmp_path)
    document = {**msgspec.to_builtins(made.manifest), "comment": "edited by hand"}

    with pytest.raises(BadManifest, match="comment"):
        parse_manifest(json.dumps(document))


def test_manifest__of_an_earlier_version__says_so_and_what_to_do() -> None:
    with pytest.raises(BadManifest, match=r"version 3 is required, found version 1, .* deploy anew"):
        parse_manifest('{"version": 1, "chain_id": 31337}')


def test_abi_hash__order_of_keys__does_not_matter() -> None:
    # sha256 of {"vault":[{"name":"claim","type":"function"}]}
    first = compute_abi_hash({"vault": [{"name": "claim", "type": "function"}]})
    second = compute_abi_hash({"vault": [{"type": "function", "name": "claim"}]})

    assert first == second == "0x6eebb7a7cf84d39799e8ee62f1dc41396b7a45b94716d40287f34a22de6ab298"
