"""The liquidation price: worked out by hand, and the last healthy mark whatever the account holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterbell.domain.liquidation import MAX_MARK_TICKS, compute_liquidation_ticks
from afterbell.domain.margin import compute_account_health, compute_position_health
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.words import IndexWord, PositionWord, PriceWord
from tests.domain.test_prices import RULES


@pytest.mark.parametrize(
    ("size_lots", "entry_quote", "rest_quote", "margin_ppm", "expected"),
    [
        # Long 100 at 10,000, 50,000 quote beside it: 950,000 lost at p, 100 p x 0.95 = 950,000 at 10,000.
        (100, 1_000_000, 50_000, 50_000, 10_000),
        (100, 1_000_000, 50_001, 50_000, 10_000),  # 949,999 / 95 = 9,999.99: 9,999 would be one quote short
        (100, 1_000_000, 50_095, 50_000, 9_999),
        # Short 100 at 10,000: 1,050,000 / 105 = 10,000.
        (-100, -1_000_000, 50_000, 50_000, 10_000),
        (-100, -1_000_000, 49_999, 50_000, 9_999),
        (-100, -1_000_000, 50_105, 50_000, 10_001),
        # Maintenance is rounded up: 3 lots at 7 owe ceil(21 x 1 / 1e6) = 1, so 21 - 1 >= 20 holds and 18 - 1 does not.
        (3, 20, 0, 1, 7),
        (-3, -22, 0, 1, 7),
        # Paid for in full, or owing more than any price returns.
        (100, 1_000_000, 1_000_000, 50_000, None),
        (100, 1_000_000, 999_905, 50_000, None),  # healthy at 1; there is no mark of 0
        (100, 1_000_000, 999_810, 50_000, 2),
        (1, 0, -(10**12), 50_000, None),
        (-1, -1, 0, 50_000, None),  # 1 / 1.05: not even at 1
        (-1, -(10**12), 0, 50_000, None),
        (5, 100, 0, 1_000_000, None),  # a margin of all of it: the price does not matter
    ],
)
def test_liquidation__worked_out_by_hand__is_this(
    size_lots: int, entry_quote: int, rest_quote: int, margin_ppm: int, expected: int | None
) -> None:
    position = PositionWord(size_lots=size_lots, entry_quote=entry_quote)

    actual = compute_liquidation_ticks(
        position, pending_quote=0, maintenance_margin_ppm=margin_ppm, rest_quote=rest_quote
    )

    assert actual == expected


def test_liquidation__funding_owed__comes_sooner() -> None:
    """50,000 beside a long of 100 from 10,000, 950 owed: 950,950 / 95 = 10,010."""
    position = PositionWord(size_lots=100, entry_quote=1_000_000)

    actual = compute_liquidation_ticks(position, pending_quote=950, maintenance_margin_ppm=50_000, rest_quote=50_000)

    assert actual == 10_010


def test_liquidation__above_a_tier__comes_sooner() -> None:
    """Long 100,000 lots bought at 10,000 = 1,000 USDC, 50 USDC beside it; maintenance 4 %, and 4 % more above 500 USDC.

    At p: 100,000 p - 950,000,000 >= 4,000 p + (100,000 p - 500,000,000) x 4 % = 8,000 p - 20,000,000, so
    92,000 p >= 930,000,000: p >= 10,108.69…, and a short from there with 50 USDC: 1,050,000,000 + 20,000,000 >=
    108,000 p: p <= 9,907.4…; with a reserve of 7 ticks that many sooner.
    """
    long, short = (PositionWord(size_lots=lots, entry_quote=lots * 10_000) for lots in (100_000, -100_000))
    tiered = {"maintenance_margin_ppm": 40_000, "tiers": ((500, 40_000),), "pending_quote": 0, "rest_quote": 50 * 10**6}

    assert compute_liquidation_ticks(long, **tiered) == 10_109
    assert compute_liquidation_ticks(short, **tiered) == 9_907
    assert compute_liquidation_ticks(short, **tiered, reserve_ticks=7) == 9_900
    assert compute_liquidation_ticks(long, **tiered, reserve_ticks=7) == 10_109


def at(ticks: int) -> PriceWord:
    return PriceWord(mark_ticks=ticks, external_ticks=ticks, epoch=1, session_minutes=1)


def is_healthy(
    position: PositionWord,
    index: IndexWord,
    rest: list[PositionWord],
    collateral_quote: int,
    margin_ppm: int,
    mark: int,
) -> bool:
    """Ask the account's own rule, with the external price at the mark."""
    rules = replace(RULES, initial_margin_ppm=margin_ppm, maintenance_margin_ppm=margin_ppm, max_age_s=0)
    healths = [
        compute_position_health(held, at(ticks), rules, index, 0)
        for held, ticks in [(position, mark), *((other, 5_000) for other in rest)]
    ]
    health = compute_account_health(collateral_quote, healths)
    return health.equity_quote >= health.maintenance_margin_quote


positions = st.builds(
    PositionWord,
    size_lots=st.integers(-(10**6), 10**6).filter(bool),
    entry_quote=st.integers(-(10**11), 10**11),
    index_snapshot_e12=st.integers(-(10**13), 10**13),
)


@given(
    position=positions,
    rest=st.lists(positions, max_size=2),
    collateral_quote=st.integers(-(10**11), 10**12),
    margin_ppm=st.integers(1, 1_000_000),
    index_e12=st.integers(-(10**13), 10**13),
)
def test_liquidation__any_account__healthy_there_and_not_one_tick_further(
    position: PositionWord, rest: list[PositionWord], collateral_quote: int, margin_ppm: int, index_e12: int
) -> None:
    index = IndexWord(long_index_e12=index_e12, short_index_e12=-index_e12)

    def healthy(mark: int) -> bool:
        return is_healthy(position, index, rest, collateral_quote, margin_ppm, mark)

    rules = replace(RULES, maintenance_margin_ppm=margin_ppm, max_age_s=0)
    others = compute_account_health(
        collateral_quote,
        [compute_position_health(held, at(5_000), rules, index, 0) for held in rest],
    )

    ticks = compute_liquidation_ticks(
        position,
        pending_quote=compute_pending_quote(position, index),
        maintenance_margin_ppm=margin_ppm,
        rest_quote=others.equity_quote - others.maintenance_margin_quote,
    )

    if ticks is None:
        assert healthy(1) == healthy(MAX_MARK_TICKS)
    else:
        assert healthy(ticks)
        assert not healthy(ticks - 1 if position.size_lots > 0 else ticks + 1)
