"""A change through the Timelock of a deployed venue: shown, scheduled, made a fortnight later or cancelled for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from web3 import Web3

from afterbell.adapters.anvil import Anvil
from afterbell.adapters.deployment import KeySender, connect, deploy
from afterbell.adapters.deployment_plan import Roles, find_local_plan, read_plan
from afterbell.adapters.governance import BadCall, CallState, Governance, GovernanceFailed
from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.domain.manifest import Manifest

FORTNIGHT_S = 14 * 86_400
STANDBY = b"\x53" * 20
NOBODY = Web3.to_checksum_address(b"\x0f" * 20)
GUARDIAN_KEY, GOVERNOR_KEY, EXECUTOR_KEY, DEPLOYER_KEY = (f"0x{number:064x}" for number in (0xA1, 0xA2, 0xA3, 0xA4))


NOBODY_HIT = "of 0 accounts with a position: liquidatable 0 -> 0; below initial margin 0 -> 0; over the cap 0 -> 0"
MORE = "one account may hold more of the cap"


class Desk:
    """The deployed venue and everybody who governs it."""

    def __init__(self, anvil: Anvil, folder: Path) -> None:
        self.anvil = anvil
        self.web3 = connect(anvil.url)
        people = [Account.from_key(key) for key in (GUARDIAN_KEY, GOVERNOR_KEY, EXECUTOR_KEY, DEPLOYER_KEY)]
        for person in people:
            anvil.call("anvil_setBalance", person.address, hex(10**20))
        self.guardian, self.governor, self.executor, self.deployer = (KeySender(self.web3, one) for one in people)
        roles = Roles(
            sequencer=b"\x51" * 20,
            publishers=(b"\x71" * 20, b"\x72" * 20, b"\x73" * 20),
            proposers=(self.governor.address,),
            executors=(self.executor.address,),
            announcer=b"\x93" * 20,
            guardian=self.guardian.address,
            standbys=(STANDBY,),
        )
        plan = read_plan(find_local_plan(), roles=roles)
        self.manifest: Manifest = deploy(
            self.web3, self.deployer, plan, manifest_path=folder / "manifest.json"
        ).manifest
        self.governance = Governance(self.web3, self.manifest, compile_contracts())

    @property
    def now_s(self) -> int:
        return int(self.web3.eth.get_block("latest")["timestamp"])

    def wait_until(self, time_s: int) -> None:
        """Let the next block carry this time: nothing is mined before."""
        self.anvil.call("evm_setNextBlockTimestamp", time_s)

    def ask(self, contract: str, signature: str, *words: int) -> int:
        calldata = Web3.keccak(text=signature)[:4] + b"".join(word.to_bytes(32, "big") for word in words)
        transaction = {"to": self.manifest.addresses[contract], "data": Web3.to_hex(calldata)}
        return int.from_bytes(self.web3.eth.call(transaction), "big")  # type: ignore[arg-type]

    def state_of(self, call_id: bytes) -> CallState:
        return self.governance.must_find(call_id).state


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("venue")
    with Anvil.start(genesis_s=1_109_683_800, log_path=folder / "anvil.log") as anvil:
        yield Desk(anvil, folder)


@pytest.fixture
def desk(deployed: Desk) -> Iterator[Desk]:
    snapshot = deployed.anvil.call("evm_snapshot")
    yield deployed
    deployed.anvil.call("evm_revert", snapshot)


def test_schedule__rules__show_each_field_before_and_after(desk: Desk) -> None:
    words = ["1", "REGULAR:initial_margin_ppm=300000,is_opening_allowed=0", "CLOSED:band_ppm=90000"]

    call = desk.governance.build_call("MarketRegistry.set_rules", words)

    # The local plan: REGULAR 20 % initial, CLOSED band 10 %.
    lines = desk.governance.describe_call(call)
    assert [line for line in lines if line.startswith("effect")] == [
        "effect  AAPL REGULAR initial_margin_ppm: 200000 -> 300000  (new risk and withdrawals need more margin)",
        "effect  AAPL REGULAR is_opening_allowed: 1 -> 0  (positions may only be reduced)",
        f"effect  AAPL REGULAR: {NOBODY_HIT}",
        "effect  AAPL CLOSED band_ppm: 100000 -> 90000  (trades and mark lie closer to it)",
        f"effect  AAPL CLOSED: {NOBODY_HIT}",
    ]
    assert lines[0].startswith("call    MarketRegistry.set_rules(market=1, ")
    assert lines[-2:] == ["now     it would succeed", f"id      0x{call.call_id.hex()}"]


def test_schedule__rules_the_registry_refuses__are_told_before_anything_is_sent(desk: Desk) -> None:
    call = desk.governance.build_call("MarketRegistry.set_rules", ["1", "REGULAR:maintenance_margin_ppm=160000"])

    assert any(
        "it would fail: execution reverted: rules: margin order" in one for one in desk.governance.describe_call(call)
    )


@pytest.mark.parametrize(
    ("function", "words", "effect"),
    [
        ("MarketRegistry.approve_sequencer", [NOBODY], f"standby {NOBODY}: False -> True"),
        (
            "MarketRegistry.revoke_sequencer",
            [Web3.to_checksum_address(STANDBY)],
            f"standby {Web3.to_checksum_address(STANDBY)}: True -> False",
        ),
        (
            "MarketRegistry.rotate_sequencer",
            [Web3.to_checksum_address(STANDBY)],
            f"sequencer: {Web3.to_checksum_address(b'Q' * 20)} -> {Web3.to_checksum_address(STANDBY)}",
        ),
        (
            "MarketRegistry.set_reference",
            ["1", "10000"],
            "AAPL reference_ticks: 20000 -> 10000  (caps are held against quote at it)",
        ),
        (
            "MarketRegistry.set_tiers",
            ["1", "none"],
            "AAPL tiers: 100000+25000, 250000+25000, 500000+50000 -> none  (edge in USDC + maintenance ppm above it)",
        ),
        ("MarketRegistry.set_tiers", ["1", "7+1,8+2"], f"AAPL OVERNIGHT: {NOBODY_HIT}"),
        ("MarketRegistry.set_rules", ["1", "ALL:account_share=0"], f"AAPL UNKNOWN account_share: 32768 -> 0  ({MORE})"),
        ("PriceOracle.set_market_sources", ["1", "0", "256"], "AAPL second source: none -> none"),
        ("CorporateActions.set_announcer", [NOBODY], f"announcer of corporate actions: 0x{'93' * 20} -> {NOBODY}"),
        ("SignedPriceSource.set_publishers", [NOBODY, "1"], "threshold: 2 -> 1"),
        ("SignedPriceSource.set_publishers", [NOBODY, "1"], f"publisher {NOBODY}: added"),
        ("SignedPriceSource.set_publishers", [NOBODY, "1"], f"publisher 0x{'71' * 20}: removed"),
        ("PriceOracle.propose_governor", [NOBODY], f"PriceOracle is offered to {NOBODY}, who must accept"),
        (
            "Timelock.grantRole",
            ["0xb09aa5aeb3702cfd50b6b62bc4532604938f21248a27a1d5ca736082b6819cc1", NOBODY],
            f"PROPOSER_ROLE of {NOBODY}: False -> True",
        ),
    ],
)
def test_describe__known_call__says_what_it_changes(desk: Desk, function: str, words: list[str], effect: str) -> None:
    call = desk.governance.build_call(function, words)

    lines = desk.governance.describe_call(call)

    assert f"effect  {effect}" in lines
    assert "now     it would succeed" in lines


def test_describe__price_source__names_the_contract(desk: Desk) -> None:
    source = desk.manifest.addresses["signed_price_source"]
    call = desk.governance.build_call("PriceOracle.set_source", ["1", source])

    assert f"effect  price source 1: 0x{'00' * 20} -> {source}" in desk.governance.describe_call(call)


@pytest.mark.parametrize(("name", "market"), [("AAPL", 1), ("3", 3), ("TSLA", 5)])
def test_find_market__symbol_or_id__is_found(desk: Desk, name: str, market: int) -> None:
    assert desk.governance.find_market(name) == market


def test_find_market__not_listed__is_refused_with_those_that_are(desk: Desk) -> None:
    with pytest.raises(BadCall, match=r"AAPL, MSFT, IBM, GOOG, TSLA.*found 6"):
        desk.governance.find_market("6")


def test_describe__guardian__names_the_old_one_and_the_other_role(desk: Desk) -> None:
    call = desk.governance.build_call("MarketRegistry.set_guardian", [NOBODY])

    old = Web3.to_checksum_address(desk.guardian.address)
    assert f"effect  guardian of the registry: {old} -> {NOBODY}" in desk.governance.describe_call(call)


@pytest.mark.parametrize(
    ("function", "words", "message"),
    [
        ("Vault.claim", [NOBODY], "CONTRACT.FUNCTION"),
        ("MarketRegistry.symbols", ["1"], "a function that writes"),
        ("MarketRegistry.set_guardian", [], "requires the arguments guardian: address; found 0"),
        ("MarketRegistry.set_guardian", ["0x12"], "address is required, found '0x12'"),
        ("MarketRegistry.set_rules", ["1"], "SESSION:field=number"),
        ("MarketRegistry.set_rules", ["1", "NIGHT:band_ppm=1"], "a session of UNKNOWN"),
        ("MarketRegistry.set_rules", ["1", "REGULAR:bands=1"], "FIELD=NUMBER"),
        ("MarketRegistry.set_rules", ["9", "REGULAR:band_ppm=1"], "market 9 must be listed"),
        ("MarketRegistry.set_tiers", ["1", "7"], "requires a market id and EDGE"),
        ("MarketRegistry.set_tiers", ["1", "1+1,2+1,3+1,4+1"], "requires a market id and EDGE"),
        ("PriceOracle.set_source", ["one", NOBODY], "uint256 is required, found 'one'"),
    ],
)
def test_build__words_that_make_no_call__are_refused(desk: Desk, function: str, words: list[str], message: str) -> None:
    with pytest.raises(BadCall, match=message):
        desk.governance.build_call(function, words)


def test_approve__a_new_standby__takes_a_fortnight_to_the_second(desk: Desk) -> None:
    call = desk.governance.build_call("MarketRegistry.approve_sequencer", [NOBODY])
    desk.governance.schedule(desk.governor, call)
    ready_s = desk.now_s + FORTNIGHT_S
    assert desk.governance.must_find(call.call_id).ready_at_s == ready_s

    desk.wait_until(ready_s - 1)
    desk.anvil.call("evm_mine")
    assert desk.state_of(call.call_id) == CallState.WAITING
    # Whatever asks is answered as of the last block: a second too early.
    with pytest.raises(GovernanceFailed, match="operation is not ready"):
        desk.governance.execute(desk.executor, call)
    desk.wait_until(ready_s)
    desk.anvil.call("evm_mine")
    desk.governance.execute(desk.executor, call)

    assert desk.state_of(call.call_id) == CallState.DONE
    assert desk.ask("market_registry", "is_standby(address)", int(NOBODY, 16)) == 1
    with pytest.raises(GovernanceFailed, match="operation is not ready"):
        desk.governance.execute(desk.executor, call)


def test_schedule__delay_below_a_fortnight__is_refused(desk: Desk) -> None:
    call = desk.governance.build_call("MarketRegistry.approve_sequencer", [NOBODY])

    with pytest.raises(GovernanceFailed, match="insufficient delay"):
        desk.governance.schedule(desk.governor, call, delay_s=FORTNIGHT_S - 1)


def test_cancel__by_the_guardian__is_for_good_and_the_change_may_be_proposed_anew(desk: Desk) -> None:
    call = desk.governance.build_call("MarketRegistry.set_guardian", [NOBODY])
    desk.governance.schedule(desk.governor, call)
    with pytest.raises(GovernanceFailed, match="account is missing role"):
        desk.governance.cancel(desk.governor, call.call_id)

    desk.governance.cancel(desk.guardian, call.call_id)

    desk.wait_until(desk.now_s + FORTNIGHT_S + 10)
    desk.anvil.call("evm_mine")
    with pytest.raises(GovernanceFailed, match="operation is not ready"):
        desk.governance.execute(desk.executor, call)
    again = desk.governance.build_call("MarketRegistry.set_guardian", [NOBODY])
    desk.governance.schedule(desk.governor, again)
    assert again.call_id != call.call_id
    assert [one.state for one in desk.governance.list_calls()] == [CallState.CANCELLED, CallState.WAITING]


def test_rotate__by_the_guardian__the_chain_knows_the_standby_at_once(desk: Desk) -> None:
    with pytest.raises(GovernanceFailed, match="caller: may not rotate"):
        desk.governance.rotate_sequencer(desk.governor, STANDBY)

    desk.governance.rotate_sequencer(desk.guardian, STANDBY)

    assert desk.governance.read_sequencer() == Web3.to_checksum_address(STANDBY)
    with pytest.raises(GovernanceFailed, match="sequencer: not standby"):
        desk.governance.rotate_sequencer(desk.guardian, b"\x51" * 20)
    desk.governance.revoke_sequencer(desk.guardian, STANDBY)
    assert not desk.governance.is_standby(STANDBY)


def test_deployer__once_first_governor__governs_nothing_any_more(desk: Desk) -> None:
    call = desk.governance.build_call("MarketRegistry.approve_sequencer", [NOBODY])

    with pytest.raises(GovernanceFailed, match="account is missing role"):
        desk.governance.schedule(desk.deployer, call)
    with pytest.raises(GovernanceFailed, match="caller: not guardian"):
        desk.governance.revoke_sequencer(desk.deployer, STANDBY)


def test_governance__contracts_of_another_checkout__is_refused(desk: Desk) -> None:
    import msgspec

    other = msgspec.structs.replace(desk.manifest, abi_hash="0x" + "00" * 32)

    with pytest.raises(BadCall, match="this checkout compiles to"):
        Governance(desk.web3, other, compile_contracts())
