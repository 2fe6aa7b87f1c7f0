"""What siblings write: deltas between accounts and a pot, moved markets, claims and modes. Numbers by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.chain_state import Mode
from afterbell.domain.deltas import Delta, apply_deltas, move_market, set_mode, withdraw_to_claim
from afterbell.domain.errors import DirectRefused, FieldOutOfRange
from afterbell.domain.words import IndexWord
from tests.domain.scenario import MAKER, OUTSIDER, USDC, Scenario

RICH = 10_000 * USDC


def with_positions() -> Scenario:
    """The taker is long 1,000 lots for 10,004,500, the maker short them for 9,999,000."""
    scenario = Scenario()
    scenario.trade()
    return scenario


def ordered(*deltas: Delta) -> list[Delta]:
    return sorted(deltas, key=lambda delta: delta.account_id)


def test_deltas__position_handed_over__realises_for_who_leaves_and_opens_for_who_takes() -> None:
    """The outsider takes the long at 9,900: pays 9,900,000; the taker loses 104,500 and pays 50,000 into the pot."""
    scenario = with_positions()
    outsider = scenario.account_of(OUTSIDER)
    before = scenario.state.direct_op

    changes = apply_deltas(
        scenario.state,
        1,
        ordered(
            Delta(account_id=scenario.taker, size_lots=-1_000, entry_quote=-9_900_000, collateral_quote=-50_000),
            Delta(account_id=outsider, size_lots=1_000, entry_quote=9_900_000),
        ),
        50_000,
    )

    state = scenario.state
    assert state.position(scenario.taker, 1).size_lots == state.position(scenario.taker, 1).entry_quote == 0
    assert state.account(scenario.taker).collateral_quote == RICH - 104_500 - 50_000
    assert state.account(scenario.taker).open_markets == (0,) * 6
    assert (state.position(outsider, 1).size_lots, state.position(outsider, 1).entry_quote) == (1_000, 9_900_000)
    assert state.account(outsider).open_markets == (1, 0, 0, 0, 0, 0)
    assert (state.totals_of(1).open_interest_lots, state.totals_of(1).pot_quote) == (1_000, 50_000)
    assert {change.account_id: (change.size_change_lots, change.realised_quote) for change in changes} == {
        scenario.taker: (-1_000, -154_500),
        outsider: (1_000, 0),
    }
    assert state.direct_op == before + 1
    state.validate_invariants()


def test_deltas__both_sides_closed__touches_funding_and_leaves_its_dust_in_the_pot() -> None:
    """At 10,000; the long owes 0.0005 x 1,000 = 0.5, so 1; the short owes -0.5, so 0; the pot keeps the 1."""
    scenario = with_positions()
    scenario.state.indices[1] = IndexWord(long_index_e12=5 * 10**8, short_index_e12=5 * 10**8).pack()

    apply_deltas(
        scenario.state,
        1,
        ordered(
            Delta(account_id=scenario.taker, size_lots=-1_000, entry_quote=-10_000_000),
            Delta(account_id=scenario.maker, size_lots=1_000, entry_quote=10_000_000),
        ),
    )

    assert scenario.state.account(scenario.taker).collateral_quote == RICH - 4_500 - 1
    assert scenario.state.account(scenario.maker).collateral_quote == RICH - 1_000
    totals = scenario.state.totals_of(1)
    assert (totals.open_interest_lots, totals.net_entry_quote, totals.pot_quote) == (0, 0, 1)
    scenario.state.validate_invariants()


def test_deltas__collateral_alone__leaves_positions_as_they_are() -> None:
    """An account that never held anything keeps a zero word; what is put in its entry is realised at once."""
    scenario = with_positions()
    insurance, pot_before = scenario.account_of(OUTSIDER, 9), scenario.state.totals_of(1).pot_quote

    apply_deltas(
        scenario.state,
        1,
        ordered(
            Delta(account_id=insurance, entry_quote=-30),
            Delta(account_id=scenario.maker, collateral_quote=-40),
        ),
        10,
    )

    assert scenario.state.account(insurance).collateral_quote == 30
    assert scenario.state.positions.get(insurance << 16 | 1) is None
    assert scenario.state.account(scenario.maker).collateral_quote == RICH - 40
    assert scenario.state.totals_of(1).pot_quote == pot_before + 10
    scenario.state.validate_invariants()


def flawed(scenario: Scenario) -> dict[str, tuple[list[Delta], int]]:
    low, high = sorted((scenario.taker, scenario.maker))
    return {
        "deltas: sizes, not zero": ([Delta(account_id=low, size_lots=1)], 0),
        "deltas: value, collateral": ([Delta(account_id=low, collateral_quote=1)], 0),
        "deltas: value, entry": ([Delta(account_id=low, entry_quote=-1)], 0),
        "deltas: value, pot": ([Delta(account_id=low)], 1),
        "deltas: sizes, open interest grows": (
            [
                Delta(account_id=scenario.account_of(OUTSIDER, 1), size_lots=1),
                Delta(account_id=scenario.account_of(OUTSIDER, 2), size_lots=-1),
            ],
            0,
        ),
        "deltas: account order": ([Delta(account_id=high), Delta(account_id=low)], 0),
        "deltas: account order, twice": ([Delta(account_id=low), Delta(account_id=low)], 0),
        "deltas: account order, zero": ([Delta(account_id=0)], 0),
    }


@pytest.mark.parametrize("name", list(flawed(Scenario())))
def test_deltas__one_flaw__is_refused_and_changes_nothing(name: str) -> None:
    scenario = with_positions()
    before = scenario.state.copy()
    deltas, pot_change_quote = flawed(scenario)[name]

    with pytest.raises(DirectRefused) as caught:
        apply_deltas(scenario.state, 1, deltas, pot_change_quote)

    assert caught.value.reason == name.split(",", maxsplit=1)[0]
    assert scenario.state == before


def test_deltas__a_seventh_market__is_refused() -> None:
    scenario = with_positions()
    for market in range(2, 7):
        scenario.trade(maker={"market_id": market}, taker={"market_id": market})
    assert scenario.state.account(scenario.maker).open_markets == (1, 2, 3, 4, 5, 6)
    holder = scenario.account_of(MAKER, 8)
    scenario.state.positions[holder << 16 | 7] = 5
    scenario.state.accounts[holder << 16] = replace(
        scenario.state.account(holder), open_markets=(7, 0, 0, 0, 0, 0)
    ).pack()
    deltas = [Delta(account_id=scenario.maker, size_lots=5), Delta(account_id=holder, size_lots=-5)]

    with pytest.raises(DirectRefused, match="deltas: open markets"):
        apply_deltas(scenario.state, 7, deltas)


def test_deltas__collateral_out_of_its_range__raises_and_changes_nothing() -> None:
    scenario = with_positions()
    before = scenario.state.copy()

    with pytest.raises(FieldOutOfRange, match="collateral"):
        apply_deltas(scenario.state, 1, [Delta(account_id=scenario.taker, collateral_quote=2**71)], -(2**71))
    assert scenario.state == before


def test_move_market__whole_words__are_written_and_counted() -> None:
    scenario = Scenario()
    price, index = replace(scenario.state.price(1), mark_ticks=7, epoch=2).pack(), IndexWord(reserve_ticks=5).pack()
    before = scenario.state.direct_op

    move_market(scenario.state, 1, price, index)

    assert (scenario.state.prices[1], scenario.state.indices[1]) == (price, index)
    assert scenario.state.direct_op == before + 1


@pytest.mark.parametrize(
    ("price", "index"),
    [
        ({"external_ticks": 2**32}, {}),
        ({"mark_ticks": 2**33}, {}),
        ({"index_ticks": 2**33}, {}),
        ({"session": 9}, {}),
        ({"epoch": 0}, {}),
        ({}, {"long_index_e12": 2**88}),
        ({}, {"short_index_e12": -(2**88) - 1}),
    ],
)
def test_move_market__beyond_what_the_lanes_need__is_refused(price: dict, index: dict) -> None:
    scenario = Scenario()

    with pytest.raises(DirectRefused, match="move: out of range"):
        move_market(scenario.state, 1, replace(scenario.state.price(1), **price).pack(), IndexWord(**index).pack())


def test_move_market__not_listed__is_refused() -> None:
    with pytest.raises(DirectRefused, match="prices: unknown market"):
        move_market(Scenario().state, 9, 5, 0)


def test_withdraw_to_claim__collateral__becomes_the_recipients_claim() -> None:
    scenario = Scenario()

    withdraw_to_claim(scenario.state, scenario.taker, b"\x0c" * 20, 5)

    assert scenario.state.account(scenario.taker).collateral_quote == RICH - 5
    assert scenario.state.claims == {b"\x0c" * 20: 5}
    scenario.state.validate_invariants()


def test_mode__settled__is_never_left() -> None:
    scenario = Scenario()
    set_mode(scenario.state, Mode.EXIT)
    set_mode(scenario.state, Mode.NORMAL)
    set_mode(scenario.state, Mode.SETTLED)

    with pytest.raises(DirectRefused, match="clearinghouse: settled"):
        set_mode(scenario.state, Mode.NORMAL)
