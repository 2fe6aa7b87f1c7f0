"""MarketRegistry: every bound of every rule, and markets that are listed once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest

from afterbell.domain.words import RulesWord
from tests.contracts.venue import RULES, refused
from tests.support.chain import GOVERNOR, OUTSIDER, ZERO_ADDRESS, Chain

REGISTRY: Final = "MarketRegistry"
WORD: Final = RULES.pack()


@pytest.fixture(scope="module")
def deployed() -> Chain:
    return Chain.deploy()


@pytest.fixture
def chain(deployed: Chain) -> Any:
    with deployed.undone():
        yield deployed


def list_market(chain: Chain, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "market": 1, "symbol": "AAPL", "lot_exponent": 4, "source_id": 0, "max_confidence_ppm": 5_000,
        "rules": [WORD] * 9,
    }  # fmt: skip
    chain.call(REGISTRY, "list_market", *(arguments | changes).values(), sender=GOVERNOR)


# Listing.


def test_list_market__valid__opens_it_at_epoch_one_with_rules_in_nine_sessions(chain: Chain) -> None:
    words = [replace(RULES, max_age_s=session).pack() for session in range(9)]

    list_market(chain, market=7, rules=words)

    events: dict[str, list[Any]] = {}
    for event in chain.events():
        events.setdefault(event.name, []).append(event.args)
    assert events["MarketListed"] == [
        {
            "market": 7, "symbol": "AAPL", "lot_exponent": 4, "ticks_per_usd": 100, "source_id": 0,
            "max_confidence_ppm": 5_000,
        }
    ]  # fmt: skip
    assert events["MarketPriced"] == [
        {
            "market": 7, "source_id": 0, "ticks_per_usd": 100, "max_confidence_ppm": 5_000, "multiplier_num": 1,
            "multiplier_den": 1,
        }
    ]  # fmt: skip
    assert events["PriceChanged"] == [{"market": 7, "price": 1 << 208}]
    assert events["MarketRulesSet"] == [
        {"market": 7, "session": session, "rules": word} for session, word in enumerate(words)
    ]
    assert [chain.call("Clearinghouse", "rules_word", 7, session) for session in range(10)] == [*words, 0]
    assert chain.call("Clearinghouse", "price_word", 7) == 1 << 208
    assert (chain.call(REGISTRY, "symbols", 7), chain.call(REGISTRY, "lot_exponents", 7)) == ("AAPL", 4)
    assert chain.call("PriceOracle", "pricings", 7) == (0, 100, 5_000, 1, 1)


@pytest.mark.parametrize("market", [1, 32])
def test_list_market__id_at_the_bounds__listed(chain: Chain, market: int) -> None:
    list_market(chain, market=market)

    assert chain.call("Clearinghouse", "price_word", market) == 1 << 208


@pytest.mark.parametrize("lot_exponent", range(7))
def test_list_market__lot_exponent__gives_ten_to_the_rest(chain: Chain, lot_exponent: int) -> None:
    list_market(chain, lot_exponent=lot_exponent)

    assert chain.call("PriceOracle", "pricings", 1)[1] == 10 ** (6 - lot_exponent)


@pytest.mark.parametrize("max_confidence_ppm", [1, 1_000_000])
def test_list_market__confidence_at_the_bounds__listed(chain: Chain, max_confidence_ppm: int) -> None:
    list_market(chain, max_confidence_ppm=max_confidence_ppm)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"market": 0}, "market: out of range"),
        ({"market": 33}, "market: out of range"),
        ({"market": 257}, "market: out of range"),
        ({"market": 2**256 - 1}, "market: out of range"),
        ({"symbol": ""}, "market: symbol"),
        ({"lot_exponent": 7}, "market: lot exponent"),
        ({"lot_exponent": 2**256 - 1}, "market: lot exponent"),
        ({"max_confidence_ppm": 0}, "market: confidence"),
        ({"max_confidence_ppm": 1_000_001}, "market: confidence"),
        ({"rules": []}, "rules: count"),
        ({"rules": [WORD] * 8}, "rules: count"),
        ({"source_id": 1}, "source: unknown"),
        ({"source_id": 256}, ""),
        ({"rules": [*[WORD] * 8, 0]}, "rules: margin order"),
    ],
)
def test_list_market__bad_argument__reverts_and_lists_nothing(
    chain: Chain, changes: dict[str, Any], reason: str
) -> None:
    with refused(reason):
        list_market(chain, **changes)

    assert chain.call("Clearinghouse", "price_word", 1) == 0
    assert chain.call(REGISTRY, "symbols", 1) == ""


def test_list_market__twice__reverts(chain: Chain) -> None:
    list_market(chain)

    with refused("market: listed"):
        list_market(chain, symbol="MSFT")


def test_clearinghouse__told_to_list_twice__reverts_by_itself() -> None:
    """A registry that forgot would reset epoch and prices: the Clearinghouse does not rely on its memory."""
    chain = Chain.deploy(registry=OUTSIDER)
    chain.call("Clearinghouse", "list_market", 3)

    with refused("market: listed"):
        chain.call("Clearinghouse", "list_market", 3)


# Rules.


def check(chain: Chain, word: int) -> None:
    chain.call(REGISTRY, "check_rules", word)


LOOSEST: Final = RulesWord(
    initial_margin_ppm=1_000_000, settlement_margin_ppm=900_000, maintenance_margin_ppm=900_000, band_ppm=999_999,
    mark_step_ppm=50_000, max_age_s=2**16 - 1, open_interest_cap_lots=2**40 - 1, is_opening_allowed=True,
    is_funding_on=True, size_step_lots=2**16 - 1, price_step_ticks=2**16 - 1, min_notional_quote=2**32 - 1,
    max_fee_ppm=2**16 - 1,
)  # fmt: skip
TIGHTEST: Final = RulesWord(
    initial_margin_ppm=1, settlement_margin_ppm=1, maintenance_margin_ppm=1, band_ppm=0, mark_step_ppm=0, max_age_s=0,
    open_interest_cap_lots=0, is_opening_allowed=False, is_funding_on=False, size_step_lots=1, price_step_ticks=1,
    min_notional_quote=0, max_fee_ppm=0,
)  # fmt: skip


@pytest.mark.parametrize("rules", [LOOSEST, TIGHTEST, RULES])
def test_rules__at_every_bound__pass(chain: Chain, rules: RulesWord) -> None:
    check(chain, rules.pack())


@pytest.mark.parametrize(
    ("rules", "changes", "reason"),
    [
        (LOOSEST, {"maintenance_margin_ppm": 0}, "rules: margin order"),
        (LOOSEST, {"maintenance_margin_ppm": 900_001}, "rules: margin order"),
        (LOOSEST, {"initial_margin_ppm": 1_000_001}, "rules: margin order"),
        (LOOSEST, {"initial_margin_ppm": 999_999}, "rules: margin gap"),
        (LOOSEST, {"settlement_margin_ppm": 900_001}, "rules: margin gap"),
        (LOOSEST, {"mark_step_ppm": 50_001, "settlement_margin_ppm": 899_998, "maintenance_margin_ppm": 1},
         "rules: mark step"),
        (TIGHTEST, {"mark_step_ppm": 1}, "rules: margin gap"),
        (LOOSEST, {"band_ppm": 1_000_000}, "rules: band"),
        (LOOSEST, {"band_ppm": 2**20 - 1}, "rules: band"),
        (LOOSEST, {"open_interest_cap_lots": 2**40}, "rules: open interest cap"),
        (LOOSEST, {"open_interest_cap_lots": 2**56 - 1}, "rules: open interest cap"),
        (LOOSEST, {"reserved_flags": 1}, "rules: flags"),
        (LOOSEST, {"reserved_flags": 16}, "rules: flags"),
        (LOOSEST, {"is_changing": True}, "rules: flags"),
        (TIGHTEST, {"size_step_lots": 0}, "rules: steps"),
        (TIGHTEST, {"price_step_ticks": 0}, "rules: steps"),
    ],
)  # fmt: skip
def test_rules__one_beyond_a_bound__revert(
    chain: Chain, rules: RulesWord, changes: dict[str, int], reason: str
) -> None:
    word = replace(rules, **changes).pack()

    with refused(reason):
        check(chain, word)
    with refused(reason):
        list_market(chain, rules=[WORD] * 5 + [word] + [WORD] * 3)
    list_market(chain)
    with refused(reason):
        chain.call(REGISTRY, "set_rules", 1, [(5, word)], sender=GOVERNOR)


def test_rules__zero__revert(chain: Chain) -> None:
    """Zero means "no rules" to the Clearinghouse and must never be written."""
    with refused("rules: margin order"):
        check(chain, 0)


def test_set_rules__some_sessions__replaces_those_alone(chain: Chain) -> None:
    list_market(chain)
    other = TIGHTEST.pack()

    chain.call(REGISTRY, "set_rules", 1, [(0, other), (8, other)], sender=GOVERNOR)

    def in_force(at_s: int) -> list[int]:
        return [chain.call("Lens", "effective_rules", 1, session, at_s) for session in range(9)]

    assert in_force(chain.time_s + 300) == [WORD] * 9
    assert in_force(chain.time_s + 301) == [other, *[WORD] * 7, other]


@pytest.mark.parametrize(
    ("market", "entries", "reason"),
    [
        (2, [(0, WORD)], "market: not listed"),
        (0, [(0, WORD)], "market: not listed"),
        (33, [(0, WORD)], "market: not listed"),
        (1, [], "rules: count"),
        (1, [(9, WORD)], "rules: session"),
        (1, [(0, WORD), (255, WORD)], "rules: session"),
        (1, [(0, WORD), (1, 0)], "rules: margin order"),
    ],
)
def test_set_rules__bad_argument__reverts_whole(
    chain: Chain, market: int, entries: list[tuple[int, int]], reason: str
) -> None:
    list_market(chain, rules=[TIGHTEST.pack()] * 9)

    with refused(reason):
        chain.call(REGISTRY, "set_rules", market, entries, sender=GOVERNOR)

    assert chain.call("Clearinghouse", "rules_word", 1, 0) == TIGHTEST.pack()


# Sequencer and wiring.


def test_rotate_sequencer__to_a_standby__replaces_it_and_keeps_the_counter(chain: Chain) -> None:
    chain.deposit(1 << 80, 5)
    chain.call(REGISTRY, "approve_sequencer", OUTSIDER, sender=GOVERNOR)
    assert [(event.name, event.args) for event in chain.events()] == [
        ("SequencerApproved", {"sequencer": OUTSIDER.lower()})
    ]

    chain.call(REGISTRY, "rotate_sequencer", OUTSIDER, sender=GOVERNOR)

    assert [(event.name, event.args) for event in chain.events()] == [
        ("SequencerSet", {"sequencer": OUTSIDER.lower()})
    ]
    assert chain.call("Clearinghouse", "operator_word") == 1 << 160 | int(OUTSIDER, 16)
    assert chain.call(REGISTRY, "is_standby", OUTSIDER)


def test_approve_sequencer__zero__reverts(chain: Chain) -> None:
    with refused("wiring: zero address"):
        chain.call(REGISTRY, "approve_sequencer", ZERO_ADDRESS, sender=GOVERNOR)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_registry__wired_to_zero__is_not_deployed(chain: Chain, place: int) -> None:
    arguments = [GOVERNOR, chain.addresses["Clearinghouse"], chain.addresses["PriceOracle"]]
    arguments[place] = ZERO_ADDRESS

    with refused("wiring: zero address"):
        chain.create(REGISTRY, *arguments)


# The governor of each governed contract.


@pytest.mark.parametrize("contract", [REGISTRY, "PriceOracle", "SignedPriceSource"])
def test_governor__proposed_and_accepted__takes_over_in_two_steps(chain: Chain, contract: str) -> None:
    chain.call(contract, "propose_governor", OUTSIDER, sender=GOVERNOR)
    assert [(event.name, event.args) for event in chain.events()] == [
        ("GovernorProposed", {"pending_governor": OUTSIDER.lower()})
    ]
    assert chain.call(contract, "governor").lower() == GOVERNOR.lower()

    chain.call(contract, "accept_governor", sender=OUTSIDER)

    assert [(event.name, event.args) for event in chain.events()] == [
        ("GovernorChanged", {"governor": OUTSIDER.lower()})
    ]
    assert chain.call(contract, "governor").lower() == OUTSIDER.lower()
    assert chain.call(contract, "pending_governor") == ZERO_ADDRESS
    with refused("caller: not governor"):
        chain.call(contract, "propose_governor", GOVERNOR, sender=GOVERNOR)
    with refused("caller: not pending governor"):
        chain.call(contract, "accept_governor", sender=OUTSIDER)


@pytest.mark.parametrize("contract", [REGISTRY, "PriceOracle", "SignedPriceSource"])
def test_governor__proposal_withdrawn__cannot_be_accepted(chain: Chain, contract: str) -> None:
    chain.call(contract, "propose_governor", OUTSIDER, sender=GOVERNOR)
    chain.call(contract, "propose_governor", ZERO_ADDRESS, sender=GOVERNOR)

    with refused("caller: not pending governor"):
        chain.call(contract, "accept_governor", sender=OUTSIDER)
