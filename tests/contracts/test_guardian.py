"""The guardian: tightens at once and field by field, never loosens, liquidates nobody, locks nobody in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from afterbell.domain.words import RulesWord
from tests.contracts.government import FORTNIGHT_S, GUARDIAN, STANDBY, Call, execute, hand_over, schedule, wait
from tests.contracts.venue import RULES, refused
from tests.support.chain import OUTSIDER, SEQUENCER, ZERO_ADDRESS, Chain

REGISTRY: Final = "MarketRegistry"
MARKET, REGULAR, CLOSED = 1, 2, 5
SETTLE_LAG_S: Final = 300
# Nothing at a bound: each field may move both ways.
START: Final = RulesWord(
    initial_margin_ppm=200_000, settlement_margin_ppm=150_000, maintenance_margin_ppm=100_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=60, open_interest_cap_lots=1_000_000, account_share=1_000, is_opening_allowed=True,
    is_funding_on=True, size_step_lots=10, price_step_ticks=5, min_notional_quote=1_000_000, max_fee_ppm=1_000,
)  # fmt: skip
TIGHTER: Final[dict[str, int]] = {
    "initial_margin_ppm": 200_001, "settlement_margin_ppm": 150_001, "band_ppm": 99_999, "mark_step_ppm": 9_999,
    "max_age_s": 59, "open_interest_cap_lots": 999_999, "account_share": 999, "is_opening_allowed": False,
    "is_funding_on": False,
}  # fmt: skip
LOOSER: Final[list[tuple[str, int]]] = [
    ("initial_margin_ppm", 199_999), ("settlement_margin_ppm", 149_999), ("maintenance_margin_ppm", 99_999),
    ("band_ppm", 100_001), ("mark_step_ppm", 10_001), ("max_age_s", 61), ("max_age_s", 0),
    ("open_interest_cap_lots", 1_000_001), ("account_share", 1_001), ("account_share", 0), ("max_fee_ppm", 1_001),
    # orders at the venue's rates would be FEE_ABOVE_MAXIMUM, closing ones too
    ("max_fee_ppm", 999), ("max_fee_ppm", 0),
    # raising it liquidates people
    ("maintenance_margin_ppm", 100_001),
    # another meaning, not a stricter one
    ("size_step_lots", 11), ("size_step_lots", 9), ("price_step_ticks", 6), ("price_step_ticks", 4),
    ("min_notional_quote", 1_000_001), ("min_notional_quote", 999_999),
]  # fmt: skip


@pytest.fixture(scope="module")
def deployed() -> Chain:
    chain = Chain.deploy()
    chain.list_market(MARKET, START.pack())
    return hand_over(chain)


@pytest.fixture
def chain(deployed: Chain) -> Iterator[Chain]:
    with deployed.undone():
        yield deployed


def tighten(chain: Chain, session: int = REGULAR, **changes: Any) -> None:
    word = replace(START, **changes).pack()
    chain.call(REGISTRY, "tighten_rules", MARKET, session, word, sender=GUARDIAN)


def latest(chain: Chain, session: int) -> int:
    return int(chain.call(REGISTRY, "latest_rules", MARKET << 8 | session))


# Tightening.


@pytest.mark.parametrize("field", TIGHTER)
def test_tighten__one_field_stricter__binds_after_the_lag(chain: Chain, field: str) -> None:
    begun_s = chain.time_s
    tighten(chain, **{field: TIGHTER[field]})

    word = replace(START, **{field: TIGHTER[field]}).pack()
    assert [(event.name, event.args) for event in chain.events()] == [
        (
            "DirectOperation",
            {
                "account": 0, "direct_op": 1, "kind": 4, "key": MARKET << 8 | REGULAR, "value": word, "time_s": begun_s
            },
        )
    ]  # fmt: skip
    assert latest(chain, REGULAR) == word
    assert latest(chain, CLOSED) == START.pack()
    effective = [
        chain.call("Lens", "effective_rules", MARKET, REGULAR, begun_s + late_s) & ~(4 << 168) for late_s in (300, 301)
    ]
    assert effective == [START.pack(), word]


@pytest.mark.parametrize(("field", "number"), LOOSER)
def test_tighten__one_field_looser_or_other__reverts(chain: Chain, field: str, number: int) -> None:
    with refused("rules: looser"):
        tighten(chain, **{field: number})
    # Nor does anything stricter beside it buy it.
    with refused("rules: looser"):
        tighten(chain, **(TIGHTER | {field: number}))


@pytest.mark.parametrize("flag", ["is_opening_allowed", "is_funding_on"])
def test_tighten__flag_switched_on_again__reverts(chain: Chain, flag: str) -> None:
    tighten(chain, **{flag: False})
    wait(chain, 2 * SETTLE_LAG_S + 1)

    with refused("rules: looser"):
        tighten(chain)


def test_tighten__no_age_limit_yet__any_limit_is_stricter(chain: Chain) -> None:
    listing = Call.of(
        chain, REGISTRY, "list_market", 2, "MSFT", 4, 0, 5_000, 10_000, 0, [replace(START, max_age_s=0).pack()] * 9
    )
    schedule(chain, listing)
    wait(chain, FORTNIGHT_S)
    execute(chain, listing)

    for max_age_s in (0, 65_535):
        chain.call(
            REGISTRY, "tighten_rules", 2, max_age_s & 1, replace(START, max_age_s=max_age_s).pack(), sender=GUARDIAN
        )

    assert chain.call(REGISTRY, "latest_rules", 2 << 8 | 1) == replace(START, max_age_s=65_535).pack()


def test_tighten__no_share_of_the_cap_yet__any_is_stricter(chain: Chain) -> None:
    """0 is the whole cap; the smallest share lets nobody grow and keeps nobody from closing."""
    whole = replace(START, account_share=0).pack()
    change = Call.of(chain, REGISTRY, "set_rules", MARKET, [(REGULAR, whole)])
    schedule(chain, change)
    wait(chain, FORTNIGHT_S)
    execute(chain, change)
    wait(chain, 2 * SETTLE_LAG_S + 1)

    tighten(chain, account_share=65_535)
    wait(chain, 2 * SETTLE_LAG_S + 1)
    tighten(chain, account_share=1)


def test_tighten__market_with_tiers__changes_none_of_them(chain: Chain) -> None:
    """A tier raises maintenance margin, and what liquidates is not the guardian's (D-013)."""
    tiers = 1_000 | 10_000 << 48
    listing = Call.of(chain, REGISTRY, "list_market", 2, "MSFT", 4, 0, 5_000, 10_000, tiers, [START.pack()] * 9)
    schedule(chain, listing)
    wait(chain, FORTNIGHT_S)
    execute(chain, listing)
    word = replace(START, initial_margin_ppm=200_001).pack()

    # With the flag or without: it follows from the market.
    chain.call(REGISTRY, "tighten_rules", 2, REGULAR, word, sender=GUARDIAN)
    chain.call(REGISTRY, "tighten_rules", 2, CLOSED, word | 8 << 168, sender=GUARDIAN)

    for session in (REGULAR, CLOSED):
        assert chain.call(REGISTRY, "latest_rules", 2 << 8 | session) == word | 8 << 168
        assert chain.call("Clearinghouse", "rules_word", 2 + 1280, session) == tiers
    with refused("caller: not governor"):
        chain.call(REGISTRY, "set_tiers", 2, 0, sender=GUARDIAN)


def test_tighten__the_same_word__passes(chain: Chain) -> None:
    tighten(chain)

    assert latest(chain, REGULAR) == START.pack()


def test_tighten__to_rules_the_registry_refuses__reverts(chain: Chain) -> None:
    # 20 % initial less two steps of 1 % is 18 %.
    with refused("rules: margin gap"):
        tighten(chain, settlement_margin_ppm=180_001)


@pytest.mark.parametrize(("band_ppm", "reason"), [(10_000, None), (9_999, "rules: band"), (0, "rules: band")])
def test_tighten__band__leaves_room_to_close(chain: Chain, band_ppm: int, reason: str | None) -> None:
    if reason is None:
        tighten(chain, band_ppm=band_ppm)
    else:
        with refused(reason):
            tighten(chain, band_ppm=band_ppm)


def test_tighten__band_the_governor_made_narrower__stays(chain: Chain) -> None:
    narrow = replace(START, band_ppm=5_000)
    narrowing = Call.of(chain, REGISTRY, "set_rules", MARKET, [(REGULAR, narrow.pack())])
    schedule(chain, narrowing)
    wait(chain, FORTNIGHT_S)
    execute(chain, narrowing)
    wait(chain, 2 * SETTLE_LAG_S + 1)

    tighten(chain, band_ppm=5_000, initial_margin_ppm=200_001)
    wait(chain, 2 * SETTLE_LAG_S + 1)
    with refused("rules: band"):
        tighten(chain, band_ppm=4_999, initial_margin_ppm=200_001)


@pytest.mark.parametrize(
    ("open_interest_lots", "cap_lots", "reason"),
    [
        (50_000, 50_000, None), (50_000, 49_999, "rules: open interest cap"), (50_000, 1_000_000, None),
        # who opens until the cap binds must be able to close too: 1,000 steps of 10 lots
        (0, 10_000, None), (0, 9_999, "rules: open interest cap"), (0, 0, "rules: open interest cap"),
    ],
)  # fmt: skip
def test_tighten__cap__never_below_the_open_interest_nor_a_thousand_steps(
    chain: Chain, open_interest_lots: int, cap_lots: int, reason: str | None
) -> None:
    """An order above the cap is SIZE_TOO_LARGE, reduce-only or not: a lower one would keep people from closing."""
    chain.write_word("totals", MARKET, open_interest_lots)

    if reason is None:
        tighten(chain, open_interest_cap_lots=cap_lots)
    else:
        with refused(reason):
            tighten(chain, open_interest_cap_lots=cap_lots)


@pytest.mark.parametrize(
    ("field", "number", "reason"),
    [
        ("mark_step_ppm", 1_000, None), ("mark_step_ppm", 999, "rules: mark step"),
        ("mark_step_ppm", 0, "rules: mark step"),
        ("max_age_s", 30, None), ("max_age_s", 29, "rules: max age"), ("max_age_s", 1, "rules: max age"),
    ],
)  # fmt: skip
def test_tighten__mark_and_age__never_stand_still(chain: Chain, field: str, number: int, reason: str | None) -> None:
    """A mark that never moves hides gains that cover losses elsewhere; a price never fresh lets nobody withdraw."""
    if reason is None:
        tighten(chain, **{field: number})
    else:
        with refused(reason):
            tighten(chain, **{field: number})


def test_tighten__mark_step_and_age_the_governor_made_smaller__stay(chain: Chain) -> None:
    small = replace(START, mark_step_ppm=500, max_age_s=10)
    change = Call.of(chain, REGISTRY, "set_rules", MARKET, [(REGULAR, small.pack())])
    schedule(chain, change)
    wait(chain, FORTNIGHT_S)
    execute(chain, change)
    wait(chain, 2 * SETTLE_LAG_S + 1)

    tighten(chain, mark_step_ppm=500, max_age_s=10, is_opening_allowed=False)


def test_tighten__cap_below_the_open_interest_already__stays(chain: Chain) -> None:
    chain.write_word("totals", MARKET, 2_000_000)

    tighten(chain, initial_margin_ppm=200_001)


def test_tighten__again_within_twice_the_lag__is_pending(chain: Chain) -> None:
    tighten(chain, initial_margin_ppm=200_001)
    wait(chain, 2 * SETTLE_LAG_S)
    with refused("rules: pending"):
        tighten(chain, initial_margin_ppm=200_002)
    # Another session is free.
    tighten(chain, session=CLOSED, initial_margin_ppm=200_002)

    wait(chain, 1)
    tighten(chain, initial_margin_ppm=200_002)


def test_tighten__compares_with_the_rules_set_last__not_with_those_before(chain: Chain) -> None:
    tighten(chain, initial_margin_ppm=200_002)
    wait(chain, 2 * SETTLE_LAG_S + 1)

    with refused("rules: looser"):
        tighten(chain, initial_margin_ppm=200_001)


@pytest.mark.parametrize(
    ("market", "session", "reason"),
    [(2, 0, "market: not listed"), (0, 0, "market: not listed"), (1, 9, "rules: session"), (1, 256, "rules: session")],
)
def test_tighten__what_is_not_there__reverts(chain: Chain, market: int, session: int, reason: str) -> None:
    with refused(reason):
        chain.call(REGISTRY, "tighten_rules", market, session, START.pack(), sender=GUARDIAN)


# Halting.


def test_halt__market__switches_openings_off_in_every_session_and_changes_nothing_else(chain: Chain) -> None:
    tighten(chain, session=CLOSED, is_opening_allowed=False, initial_margin_ppm=200_007)
    wait(chain, 2 * SETTLE_LAG_S + 1)
    begun_s = chain.time_s

    chain.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)

    halted = replace(START, is_opening_allowed=False).pack()
    # CLOSED was off already and is left alone.
    assert [(event.args["key"] & 255, event.args["value"]) for event in chain.events()] == [
        (session, halted) for session in (0, 1, 2, 3, 4, 6, 7, 8)
    ]
    expected = [halted] * 9
    expected[CLOSED] = replace(START, is_opening_allowed=False, initial_margin_ppm=200_007).pack()
    assert [latest(chain, session) for session in range(9)] == expected
    assert [
        chain.call("Lens", "effective_rules", MARKET, session, begun_s + 301) & ~(4 << 168) for session in range(9)
    ] == expected


def test_halt__twice__is_no_second_change(chain: Chain) -> None:
    chain.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)

    chain.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)

    assert chain.events() == []


def test_halt__one_session_pending__halts_none(chain: Chain) -> None:
    tighten(chain, session=8, initial_margin_ppm=200_001)

    with refused("rules: pending"):
        chain.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)

    assert latest(chain, 0) == START.pack()
    wait(chain, 2 * SETTLE_LAG_S + 1)
    chain.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)


def test_halt__market_that_is_not_listed__reverts(chain: Chain) -> None:
    with refused("market: not listed"):
        chain.call(REGISTRY, "halt_market", 2, sender=GUARDIAN)


def test_halt__lifted_by_the_governor_alone__after_a_fortnight(chain: Chain) -> None:
    chain.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)
    lifting = Call.of(chain, REGISTRY, "set_rules", MARKET, [(session, START.pack()) for session in range(9)])
    schedule(chain, lifting)
    wait(chain, FORTNIGHT_S)

    execute(chain, lifting)

    assert [latest(chain, session) for session in range(9)] == [START.pack()] * 9


# Who guards.


def test_guardian__replaced_by_the_governor__holds_nothing_any_more(chain: Chain) -> None:
    replacing = Call.of(chain, REGISTRY, "set_guardian", OUTSIDER)
    schedule(chain, replacing)
    wait(chain, FORTNIGHT_S)
    execute(chain, replacing)
    assert [event.args for event in chain.events() if event.name == "GuardianSet"] == [{"guardian": OUTSIDER.lower()}]

    with refused("caller: not guardian"):
        chain.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)
    chain.call(REGISTRY, "halt_market", MARKET, sender=OUTSIDER)


def test_guardian__none_yet__nobody_is(chain: Chain) -> None:
    """The zero address guards a registry nobody was named in, and no transaction comes from it."""
    fresh = Chain.deploy()
    fresh.list_market(MARKET, RULES.pack())

    assert fresh.call(REGISTRY, "guardian") == ZERO_ADDRESS
    with refused("caller: not guardian"):
        fresh.call(REGISTRY, "halt_market", MARKET, sender=GUARDIAN)


def test_guardian__set_to_zero__reverts(chain: Chain) -> None:
    removing = Call.of(chain, REGISTRY, "set_guardian", ZERO_ADDRESS)
    schedule(chain, removing)
    wait(chain, FORTNIGHT_S)

    with refused("wiring: zero address"):
        execute(chain, removing)


# Standbys.


def test_rotate__to_who_was_never_approved_or_was_revoked__reverts(chain: Chain) -> None:
    for address in (OUTSIDER, SEQUENCER, ZERO_ADDRESS):
        with refused("sequencer: not standby"):
            chain.call(REGISTRY, "rotate_sequencer", address, sender=GUARDIAN)
    chain.call(REGISTRY, "revoke_sequencer", STANDBY, sender=GUARDIAN)
    assert [(event.name, event.args) for event in chain.events()] == [
        ("SequencerRevoked", {"sequencer": STANDBY.lower()})
    ]

    with refused("sequencer: not standby"):
        chain.call(REGISTRY, "rotate_sequencer", STANDBY, sender=GUARDIAN)


def test_rotate__away_from_a_sequencer__takes_its_say_in_rotations(chain: Chain) -> None:
    chain.call(REGISTRY, "rotate_sequencer", STANDBY, sender=SEQUENCER)

    with refused("caller: may not rotate"):
        chain.call(REGISTRY, "rotate_sequencer", STANDBY, sender=SEQUENCER)
    # The standby stays one: two healthy machines may take turns, once both are approved.
    chain.call(REGISTRY, "rotate_sequencer", STANDBY, sender=STANDBY)
