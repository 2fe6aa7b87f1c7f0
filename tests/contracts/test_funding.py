"""Funding on the deployed contracts: whoever pays, somebody receives, and the pot keeps what rounding leaves.

One lot at 10,000 ticks pays 0.05136875 quote an hour by carry alone; 1,000 lots 51.36875 quote.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.words import IndexWord
from tests.contracts.test_sessions import open_venue
from tests.contracts.venue import MAKER, RULES, TAKER, THIRD, TICKS, USDC, Settled, Venue, account_of
from tests.support.chain import SEQUENCER

HOUR_E12 = 51_368_750_000
CALM = replace(RULES, mark_step_ppm=0, max_age_s=0)
"""No age: hours pass without reports. No mark step: nothing but funding moves."""


@pytest.fixture
def venue() -> Venue:
    return Venue.open(n_markets=1, rules=CALM)


def accrue(venue: Venue, seconds: int, premium_ppb: int = 0, **row: Any) -> Settled:
    """Let time pass and settle a row that accrues."""
    venue.wait(seconds)
    first = PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS, premium_ppb=premium_ppb, funding=1)
    return venue.settle(rows=[replace(first, **row)])


def index(venue: Venue) -> IndexWord:
    return IndexWord.unpack(venue.chain.call("Clearinghouse", "index_word", 1))


def test_funding__of_an_hour__long_pays_short_receives_and_the_pot_keeps_the_rest(venue: Venue) -> None:
    """51.36875 quote: the long owes 52, the short is owed 51; one stays in the pot."""
    accrue(venue, 0)
    venue.trade(1_000, maker_buys=True)
    settled = accrue(venue, 3_600)
    assert (index(venue).long_index_e12, index(venue).short_index_e12) == (HOUR_E12, HOUR_E12)
    assert [event["market"] for event in settled.named("IndexChanged")] == [1]
    entries = [venue.position(account_of(key)).entry_quote for key in (MAKER, TAKER)]

    venue.trade(10, maker_buys=True, maker={"size_lots": 100}, taker={"size_lots": 100})

    # the fill adds notional and its fees of 100 and 450 ppm of 100,000 quote
    found = [venue.position(account_of(key)).entry_quote for key in (MAKER, TAKER)]
    assert found[0] - entries[0] == 100_000 + 10 + 52
    assert found[1] - entries[1] == -100_000 + 45 - 51
    assert venue.totals().pot_quote == 1


def test_funding__row_that_does_not_ask__leaves_clock_and_indices(venue: Venue) -> None:
    accrue(venue, 0)
    venue.trade(1_000)
    before = index(venue)

    for funding in (0, 2):
        accrue(venue, 600, funding=funding)

    assert index(venue) == before


@pytest.mark.parametrize(("premium_ppb", "rate_ppb"), [(10**9, 20_000_000), (-(2**31), -20_000_000)])
def test_funding__above_every_premium__is_capped_by_elapsed_time(venue: Venue, premium_ppb: int, rate_ppb: int) -> None:
    """2 % of 10,000 ticks in 8 hours is 200 quote a lot, whatever the sequencer says, and however often it says it."""
    accrue(venue, 0)
    venue.trade(1_000)
    for _ in range(10):
        accrue(venue, 360, premium_ppb)

    assert index(venue).long_index_e12 == rate_ppb * 10_000 * 10**12 * 3_600 // (10**9 * 28_800)

    accrue(venue, 0, premium_ppb)
    assert index(venue).long_index_e12 == rate_ppb * 10_000 * 10**12 * 3_600 // (10**9 * 28_800)


def test_funding__batches_at_one_second__accrue_once(venue: Venue) -> None:
    accrue(venue, 0)
    venue.trade(1_000)
    accrue(venue, 3_600)
    for _ in range(5):
        accrue(venue, 0)

    assert index(venue).long_index_e12 == HOUR_E12


def test_funding__flip__settles_the_side_that_was_before_it_changes(venue: Venue) -> None:
    """Long 1,000 for an hour, then short 500: the hour is paid as a long, the next is received as a short."""
    accrue(venue, 0)
    venue.trade(1_000, maker_buys=True)
    accrue(venue, 3_600)
    venue.trade(1_500, maker={"size_lots": 1_500}, taker={"size_lots": 1_500})

    position = venue.position(account_of(MAKER))
    assert (position.size_lots, position.index_snapshot_e12) == (-500, HOUR_E12)
    collateral = venue.account(account_of(MAKER)).collateral_quote
    accrue(venue, 3_600)
    venue.trade(500, maker_buys=True, maker={"size_lots": 500}, taker={"size_lots": 500})

    # 10,000 USDC - fees of 100 ppm on 10, 15 and 5 USD x 1e6 - 52 owed + 25 received of 25.684375
    assert collateral == 10_000 * USDC
    assert venue.account(account_of(MAKER)).collateral_quote == 10_000 * USDC - 1_000 - 1_500 - 500 - 52 + 25
    assert venue.totals().open_interest_lots == 0


def test_funding__over_a_weekend_of_72_hours__is_not_made_up_for() -> None:
    """T54. A row just before Friday's close, the next twenty minutes into Monday: 3,599 and 1,200 seconds count."""
    venue = open_venue([(-100, 2), (3_600, 5), (3_600 + 72 * 3_600, 2), (10**6, 0)])
    venue.chain.list_market(1, CALM.pack())
    for key in (MAKER, TAKER):
        venue.chain.deposit(account_of(key), 10_000 * USDC)
    venue.set_prices({1: TICKS})
    accrue(venue, 0)
    venue.trade(1_000)
    accrue(venue, 3_599)
    assert index(venue).long_index_e12 == 51_354_480_902

    accrue(venue, 1 + 72 * 3_600 + 1_200)

    assert index(venue).long_index_e12 == 51_354_480_902 + 17_122_916_666


def test_funding__while_closed__adds_nothing_row_after_row() -> None:
    """A day under an override to CLOSED, which has no funding here; the second after it counts again."""
    venue = Venue.open(n_markets=1, rules=CALM)
    venue.chain.write_word("rules", 1 << 8 | 5, replace(CALM, is_funding_on=False).pack())
    accrue(venue, 0)
    venue.trade(1_000)
    accrue(venue, 3_600)
    until_s = venue.chain.time_s + 86_400
    venue.chain.call("PriceOracle", "override_session", 1, 5, until_s, sender=SEQUENCER)

    for _ in range(4):
        accrue(venue, 6 * 3_600)
        assert (venue.price().session, index(venue).long_index_e12) == (5, HOUR_E12)

    accrue(venue, 1)
    assert (venue.price().session, index(venue).long_index_e12) == (2, HOUR_E12 + 14_269_097)


def test_funding__position_idle_for_ten_years__can_still_be_closed(venue: Venue) -> None:
    """T52: at the cap for 10,950 rows of eight hours; written at once, as the indices would stand."""
    accrue(venue, 0)
    venue.trade(1_000, maker_buys=True)
    years = 10_950 * 200 * 10**12
    venue.chain.write_word("indices", 1, IndexWord(long_index_e12=years, short_index_e12=years).pack())

    settled = venue.trade(
        1_000, maker={"reduce_only": True, "size_lots": 1_000}, taker={"reduce_only": True, "size_lots": 1_000}
    )

    # 2,190,000 quote a lot: the long owes 2,190 USDC of its 10,000
    assert settled.fills == [0]
    assert venue.account(account_of(MAKER)).collateral_quote == (10_000 - 2_190) * USDC - 2_000
    assert venue.account(account_of(TAKER)).collateral_quote == (10_000 + 2_190) * USDC - 9_000


@pytest.mark.parametrize("seed", range(4))
def test_funding__random_trades_and_premiums__sums_to_zero_through_the_pot(seed: int) -> None:
    """The venue checks its books after every batch; here everybody leaves, and the pot has a unit a touch at most."""
    random = Random(seed)
    venue = Venue.open(n_markets=1, rules=CALM)
    venue.chain.deposit(account_of(THIRD), 10_000 * USDC)
    accrue(venue, 0)
    n_touches = 0
    for _ in range(25):
        accrue(venue, random.randrange(4 * 3_600), random.randrange(-(2**31), 2**31))
        maker, taker = random.sample([MAKER, TAKER, THIRD], 2)
        is_buy = random.random() < 0.5
        lots = 10 * random.randrange(10, 60)
        orders = [
            venue.order(maker, is_buy=is_buy, size_lots=lots),
            venue.order(taker, is_buy=not is_buy, size_lots=lots),
        ]
        n_touches += 2 * (venue.settle(orders, [(0, 1, lots)]).fills == [0])
    assert n_touches > 20
    for key in (MAKER, TAKER, THIRD):
        for other in (MAKER, TAKER, THIRD):
            a, b = venue.position(account_of(key)).size_lots, venue.position(account_of(other)).size_lots
            lots = min(a, -b)
            if lots > 0:
                orders = [
                    venue.order(key, is_buy=False, size_lots=lots, reduce_only=True),
                    venue.order(other, is_buy=True, size_lots=lots, reduce_only=True),
                ]
                assert venue.settle(orders, [(0, 1, lots)]).fills == [0]
                n_touches += 2

    totals, batch = venue.totals(), venue.batch()
    assert totals.open_interest_lots == 0
    assert totals.net_entry_quote == 0
    assert 0 <= totals.pot_quote <= n_touches
    held = sum(venue.account(account_of(key)).collateral_quote for key in (MAKER, TAKER, THIRD))
    assert held + batch.fees_quote + totals.pot_quote == 30_000 * USDC
