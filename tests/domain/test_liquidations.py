"""The loss ladder in numbers: terms of a liquidation by hand, and that nobody earns by liquidating themselves."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain import deleveraging, liquidations
from afterbell.domain.account_risk import Holding
from afterbell.domain.chain_state import ChainState, apply_deposit, list_market, set_rules
from afterbell.domain.deltas import Delta, apply_deltas
from afterbell.domain.errors import DirectRefused
from afterbell.domain.ids import account_key, build_account_id, position_key
from afterbell.domain.liquidation_terms import (
    allocate_quote,
    compute_bankruptcy_ticks,
    compute_cap_quote,
    compute_score,
    compute_size_lots,
    compute_worst_ticks,
    draw_into_band,
)
from afterbell.domain.liquidations import LiquidationsState
from afterbell.domain.position import index_of_side
from afterbell.domain.session import Session
from afterbell.domain.words import IndexWord, PositionWord, PriceWord, RulesWord

USDC: Final = 10**6
NOW_S: Final = 1_900_000_000
LIQUIDATIONS: Final = b"\xaa" * 20
ATTACKER, ACCOMPLICE, KEEPER, HONEST = (build_account_id(bytes([number]) * 20, 0) for number in (1, 2, 3, 4))
RULES: Final = RulesWord(
    initial_margin_ppm=200_000, settlement_margin_ppm=150_000, maintenance_margin_ppm=100_000, band_ppm=100_000,
    mark_step_ppm=10_000, max_age_s=0, open_interest_cap_lots=10**10, is_opening_allowed=True, is_funding_on=True,
    size_step_lots=10, price_step_ticks=1, min_notional_quote=1, max_fee_ppm=1_000,
)  # fmt: skip


def hold(size_lots: int, **changes: Any) -> Holding:
    """Return a position bought or sold at 10,000, now at 9,000."""
    holding = Holding(
        market_id=1, size_lots=size_lots, cushion_quote=-size_lots * 10_000, mark_ticks=9_000, external_ticks=9_000,
        external_time_s=NOW_S, reserve_ticks=0, session=Session.REGULAR, rules=RULES, is_fresh=True,
    )  # fmt: skip
    return replace(holding, **changes)


# Terms.


@pytest.mark.parametrize(
    ("age_s", "ticks"), [(0, 8_910), (1, 8_910), (10, 8_901), (300, 8_640), (649, 8_326), (650, 8_325), (10**6, 8_325)]
)
def test_worst_ticks__age__one_percent_and_a_basis_point_a_second(age_s: int, ticks: int) -> None:
    """9,000 x (10,000 + 100 x age) ppm, at most 75,000: 90, 90.9, 99, 360, 674.1, 675 off."""
    share_quote = 1_000 * 1_000

    assert compute_worst_ticks(hold(1_000), age_s=age_s, equity_quote=1, share_quote=share_quote) == ticks
    mirrored = compute_worst_ticks(hold(-1_000), age_s=age_s, equity_quote=1, share_quote=share_quote)
    assert mirrored == 18_000 - ticks


@pytest.mark.parametrize(("share_quote", "ticks"), [(0, 9_000), (999, 9_000), (1_000, 8_999), (50_000, 8_950)])
def test_worst_ticks__little_equity__no_discount_beyond_it(share_quote: int, ticks: int) -> None:
    assert compute_worst_ticks(hold(1_000), age_s=600, equity_quote=1, share_quote=share_quote) == ticks


@pytest.mark.parametrize(
    ("size", "mark", "external", "ticks"),
    [
        (1_000, 9_000, 9_100, 9_100),
        (1_000, 9_000, 8_900, 9_000),
        (-1_000, 9_000, 9_100, 9_000),
        (-1, 9_000, 8_900, 8_900),
    ],
)
def test_worst_ticks__nothing_left__the_better_of_both_prices(size: int, mark: int, external: int, ticks: int) -> None:
    holding = hold(size, mark_ticks=mark, external_ticks=external)

    assert compute_worst_ticks(holding, age_s=10**6, equity_quote=0, share_quote=0) == ticks


@pytest.mark.parametrize(
    ("size", "worst", "expected"),
    [
        # band of 9,000: 8,100 to 9,900
        (1, 8_000, (8_100, True)), (1, 9_900, (9_900, True)), (1, 9_901, (9_901, False)),
        (-1, 10_000, (9_900, True)), (-1, 8_100, (8_100, True)), (-1, 8_099, (8_099, False)),
    ],
)  # fmt: skip
def test_into_band__worst_price__toward_the_account_or_not_at_all(
    size: int, worst: int, expected: tuple[int, bool]
) -> None:
    assert draw_into_band(hold(size), worst) == expected


def test_allocate__equity_and_loss__floor_with_the_rest_to_the_last_market() -> None:
    """Margins 1 : 2 : 4 (lots x 900); order of the list, not of the markets, in the answer."""
    holdings = [
        hold(4_000, market_id=9), hold(1_000, market_id=2), hold(-2_000, market_id=5),
    ]  # fmt: skip

    assert allocate_quote(100, holdings) == (100 - 14 - 28, 14, 28)
    assert allocate_quote(-100, holdings) == (-100 + 15 + 29, -15, -29)


@pytest.mark.parametrize(
    ("size", "share", "ticks"),
    [
        (1_000, -100_000, 9_100), (1_000, -100_001, 9_101), (1_000, -99_999, 9_100), (1_000, 0, 9_000),
        (-1_000, -100_000, 8_900), (-1_000, -100_001, 8_899), (-1_000, -10**9, 1), (1, -(10**13), 2**40 - 1),
    ],
)  # fmt: skip
def test_bankruptcy_ticks__loss__rounded_against_the_counterparties(size: int, share: int, ticks: int) -> None:
    assert compute_bankruptcy_ticks(hold(size), share) == ticks


def test_bankruptcy_ticks__short_with_an_announced_dividend__is_valued_with_it() -> None:
    assert compute_bankruptcy_ticks(hold(-1_000, reserve_ticks=50), -100_000) == 8_950


@given(
    equity_ppm=st.integers(-50_000, 149_999), size=st.integers(10, 10**7), discount=st.integers(0, 675),
    fee_ppm=st.sampled_from([0, 1_000, 5_000]), is_long=st.booleans(), minimum=st.sampled_from([1, 10**7]),
)  # fmt: skip
def test_size__any_unhealthy_account__is_the_least_that_suffices(
    equity_ppm: int, size: int, discount: int, fee_ppm: int, is_long: bool, minimum: int
) -> None:
    """Solved in rationals: (margin x n p - equity) / (margin p - discount - fee price), then the next step."""
    holding = hold(size if is_long else -size, rules=replace(RULES, min_notional_quote=minimum))
    equity = 9_000 * size * equity_ppm // 10**6
    collateral = equity - holding.size_lots * 9_000 - holding.cushion_quote
    price = 9_000 - discount if is_long else 9_000 + discount

    lots = compute_size_lots(collateral, [holding], holding, price_ticks=price, fee_ppm=fee_ppm)

    def gap(closed: int) -> Fraction:
        fee = -(-closed * price * fee_ppm // 10**6)
        margin = -(-(size - closed) * 9_000 * 150_000 // 10**6)
        return Fraction(equity - closed * discount - fee - margin)

    assert 0 < lots <= size
    if lots < size:
        assert lots % 10 == 0
        assert gap(lots) >= 0
        assert gap(lots - 10) < 0
        assert (size - lots) * 9_000 >= minimum
    else:
        whole = (size - 1) // 10 * 10
        step = next((n for n in range(max(whole - 1_300, 0) // 10 * 10, whole + 1, 10) if n and gap(n) >= 0), None)
        # nothing less suffices, or what it leaves is dust
        assert step is None or (size - step) * 9_000 < minimum or gap(size // 10 * 10) < 0


def test_score__leverage_and_share_of_profit__in_ppm() -> None:
    """Sold 1,000 at 10,000, now 9,000: 10 % of what was paid; notional is 4.5 times an equity of 2,000,000."""
    assert compute_score(hold(-1_000), 2_000_000) == 450_000
    assert compute_score(hold(-1_000), 0) == 10**6 * 9_000_000 * 10**6 // 10_000_000
    assert compute_score(hold(1_000), 2_000_000) == 0
    assert compute_score(hold(-1_000, mark_ticks=10_000), 2_000_000) == 0
    # a profit too small for a score is one all the same; a score too large for its 64 bits is the largest
    assert compute_score(hold(-1, mark_ticks=9_999), 10**30) == 1
    assert compute_score(hold(-(10**12), cushion_quote=10**18), 1) == 2**64 - 1


@pytest.mark.parametrize(
    ("session", "usdc"),
    [(Session.REGULAR, 6_000_000), (Session.PRE, 3_000_000), (Session.OVERNIGHT, 3_000_000), (Session.CLOSED, 600_000),
     (Session.UNKNOWN, 600_000), (Session.DISRUPTED, 600_000)],
)  # fmt: skip
def test_cap__session__per_minute(session: Session, usdc: int) -> None:
    assert compute_cap_quote(session) == usdc * USDC


# Accounts.


def build_state(*, mark: int = 10_000, collateral: int, insurance: int = 0) -> tuple[ChainState, LiquidationsState]:
    """Return a market at a price, the attacker funded with `collateral`, everybody else rich."""
    state, ladder = ChainState(), LiquidationsState(address=LIQUIDATIONS)
    list_market(state, 1)
    for session in Session:
        set_rules(state, 1, session, RULES.pack())
    set_mark(state, mark)
    apply_deposit(state, ATTACKER, collateral)
    for account in (ACCOMPLICE, KEEPER, HONEST):
        apply_deposit(state, account, 10**6 * USDC)
    if insurance:
        apply_deposit(state, ladder.insurance_id(1), insurance)
    ladder.taker_since_s[ACCOMPLICE] = NOW_S - 1
    return state, ladder


def set_mark(state: ChainState, mark: int, external: int = 0) -> None:
    state.prices[1] = PriceWord(
        mark_ticks=mark, index_ticks=mark, external_ticks=external or mark, external_time_s=NOW_S, mark_time_s=NOW_S,
        session=Session.REGULAR, epoch=1, session_minutes=60_000,
    ).pack()  # fmt: skip


def trade(state: ChainState, buyer: int, seller: int, lots: int, price: int) -> None:
    """Write what a fill would: deltas open nothing."""
    index, totals = state.index(1), state.totals_of(1)
    for account, change in ((buyer, lots), (seller, -lots)):
        old = state.position(account, 1)
        size, entry = old.size_lots + change, old.entry_quote + change * price
        word = PositionWord(size_lots=size, entry_quote=entry, index_snapshot_e12=index_of_side(index, size))
        state.positions[position_key(account, 1)] = word.pack()
        opened = replace(state.account(account), open_markets=(1, 0, 0, 0, 0, 0))
        state.accounts[account_key(account)] = opened.pack()
    state.totals[1] = replace(totals, open_interest_lots=totals.open_interest_lots + lots).pack()


def wealth(state: ChainState, *accounts: int, mark: int) -> int:
    total = 0
    for account in accounts:
        position = state.position(account, 1)
        total += state.account(account).collateral_quote + position.size_lots * mark - position.entry_quote
    return total


@given(
    lots=st.integers(1, 10**5).map(lambda n: 10 * n), is_long=st.booleans(), margin_ppm=st.integers(0, 99_999),
    ages=st.lists(st.integers(0, 2_000), min_size=1, max_size=4), wanted=st.integers(1, 10**6),
    insurance=st.integers(0, 10**6 * USDC), external_ppm=st.integers(-90_000, 90_000),
)  # fmt: skip
def test_self_liquidation__open_then_liquidate_by_an_accomplice__nobody_gains(
    lots: int, is_long: bool, margin_ppm: int, ages: list[int], wanted: int, insurance: int, external_ppm: int
) -> None:
    """T44, metamorphic: at the mark, attacker and accomplice never own more after than before, whatever they try.

    The attacker stands anywhere from nothing to just below maintenance margin at the mark.
    """
    mark = 10_000
    state, ladder = build_state(collateral=lots * mark * margin_ppm // 10**6, insurance=insurance)
    trade(state, *((ATTACKER, HONEST) if is_long else (HONEST, ATTACKER)), lots, mark)
    set_mark(state, mark, mark * (10**6 + external_ppm) // 10**6)
    before = wealth(state, ATTACKER, ACCOMPLICE, mark=mark)
    insured = state.account(ladder.insurance_id(1)).collateral_quote
    now_s = NOW_S
    try:
        liquidations.flag(state, ATTACKER, now_s)
    except DirectRefused:
        return

    for age_s in ages:
        now_s += 301 + age_s
        try:
            liquidations.liquidate(
                state, ladder, taker_id=ACCOMPLICE, account_id=ATTACKER, market_id=1, lots=wanted // 10 * 10,
                now_s=now_s,
            )  # fmt: skip
        except DirectRefused:
            continue
        assert wealth(state, ATTACKER, ACCOMPLICE, mark=mark) <= before
        assert state.account(ladder.insurance_id(1)).collateral_quote >= insured
        state.validate_invariants()


@given(
    sizes=st.lists(st.integers(10, 10**5), min_size=2, max_size=6),
    margins=st.lists(st.integers(200_000, 900_000), min_size=6, max_size=6),
    fall_ppm=st.integers(100_000, 900_000), insurance=st.integers(0, 10**5 * USDC), is_long=st.booleans(),
)  # fmt: skip
def test_deleveraging__any_market__conserves_and_leaves_nobody_owing(
    sizes: list[int], margins: list[int], fall_ppm: int, insurance: int, is_long: bool
) -> None:
    """One account against many; whatever happens to the price, all value is where it was or in the pot."""
    state, ladder = build_state(collateral=sum(sizes) * 10_000 * 200_000 // 10**6, insurance=insurance)
    others = [build_account_id(bytes([0x40 + number]) * 20, 0) for number in range(len(sizes))]
    for account, size, margin in zip(others, sizes, margins, strict=False):
        apply_deposit(state, account, size * 10_000 * margin // 10**6)
        trade(state, *((ATTACKER, account) if is_long else (account, ATTACKER)), size, 10_000)
    sign = -1 if is_long else 1
    mark = 10_000 * (10**6 + sign * fall_ppm) // 10**6
    set_mark(state, mark)
    try:
        adl_id = deleveraging.open_adl(state, ladder, ATTACKER, 1, NOW_S)
    except DirectRefused:
        return
    for account in others:
        deleveraging.nominate(state, ladder, adl_id, account, NOW_S)

    closed = deleveraging.execute_adl(state, ladder, adl_id, NOW_S + 901)

    state.validate_invariants()
    # winners can pay what they won: everything closes, the bankrupt account has nothing and owes nothing
    assert closed == sum(sizes)
    assert state.account(ATTACKER).collateral_quote == 0
    assert state.totals_of(1).open_interest_lots == 0
    assert 0 <= state.totals_of(1).pot_quote < sum(sizes)
    assert state.account(ladder.insurance_id(1)).collateral_quote == insurance
    for account, size, margin in zip(others, sizes, margins, strict=False):
        assert state.account(account).collateral_quote >= size * 10_000 * margin // 10**6


@given(
    loss=st.integers(1, 10**12),
    held=st.integers(0, 10**12),
    lots=st.integers(0, 10**6),
    index=st.integers(-(10**30), 10**30),
)
def test_cover__any_loss__taken_by_insurance_holders_and_pot_exactly(
    loss: int, held: int, lots: int, index: int
) -> None:
    """What holders of both sides pay when touched is at least what was spread, and hardly a unit each above it."""
    state, ladder = build_state(collateral=0, insurance=held)
    apply_deposit(state, HONEST, 10**9 * USDC)
    if index % 2:
        state.indices[1] = IndexWord(long_index_e12=index % 2**80, short_index_e12=-(index % 2**79)).pack()
    if lots:
        trade(state, KEEPER, HONEST, lots, 10_000)
    # owed by the attacker, to the accomplice
    apply_deltas(
        state,
        1,
        [Delta(account_id=ATTACKER, collateral_quote=-loss), Delta(account_id=ACCOMPLICE, collateral_quote=loss)],
    )

    liquidations.cover(state, ladder, ATTACKER, 1, NOW_S)

    assert state.account(ATTACKER).collateral_quote == 0
    paid = held - state.account(ladder.insurance_id(1)).collateral_quote
    assert paid == min(loss, held * 20 // 100 if lots else held)
    assert state.totals_of(1).pot_quote == -(loss - paid)
    if lots:
        deltas = [Delta(account_id=KEEPER), Delta(account_id=HONEST)]
        apply_deltas(state, 1, deltas)
        pot = state.totals_of(1).pot_quote
        assert pot <= 2 + 2 * lots // 10**12
        # all of it came back, unless a step of one price was not enough
        assert pot >= 0 or (loss - paid) > 2 * lots * 10_000 - 2
    state.validate_invariants()
