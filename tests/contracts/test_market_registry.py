"""MarketRegistry: every bound of every rule, and markets that are listed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
from pyrevm import AccountInfo

from afterbell.domain.words import RulesWord
from tests.contracts.venue import RULES, refused
from tests.support.chain import GOVERNOR, OUTSIDER, SEQUENCER, ZERO_ADDRESS, Chain

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
        "reference_ticks": 10_000, "tiers": 0, "rules": [WORD] * 9,
    }  # fmt: skip
    chain.call(REGISTRY, "list_market", *(arguments | changes).values(), sender=GOVERNOR)


@contextmanager
def lent(chain: Chain, contract: str) -> Iterator[None]:
    """Let a contract send transactions: a sender with code is refused by the chain itself (EIP-3607)."""
    account = chain.evm.basic(contract)
    chain.evm.insert_account_info(contract, AccountInfo(nonce=1))
    try:
        yield
    finally:
        chain.evm.insert_account_info(contract, account)


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
    assert events["ReferenceSet"] == [{"market": 7, "reference_ticks": 10_000}]
    assert events["PriceChanged"] == [{"market": 7, "price": 1 << 208}]
    assert events["MarketRulesSet"] == [
        {"market": 7, "session": session, "rules": word} for session, word in enumerate(words)
    ]
    assert [chain.call("Clearinghouse", "rules_word", 7, session) for session in range(10)] == [*words, 0]
    assert chain.call("Clearinghouse", "price_word", 7) == 1 << 208
    assert (chain.call(REGISTRY, "symbols", 7), chain.call(REGISTRY, "lot_exponents", 7)) == ("AAPL", 4)
    assert chain.call("PriceOracle", "pricings", 7)[:6] == (0, 100, 5_000, 1, 1, 256)


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
        ({"reference_ticks": 0}, "market: reference price"),
        ({"reference_ticks": 2**32}, "market: reference price"),
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
    chain.call(REGISTRY, "check_rules", word, 0)


LOOSEST: Final = RulesWord(
    initial_margin_ppm=1_000_000, settlement_margin_ppm=900_000, maintenance_margin_ppm=900_000, band_ppm=999_999,
    mark_step_ppm=50_000, max_age_s=2**16 - 1, open_interest_cap_lots=2**40 - 1, account_share=2**16 - 1,
    is_opening_allowed=True, is_funding_on=True, size_step_lots=2**16 - 1, price_step_ticks=2**16 - 1,
    min_notional_quote=2**32 - 1, max_fee_ppm=2**16 - 1,
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
        (LOOSEST, {"reserved_flags": 1}, "rules: flags"),
        (LOOSEST, {"reserved_flags": 8}, "rules: flags"),
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


# Caps against quote. The venue's only source is the operator's: TRUSTED PRICE, 2,000,000 USDC at the reference price.


@pytest.mark.parametrize(
    ("reference_ticks", "cap_lots"), [(10_000, 200_000_000), (1, 2**40 - 1), (2**32 - 1, 465), (20_000, 100_000_000)]
)
def test_list_market__trusted_price_at_the_cap__listed(chain: Chain, reference_ticks: int, cap_lots: int) -> None:
    word = replace(RULES, open_interest_cap_lots=cap_lots).pack()

    list_market(chain, reference_ticks=reference_ticks, rules=[word] * 9)

    assert chain.call(REGISTRY, "reference_ticks", 1) == reference_ticks


@pytest.mark.parametrize(
    ("reference_ticks", "cap_lots", "reason"),
    [
        (10_000, 200_000_001, "rules: trusted price cap"),
        (2**32 - 1, 466, "rules: trusted price cap"),
        (4_194_304, 2**40 - 1, "rules: trusted price cap"),
        # 2^40 x 2^22 is 2^62: beyond what sums over a few markets may be, whoever says the price.
        (4_194_305, 2**40 - 1, "rules: open interest cap"),
    ],
)
def test_list_market__trusted_price_beyond_the_cap__reverts(
    chain: Chain, reference_ticks: int, cap_lots: int, reason: str
) -> None:
    word = replace(RULES, open_interest_cap_lots=cap_lots).pack()

    with refused(reason):
        list_market(chain, reference_ticks=reference_ticks, rules=[*[TIGHTEST.pack()] * 8, word])


def test_set_reference__as_long_as_the_caps_fit__replaces_it(chain: Chain) -> None:
    list_market(chain, rules=[replace(RULES, open_interest_cap_lots=100_000_000).pack()] * 9)

    chain.call(REGISTRY, "set_reference", 1, 20_000, sender=GOVERNOR)
    assert [(event.name, event.args) for event in chain.events()] == [
        ("ReferenceSet", {"market": 1, "reference_ticks": 20_000})
    ]
    with refused("rules: trusted price cap"):
        chain.call(REGISTRY, "set_reference", 1, 20_001, sender=GOVERNOR)
    with refused("market: reference price"):
        chain.call(REGISTRY, "set_reference", 1, 0, sender=GOVERNOR)
    with refused("market: not listed"):
        chain.call(REGISTRY, "set_reference", 2, 1, sender=GOVERNOR)

    assert chain.call(REGISTRY, "reference_ticks", 1) == 20_000
    chain.call(REGISTRY, "check_caps", 1)
    with refused("rules: trusted price cap"):
        chain.call(
            REGISTRY, "set_rules", 1, [(0, replace(RULES, open_interest_cap_lots=100_000_001).pack())], sender=GOVERNOR
        )


# Tiers.


TIERED: Final = 1 << 171


def tier_word(*tiers: tuple[int, int]) -> int:
    """Return edges in whole USDC and adds in ppm, packed by hand: u48 and u20, from bit 0."""
    return sum(edge << 68 * place | add << 68 * place + 48 for place, (edge, add) in enumerate(tiers))


def binding(chain: Chain, market: int, session: int) -> tuple[int, int, int, int, int]:
    """Return the rules word, its tiers, the successor, its tiers and binds_after."""
    at = [chain.call("Clearinghouse", "rules_word", market + part, session) for part in (0, 1024, 256, 1280, 512)]
    return at[0], at[1], at[2], at[3], at[4]


@pytest.mark.parametrize(
    "tiers",
    [
        0,
        tier_word((1, 1)),
        tier_word((2**48 - 1, 450_000)),
        tier_word((10, 1), (11, 1), (12, 449_998)),
    ],
)
def test_tiers__at_every_bound__are_listed_and_flagged(chain: Chain, tiers: int) -> None:
    """Initial 10 % and twice 45 % are all of the notional."""
    list_market(chain, tiers=tiers)

    flag = TIERED if tiers else 0
    assert [binding(chain, 1, session) for session in range(9)] == [(WORD | flag, tiers, 0, 0, 0)] * 9
    assert chain.call(REGISTRY, "latest_tiers", 1) == tiers
    assert chain.call(REGISTRY, "latest_rules", 1 << 8) == WORD | flag


@pytest.mark.parametrize(
    ("tiers", "reason"),
    [
        (tier_word((0, 1)), "tiers: order"),
        (tier_word((1, 0)), "tiers: order"),
        (tier_word((2, 1), (2, 1)), "tiers: order"),
        (tier_word((3, 1), (2, 1)), "tiers: order"),
        (tier_word((1, 1), (0, 0), (2, 1)), "tiers: order"),
        (tier_word((0, 0), (1, 1)), "tiers: order"),
        (1 << 204, "tiers: order"),
        (tier_word((1, 1)) | 1 << 255, "tiers: order"),
        (tier_word((1, 450_001)), "tiers: margin"),
        (tier_word((1, 150_000), (2, 150_000), (3, 150_001)), "tiers: margin"),
    ],
)
def test_tiers__one_beyond_a_bound__revert(chain: Chain, tiers: int, reason: str) -> None:
    with refused(reason):
        list_market(chain, tiers=tiers)
    list_market(chain)
    with refused(reason):
        chain.call(REGISTRY, "set_tiers", 1, tiers, sender=GOVERNOR)
    with refused(reason):
        chain.call(REGISTRY, "check_rules", WORD, tiers)


def test_tiers__session_without_openings__bounded_by_settlement_margin(chain: Chain) -> None:
    """A halted session may ask for all of the notional at the first quote; what is kept there is still bounded."""
    halted = replace(
        RULES, initial_margin_ppm=1_000_000, settlement_margin_ppm=400_000, is_opening_allowed=False
    )  # fmt: skip

    chain.call(REGISTRY, "check_rules", halted.pack(), tier_word((1, 300_000)))
    with refused("tiers: margin"):
        chain.call(REGISTRY, "check_rules", halted.pack(), tier_word((1, 300_001)))
    with refused("tiers: margin"):
        chain.call(REGISTRY, "check_rules", replace(halted, is_opening_allowed=True).pack(), tier_word((1, 1)))


def test_set_tiers__listed_market__binds_with_a_successor_in_every_session(chain: Chain) -> None:
    first, second = tier_word((1_000, 10_000)), tier_word((2_000, 20_000), (3_000, 30_000))
    list_market(chain, tiers=first)
    begun_s = chain.time_s

    chain.call(REGISTRY, "set_tiers", 1, second, sender=GOVERNOR)

    # Each write of a word that is in force, or will be, is told: 9 tier words, 9 rules words.
    told = [(event.args["kind"], event.args["key"], event.args["value"]) for event in chain.events()]
    assert sorted(told) == sorted(
        told_of
        for session in range(9)
        for told_of in ((4, (1 + 1280) << 8 | session, second), (4, 1 << 8 | session, WORD | TIERED))
    )
    changing = WORD | TIERED | 4 << 168
    expected = (changing, first, WORD | TIERED, second, begun_s + 300)
    assert [binding(chain, 1, session) for session in range(9)] == [expected] * 9
    with refused("rules: pending"):
        chain.call(REGISTRY, "set_tiers", 1, 0, sender=GOVERNOR)


def test_set_tiers__to_none__drops_the_flag_and_the_word_before_keeps_its_own(chain: Chain) -> None:
    tiers = tier_word((1_000, 10_000))
    list_market(chain, tiers=tiers)
    chain.call(REGISTRY, "set_tiers", 1, 0, sender=GOVERNOR)
    chain.set_time(chain.time_s + 601)

    assert binding(chain, 1, 0)[2:4] == (WORD, 0)
    chain.call(REGISTRY, "set_rules", 1, [(0, TIGHTEST.pack())], sender=GOVERNOR)

    # The word before is now the one without tiers, and so is what follows.
    assert binding(chain, 1, 0)[:4] == (WORD | 4 << 168, 0, TIGHTEST.pack(), 0)
    assert binding(chain, 1, 1)[:4] == (WORD | TIERED | 4 << 168, tiers, WORD, 0)


def test_set_rules__market_with_tiers__keeps_them_whatever_the_flag_of_the_word(chain: Chain) -> None:
    tiers = tier_word((1_000, 10_000))
    list_market(chain, tiers=tiers)
    other = replace(RULES, band_ppm=90_000).pack()

    chain.call(REGISTRY, "set_rules", 1, [(0, other), (1, other | TIERED)], sender=GOVERNOR)

    for session in (0, 1):
        assert binding(chain, 1, session)[:4] == (WORD | TIERED | 4 << 168, tiers, other | TIERED, tiers)


def test_set_rules__margin_too_high_for_the_tiers__reverts(chain: Chain) -> None:
    list_market(chain, tiers=tier_word((1, 450_000)))

    with refused("tiers: margin"):
        chain.call(REGISTRY, "set_rules", 1, [(0, replace(RULES, initial_margin_ppm=100_001).pack())], sender=GOVERNOR)


def test_set_tiers__market_that_is_not_listed__reverts(chain: Chain) -> None:
    with refused("market: not listed"):
        chain.call(REGISTRY, "set_tiers", 1, 0, sender=GOVERNOR)


# Names.


def test_set_symbol__by_corporate_actions_alone__renames(chain: Chain) -> None:
    list_market(chain)
    actions = chain.addresses["CorporateActions"]
    for sender in (GOVERNOR, OUTSIDER, SEQUENCER):
        with refused("caller: not corporate actions"):
            chain.call(REGISTRY, "set_symbol", 1, "NEW", sender=sender)

    with lent(chain, actions):
        chain.call(REGISTRY, "set_symbol", 1, "NEW", sender=actions)
        assert [(event.name, event.args) for event in chain.events()] == [
            ("MarketRenamed", {"market": 1, "symbol": "NEW"})
        ]
        with refused("market: symbol"):
            chain.call(REGISTRY, "set_symbol", 1, "", sender=actions)
        with refused("market: not listed"):
            chain.call(REGISTRY, "set_symbol", 2, "NEW", sender=actions)

    assert chain.call(REGISTRY, "symbols", 1) == "NEW"


# Sequencer and wiring.


def test_rotate_sequencer__to_a_standby__replaces_it_and_keeps_the_counter(chain: Chain) -> None:
    chain.deposit(1 << 80, 5)
    chain.call(REGISTRY, "approve_sequencer", OUTSIDER, sender=GOVERNOR)
    assert [(event.name, event.args) for event in chain.events()] == [
        ("SequencerApproved", {"sequencer": OUTSIDER.lower()})
    ]

    chain.call(REGISTRY, "rotate_sequencer", OUTSIDER, sender=GOVERNOR)

    assert [(event.name, event.args) for event in chain.events()] == [("SequencerSet", {"sequencer": OUTSIDER.lower()})]
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
