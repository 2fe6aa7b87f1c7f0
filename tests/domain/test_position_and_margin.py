import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain import units
from afterbell.domain.fees import compute_fee_quote
from afterbell.domain.margin import (
    AccountHealth,
    compute_account_health,
    compute_margin_quote,
    compute_margins_quote,
    compute_position_health,
    is_fill_covered,
    is_withdrawal_covered,
)
from afterbell.domain.position import apply_fill, compute_pending_quote, is_reducing
from afterbell.domain.words import IndexWord, PositionWord, PriceWord
from tests.domain.test_prices import RULES

VECTORS = Path(__file__).parents[1] / "vectors"
MARGIN = json.loads((VECTORS / "margin.json").read_text())["positions"]
ROUNDING = json.loads((VECTORS / "rounding.json").read_text())["divisions"]
FLAT = IndexWord()


@pytest.mark.parametrize("vector", MARGIN, ids=lambda vector: vector["why"][:40])
def test_position_health__worked_out_by_hand__is_this(vector: dict) -> None:
    number = {key: int(value) for key, value in vector.items() if key != "why"}
    position = PositionWord(
        size_lots=number["size_lots"], entry_quote=number["entry_quote"], index_snapshot_e12=number["snapshot_e12"]
    )
    index = IndexWord(long_index_e12=number["index_e12"], short_index_e12=number["index_e12"])
    price = PriceWord(
        mark_ticks=number["mark_ticks"], external_ticks=number["external_ticks"], epoch=1, session_minutes=1
    )
    rules = replace(RULES, settlement_margin_ppm=number["margin_ppm"], max_age_s=0)

    health = compute_position_health(position, price, rules, index, 0)

    assert compute_pending_quote(position, index) == number["pending_quote"]
    assert health.equity_quote == number["equity_quote"]
    assert health.settlement_margin_quote == number["margin_quote"]


@pytest.mark.parametrize("vector", ROUNDING)
def test_division__golden_vector__rounds_as_its_name_says(vector: dict) -> None:
    numerator, denominator = int(vector["numerator"]), int(vector["denominator"])

    assert units.div_down(numerator, denominator) == int(vector["down"])
    assert units.div_up(numerator, denominator) == int(vector["up"])
    assert units.div_toward_zero(numerator, denominator) == int(vector["toward_zero"])


def test_fee__not_a_whole_quote_unit__rounds_up() -> None:
    assert compute_fee_quote(1_000_000, 450) == 450
    assert compute_fee_quote(1_000_001, 450) == 451
    assert compute_fee_quote(1, 1) == 1
    assert compute_fee_quote(10**12, 0) == 0


def test_fill__open_add_reduce_flip_close__keeps_the_ledger() -> None:
    """Buy 10 at 100, 5 more at 110, sell 12 at 120, sell 6 at 90 (flip to -3), buy 3 at 80; fee 1 each time.

    Paid 1000 + 550 - 1440 - 540 + 240 = -190, fees 5: the ledger ends at -185, so 185 are realised.
    """
    position = PositionWord()
    seen = []
    for change, price in ((10, 100), (5, 110), (-12, 120), (-6, 90), (3, 80)):
        effect = apply_fill(position, size_change_lots=change, price_ticks=price, fee_quote=1, index=FLAT)
        position = effect.position
        seen.append((position.size_lots, position.entry_quote, effect.realised_quote))

    assert seen == [(10, 1_001, 0), (15, 1_552, 0), (3, 113, 0), (-3, -426, 0), (0, 0, 185)]


def test_fill__funding_since_the_last_touch__is_paid_into_entry_and_pot() -> None:
    """3 lots x 0.5 = 1.5: the payer pays 2, the receiver gets 1, and 1 stays in the pot."""
    index = IndexWord(long_index_e12=5 * 10**11, short_index_e12=5 * 10**11)
    long = apply_fill(
        PositionWord(size_lots=3, entry_quote=30), size_change_lots=1, price_ticks=10, fee_quote=0, index=index
    )
    short = apply_fill(
        PositionWord(size_lots=-3, entry_quote=-30), size_change_lots=-1, price_ticks=10, fee_quote=0, index=index
    )

    assert (long.pending_quote, long.position.entry_quote, long.position.index_snapshot_e12) == (2, 42, 5 * 10**11)
    assert (short.pending_quote, short.position.entry_quote) == (-1, -41)


def test_fill__flip__snapshots_the_index_of_the_new_side() -> None:
    index = IndexWord(long_index_e12=7 * 10**12, short_index_e12=-9 * 10**12)
    flipped = apply_fill(
        PositionWord(size_lots=1, index_snapshot_e12=7 * 10**12),
        size_change_lots=-2, price_ticks=1, fee_quote=0, index=index,
    )  # fmt: skip
    closed = apply_fill(
        PositionWord(size_lots=1, index_snapshot_e12=7 * 10**12),
        size_change_lots=-1, price_ticks=1, fee_quote=0, index=index,
    )  # fmt: skip

    assert flipped.position.index_snapshot_e12 == -9 * 10**12
    assert closed.position == PositionWord(index_snapshot_e12=7 * 10**12)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [(5, 4, True), (5, 0, True), (5, 5, False), (5, 6, False), (5, -1, False), (-5, -4, True), (-5, 4, False),
     (0, 1, False)],
)  # fmt: skip
def test_reducing__old_and_new_size__means_less_on_the_same_side(old: int, new: int, expected: bool) -> None:
    assert is_reducing(old, new) is expected


@given(st.integers(1, 2**40), st.integers(1, 2**33), st.integers(0, 10**6))
def test_margin__split_in_two__never_asks_less(size_lots: int, price_ticks: int, ppm: int) -> None:
    """Requirements round up per position, so holding one position is never dearer than holding its halves."""
    whole = compute_margin_quote(size_lots * price_ticks, ppm)
    half = size_lots // 2
    parts = compute_margin_quote(half * price_ticks, ppm) + compute_margin_quote((size_lots - half) * price_ticks, ppm)

    assert whole <= parts <= whole + 1


@pytest.mark.parametrize(
    ("notional_quote", "expected"),
    [
        # 5 % alone up to 1 USDC; above it 1 % more; above 3 USDC 2 % more still. Weight 1.
        (1_000_000, 50_000),
        (1_000_001, 50_001),  # 50,000.05 + 0.01, up
        (3_000_000, 170_000),  # 150,000 + 20,000
        (4_000_000, 250_000),  # 200,000 + 30,000 + 20,000
        (4_000_050, 250_004),  # 200,002.5 + 30,000.5 + 20,001
    ],
)
def test_margin__across_two_tiers__adds_only_to_what_lies_above(notional_quote: int, expected: int) -> None:
    assert compute_margin_quote(notional_quote, 50_000, ((1, 10_000), (3, 20_000))) == expected


def test_margins__with_tiers__count_twice_in_settlement_and_initial() -> None:
    """4 USDC, 1 % more above 1 USDC = 30,000: 10 % + 60,000, 6 % + 60,000, 5 % + 30,000."""
    rules = replace(RULES, tiers=((1, 10_000),))

    assert compute_margins_quote(4_000_000, rules) == (460_000, 300_000, 230_000)


def test_position_health__dividend_reserved__shorts_alone_are_valued_above_it() -> None:
    """10 lots at 100, 7 ticks reserved: the short owes 70 more and its notional is 1,070."""
    price = PriceWord(mark_ticks=100, external_ticks=100, epoch=1, session_minutes=1)
    index = IndexWord(reserve_ticks=7)
    long, short = (
        compute_position_health(PositionWord(size_lots=lots, entry_quote=lots * 100), price, RULES, index, 0)
        for lots in (10, -10)
    )

    assert (long.equity_quote, long.notional_quote) == (0, 1_000)
    assert (short.equity_quote, short.notional_quote) == (-70, 1_070)


def health(equity: int, settlement: int, maintenance: int, withdrawal: int = 0) -> AccountHealth:
    return AccountHealth(
        equity_quote=equity, initial_margin_quote=0, settlement_margin_quote=settlement,
        maintenance_margin_quote=maintenance, withdrawal_margin_quote=withdrawal, is_stale=False,
    )  # fmt: skip


def test_fill_covered__equity_at_the_settlement_margin__passes_and_one_less_does_not() -> None:
    before = health(1_000, 0, 0)

    assert is_fill_covered(before, health(60, 60, 50), reducing=False)
    assert not is_fill_covered(before, health(59, 60, 50), reducing=False)


def test_fill_covered__reducing_below_settlement__must_not_worsen_the_ratio() -> None:
    """30 over 100 before; 15 over 50 after is the same ratio, 14 over 50 is worse, and nobody ends negative."""
    before = health(30, 120, 100)

    assert is_fill_covered(before, health(15, 60, 50), reducing=True)
    assert not is_fill_covered(before, health(14, 60, 50), reducing=True)
    assert not is_fill_covered(before, health(15, 60, 50), reducing=False)
    assert not is_fill_covered(health(-30, 120, 100), health(-1, 60, 50), reducing=True)
    assert is_fill_covered(health(-30, 120, 100), health(0, 60, 50), reducing=True)


def test_withdrawal__tenth_of_notional_above_initial_margin__is_what_must_stay() -> None:
    """Long 1,005 lots at 1: initial 1 % is 11, a tenth is 100.5, rounded up to 101; 200 of equity leave 99 to go."""
    price = PriceWord(mark_ticks=1, external_ticks=1, epoch=1, session_minutes=1)
    rules = replace(RULES, initial_margin_ppm=10_000, max_age_s=0)
    position = compute_position_health(PositionWord(size_lots=1_005, entry_quote=1_005), price, rules, FLAT, 0)
    account = compute_account_health(200, [position])

    assert account.withdrawable_quote == 99
    assert is_withdrawal_covered(account, 99)
    assert not is_withdrawal_covered(account, 100)
    assert account.free_collateral_quote == 189
