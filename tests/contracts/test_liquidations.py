"""Who may be liquidated, when, at what price and how far: flags, both prices, sizes, and orders of batches.

A long of 1,000,000 lots bought at 10,000 ticks with 2,000 USDC of collateral; maintenance 10 %, settlement 15 %. At a
mark p its equity is 2,000,000,000 - (10,000 - p) x 1,000,000 and its maintenance 100,000 p: below it from 8,888 down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import pytest

from afterbell.domain.batch import build_liquidation_record
from afterbell.domain.codes import StatusCode
from tests.contracts.ladder import (
    HOUR_S,
    KEEPER,
    KEEPER_ID,
    LADDER_RULES,
    LAG_S,
    LONG,
    LONG_ID,
    LOTS,
    OTHER,
    OTHER_ID,
    SHORT,
    SHORT_ID,
    Ladder,
    open_pair,
)
from tests.contracts.venue import USDC, account_of, refused
from tests.support.chain import OUTSIDER

SICK: Final = 8_888
HEALTHY: Final = 8_889
HALTED, CORPORATE_ACTION, CLOSED = 6, 7, 5


@pytest.fixture(scope="module")
def shared() -> Ladder:
    return open_pair(insurance_quote=1_000 * USDC)


@pytest.fixture
def ladder(shared: Ladder) -> Iterator[Ladder]:
    """Lend the venue; whatever a test does is undone."""
    with shared.venue.chain.undone():
        yield shared.lent()


def flag_and_wait(ladder: Ladder, account: int = LONG_ID, *, seconds: int = LAG_S + 1) -> None:
    ladder.flag(account)
    ladder.wait(seconds)


# Who.


@pytest.mark.parametrize(("mark", "external"), [(HEALTHY, HEALTHY), (SICK, HEALTHY), (HEALTHY, SICK)])
def test_flag__healthy_at_one_of_both_prices__refused(ladder: Ladder, mark: int, external: int) -> None:
    ladder.put_price(mark, external)

    with refused("liquidations: healthy"):
        ladder.flag(LONG_ID)


def test_flag__below_maintenance_at_both__starts_the_clock_once(ladder: Ladder) -> None:
    ladder.put_price(SICK)

    ladder.flag(LONG_ID)

    assert ladder.named("AccountFlagged") == [{"account": LONG_ID, "flagged_at_s": ladder.now_s}]
    with refused("liquidations: flagged"):
        ladder.flag(LONG_ID)


def test_flag__account_without_positions__refused(ladder: Ladder) -> None:
    with refused("liquidations: healthy"):
        ladder.flag(KEEPER_ID)


@pytest.mark.parametrize("session", [HALTED, CORPORATE_ACTION])
def test_flag__market_halted__refused(ladder: Ladder, session: int) -> None:
    ladder.put_price(SICK, session=session)

    with refused("liquidations: healthy"):
        ladder.flag(LONG_ID)


def test_flag__price_older_than_its_session_allows__refused(ladder: Ladder) -> None:
    ladder.put_price(SICK, age_s=60)
    with ladder.venue.chain.undone():
        ladder.flag(LONG_ID)
    ladder.put_price(SICK, age_s=61)

    with refused("liquidations: healthy"):
        ladder.flag(LONG_ID)


def test_flag__dividend_announced__a_short_is_worth_less_by_it(ladder: Ladder) -> None:
    """A short worth 30,000,000,000 - 1,000,000 p holds 100,000 p up to 27,272; with 100 announced up to 27,172."""
    ladder.put_price(27_200)
    with refused("liquidations: healthy"):
        ladder.flag(SHORT_ID)
    ladder.venue.chain.write_word("indices", 1, 100 << 232)
    ladder.sync()

    ladder.flag(SHORT_ID)


def test_flag__three_hours_old__counts_as_none(ladder: Ladder) -> None:
    """Who recovered in between without anybody looking starts at one percent and SETTLE_LAG again."""
    ladder.put_price(SICK)
    flag_and_wait(ladder, seconds=3 * HOUR_S)
    with refused("liquidations: flagged"):
        ladder.flag(LONG_ID)
    ladder.wait(1)

    with refused("liquidations: too early"):
        ladder.liquidate(LONG_ID)
    ladder.flag(LONG_ID)

    assert ladder.state.flags[LONG_ID] == ladder.now_s


@pytest.mark.parametrize(("mark", "external"), [(SICK, HEALTHY), (HEALTHY, SICK)])
def test_unflag__healthy_at_one_price__forgets(ladder: Ladder, mark: int, external: int) -> None:
    ladder.put_price(SICK)
    ladder.flag(LONG_ID)
    with refused("liquidations: liquidatable"):
        ladder.unflag(LONG_ID)
    ladder.put_price(mark, external)

    ladder.unflag(LONG_ID)

    assert ladder.named("AccountUnflagged") == [{"account": LONG_ID}]
    with refused("liquidations: not flagged"):
        ladder.unflag(LONG_ID)


# When.


def test_liquidate__settle_lag_after_the_flag__not_a_second_earlier(ladder: Ladder) -> None:
    """A batch matched at the flag may still come 300 s later: only then is the account anybody's."""
    ladder.put_price(SICK)
    with refused("liquidations: too early"):
        ladder.liquidate(LONG_ID)
    flag_and_wait(ladder, seconds=LAG_S)
    with refused("liquidations: too early"):
        ladder.liquidate(LONG_ID)
    ladder.wait(1)

    assert ladder.liquidate(LONG_ID) > 0


@pytest.mark.parametrize(("mark", "external"), [(SICK, HEALTHY), (HEALTHY, SICK)])
def test_liquidate__healthy_again_at_one_price__refused(ladder: Ladder, mark: int, external: int) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)
    ladder.put_price(mark, external)

    with refused("liquidations: healthy"):
        ladder.liquidate(LONG_ID)


@pytest.mark.parametrize("session", [HALTED, CORPORATE_ACTION])
def test_liquidate__market_halted__refused(ladder: Ladder, session: int) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)
    ladder.put_price(SICK, session=session)

    with refused("liquidations: healthy"):
        ladder.liquidate(LONG_ID)


# At what price, how far.


def least_lots(price: int, fee: Fraction) -> int:
    """Solve 888,000,000 - l (8,888 - price) - fee l price = 15 % of what is left, in rationals, up to the next ten."""
    needed = Fraction(15, 100) * LOTS * SICK - 888_000_000
    per_lot = Fraction(15, 100) * SICK - (SICK - price) - fee * price
    return -(-(needed / per_lot) // 10) * 10


@pytest.mark.parametrize(
    ("age_s", "price"),
    [
        # 8,888 x (10,000 + 100 x age) // 1e6 ticks off
        (301, 8_888 - 356), (400, 8_888 - 444), (649, 8_888 - 665), (650, 8_888 - 666), (HOUR_S, 8_888 - 666),
    ],
)  # fmt: skip
def test_liquidate__age_of_the_flag__price_improves_up_to_three_quarters_of_maintenance(
    ladder: Ladder, age_s: int, price: int
) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder, seconds=age_s)
    expected = least_lots(price, Fraction(5, 1000))

    taken = ladder.liquidate(LONG_ID)

    assert taken == expected
    fee = -(-taken * price * 5 // 1000)
    assert ladder.named("AccountLiquidated") == [
        {
            "account": LONG_ID, "taker": KEEPER_ID, "market": 1, "size_lots": -taken, "price_ticks": price,
            "fee_quote": fee, "insurance_quote": 0,
        }
    ]  # fmt: skip
    assert ladder.venue.position(LONG_ID).size_lots == LOTS - taken
    assert ladder.venue.position(KEEPER_ID).size_lots == taken
    assert ladder.collateral(LONG_ID) == 2_000 * USDC - fee
    assert ladder.collateral(ladder.insurance_id()) == 1_000 * USDC + fee
    left = LOTS - taken
    # settlement margin is met, and with one step less it was not
    equity = 888_000_000 - taken * (SICK - price) - fee
    assert ladder.equity(LONG_ID) == equity >= Fraction(15, 100) * left * SICK
    fewer = taken - 10
    assert 888_000_000 - fewer * (SICK - price) - -(-fewer * price * 5 // 1000) < Fraction(15, 100) * (left + 10) * SICK


def test_liquidate__short__pays_more_as_the_flag_ages(ladder: Ladder) -> None:
    """At 27,300: equity 2,700,000,000 of 2,730,000,000; after 301 s 40,100 ppm of 27,300 = 1,094 above the mark."""
    ladder.put_price(27_300)
    flag_and_wait(ladder, SHORT_ID)

    taken = ladder.liquidate(SHORT_ID, 1_000)

    assert taken == 1_000
    assert ladder.named("AccountLiquidated")[0]["price_ticks"] == 28_394
    assert ladder.named("AccountLiquidated")[0]["size_lots"] == 1_000
    assert ladder.venue.position(SHORT_ID).size_lots == -LOTS + 1_000


def test_liquidate__little_equity_left__price_stops_at_bankruptcy(ladder: Ladder) -> None:
    """At 8,100 equity is 100 a lot: no discount beyond 8,000, whatever the age, and nothing is left for a fee."""
    ladder.put_price(8_100)
    flag_and_wait(ladder, seconds=HOUR_S)

    assert ladder.liquidate(LONG_ID) == LOTS

    event = ladder.named("AccountLiquidated")[0]
    assert (event["price_ticks"], event["fee_quote"], event["insurance_quote"]) == (8_000, 0, 0)
    assert ladder.collateral(LONG_ID) == 0


def test_liquidate__asks_for_more_than_needed__takes_what_is_needed(ladder: Ladder) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)

    taken = ladder.liquidate(LONG_ID, LOTS)

    assert 0 < taken < LOTS
    assert LONG_ID not in ladder.state.flags
    with refused("liquidations: too early"):
        ladder.liquidate(LONG_ID)


@pytest.mark.parametrize("lots", [0, 5, 10_005])
def test_liquidate__not_whole_steps__refused(ladder: Ladder, lots: int) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)

    with refused("liquidations: lots"):
        ladder.liquidate(LONG_ID, lots)


def test_liquidate__a_rest_below_the_minimum__is_taken_too_or_nothing(ladder: Ladder) -> None:
    """At 8,100 all must go. 50 USDC of minimum notional are 6,172.8 lots there."""
    ladder.put_price(8_100)
    flag_and_wait(ladder)

    with refused("liquidations: lots"):
        ladder.liquidate(LONG_ID, LOTS - 6_170)
    assert ladder.liquidate(LONG_ID, LOTS - 6_180) == LOTS - 6_180
    assert ladder.liquidate(LONG_ID) == 6_180
    assert ladder.venue.account(LONG_ID).open_markets == (0,) * 6


@pytest.mark.parametrize("minimum", [0, 50 * USDC])
def test_liquidate__sufficient_but_dusty__takes_all_only_for_dust(minimum: int) -> None:
    """A position whose least size leaves less than the minimum goes whole."""
    rules = replace(LADDER_RULES, min_notional_quote=minimum or 1)
    ladder = open_pair(lots=10_000, long_quote=20 * USDC, rules=rules)
    ladder.put_price(SICK)
    flag_and_wait(ladder)

    taken = ladder.liquidate(LONG_ID)

    # 4,764 lots suffice, 10 at a time 4,770; what is left, 5,230 x 8,888 = 46.5 USDC, is below 50
    assert taken == (10_000 if minimum else 4_770)


def test_liquidate__outside_the_band__refused_until_the_mark_is_near(ladder: Ladder) -> None:
    """External 7,000: band up to 7,700. A long sold at the mark's discount would trade above it."""
    ladder.put_price(8_500, 7_000)
    flag_and_wait(ladder)
    with refused("liquidations: outside band"):
        ladder.liquidate(LONG_ID)
    ladder.put_price(8_100, 7_364)

    # worst 8,000, band up to 8,100
    ladder.liquidate(LONG_ID, 10_000)

    assert ladder.named("AccountLiquidated")[0]["price_ticks"] == 8_000


def test_liquidate__discount_below_the_band__price_is_the_bands_edge(ladder: Ladder) -> None:
    """External 8,888.. mark 8,300: worst would be 8,300 - 300; the band of 8,850 begins at 7,965; of 8,900 at 8,010."""
    ladder.put_price(8_300, 8_888)
    flag_and_wait(ladder, seconds=HOUR_S)

    ladder.liquidate(LONG_ID, 10_000)

    # discount 622 stops at bankruptcy, 8,000; band of 8,888 from 8,000 (888 wide)
    assert ladder.named("AccountLiquidated")[0]["price_ticks"] == 8_000
    ladder.put_price(8_700, 8_888)
    ladder.liquidate(LONG_ID, 10_000)
    # 8,700 - 652 = 8,048 lies inside
    assert ladder.named("AccountLiquidated")[0]["price_ticks"] == 8_048


def test_liquidate__own_account__refused(ladder: Ladder) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)

    with refused("liquidations: own account"):
        ladder.liquidate(LONG_ID, taker=account_of(LONG, 1))


def test_liquidate__market_without_position__refused(ladder: Ladder) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)

    with refused("liquidations: no position"):
        ladder.liquidate(LONG_ID, market=2)


def test_liquidate__taker_announced_less_than_settle_lag_ago__refused(ladder: Ladder) -> None:
    """What it takes here uses margin that fills acknowledged a minute ago may count on (D-024)."""
    taker = account_of(OTHER, 7)
    ladder.deposit(taker, 10_000 * USDC)
    ladder.put_price(SICK)
    flag_and_wait(ladder)
    with refused("liquidations: taker unannounced"):
        ladder.liquidate(LONG_ID, 10_000, taker=taker)
    ladder.announce(taker)
    ladder.wait(LAG_S)
    with refused("liquidations: taker unannounced"):
        ladder.liquidate(LONG_ID, 10_000, taker=taker)
    ladder.wait(1)

    assert ladder.liquidate(LONG_ID, 10_000, taker=taker) == 10_000


def test_liquidate__taker_without_initial_margin__refused(ladder: Ladder) -> None:
    """100,000 lots at 8,532 with 20 % of 8,888 x 100,000: equity gains 35,600,000, 142,160,000 more are needed."""
    ladder.put_price(SICK)
    flag_and_wait(ladder)
    ladder.deposit(OTHER_ID, 142_159_999)

    with refused("liquidations: taker margin"):
        ladder.liquidate(LONG_ID, 100_000, taker=OTHER_ID)
    ladder.deposit(OTHER_ID, 1)

    assert ladder.liquidate(LONG_ID, 100_000, taker=OTHER_ID) == 100_000


def test_liquidate__taker_stale_elsewhere__refused(ladder: Ladder) -> None:
    ladder.trade(KEEPER, SHORT, 10_000, market=2)
    ladder.put_price(SICK)
    flag_and_wait(ladder)
    ladder.put_price(10_000, market=2, age_s=61)

    with refused("liquidations: taker margin"):
        ladder.liquidate(LONG_ID, 1_000)


def test_liquidate__taker_above_the_account_cap__refused() -> None:
    """Share 655 of 65,536 of 10^8 lots: 999,450."""
    ladder = open_pair(rules=replace(LADDER_RULES, account_share=655), lots=999_450)
    ladder.deposit(OTHER_ID, 1_000_000 * USDC)
    ladder.trade(KEEPER, OTHER, 900_000)
    ladder.put_price(SICK - 10)
    flag_and_wait(ladder)

    with refused("liquidations: taker cap"):
        ladder.liquidate(LONG_ID, 99_460)
    assert ladder.liquidate(LONG_ID, 99_450) == 99_450


def test_liquidate__who_is_short_takes_a_long__open_interest_falls(ladder: Ladder) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)

    ladder.liquidate(LONG_ID, 100_000, taker=SHORT_ID)

    assert ladder.venue.totals().open_interest_lots == LOTS - 100_000
    assert ladder.venue.position(SHORT_ID).size_lots == -LOTS + 100_000


@pytest.mark.parametrize(
    ("session", "cap_usdc"), [(2, 6_000_000), (1, 3_000_000), (3, 3_000_000), (4, 3_000_000), (5, 600_000)]
)
def test_liquidate__throttle__so_much_a_minute_by_session(session: int, cap_usdc: int) -> None:
    rules = replace(LADDER_RULES, min_notional_quote=1, open_interest_cap_lots=10**11)
    lots = 10**9
    ladder = open_pair(written_rules=rules, lots=lots, long_quote=2_000_000 * USDC, short_quote=20_000_000 * USDC)
    ladder.deposit(KEEPER_ID, 20_000_000 * USDC)
    ladder.put_price(8_100, session=session)
    flag_and_wait(ladder, seconds=HOUR_S)
    # on a minute's first second
    ladder.wait(60 - ladder.now_s % 60)
    per_minute = cap_usdc * USDC // 8_000 // 10 * 10

    with refused("liquidations: throttled"):
        ladder.liquidate(LONG_ID, per_minute + 10)
    # the fee on what is taken makes the rest a little dearer than 8,000
    ladder.liquidate(LONG_ID, per_minute // 2)
    ladder.wait(59)
    with refused("liquidations: throttled"):
        ladder.liquidate(LONG_ID, per_minute // 2 + 10)
    ladder.wait(1)

    assert ladder.liquidate(LONG_ID, per_minute // 2 + 10) == per_minute // 2 + 10


# Orders of batches.


def order_code(settled: Any) -> int:
    return int(settled.orders[1])


def test_batch__liquidation_order_within_its_terms__filled_without_signature(ladder: Ladder) -> None:
    """No flag: 1 % off, at least 8,800. Fee 0.1 %."""
    ladder.put_price(SICK)
    least = least_lots(8_800, Fraction(1, 1000))

    settled = ladder.liquidate_in_batch(LONG_ID, KEEPER, least, 8_800)

    assert settled.is_clean
    assert ladder.venue.position(LONG_ID).size_lots == LOTS - least
    with refused("liquidations: healthy"):
        ladder.flag(LONG_ID)


def test_batch__one_step_more_than_suffices__refused(ladder: Ladder) -> None:
    ladder.put_price(SICK)
    least = least_lots(8_800, Fraction(1, 1000))

    settled = ladder.liquidate_in_batch(LONG_ID, KEEPER, least + 10, 8_800)

    assert order_code(settled) == StatusCode.LIQUIDATION_TERMS
    assert ladder.venue.position(LONG_ID).size_lots == LOTS


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"limit_ticks": 8_795}, StatusCode.LIQUIDATION_TERMS),
        ({"lane": 65_533}, StatusCode.LIQUIDATION_TERMS),
        ({"seq": 1}, StatusCode.LIQUIDATION_TERMS),
        ({"max_fee_ppm": 1_001}, StatusCode.LIQUIDATION_TERMS),
        # reduce-only left out, GTC, post-only, session key, buying
        ({"flags": 272}, StatusCode.LIQUIDATION_TERMS),
        ({"flags": 258}, StatusCode.LIQUIDATION_TERMS),
        ({"flags": 274 | 1 << 7}, StatusCode.LIQUIDATION_TERMS),
        ({"flags": 275}, StatusCode.LIQUIDATION_TERMS),
    ],
)
def test_batch__terms_of_a_liquidation_order__each_is_asked(ladder: Ladder, changes: dict[str, int], code: int) -> None:
    ladder.put_price(SICK)

    settled = ladder.liquidate_in_batch(LONG_ID, KEEPER, 10_000, 8_800, changes=changes)

    assert order_code(settled) == code
    assert ladder.venue.position(LONG_ID).size_lots == LOTS - (0 if code else 10_000)


def test_batch__fee_above_a_tenth_of_a_percent__refused() -> None:
    ladder = open_pair(rules=replace(LADDER_RULES, max_fee_ppm=2_000))
    ladder.put_price(SICK)

    settled = ladder.liquidate_in_batch(
        LONG_ID, KEEPER, 10_000, 8_800, changes={"max_fee_ppm": 1_001, "taker_fee_ppm": 1_001}
    )

    assert order_code(settled) == StatusCode.LIQUIDATION_TERMS


@pytest.mark.parametrize(("mark", "external"), [(HEALTHY, HEALTHY), (SICK, HEALTHY), (HEALTHY, SICK)])
def test_batch__healthy_at_one_price__not_liquidatable(ladder: Ladder, mark: int, external: int) -> None:
    ladder.put_price(mark, external)

    settled = ladder.liquidate_in_batch(LONG_ID, KEEPER, 10_000, 8_800)

    assert order_code(settled) == StatusCode.NOT_LIQUIDATABLE


@pytest.mark.parametrize("session", [HALTED, CORPORATE_ACTION])
def test_batch__market_halted__not_liquidatable(ladder: Ladder, session: int) -> None:
    ladder.put_price(SICK, session=session)

    settled = ladder.liquidate_in_batch(LONG_ID, KEEPER, 10_000, 8_800)

    assert order_code(settled) == StatusCode.NOT_LIQUIDATABLE


def test_batch__flag_counts__and_its_age_improves_the_price(ladder: Ladder) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder, seconds=100)

    # 20,000 ppm of 8,888 = 177
    assert order_code(ladder.liquidate_in_batch(LONG_ID, KEEPER, 10_000, 8_710)) == StatusCode.LIQUIDATION_TERMS
    assert ladder.liquidate_in_batch(LONG_ID, KEEPER, 10_000, 8_711 // 5 * 5 + 5).is_clean


def test_batch__order_above_the_throttle__refused() -> None:
    rules = replace(LADDER_RULES, min_notional_quote=1, open_interest_cap_lots=10**11)
    ladder = open_pair(written_rules=rules, lots=10**9, long_quote=2_000_000 * USDC, short_quote=20_000_000 * USDC)
    ladder.deposit(KEEPER_ID, 20_000_000 * USDC)
    ladder.put_price(SICK, session=CLOSED)
    # worst price 8,800: 600,000 USDC are 68,181,818 lots
    assert order_code(ladder.liquidate_in_batch(LONG_ID, KEEPER, 68_181_820, 8_800)) == StatusCode.LIQUIDATION_TERMS

    assert ladder.liquidate_in_batch(LONG_ID, KEEPER, 68_181_810, 8_800).is_clean


def test_batch__account_that_would_end_negative__is_not_filled(ladder: Ladder) -> None:
    """At 7,900 the long owes 100,000,000: the book cannot take it, insurance and ADL must."""
    ladder.put_price(7_900)

    settled = ladder.liquidate_in_batch(LONG_ID, KEEPER, LOTS, 7_900)

    assert settled.orders == [0, 0]
    assert settled.fills == [StatusCode.MARGIN + 64]


def test_batch__liquidations_of_one_account__share_one_filled_size(ladder: Ladder) -> None:
    """Two orders for 10,000 lots in one batch: the second may fill what the first left of them, which is nothing."""
    ladder.put_price(SICK)
    record = build_liquidation_record(
        market_id=1, is_buy=False, sequence=ladder.venue.chain.sequence + 1, size_lots=10_000, limit_ticks=8_800,
        fee_ppm=0, expiry_s=ladder.now_s + 60,
    )  # fmt: skip
    bid = ladder.venue.order(KEEPER, is_buy=True, size_lots=20_000, limit_ticks=8_800, fees=(0, 0))

    settled = ladder.venue.settle(
        [bid, (LONG_ID, record), (LONG_ID, record)], [(0, 1, 6_000), (0, 2, 4_000), (0, 2, 10)]
    )

    assert settled.orders == [0, 0, 0]
    assert settled.fills == [0, 0, StatusCode.OVERFILL + 64]


def test_direct_calls__mode_settled__refused(ladder: Ladder) -> None:
    ladder.put_price(SICK)
    flag_and_wait(ladder)
    chain = ladder.venue.chain
    chain.write_value("operator", chain.call("Clearinghouse", "operator_word") | 2 << 200)
    ladder.sync()

    with refused("clearinghouse: settled"):
        ladder.liquidate(LONG_ID)


def test_views__tell_account_and_allowance_of_insurance(ladder: Ladder) -> None:
    call = ladder.venue.chain.call

    assert call("Liquidations", "insurance_account", 1) == int(ladder.address, 16) << 80 | 1
    assert call("Liquidations", "insurance_left_quote", 1) == 200 * USDC
    assert call("Liquidations", "insurance_left_quote", 2) == 0
    assert call("Liquidations", "check_order", LONG_ID, 0, 1, ladder.now_s, sender=OUTSIDER) == 22


__all__ = ["OTHER", "SHORT"]
