"""Listing and rules: everything validated once, then trusted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.contracts.desk import RULES, Desk
from tests.support.chain import DEPLOYER, GOVERNOR, OUTSIDER, ZERO_ADDRESS, Chain, Reverted

LISTING: dict[str, Any] = {
    "market": 9,
    "symbol": "AAPL",
    "lot_exponent": 4,
    "source_id": 0,
    "max_confidence_ppm": 5_000,
    "rules": [RULES.pack()] * 9,
}


def test_list_market__valid__epoch_one_rules_in_every_session(desk: Desk) -> None:
    desk.chain.call("MarketRegistry", "list_market", *LISTING.values(), sender=GOVERNOR)

    assert desk.chain.call("Clearinghouse", "price_word", 9) >> 208 == 1
    assert all(desk.chain.call("Clearinghouse", "rules_word", 9, session) == RULES.pack() for session in range(9))
    assert desk.chain.call("PriceOracle", "pricings", 9) == (0, 100, 5_000, 1, 1)
    assert desk.chain.call("MarketRegistry", "symbols", 9) == "AAPL"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"market": 0}, "market: out of range"),
        ({"market": 33}, "market: out of range"),
        ({"market": 1}, "market: listed"),
        ({"symbol": ""}, "market: symbol"),
        ({"lot_exponent": 7}, "market: lot exponent"),
        ({"source_id": 5}, "source: unknown"),
        ({"max_confidence_ppm": 0}, "market: confidence"),
        ({"max_confidence_ppm": 1_000_001}, "market: confidence"),
        ({"rules": [RULES.pack()] * 8}, "rules: count"),
        ({"rules": [0] * 9}, "rules: margin order"),
    ],
)
def test_list_market__broken__refused(desk: Desk, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reverted, match=reason):
        desk.chain.call("MarketRegistry", "list_market", *(LISTING | changes).values(), sender=GOVERNOR)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"maintenance_margin_ppm": 0}, "rules: margin order"),
        ({"maintenance_margin_ppm": 150_001}, "rules: margin order"),
        ({"initial_margin_ppm": 1_000_001}, "rules: margin order"),
        ({"settlement_margin_ppm": 180_000}, None),
        ({"settlement_margin_ppm": 180_001}, "rules: margin gap"),
        ({"band_ppm": 999_999}, None),
        ({"band_ppm": 1_000_000}, "rules: band"),
        ({"initial_margin_ppm": 600_000, "mark_step_ppm": 50_000}, None),
        ({"initial_margin_ppm": 600_000, "mark_step_ppm": 50_001}, "rules: mark step"),
        ({"open_interest_cap_lots": (1 << 40) - 1}, None),
        ({"open_interest_cap_lots": 1 << 40}, "rules: open interest cap"),
        ({"size_step_lots": 0}, "rules: steps"),
        ({"price_step_ticks": 0}, "rules: steps"),
    ],
)
def test_rules__each_bound__held(desk: Desk, changes: dict[str, Any], reason: str | None) -> None:
    word = replace(RULES, **changes).pack()
    if reason is None:
        desk.chain.call("MarketRegistry", "set_rules", 1, [(3, word), (5, word)], sender=GOVERNOR)
        assert desk.chain.call("Clearinghouse", "rules_word", 1, 5) == word
        desk.chain.call("MarketRegistry", "check_rules", word)
    else:
        with pytest.raises(Reverted, match=reason):
            desk.chain.call("MarketRegistry", "set_rules", 1, [(3, word)], sender=GOVERNOR)


def test_rules__market_session_flags__refused(desk: Desk) -> None:
    word = RULES.pack()
    for args, reason in (
        ((20, [(2, word)]), "market: not listed"),
        ((1, []), "rules: count"),
        ((1, [(9, word)]), "rules: session"),
        ((1, [(2, word | 4 << 168)]), "rules: flags"),
    ):
        with pytest.raises(Reverted, match=reason):
            desk.chain.call("MarketRegistry", "set_rules", *args, sender=GOVERNOR)


def test_sequencer__replaced__the_old_one_is_out(desk: Desk) -> None:
    desk.chain.call("MarketRegistry", "set_sequencer", OUTSIDER, sender=GOVERNOR)

    with pytest.raises(Reverted, match="batch: not sequencer"):
        desk.settle()
    assert desk.chain.call("Clearinghouse", "operator_word") >> 160 == 2
    with pytest.raises(Reverted, match="wiring: zero address"):
        desk.chain.call("MarketRegistry", "set_sequencer", ZERO_ADDRESS, sender=GOVERNOR)


def test_governor__two_steps__the_named_one_takes_over(desk: Desk) -> None:
    desk.chain.call("MarketRegistry", "propose_governor", OUTSIDER, sender=GOVERNOR)
    with pytest.raises(Reverted, match="caller: not pending governor"):
        desk.chain.call("MarketRegistry", "accept_governor", sender=DEPLOYER)
    desk.chain.call("MarketRegistry", "accept_governor", sender=OUTSIDER)

    assert desk.chain.call("MarketRegistry", "governor") == OUTSIDER.lower()
    with pytest.raises(Reverted, match="caller: not governor"):
        desk.chain.call("MarketRegistry", "set_sequencer", OUTSIDER, sender=GOVERNOR)


def test_wiring__neighbours_that_do_not_name_each_other__refused() -> None:
    chain = Chain.deploy()
    at = chain.addresses
    for args in (
        (at["Vault"], at["PriceOracle"], at["MarketRegistry"], at["token"], OUTSIDER, 0),
        (at["Vault"], at["PriceOracle"], at["MarketRegistry"], OUTSIDER, OUTSIDER, 0),
    ):
        with pytest.raises(Reverted, match="wiring: not mutual"):
            chain.create("Clearinghouse", *args)
    with pytest.raises(Reverted, match="wiring: zero address"):
        chain.create("Clearinghouse", at["Vault"], ZERO_ADDRESS, at["MarketRegistry"], at["token"], OUTSIDER, 0)
    with pytest.raises(Reverted, match="wiring: zero address"):
        chain.create("Vault", ZERO_ADDRESS, at["Clearinghouse"])


def test_sizes__every_contract__below_the_limit() -> None:
    chain = Chain.deploy()

    sizes = {name: len(chain.evm.get_code(chain.addresses[name]) or b"") for name in chain.contracts}

    assert all(size <= 24_576 for size in sizes.values()), sizes
