"""afterbell verify on real contracts: 0 on a true history, 1 naming what was dropped or altered, 2 on bad input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.bench.local_venue import LocalVenue
from afterbell.cli import main
from afterbell.domain.hashing import keccak
from afterbell.domain.ids import (
    account_hex,
    account_key,
    address_hex,
    lane_key,
    overflow_key,
    position_key,
    rules_binds_after_key,
    rules_key,
    rules_successor_key,
    tier_key,
)
from afterbell.verify.chain_events import SHAPES
from tests.verify.conftest import Traded
from tests.verify.json_rpc_proxy import Alter, change_log, lying_proxy
from tests.verify.trading_history import AAPL, MSFT, account_of

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def run_verify(url: str, manifest: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["verify", "--rpc", url, "--manifest", str(manifest), *options])


def verify_through(traded: Traded, alter: Alter, tmp_path: Path) -> tuple[int, dict[str, Any], str]:
    """Verify through a proxy that lies; return (exit code, report, what people see)."""
    report = tmp_path / "report.json"
    with lying_proxy(traded.venue.anvil.url, alter) as url:
        result = run_verify(url, traded.venue.manifest_path, "--json", str(report))
    return result.exit_code, json.loads(report.read_text()), result.output


def slot_of(contract: str, variable: str, *keys: int) -> int:
    """Return the storage slot of a variable, or of its entry: Vyper hashes (slot, key), outermost first."""
    entry = compile_contracts()[contract].layout["storage_layout"]
    for part in variable.split("."):  # a module's variables stand under its name
        entry = entry[part]
    slot = int(entry["slot"])
    for key in keys:
        slot = int.from_bytes(keccak(slot.to_bytes(32, "big") + key.to_bytes(32, "big")), "big")
    return slot


@contextmanager
def altered_word(venue: LocalVenue, contract: bytes, slot: int, change: Callable[[int], int]) -> Iterator[None]:
    """Change one storage word behind the contracts' backs, and put it back."""
    address, place = address_hex(contract), f"0x{slot:064x}"
    found = venue.anvil.call("eth_getStorageAt", address, place, "latest")
    assert isinstance(found, str)
    word = int(found, 16)
    assert word != 0, "the word to alter must be one the history wrote"
    venue.anvil.call("anvil_setStorageAt", address, place, f"0x{change(word):064x}")
    try:
        yield
    finally:
        venue.anvil.call("anvil_setStorageAt", address, place, f"0x{word:064x}")


def test_verify__true_history__exits_0_with_a_summary(traded: Traded, tmp_path: Path) -> None:
    report_path = tmp_path / "report.json"

    result = run_verify(traded.venue.anvil.url, traded.venue.manifest_path, "--json", str(report_path))

    assert result.exit_code == 0, result.output
    assert "verified: calldata, events and storage agree in every field" in result.output
    report = json.loads(report_path.read_text())
    assert report["verified"] is True
    assert report["findings"] == []
    # Three deposits and a late one: 10,000 + 5,000 + 2,000 + 1 USDC; withdrawn 1,000 + 25 + 3, of which 1,000 paid.
    assert report["deposited_quote"] == "17001000000"
    assert report["withdrawn_quote"] == "1028000000"
    assert report["tracked_quote"] == "16001000000"
    # Prices, open, ignored reports, prices twice, links, close, operations, heartbeat.
    assert report["n_batches"] == 9
    # Third has a subaccount more, from its transfer.
    assert report["n_accounts"] == 4
    assert set(report["governors"].values()) == {report["timelock"]}
    assert f"Timelock {report['timelock']}" in result.output


# --- one storage word altered


def add(lane_unit: int) -> Callable[[int], int]:
    return lambda word: word + lane_unit


def number(content: bytes) -> int:
    return int.from_bytes(content, "big")


def approved_digest(traded: Traded) -> int:
    """Return the one digest that was approved in the history."""
    address = traded.venue.manifest.addresses["operations"]
    query = {"address": address, "fromBlock": "0x0", "toBlock": "latest"}
    [log] = traded.venue.anvil.call("eth_getLogs", query | {"topics": [topic_of("operations", "DigestApproved")]})
    return int(log["topics"][2], 16)


WordCase = tuple[str, Callable[[Traded], tuple[str, str, tuple[int, ...]]], Callable[[int], int], dict[str, Any]]


def clearinghouse_slot(traded: Traded, variable: str, *keys: int) -> tuple[bytes, int]:
    return traded.venue.clearinghouse, slot_of("Clearinghouse", variable, *keys)


ALTERED: dict[str, tuple[Callable[[Traded], tuple[bytes, int]], int, dict[str, Any]]] = {
    # name: (place, what is added to the word, what the first finding must say)
    "account": (
        lambda t: clearinghouse_slot(t, "accounts", account_key(account_of(t.people.maker))),
        1,
        {"what": "account", "field": "collateral_quote", "unit": "quote"},
    ),
    "account's lane 0": (
        lambda t: clearinghouse_slot(t, "accounts", account_key(account_of(t.people.taker))),
        1 << 112,
        {"what": "account", "field": "lane0_seq", "unit": "ms since genesis"},
    ),
    "position": (
        lambda t: clearinghouse_slot(t, "positions", position_key(account_of(t.people.third, 7), AAPL)),
        5,
        {"what": "position", "field": "size_lots", "unit": "lots", "market": AAPL, "symbol": "AAPL"},
    ),
    "entry of a position": (
        lambda t: clearinghouse_slot(t, "positions", position_key(account_of(t.people.maker), MSFT)),
        1 << 64,
        {"what": "position", "field": "entry_quote", "unit": "quote", "market": MSFT, "symbol": "MSFT"},
    ),
    "lane": (
        lambda t: clearinghouse_slot(t, "lanes", lane_key(account_of(t.people.maker), 3)),
        1 << 128,
        {"what": "lanes", "field": "odd_filled_lots", "unit": "lots"},
    ),
    "price": (
        lambda t: clearinghouse_slot(t, "prices", AAPL),
        1,
        {"what": "price", "field": "mark_ticks", "unit": "ticks", "market": AAPL},
    ),
    "rules": (
        lambda t: clearinghouse_slot(t, "rules", rules_key(MSFT, 5)),
        1,
        {"what": "rules", "field": "initial_margin_ppm", "unit": "ppm", "market": MSFT},
    ),
    "rules that follow": (
        lambda t: clearinghouse_slot(t, "rules", rules_successor_key(MSFT, 5)),
        1,
        {"what": "rules that follow", "field": "initial_margin_ppm", "market": MSFT, "note": "session 5"},
    ),
    "when rules bind": (
        lambda t: clearinghouse_slot(t, "rules", rules_binds_after_key(MSFT, 5)),
        1,
        {"what": "rules that follow", "field": "binds_after_s", "unit": "UNIX s", "market": MSFT},
    ),
    "rules the registry set last": (
        lambda t: (
            t.venue.manifest.get_address("market_registry"),
            slot_of("MarketRegistry", "latest_rules", rules_key(MSFT, 5)),
        ),
        1,
        {"what": "rules set last", "field": "initial_margin_ppm", "market": MSFT},
    ),
    "session key": (
        lambda t: clearinghouse_slot(
            t, "session_keys", account_key(account_of(t.people.taker)), number(t.people.taker_key.address)
        ),
        1 << 40,
        {"what": "session key", "field": "max_notional_quote", "unit": "quote"},
    ),
    "session key revoked on chain": (
        lambda t: clearinghouse_slot(
            t, "session_keys", account_key(account_of(t.people.third, 7)), number(t.people.third_key.address)
        ),
        -1 << 144,
        {"what": "session key", "field": "revoked_at_s", "unit": "UNIX s"},
    ),
    "overflow": (
        lambda t: clearinghouse_slot(t, "accounts", overflow_key(account_of(t.people.maker))),
        1,
        {"what": "overflow", "field": "pending_min_seq", "unit": "ms since genesis"},
    ),
    "approval": (
        lambda t: (
            t.venue.manifest.get_address("operations"),
            slot_of("Operations", "is_approved", number(t.people.taker.address), approved_digest(t)),
        ),
        -1,
        {"what": "approval", "field": "is_approved"},
    ),
    "index": (
        lambda t: clearinghouse_slot(t, "indices", AAPL),
        1,
        {"what": "index", "field": "long_index_e12", "unit": "1e-12 quote per lot", "market": AAPL},
    ),
    "funding time": (
        lambda t: clearinghouse_slot(t, "indices", AAPL),
        1 << 192,
        {"what": "index", "field": "funding_time_s", "unit": "UNIX s", "market": AAPL},
    ),
    "dividend reserve": (
        lambda t: clearinghouse_slot(t, "indices", MSFT),
        1 << 232,
        {"what": "index", "field": "reserve_ticks", "unit": "ticks", "market": MSFT},
    ),
    "session minutes": (
        lambda t: clearinghouse_slot(t, "prices", AAPL),
        -1 << 240,
        {"what": "price", "field": "session_minutes", "unit": "minutes", "market": AAPL},
    ),
    "tiers": (
        lambda t: clearinghouse_slot(t, "rules", tier_key(rules_key(AAPL, 2))),
        1 << 48,
        {"what": "tiers", "field": "add_1_ppm", "unit": "ppm", "market": AAPL, "note": "session 2"},
    ),
    "mode": (
        lambda t: clearinghouse_slot(t, "operator"),
        1 << 200,
        {"what": "operator", "field": "mode", "unit": "mode"},
    ),
    "calendar": (
        lambda t: (t.venue.manifest.get_address("price_oracle"), slot_of("PriceOracle", "calendar.boundaries", 0)),
        1 << 8,
        {"what": "calendar", "field": "start_s", "unit": "UNIX s", "note": "boundary 0"},
    ),
    "totals": (
        lambda t: clearinghouse_slot(t, "totals", AAPL),
        1,
        {"what": "totals", "field": "open_interest_lots", "unit": "lots", "market": AAPL},
    ),
    "pot": (
        lambda t: clearinghouse_slot(t, "totals", AAPL),
        1 << 160,
        {"what": "totals", "field": "pot_quote", "unit": "quote", "market": AAPL},
    ),
    "batch": (
        lambda t: clearinghouse_slot(t, "batch"),
        1 << 80,
        {"what": "batch", "field": "fees_quote", "unit": "quote"},
    ),
    "head": (lambda t: clearinghouse_slot(t, "head"), 1, {"what": "head", "field": "head", "unit": "hash"}),
    "direct operations": (
        lambda t: clearinghouse_slot(t, "operator"),
        1 << 160,
        {"what": "operator", "field": "direct_op", "unit": "operations"},
    ),
    "claim": (
        lambda t: (t.venue.vault, slot_of("Vault", "claims_quote", int.from_bytes(t.people.waiting, "big"))),
        7,
        {"what": "unpaid claim", "field": "quote", "unit": "quote"},
    ),
    "tracked": (
        lambda t: (t.venue.vault, slot_of("Vault", "tracked_quote")),
        1,
        {"what": "tracked", "field": "quote", "unit": "quote"},
    ),
    "report time": (
        lambda t: (
            t.venue.manifest.get_address("price_oracle"),
            slot_of("PriceOracle", "observations", AAPL),
        ),
        1 << 64,
        {"what": "oracle", "field": "last_publish_time_s", "unit": "UNIX s", "market": AAPL},
    ),
    "threshold": (
        lambda t: (t.venue.manifest.get_address("signed_price_source"), slot_of("SignedPriceSource", "threshold")),
        1,
        {"what": "publishers", "field": "threshold", "unit": "signatures"},
    ),
}


@pytest.mark.parametrize("name", ALTERED)
def test_verify__one_storage_word_altered__exits_1_naming_it(name: str, traded: Traded, tmp_path: Path) -> None:
    place, difference, expected = ALTERED[name]
    contract, slot = place(traded)
    report_path = tmp_path / "report.json"

    with altered_word(traded.venue, contract, slot, add(difference)):
        result = run_verify(traded.venue.anvil.url, traded.venue.manifest_path, "--json", str(report_path))

    assert result.exit_code == 1, result.output
    first = json.loads(report_path.read_text())["findings"][0]
    assert expected.items() <= first.items(), first
    assert first["expected"].endswith(("(replay)", "(replay and events)"))
    assert first["found"].endswith("(storage)")
    assert first["expected"] != first["found"]


def test_verify__a_position_altered__prints_owner_market_expected_and_found_with_units(traded: Traded) -> None:
    account = account_of(traded.people.third, 7)
    contract, slot = clearinghouse_slot(traded, "positions", position_key(account, AAPL))

    with altered_word(traded.venue, contract, slot, add(5)):
        result = run_verify(traded.venue.anvil.url, traded.venue.manifest_path)

    owner = address_hex(traded.people.third.address)
    assert f"position, owner {owner} / subaccount 7, market 1 (AAPL)" in result.output
    assert "size_lots [lots]: expected 10000 (replay and events); found 10005 (storage)" in result.output, result.output


# --- one event dropped, or altered


def topic_of(contract: str, name: str) -> str:
    return next("0x" + topic.hex() for topic, shape in SHAPES[contract].items() if shape.name == name)


def nth_log(contract: str, name: str, n: int, traded: Traded) -> Callable[[dict[str, Any]], bool]:
    """Return a test that is true of the n-th log of an event, counted from 0; negative counts from the end."""
    address = traded.venue.manifest.addresses["signed_price_source" if contract == "price_source" else contract].lower()
    query = {"address": address, "fromBlock": "0x0", "toBlock": "latest", "topics": [topic_of(contract, name)]}
    logs = traded.venue.anvil.call("eth_getLogs", query)
    assert isinstance(logs, list)
    wanted = logs[n]
    return lambda log: (log["blockNumber"], log["logIndex"]) == (wanted["blockNumber"], wanted["logIndex"])


DIRECT_49 = "direct operation 49 (they have no gaps)"
DIRECT_56 = "direct operation 56 (they have no gaps)"
DROPPED = [
    # contract, event, which one, what some finding must name
    ("clearinghouse", "PositionsChanged", 0, {"what": "event PositionChanged", "batch": 2, "market": AAPL}),
    ("clearinghouse", "PositionsChanged", 1, {"what": "event PositionChanged", "batch": 7, "market": AAPL}),
    # Of the deltas of a sibling.
    ("clearinghouse", "PositionsChanged", -1, {"what": "event DirectOperation", "field": "event"}),
    ("clearinghouse", "IndexChanged", 0, {"what": "event IndexChanged", "batch": 4, "market": AAPL}),
    ("clearinghouse", "IndexChanged", -1, {"what": "index", "field": "reserve_ticks", "market": MSFT}),
    ("clearinghouse", "CollateralDeposited", 0, {"field": "direct_op"}),
    ("clearinghouse", "CollateralDeposited", -1, {"field": "collateral_quote"}),
    ("clearinghouse", "CollateralWithdrawn", 0, {"field": "collateral_quote", "unit": "quote"}),
    ("clearinghouse", "BatchSettled", 1, {"what": "event BatchSettled", "batch": 2}),
    # The heartbeat logs nothing else: only storage knows of it.
    ("clearinghouse", "BatchSettled", -1, {"what": "batch", "field": "sequence", "found": "9 (storage)"}),
    ("clearinghouse", "BatchFailures", 0, {"what": "event BatchFailures", "batch": 2}),
    ("clearinghouse", "PriceChanged", -1, {"market": MSFT}),
    ("clearinghouse", "PriceChanged", 0, {"market": AAPL}),
    ("operations", "OrderCancelled", 0, {"what": "event OrderCancelled"}),
    ("operations", "AllCancelled", 0, {"field": "min_seq"}),
    ("clearinghouse", "MarketRulesSet", 5, {"what": "rules", "market": AAPL, "note": "session 5"}),
    ("clearinghouse", "SequencerSet", 0, {"field": "sequencer"}),
    ("operations", "KeyChanged", 0, {"what": "event KeyChanged"}),
    ("operations", "CollateralTransferred", 0, {"what": "event CollateralTransferred", "batch": 8}),
    # In turn: 45 tiers, link, revocation, cancel-all, tiers and rules that follow, deltas, market, exit, two modes,
    # the link with the last deposit.
    ("clearinghouse", "DirectOperation", 0, {"what": "tiers", "market": AAPL, "note": "session 0"}),
    ("clearinghouse", "DirectOperation", 45, {"field": "direct_op", "expected": DIRECT_49}),
    (
        "clearinghouse",
        "DirectOperation",
        46,
        {"what": "session key", "field": "revoked_at_s", "expected": "0 (replay and events)"},
    ),
    ("clearinghouse", "DirectOperation", 47, {"what": "account", "field": "flags", "found": "1 (storage)"}),
    ("clearinghouse", "DirectOperation", 48, {"what": "tiers that follow", "market": MSFT, "note": "session 5"}),
    ("clearinghouse", "DirectOperation", 49, {"what": "rules that follow", "market": MSFT, "note": "session 5"}),
    ("clearinghouse", "DirectOperation", 50, {"what": "position", "market": MSFT, "field": "size_lots"}),
    ("clearinghouse", "DirectOperation", 51, {"what": "price", "market": MSFT, "field": "epoch"}),
    ("clearinghouse", "DirectOperation", 52, {"field": "direct_op", "expected": DIRECT_56}),
    ("clearinghouse", "DirectOperation", 54, {"what": "operator", "field": "mode", "found": "0 (storage)"}),
    ("clearinghouse", "DirectOperation", -1, {"what": "operator", "field": "direct_op", "found": "60 (storage)"}),
    # Without the approval the replay refuses the link that the chain made.
    ("operations", "DigestApproved", 0, {"what": "event BatchFailures", "batch": 6}),
    ("vault", "Deposited", 1, {"what": "event Deposited"}),
    ("vault", "ClaimAdded", 0, {"what": "event ClaimAdded"}),
    ("vault", "ClaimPaid", 0, {"what": "event ClaimPaid"}),
    ("price_oracle", "ReportAccepted", 0, {"what": "event ReportAccepted", "market": AAPL}),
    ("price_oracle", "ReportIgnored", 0, {"what": "event ReportIgnored", "market": AAPL}),
    ("price_oracle", "MarketPriced", 1, {"what": "event MarketPriced", "market": MSFT}),
    ("price_oracle", "SourceSet", 0, {"what": "oracle", "field": "source", "note": "source 0"}),
    ("price_oracle", "GovernorChanged", 0, {"what": "event GovernorProposed", "note": "price_oracle"}),
    ("price_oracle", "GovernorChanged", 1, {"what": "governance", "field": "governor", "note": "price_oracle"}),
    ("market_registry", "GovernorProposed", 0, {"what": "event GovernorChanged", "note": "market_registry"}),
    ("market_registry", "ReferenceSet", 1, {"what": "registry", "field": "reference_ticks", "market": MSFT}),
    ("corporate_actions", "AnnouncerSet", 0, {"what": "governance", "field": "announcer"}),
    ("price_oracle", "CalendarChanged", 0, {"what": "calendar", "field": "n_boundaries"}),
    ("market_registry", "GuardianSet", 0, {"what": "governance", "field": "guardian", "note": "guardian"}),
    ("price_source", "PublishersSet", 0, {"what": "publishers", "field": "threshold", "found": "2 (storage)"}),
    ("market_registry", "MarketListed", 1, {"what": "registry", "field": "symbol", "found": "'MSFT' (storage)"}),
    # Transfers are mints and deposits in turn, then the claim.
    ("token", "Transfer", 1, {"what": "event Transfer", "field": "event"}),
    ("token", "Transfer", 6, {"what": "event Transfer", "field": "event"}),
    ("market_registry", "MarketListed", 0, {"what": "event MarketListed", "market": AAPL}),
]


@pytest.mark.parametrize(("contract", "name", "n", "expected"), DROPPED)
def test_verify__one_event_dropped__exits_1_naming_it(
    contract: str, name: str, n: int, expected: dict[str, Any], traded: Traded, tmp_path: Path
) -> None:
    alter = change_log(nth_log(contract, name, n, traded), lambda _: None)

    exit_code, report, output = verify_through(traded, alter, tmp_path)

    assert exit_code == 1, output
    assert any(expected.items() <= finding.items() for finding in report["findings"]), report["findings"]


def test_verify__a_position_change_dropped__names_account_market_expected_and_found(
    traded: Traded, tmp_path: Path
) -> None:
    """The taker's closing sale of 10,000 lots: without it the events leave the account long."""
    alter = change_log(nth_log("clearinghouse", "PositionsChanged", 1, traded), lambda _: None)
    exit_code, report, output = verify_through(traded, alter, tmp_path)

    assert exit_code == 1
    sizes = [one for one in report["findings"] if (one["what"], one["field"]) == ("position", "size_lots")]
    holders = {account_hex(account_of(traded.people.taker)): ("0", "10000")}
    holders[account_hex(account_of(traded.people.third, 7))] = ("10000", "0")
    assert {size["account"] for size in sizes} == set(holders)
    for size in sizes:
        expected, found = holders[size["account"]]
        assert (size["expected"], size["found"]) == (f"{expected} (replay and storage)", f"{found} (events)")
        assert f"expected {expected} (replay and storage); found {found} (events)" in output


def test_verify__rules_in_force_dropped__says_so_first(traded: Traded, tmp_path: Path) -> None:
    """Without the rules of REGULAR every order fails in the replay; the cause stands before its consequences."""
    alter = change_log(nth_log("clearinghouse", "MarketRulesSet", 2, traded), lambda _: None)

    exit_code, report, _ = verify_through(traded, alter, tmp_path)

    assert exit_code == 1
    assert len(report["findings"]) > 20
    first = report["findings"][0]
    assert {"what": "rules", "market": AAPL, "note": "session 2"}.items() <= first.items()


def change_last_byte(log: dict[str, Any]) -> dict[str, Any]:
    """Flip the last bit of the first word; of PositionsChanged, of the first record's change."""
    data = bytearray.fromhex(log["data"][2:])
    data[127 if log["topics"][0] == topic_of("clearinghouse", "PositionsChanged") else 31] ^= 1
    return log | {"data": "0x" + data.hex()}


@pytest.mark.parametrize(
    ("contract", "name", "n", "expected"),
    [
        ("clearinghouse", "PositionsChanged", 0, {"what": "event PositionChanged", "field": "change.size_change_lots"}),
        ("clearinghouse", "PositionsChanged", -1, {"what": "event DirectOperation", "field": "event"}),
        ("clearinghouse", "PriceChanged", 5, {"what": "event PriceChanged", "field": "price.mark_ticks"}),
        ("clearinghouse", "PriceChanged", -1, {"what": "price", "market": MSFT, "field": "mark_ticks"}),
        ("clearinghouse", "IndexChanged", 0, {"what": "event IndexChanged", "field": "index.long_index_e12"}),
        ("operations", "CollateralTransferred", 0, {"what": "event CollateralTransferred"}),
        ("clearinghouse", "BatchSettled", 2, {"what": "event BatchSettled", "field": "head", "batch": 3}),
        ("clearinghouse", "CollateralWithdrawn", 1, {"what": "event CollateralWithdrawn", "field": "event"}),
        ("operations", "KeyChanged", 0, {"what": "event KeyChanged", "field": "word.expiry_s", "unit": "UNIX s"}),
        ("clearinghouse", "DirectOperation", 0, {"what": "event DirectOperation"}),
        ("clearinghouse", "DirectOperation", 47, {"what": "event DirectOperation"}),
        ("clearinghouse", "DirectOperation", 54, {"what": "event DirectOperation"}),
        ("vault", "Deposited", 1, {"what": "event CollateralDeposited", "field": "quote", "unit": "quote"}),
        ("vault", "ClaimPaid", 0, {"what": "event ClaimPaid", "field": "quote", "unit": "quote"}),
        ("price_oracle", "ReportAccepted", 0, {"what": "event ReportAccepted", "field": "external_ticks"}),
    ],
)
def test_verify__one_event_altered__exits_1_naming_it(
    contract: str, name: str, n: int, expected: dict[str, Any], traded: Traded, tmp_path: Path
) -> None:
    alter = change_log(nth_log(contract, name, n, traded), change_last_byte)

    exit_code, report, output = verify_through(traded, alter, tmp_path)

    assert exit_code == 1, output
    assert any(expected.items() <= finding.items() for finding in report["findings"]), report["findings"]


def test_verify__an_event_of_another_name__exits_1_naming_the_log(traded: Traded, tmp_path: Path) -> None:
    def rename(log: dict[str, Any]) -> dict[str, Any]:
        return log | {"topics": ["0x" + "77" * 32, *log["topics"][1:]]}

    alter = change_log(nth_log("vault", "ClaimAdded", 0, traded), rename)
    exit_code, report, _ = verify_through(traded, alter, tmp_path)

    assert exit_code == 1
    assert any("is no event of contracts/README.md" in finding["found"] for finding in report["findings"])


# --- a transaction missing, or altered


def alter_settle_call(traded: Traded, change: Callable[[dict[str, Any]], Any]) -> Alter:
    """Return an alter for the transaction of batch 2."""
    address = traded.venue.manifest.addresses["clearinghouse"].lower()
    query = {"address": address, "fromBlock": "0x0", "topics": [topic_of("clearinghouse", "BatchSettled")]}
    logs = traded.venue.anvil.call("eth_getLogs", query)
    assert isinstance(logs, list)
    wanted = logs[1]["transactionHash"]

    def alter(method: str, params: list[Any], result: Any) -> Any:
        return change(result) if method == "eth_getTransactionByHash" and params == [wanted] else result

    return alter


def test_verify__a_transaction_missing__exits_1_naming_batch_and_transaction(traded: Traded, tmp_path: Path) -> None:
    exit_code, report, output = verify_through(traded, alter_settle_call(traded, lambda _: None), tmp_path)

    assert exit_code == 1, output
    [finding] = [finding for finding in report["findings"] if finding["what"] == "batch"]
    assert finding["batch"] == 2
    assert finding["field"].startswith("transaction 0x")
    assert finding["found"] == "the node has no such transaction"


def test_verify__one_byte_of_a_signature_altered__exits_1_naming_the_batch(traded: Traded, tmp_path: Path) -> None:
    """The order fails in the replay: codes, head and positions differ."""

    def change(transaction: dict[str, Any]) -> dict[str, Any]:
        calldata = bytearray.fromhex(transaction["input"][2:])
        # Last order of the table: word 0, r, vs; the call ends with vs, then padding to a whole word (none here).
        calldata[-40] ^= 1
        return transaction | {"input": "0x" + calldata.hex()}

    exit_code, report, output = verify_through(traded, alter_settle_call(traded, change), tmp_path)

    assert exit_code == 1, output
    assert any(
        finding["what"] == "event BatchSettled" and finding["field"] == "payload_hash" and finding["batch"] == 2
        for finding in report["findings"]
    )


# --- unusable input


def test_verify__a_node_of_another_chain__exits_2(traded: Traded) -> None:
    def alter(method: str, params: list[Any], result: Any) -> Any:
        return "0x1" if method == "eth_chainId" else result

    with lying_proxy(traded.venue.anvil.url, alter) as url:
        result = run_verify(url, traded.venue.manifest_path)

    assert result.exit_code == 2
    assert "required chain 31337, the manifest's; found chain 1" in result.output


def test_verify__nobody_listens__exits_2(traded: Traded) -> None:
    result = run_verify("http://127.0.0.1:9", traded.venue.manifest_path)

    assert result.exit_code == 2
    assert "cannot verify: http://127.0.0.1:9: required a JSON-RPC answer" in result.output


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1}', "\x00"])
def test_verify__a_file_that_is_no_manifest__exits_2(text: str, traded: Traded, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)

    result = run_verify(traded.venue.anvil.url, path)

    assert result.exit_code == 2
    assert f"cannot verify: required a manifest at {path}" in result.output


def test_verify__no_manifest__exits_2(traded: Traded, tmp_path: Path) -> None:
    result = run_verify(traded.venue.anvil.url, tmp_path / "none.json")

    assert result.exit_code == 2
    assert "found No such file or directory" in result.output


def test_verify__no_code_at_an_address__exits_2(traded: Traded, tmp_path: Path) -> None:
    manifest = json.loads(traded.venue.manifest_path.read_text())
    manifest["addresses"]["vault"] = "0x" + "12" * 20
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))

    result = run_verify(traded.venue.anvil.url, path)

    assert result.exit_code == 2
    assert f"at {manifest['addresses']['vault']}" in result.output
    assert "found no code" in result.output


def test_verify__a_block_that_is_not_there__exits_2(traded: Traded) -> None:
    result = run_verify(traded.venue.anvil.url, traded.venue.manifest_path, "--to-block", "99999")

    assert result.exit_code == 2
    assert "(latest); found block 99999" in result.output


def test_verify__an_earlier_block__exits_0(traded: Traded, tmp_path: Path) -> None:
    """At the block of batch 2 the history is shorter, and just as true."""
    address = traded.venue.manifest.addresses["clearinghouse"].lower()
    query = {"address": address, "fromBlock": "0x0", "topics": [topic_of("clearinghouse", "BatchSettled")]}
    logs = traded.venue.anvil.call("eth_getLogs", query)
    assert isinstance(logs, list)
    report_path = tmp_path / "report.json"

    result = run_verify(
        traded.venue.anvil.url,
        traded.venue.manifest_path,
        "--to-block",
        str(int(logs[1]["blockNumber"], 16)),
        "--json",
        str(report_path),
    )

    assert result.exit_code == 0, result.output
    assert json.loads(report_path.read_text())["n_batches"] == 2
