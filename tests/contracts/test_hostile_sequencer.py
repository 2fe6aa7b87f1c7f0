"""What a hostile sequencer or user might try on settle(), one suspicion each, shown safe.

The sequencer chooses orders, fills, rows and moments; users choose what they sign. Each test names the trick first and
then the bound that holds. Bounds that do not exist are named too, at the end.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrevm import AccountInfo

from afterbell.domain.batch import PriceRow, compute_head, encode
from afterbell.domain.codes import TAKER_SIDE, StatusCode
from afterbell.domain.hashing import keccak
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.domain.words import AccountWord, BatchWord, PositionWord, PriceWord, TotalsWord
from afterbell.signing.keys import SigningKey
from tests.contracts.venue import (
    MAKER,
    RULES,
    SEQUENCER,
    TAKER,
    THIRD,
    TICKS,
    USDC,
    Report,
    T,
    Venue,
    account_of,
    address_of,
    refused,
)
from tests.support.chain import GOVERNOR, ZERO_ADDRESS, encode_call

MAKER_ACCOUNT, TAKER_ACCOUNT = account_of(MAKER), account_of(TAKER)
NOTIONAL: Final = 1_000 * TICKS  # of the default trade: 10 USDC
MAKER_FEE, TAKER_FEE = 1_000, 4_500  # 100 and 450 ppm of it
ALL_ONES: Final = 2**48 - 1


@pytest.fixture
def venue() -> Venue:
    return Venue.open()


def open_short(venue: Venue, markets: tuple[int, ...] = (1,), lots: int = 1_000) -> None:
    """MAKER sells, TAKER buys, at 10,000 ticks in each market."""
    for market in markets:
        assert venue.trade(lots, maker={"market_id": market}, taker={"market_id": market}).is_clean


def open_markets(venue: Venue, account: int) -> list[int]:
    return list(venue.account(account).open_markets)


# Withdrawals, which come before the fills of their batch.


@pytest.mark.parametrize(("excess", "code"), [(0, 0), (1, StatusCode.MARGIN)])
def test_withdrawal__after_an_opening_fill__keeps_the_margin_of_the_new_position(
    venue: Venue, excess: int, code: int
) -> None:
    """10,000 USDC - fee 0.001 - a tenth of 10 USDC may leave; one unit more may not."""
    most = 10_000 * USDC - MAKER_FEE - NOTIONAL // 10
    venue.settle(venue.pair(), [(0, 1, 1_000)])

    settled = venue.settle(operations=[venue.withdraw(MAKER, most + excess)])

    assert settled.operations == [code]


def test_withdrawal__before_an_opening_fill__leaves_the_fill_without_margin(venue: Venue) -> None:
    """The withdrawal is free, then the fill fails for its maker: nobody opens on money that is gone."""
    settled = venue.settle(venue.pair(), [(0, 1, 1_000)], [venue.withdraw(MAKER, 10_000 * USDC)])

    assert (settled.operations, settled.fills) == ([0], [StatusCode.MARGIN])
    assert venue.position(TAKER_ACCOUNT).size_lots == 0


@pytest.mark.parametrize(("excess", "code"), [(0, 0), (1, StatusCode.MARGIN)])
def test_withdrawal__after_a_closing_fill__is_free_of_the_position(venue: Venue, excess: int, code: int) -> None:
    """Two fills at 10,000: the fees are all that is lost."""
    open_short(venue)
    orders = venue.pair(maker_buys=True, maker={"reduce_only": True}, taker={"reduce_only": True})
    most = 10_000 * USDC - 2 * MAKER_FEE

    assert venue.settle(orders, [(0, 1, 1_000)]).fills == [0]
    settled = venue.settle(operations=[venue.withdraw(MAKER, most + excess)])

    assert settled.operations == [code]


@pytest.mark.parametrize(("excess", "code"), [(0, 0), (1, StatusCode.MARGIN)])
def test_withdrawal__of_an_account_without_orders__is_not_judged_by_its_neighbours(
    venue: Venue, excess: int, code: int
) -> None:
    """MAKER holds 1,000 short and only withdraws; the orders of TAKER and THIRD in the same market lie beside it."""
    open_short(venue)
    venue.chain.deposit(account_of(THIRD), 1_000 * USDC)
    orders = [venue.order(THIRD, is_buy=False), venue.order(TAKER, is_buy=True)]
    most = 10_000 * USDC - MAKER_FEE - NOTIONAL // 10

    settled = venue.settle(orders, [(0, 1, 1_000)], [venue.withdraw(MAKER, most + excess)])

    assert (settled.operations, settled.fills) == ([code], [0])


def test_withdrawal__twice_in_one_batch__cannot_spend_the_same_collateral(venue: Venue) -> None:
    operations = [venue.withdraw(MAKER, 6_000 * USDC), venue.withdraw(MAKER, 6_000 * USDC)]

    assert venue.settle(operations=operations).operations == [0, StatusCode.MARGIN]
    assert venue.claim_of(address_of(MAKER)) == 6_000 * USDC


@pytest.mark.parametrize("quote", [2**64 - 1, 2**63, 10_000 * USDC + 1])
def test_withdrawal__of_more_than_there_is__fails_whatever_its_size(venue: Venue, quote: int) -> None:
    assert venue.settle(operations=[venue.withdraw(MAKER, quote)]).operations == [StatusCode.MARGIN]


def test_withdrawal__of_nothing__fails(venue: Venue) -> None:
    settled = venue.settle(operations=[venue.withdraw(MAKER, 0)])

    assert settled.operations == [StatusCode.ZERO_WITHDRAWAL]
    assert settled.named("ClaimAdded") == []


@pytest.mark.parametrize("place", ["zero", "Vault", "Clearinghouse", "token"])
def test_withdrawal__to_where_nobody_can_claim__fails(venue: Venue, place: str) -> None:
    recipient = ZERO_ADDRESS if place == "zero" else venue.chain.addresses[place]

    settled = venue.settle(operations=[venue.withdraw(MAKER, USDC, recipient=recipient)])

    assert settled.operations == [StatusCode.BAD_RECIPIENT]
    assert venue.chain.call("Vault", "total_claims_quote") == 0


@pytest.mark.parametrize("place", ["PriceOracle", "Lens", "precompile"])
def test_withdrawal__to_an_odd_recipient__is_the_signers_choice_and_calls_nobody(venue: Venue, place: str) -> None:
    recipient = "0x" + "00" * 19 + "04" if place == "precompile" else venue.chain.addresses[place]

    assert venue.settle(operations=[venue.withdraw(MAKER, USDC, recipient=recipient)]).is_clean
    assert venue.chain.call("Vault", "claim", recipient) == USDC


# Stale accounts.


def make_stale(venue: Venue, fresh: tuple[int, ...]) -> None:
    """Let 61 seconds pass and report only some markets: the others are one second too old."""
    venue.wait(61)
    venue.set_prices(dict.fromkeys(fresh, TICKS))


def test_stale__position_without_an_order__stops_openings_and_withdrawals(venue: Venue) -> None:
    open_short(venue, (2,))
    make_stale(venue, (1,))

    settled = venue.settle(venue.pair(), [(0, 1, 1_000)], [venue.withdraw(MAKER, USDC)])

    assert settled.operations == [StatusCode.STALE_PRICE]
    assert settled.fills == [StatusCode.STALE_PRICE]


def test_stale__only_the_takers_account__is_the_takers_code(venue: Venue) -> None:
    venue.chain.deposit(account_of(THIRD), 1_000 * USDC)
    open_short(venue, (2,))
    make_stale(venue, (1,))

    settled = venue.settle([venue.order(THIRD, is_buy=False), venue.order(TAKER, is_buy=True)], [(0, 1, 1_000)])

    assert settled.fills == [StatusCode.STALE_PRICE + TAKER_SIDE]


def test_stale__last_stale_position_closed_in_the_batch__frees_the_account(venue: Venue) -> None:
    open_short(venue, (2,))
    make_stale(venue, (1,))
    close = [
        venue.order(MAKER, is_buy=True, market_id=2, reduce_only=True),
        venue.order(TAKER, is_buy=False, market_id=2, reduce_only=True),
    ]

    settled = venue.settle(
        [*close, *venue.pair(maker={"lane": 8}, taker={"lane": 9})],
        [(2, 3, 100), (0, 1, 1_000), (2, 3, 100)],
        [venue.withdraw(MAKER, USDC)],
    )

    assert settled.fills == [StatusCode.STALE_PRICE, 0, 0]
    # the operation came first; in the next batch nothing of the account is stale
    assert settled.operations == [StatusCode.STALE_PRICE]
    assert venue.settle(operations=[venue.withdraw(MAKER, USDC)]).operations == [0]


def test_stale__one_of_two_stale_positions_closed__does_not_free_the_account(venue: Venue) -> None:
    open_short(venue, (2, 3))
    make_stale(venue, (1,))
    close = [
        venue.order(MAKER, is_buy=True, market_id=2, reduce_only=True),
        venue.order(TAKER, is_buy=False, market_id=2, reduce_only=True),
    ]

    settled = venue.settle([*close, *venue.pair(maker={"lane": 8}, taker={"lane": 9})], [(0, 1, 1_000), (2, 3, 100)])

    assert settled.fills == [0, StatusCode.STALE_PRICE]


def test_stale__position_reduced_but_not_closed__stays_stale(venue: Venue) -> None:
    open_short(venue, (2,))
    make_stale(venue, (1,))
    reduce = [
        venue.order(MAKER, is_buy=True, market_id=2, reduce_only=True),
        venue.order(TAKER, is_buy=False, market_id=2, reduce_only=True),
    ]

    settled = venue.settle([*reduce, *venue.pair(maker={"lane": 8}, taker={"lane": 9})], [(0, 1, 999), (2, 3, 100)])

    assert settled.fills == [0, StatusCode.STALE_PRICE]


def test_stale__flip_through_zero__counts_as_an_opening(venue: Venue) -> None:
    open_short(venue, (2,))
    make_stale(venue, (1,))
    orders = [
        venue.order(MAKER, is_buy=True, market_id=2, size_lots=2_000),
        venue.order(TAKER, is_buy=False, market_id=2, size_lots=2_000),
    ]

    settled = venue.settle(orders, [(0, 1, 1_010), (0, 1, 1_000), (0, 1, 10)])

    assert settled.fills == [StatusCode.STALE_PRICE, 0, StatusCode.STALE_PRICE]


@pytest.mark.parametrize(("age_s", "code"), [(59, 0), (60, 0), (61, StatusCode.STALE_PRICE)])
def test_stale__age_of_the_external_price__counts_to_the_second(venue: Venue, age_s: int, code: int) -> None:
    venue.wait(age_s)

    assert venue.trade().fills == [code]


def test_stale__withdrawal_without_positions__needs_no_price() -> None:
    venue = Venue.open(is_priced=False)

    assert venue.settle(operations=[venue.withdraw(MAKER, 10_000 * USDC)]).is_clean


# Open markets.


def test_open_markets__seventh__is_refused_and_room_made_in_the_batch_counts(venue: Venue) -> None:
    open_short(venue, (1, 2, 3, 4, 5, 6))
    assert open_markets(venue, MAKER_ACCOUNT) == [1, 2, 3, 4, 5, 6]
    seventh = venue.pair(maker={"market_id": 7, "lane": 8}, taker={"market_id": 7, "lane": 9})
    close = venue.pair(maker_buys=True, maker={"market_id": 3}, taker={"market_id": 3})

    settled = venue.settle([*seventh, *close], [(0, 1, 100), (2, 3, 1_000), (0, 1, 100)])

    assert settled.fills == [StatusCode.TOO_MANY_MARKETS, 0, 0]
    assert sorted(open_markets(venue, MAKER_ACCOUNT)) == [1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("n_closed", [1, 2, 3])
def test_open_markets__any_of_four_closed__leaves_the_others_without_a_hole(n_closed: int) -> None:
    """A lost market is a position without margin; a hole is a seventh market. Every choice is tried."""
    venue = Venue.open(n_markets=4)
    open_short(venue, (1, 2, 3, 4))
    for closed in combinations((1, 2, 3, 4), n_closed):
        with venue.chain.undone():
            orders, fills = [], []
            for place, market in enumerate(closed):
                orders += venue.pair(
                    maker_buys=True,
                    maker={"market_id": market, "lane": 10 + place},
                    taker={"market_id": market, "lane": 20 + place},
                )
                fills.append((2 * place, 2 * place + 1, 1_000))
            assert venue.settle(orders, fills).is_clean
            for account in (MAKER_ACCOUNT, TAKER_ACCOUNT):
                listed = open_markets(venue, account)
                assert sorted(listed[: 4 - n_closed]) == sorted({1, 2, 3, 4} - set(closed))
                assert not any(listed[4 - n_closed :])
                assert venue.account(account).flags == 0


def test_open_markets__opened_closed_and_opened_in_one_batch__is_listed_once(venue: Venue) -> None:
    orders = [
        venue.order(MAKER, is_buy=False, size_lots=2_000, lane=3), venue.order(TAKER, is_buy=True, size_lots=2_000),
        venue.order(MAKER, is_buy=True, lane=4), venue.order(TAKER, is_buy=False, lane=5),
    ]  # fmt: skip

    settled = venue.settle(orders, [(0, 1, 1_000), (2, 3, 1_000), (0, 1, 500)])

    assert settled.is_clean
    assert open_markets(venue, MAKER_ACCOUNT) == [1, 0, 0, 0, 0, 0]
    assert venue.position(MAKER_ACCOUNT).size_lots == -500
    assert venue.totals().open_interest_lots == 500


def test_open_markets__round_trip_in_one_batch__leaves_no_position_but_the_fees_and_an_event(venue: Venue) -> None:
    orders = [
        venue.order(MAKER, is_buy=False, lane=3), venue.order(TAKER, is_buy=True),
        venue.order(MAKER, is_buy=True, lane=4), venue.order(TAKER, is_buy=False, lane=5),
    ]  # fmt: skip

    settled = venue.settle(orders, [(0, 1, 1_000), (2, 3, 1_000)])

    word = venue.account(MAKER_ACCOUNT)
    assert word.collateral_quote == 10_000 * USDC - 2 * MAKER_FEE
    assert not any(word.open_markets)
    assert venue.position(MAKER_ACCOUNT) == PositionWord()
    realised = (-2 * MAKER_FEE) % 2**96
    assert settled.position_changes()[MAKER_ACCOUNT << 16 | 1][0] == (2 * MAKER_FEE << 160) | (realised << 64)


def test_positions__highest_market_beside_the_lowest__do_not_meet_in_the_places() -> None:
    """Places stand one byte a market in one word: market 32 has the top byte."""
    venue = Venue.open(n_markets=32)
    markets = (1, 16, 31, 32)
    orders: list[Any] = []
    fills = []
    for place, market in enumerate(markets):
        orders += venue.pair(
            maker={"market_id": market, "lane": 10 + place}, taker={"market_id": market, "lane": 30 + place}
        )
        fills.append((2 * place, 2 * place + 1, 100 * (place + 1)))

    assert venue.settle(orders, fills).is_clean

    assert [venue.position(MAKER_ACCOUNT, market).size_lots for market in markets] == [-100, -200, -300, -400]
    assert [venue.totals(market).open_interest_lots for market in markets] == [100, 200, 300, 400]


def test_settle__largest_table__every_account_gets_its_own_fill() -> None:
    """112 accounts, 112 orders, 56 fills of different sizes: no place runs into another's bits."""
    venue = Venue.open(n_markets=1, rules=replace(RULES, min_notional_quote=0, size_step_lots=1))
    keys = [SigningKey((0xBEEF + number).to_bytes(32, "big")) for number in range(112)]
    for key in keys:
        venue.chain.deposit(account_of(key), 100 * USDC)
    orders = [venue.order(key, is_buy=place % 2 == 1, lane=place, size_lots=1_000) for place, key in enumerate(keys)]
    fills = [(place, place + 1, 10 + place // 2) for place in range(0, 112, 2)]

    assert venue.settle(orders, fills).is_clean

    for maker, taker, lots in fills:
        assert venue.position(account_of(keys[maker])).size_lots == -lots
        assert venue.position(account_of(keys[taker])).size_lots == lots
        assert venue.lane(account_of(keys[maker]), maker) == (orders[maker][1].seq, lots)
    assert venue.totals().open_interest_lots == sum(lots for _, _, lots in fills)


# Places of neighbours.


def test_cancel_order__account_without_orders__does_not_reach_the_neighbours_lane(venue: Venue) -> None:
    """TAKER or THIRD cancels lane 5 without an order in the table; MAKER's order of lane 5 is in it."""
    ask = venue.order(MAKER, is_buy=False, lane=5)
    bid = venue.order(TAKER, is_buy=True, lane=5)
    cancel = venue.cancel(THIRD, 5 << 40 | 4_000_000)

    settled = venue.settle([ask, bid], [(0, 1, 10)], [cancel])

    assert settled.is_clean
    assert venue.lane(account_of(THIRD), 5) == (4_000_000, ALL_ONES)
    assert venue.lane(MAKER_ACCOUNT, 5) == (ask[1].seq, 10)
    assert venue.lane(TAKER_ACCOUNT, 5) == (bid[1].seq, 10)


def test_cancel_order__of_a_later_seq_than_the_immediate_order_in_its_lane__survives_consumption(venue: Venue) -> None:
    """Consumption comes after the operations and must not take the lane back."""
    bid = venue.order(TAKER, is_buy=True, time_in_force=TimeInForce.IOC)
    later = bid[1].seq + 50

    venue.settle([bid], operations=[venue.cancel(TAKER, bid[1].lane << 40 | later)])

    assert venue.lane(TAKER_ACCOUNT, bid[1].lane) == (later, ALL_ONES)


def test_self_trade__between_subaccounts_of_one_owner__is_refused(venue: Venue) -> None:
    venue.chain.deposit(account_of(MAKER, 9), 1_000 * USDC)
    orders = [venue.order(MAKER, is_buy=False), venue.order(MAKER, is_buy=True, subaccount=9)]

    assert venue.settle(orders, [(0, 1, 100)]).fills == [StatusCode.SELF_TRADE]


@pytest.mark.parametrize("place", [0, 1])
def test_fill__order_against_itself__is_refused(venue: Venue, place: int) -> None:
    assert venue.settle(venue.pair(), [(place, place, 100)]).fills == [StatusCode.SIDES_EQUAL]


# Prices the sequencer names.


@pytest.mark.parametrize("swapped", [False, True])
def test_fill__sequencer_chooses_who_makes__stays_inside_both_limits(venue: Venue, swapped: bool) -> None:
    """Ask 10,000, bid 10,500: it may give either price, never a third."""
    ask = venue.order(MAKER, is_buy=False, limit_ticks=10_000)
    bid = venue.order(TAKER, is_buy=True, limit_ticks=10_500)

    venue.settle([ask, bid], [(1, 0, 1_000) if swapped else (0, 1, 1_000)])

    paid = venue.position(TAKER_ACCOUNT).entry_quote
    assert paid == (10_500 * 1_000 + 1_050 if swapped else 10_000 * 1_000 + 4_500)


@pytest.mark.parametrize(
    ("auction_ticks", "code"),
    [(9_995, 37), (10_000, 0), (10_250, 0), (10_500, 0), (10_505, 37), (2**40 - 1, 37), (1, 37)],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_auction__price_of_the_sequencer__only_inside_both_limits(
    venue: Venue, auction_ticks: int, code: int, swapped: bool
) -> None:
    orders = [
        venue.order(MAKER, is_buy=False, limit_ticks=10_000), venue.order(TAKER, is_buy=True, limit_ticks=10_500)
    ]  # fmt: skip
    row = PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS, auction_ticks=auction_ticks)

    settled = venue.settle(orders, [(1, 0, 1_000) if swapped else (0, 1, 1_000)], rows=[row])

    assert settled.fills == [code]


def test_auction__price_of_one_batch__does_not_reach_the_next(venue: Venue) -> None:
    row = PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS, auction_ticks=10_250)
    orders = [
        venue.order(MAKER, is_buy=False, limit_ticks=10_000), venue.order(TAKER, is_buy=True, limit_ticks=10_500)
    ]  # fmt: skip
    venue.settle(orders, [(0, 1, 100)], rows=[row])
    assert venue.position(TAKER_ACCOUNT).entry_quote == 1_025_000 + 462  # ceil(461.25)

    venue.settle(orders, [(0, 1, 100)])

    assert venue.position(TAKER_ACCOUNT).entry_quote == 1_025_462 + 1_000_450


@pytest.mark.parametrize(
    ("limit_ticks", "code"),
    [(8_995, 42), (9_000, 0), (11_000, 0), (11_005, 42)],
)
def test_fill__price_at_the_band__inside_settles_outside_does_not(venue: Venue, limit_ticks: int, code: int) -> None:
    settled = venue.trade(100, maker={"limit_ticks": limit_ticks}, taker={"limit_ticks": limit_ticks})

    assert settled.fills == [code]


def test_mark__moved_by_many_batches_in_one_second__takes_one_step_only(venue: Venue) -> None:
    """1 % for every 3 seconds: after 3 s 10,100, however many batches ask for more in that second."""
    venue.wait(3)
    row = PriceRow(market_id=1, mark_ticks=2**40 - 1, index_ticks=2**40 - 1)
    marks = []
    for _ in range(4):
        venue.settle(rows=[row])
        marks.append(venue.price().mark_ticks)

    assert marks == [10_100] * 4
    assert venue.price().index_ticks == TICKS


@pytest.mark.parametrize(
    ("wait_s", "asked", "mark"),
    [
        (2, 11_000, 10_000),
        (3, 11_000, 10_100),
        (5, 11_000, 10_100),
        (30, 11_000, 11_000),
        (6, 1, 9_800),
        (60, 0, 9_000),
    ],
)
def test_mark__asked_for_anything__moves_by_time_and_stays_in_the_band(
    venue: Venue, wait_s: int, asked: int, mark: int
) -> None:
    venue.wait(wait_s)

    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=asked, index_ticks=TICKS)])

    assert venue.price().mark_ticks == mark


def test_mark__pushed_against_a_position__gives_its_owner_nothing_and_the_other_side_no_gain(venue: Venue) -> None:
    """A long is worth the lower of mark and external: pushing the mark up helps no long to withdraw."""
    open_short(venue)
    before = venue.chain.call("Lens", "account_summary", TAKER_ACCOUNT, venue.chain.time_s)
    venue.wait(30)
    venue.settle(rows=[PriceRow(market_id=1, mark_ticks=11_000, index_ticks=TICKS)])

    after = venue.chain.call("Lens", "account_summary", TAKER_ACCOUNT, venue.chain.time_s)

    assert venue.price().mark_ticks == 11_000
    assert after[1] == before[1]


def test_price_row__market_without_external_price__reverts() -> None:
    venue = Venue.open(is_priced=False)

    with refused("prices: no external"):
        venue.settle(rows=[PriceRow(market_id=1, mark_ticks=TICKS, index_ticks=TICKS)])


@pytest.mark.parametrize("market", [0, 33, 255])
def test_price_row__market_out_of_range__reverts(venue: Venue, market: int) -> None:
    reason = "prices: market order" if market == 0 else "prices: unknown market"

    with refused(reason):
        venue.settle(rows=[PriceRow(market_id=market, mark_ticks=TICKS, index_ticks=TICKS)])


def test_fill__market_without_external_price__finds_no_band() -> None:
    """Mark and external read zero there: a trigger "mark at or below" is met, but nothing trades."""
    venue = Venue.open(is_priced=False)
    orders = venue.pair(maker={"trigger_kind": TriggerKind.MARK_AT_OR_BELOW, "trigger_ticks": 0})

    settled = venue.settle(orders, [(0, 1, 100)])

    assert (settled.orders, settled.fills) == ([0, 0], [StatusCode.PRICE_OUTSIDE_BAND])


@pytest.mark.parametrize(
    ("kind", "ticks", "code"),
    [
        (TriggerKind.MARK_AT_OR_ABOVE, 10_000, 0), (TriggerKind.MARK_AT_OR_ABOVE, 10_001, 11),
        (TriggerKind.MARK_AT_OR_BELOW, 10_000, 0), (TriggerKind.MARK_AT_OR_BELOW, 9_999, 11),
        (TriggerKind.INDEX_AT_OR_ABOVE, 10_000, 0), (TriggerKind.INDEX_AT_OR_ABOVE, 10_001, 11),
        (TriggerKind.INDEX_AT_OR_BELOW, 10_000, 0), (TriggerKind.INDEX_AT_OR_BELOW, 9_999, 11),
    ],
)  # fmt: skip
def test_trigger__at_its_price__is_met_to_the_tick(venue: Venue, kind: TriggerKind, ticks: int, code: int) -> None:
    settled = venue.settle([venue.order(MAKER, is_buy=True, trigger_kind=kind, trigger_ticks=ticks)])

    assert settled.orders == [code]


@pytest.mark.parametrize("market", [0, 9, 32, 33, 128, 255])
def test_order__unlisted_market__is_one_code_and_no_revert(venue: Venue, market: int) -> None:
    orders = [venue.order(MAKER, is_buy=False, market_id=market, lane=50), *venue.pair()]

    settled = venue.settle(orders, [(1, 2, 100), (0, 2, 100)])

    assert settled.orders == [StatusCode.UNKNOWN_MARKET, 0, 0]
    assert settled.fills == [0, StatusCode.ORDER_INVALID]


# Fees.


def test_fee__fill_cut_into_single_lots__costs_less_than_one_unit_more_per_fill(venue: Venue) -> None:
    """Rounding up each of 200 fills is the most a split can take: under 0.0002 USDC, signed rate otherwise."""
    orders = venue.pair()

    assert venue.settle(orders, [(0, 1, 1)] * 200).is_clean

    exact_paid = 200 * TICKS
    fee = venue.position(TAKER_ACCOUNT).entry_quote - exact_paid
    assert fee == 200 * 5  # 4.5 rounded up
    assert fee - exact_paid * 450 / 1_000_000 < 200


def test_fee__of_the_cheapest_fill__never_turns_a_sale_into_a_debt() -> None:
    """One lot at one tick is one unit; the fee rounds up to one: the seller gets nothing and owes nothing."""
    venue = Venue.open(
        n_markets=1, is_priced=False,
        rules=replace(RULES, size_step_lots=1, price_step_ticks=1, min_notional_quote=0, max_fee_ppm=65_535),
    )  # fmt: skip
    venue.settle(
        rows=[PriceRow(market_id=1, mark_ticks=1, index_ticks=1)],
        evidence=venue.evidence([Report(price_e8=10**6)]),
    )
    changes = {"limit_ticks": 1, "size_lots": 1, "max_fee_ppm": 65_535, "fees": (65_535, 65_535)}

    assert venue.trade(1, maker=changes, taker=changes).is_clean

    assert venue.position(MAKER_ACCOUNT).entry_quote == 0
    assert venue.position(TAKER_ACCOUNT).entry_quote == 2


# Numbers at the ends of their lanes. What no trading reaches is written into storage.


def settle_raw(venue: Venue, *args: Any, **changes: Any) -> None:
    """Settle without holding the books: storage was written past the code."""
    venue.chain.settle(encode(venue.table(*args, **changes)))


@pytest.mark.parametrize("beyond", [0, 1])
def test_entry__lowest__settles_one_lower_reverts(venue: Venue, beyond: int) -> None:
    """MAKER is short 1,000 lots with a ledger near -2^92; it sells 1,000 more: - 10 USDC + fee."""
    entry = -(2**92) + NOTIONAL - MAKER_FEE - beyond
    position = PositionWord(size_lots=-1_000, entry_quote=entry)
    venue.chain.write_word("positions", MAKER_ACCOUNT << 16 | 1, position.pack())
    word = replace(venue.account(MAKER_ACCOUNT), open_markets=(1, 0, 0, 0, 0, 0))
    venue.chain.write_word("accounts", MAKER_ACCOUNT << 16, word.pack())
    venue.chain.write_word("totals", 1, TotalsWord(open_interest_lots=1_000).pack())
    orders = venue.pair()

    if beyond:
        with refused("word: entry range"):
            settle_raw(venue, orders, [(0, 1, 1_000)])
    else:
        settle_raw(venue, orders, [(0, 1, 1_000)])
        assert venue.position(MAKER_ACCOUNT) == PositionWord(size_lots=-2_000, entry_quote=-(2**92))


@pytest.mark.parametrize("beyond", [0, 1])
def test_collateral__highest_by_realising__settles_one_higher_reverts(venue: Venue, beyond: int) -> None:
    open_short(venue)
    # the ledger is written so that buying back at 10,000 with the fee realises a profit of 5,000
    entry = venue.position(MAKER_ACCOUNT)
    word = replace(venue.account(MAKER_ACCOUNT), collateral_quote=2**71 - 1 - 5_000 + beyond)
    venue.chain.write_word("accounts", MAKER_ACCOUNT << 16, word.pack())
    venue.chain.write_word(
        "positions", MAKER_ACCOUNT << 16 | 1,
        replace(entry, entry_quote=-NOTIONAL - MAKER_FEE - 5_000).pack(),
    )  # fmt: skip
    orders = venue.pair(maker_buys=True)

    if beyond:
        with refused("word: collateral range"):
            settle_raw(venue, orders, [(0, 1, 1_000)])
    else:
        settle_raw(venue, orders, [(0, 1, 1_000)])
        assert venue.account(MAKER_ACCOUNT).collateral_quote == 2**71 - 1


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("field", ["net_entry_quote", "pot_quote"])
def test_totals__highest__settles_one_higher_reverts(venue: Venue, beyond: int, field: str) -> None:
    """The fill adds its fees, 5,500, to the sum of entries; funding of 7 x 1,000 lots adds 7,000 to the pot."""
    added = MAKER_FEE + TAKER_FEE
    if field == "pot_quote":
        open_short(venue)
        venue.chain.write_word("indices", 1, 7 * 10**12)
        added = 7_000
    venue.chain.write_word("totals", 1, replace(venue.totals(), **{field: 2**95 - 1 - added + beyond}).pack())
    orders = venue.pair()

    if beyond:
        with refused("word: totals range"):
            settle_raw(venue, orders, [(0, 1, 1_000)])
    else:
        settle_raw(venue, orders, [(0, 1, 1_000)])
        assert getattr(venue.totals(), field) == 2**95 - 1


@pytest.mark.parametrize("beyond", [0, 1])
def test_batch_word__highest_fees__settles_one_higher_reverts(venue: Venue, beyond: int) -> None:
    batch: BatchWord = replace(venue.batch(), fees_quote=2**80 - 1 - MAKER_FEE - TAKER_FEE + beyond)
    venue.chain.write_value("batch", batch.pack())
    orders = venue.pair()

    if beyond:
        with refused("word: batch range"):
            settle_raw(venue, orders, [(0, 1, 1_000)])
    else:
        settle_raw(venue, orders, [(0, 1, 1_000)])
        assert venue.batch().fees_quote == 2**80 - 1


def test_funding__pending_of_both_signs__moves_entry_and_pot_by_the_same(venue: Venue) -> None:
    """Long pays 3.5 a lot, short receives 1.25: 3,500 and - 1,250 over 1,000 lots; the pot keeps 2,250."""
    open_short(venue)
    venue.chain.write_word("indices", 1, 3_500_000_000_000 | ((1_250_000_000_000) << 96))

    venue.trade(1_000)

    assert venue.position(TAKER_ACCOUNT).entry_quote == 2 * (NOTIONAL + TAKER_FEE) + 3_500
    assert venue.position(MAKER_ACCOUNT).entry_quote == -2 * (NOTIONAL - MAKER_FEE) - 1_250
    assert venue.totals().pot_quote == 2_250


def test_account_word__debt_and_everything_else__survives_a_fill(venue: Venue) -> None:
    """Negative collateral borrows from nobody: all ones above the number, whatever stands in min_seq beside it."""
    open_short(venue)
    word = AccountWord(
        collateral_quote=-1, min_seq=2**40 - 1, lane0_seq=2**40 - 1, lane0_filled_lots=2**48 - 1,
        open_markets=(1, 0, 0, 0, 0, 0),
    )  # fmt: skip
    venue.chain.write_word("accounts", TAKER_ACCOUNT << 16, word.pack())
    venue.chain.write_word(
        "positions", TAKER_ACCOUNT << 16 | 1, PositionWord(size_lots=1_000, entry_quote=-100 * USDC).pack()
    )

    settle_raw(venue, [venue.order(MAKER, is_buy=True)], extra_accounts=[TAKER_ACCOUNT])
    assert venue.account(TAKER_ACCOUNT) == word
    settle_raw(venue, operations=[venue.withdraw(TAKER, USDC)])

    assert venue.account(TAKER_ACCOUNT) == replace(word, collateral_quote=-1 - USDC)


# Neighbours that turn hostile: what stands behind the oracle's or the vault's address.


def put_code(venue: Venue, contract: str, code: bytes) -> None:
    venue.chain.evm.insert_account_info(venue.chain.addresses[contract], AccountInfo(nonce=1, code=code))


def answering(reports: list[int]) -> bytes:
    """Return code that copies what follows byte 14 into memory and answers any call with it: a DynArray."""
    body = b"".join(number.to_bytes(32, "big") for number in (32, len(reports), *reports))
    size = len(body).to_bytes(2, "big")
    head = b"\x61" + size + b"\x61\x00\x0e" + b"\x5f\x39" + b"\x61" + size + b"\x5f\xf3"
    return head.ljust(14, b"\x00") + body


def calling_back(calldata: bytes) -> bytes:
    """Return code that calls its caller with this and reverts if that succeeds: behind a lock it answers one."""
    size = len(calldata).to_bytes(2, "big")
    head = (
        b"\x61" + size + b"\x61\x00\x40\x5f\x39"  # codecopy(0, 64, size)
        + b"\x5f\x5f\x61" + size + b"\x5f\x5f\x33\x5a\xf1"  # call(gas, caller, 0, 0, size, 0, 0)
    )  # fmt: skip
    answer = b"\x60\x01\x5f\x52\x60\x20\x5f\xf3"  # mstore(0, 1); return(0, 32)
    jump = len(head) + 3 + len(answer)
    head += b"\x60" + bytes([jump]) + b"\x57" + answer + b"\x5b\x5f\x5f\xfd"  # jumpi; answer; revert
    return head.ljust(64, b"\x00") + calldata


def price_word(**changes: Any) -> int:
    """Return the price word the venue has, with changes."""
    word = PriceWord(
        mark_ticks=TICKS, index_ticks=TICKS, external_ticks=TICKS, external_time_s=T, mark_time_s=T, session=2, epoch=2,
        session_minutes=65_535,
    )  # fmt: skip
    return replace(word, **changes).pack()


@pytest.mark.parametrize(
    ("market", "price", "index", "reason"),
    [
        (1, price_word(external_ticks=2**32), 0, "move: out of range"),
        (1, price_word(mark_ticks=2**33), 0, "move: out of range"),
        (1, price_word(index_ticks=2**33), 0, "move: out of range"),
        (1, price_word(session=9), 0, "move: out of range"),
        (1, price_word(session=255), 0, "move: out of range"),
        (1, price_word(epoch=0), 0, "move: out of range"),
        (1, price_word(), 2**88, "move: out of range"),
        (1, price_word(), 2**96 - 2**88 - 1, "move: out of range"),
        (1, price_word(), 2**88 << 96, "move: out of range"),
        (1, price_word(), 2**95 << 96, "move: out of range"),
        (9, price_word(), 0, "prices: unknown market"),
        (0, price_word(), 0, "prices: unknown market"),
        (2**255, price_word(), 0, "prices: unknown market"),
    ],
)
def test_prices__an_oracle_gone_mad__cannot_break_the_width_proof(
    venue: Venue, market: int, price: int, index: int, reason: str
) -> None:
    put_code(venue, "PriceOracle", answering([market, price, index]))

    with refused(reason):
        settle_raw(venue, evidence=b"\x00")


@pytest.mark.parametrize("ticks", [1, 2**32 - 1])
@pytest.mark.parametrize("index", [2**88 - 1, 2**96 - 2**88, (2**88 - 1) << 96])
def test_prices__at_the_bounds__are_taken(venue: Venue, ticks: int, index: int) -> None:
    price = price_word(external_ticks=ticks, mark_ticks=2**33 - 1, session=8)
    put_code(venue, "PriceOracle", answering([1, price, index]))

    settle_raw(venue, evidence=b"\x00")

    assert venue.chain.call("Clearinghouse", "price_word", 1) == price
    assert venue.chain.call("Clearinghouse", "index_word", 1) == index


REENTRIES: Final = {
    "head": lambda: encode_call("Clearinghouse", "head"),
    "credit_deposit": lambda: encode_call("Clearinghouse", "credit_deposit", MAKER_ACCOUNT, ZERO_ADDRESS, 5),
    "settle": lambda: encode_call("Clearinghouse", "settle", bytes(32), bytes(64)),
}


@pytest.mark.parametrize("name", REENTRIES)
def test_settle__vault_calls_back_while_it_runs__meets_the_lock(venue: Venue, name: str) -> None:
    """What settle has read lives in memory until the end: a deposit credited meanwhile might be overwritten."""
    put_code(venue, "Vault", calling_back(REENTRIES[name]()))

    settle_raw(venue, operations=[venue.withdraw(MAKER, USDC)])

    assert venue.account(MAKER_ACCOUNT).collateral_quote == 9_999 * USDC


def test_credit_deposit__vault_calls_outside_a_batch__has_no_lock_to_meet(venue: Venue) -> None:
    """The negative of the one above: the same call from the same address passes when nothing runs."""
    calldata = REENTRIES["credit_deposit"]()
    put_code(venue, "Vault", b"")  # a sender with code is no sender (EIP-3607)

    venue.chain.transact(venue.chain.addresses["Vault"], venue.chain.addresses["Clearinghouse"], calldata)

    assert venue.account(MAKER_ACCOUNT).collateral_quote == 10_000 * USDC + 5


VAULT_REENTRIES: Final = {
    "claim": lambda: encode_call("Vault", "claim", address_of(TAKER)),
    "deposit": lambda: encode_call("Vault", "deposit", address_of(TAKER), 0, 1),
    "view": lambda: encode_call("Vault", "tracked_quote"),
}


@pytest.mark.parametrize("name", VAULT_REENTRIES)
def test_claim__token_calls_back_while_it_pays__meets_the_lock(venue: Venue, name: str) -> None:
    venue.settle(operations=[venue.withdraw(MAKER, USDC), venue.withdraw(TAKER, USDC)])
    put_code(venue, "token", calling_back(VAULT_REENTRIES[name]()))

    assert venue.chain.call("Vault", "claim", address_of(MAKER)) == USDC

    assert venue.claim_of(address_of(MAKER)) == 0
    assert venue.claim_of(address_of(TAKER)) == USDC


def test_token__that_calls_a_vault_without_a_lock__would_revert(venue: Venue) -> None:
    """The negative of the one above: outside a claim the same callback succeeds, and the token's code reverts."""
    code = calling_back(encode_call("Vault", "tracked_quote"))
    venue.chain.evm.insert_account_info(address_of(THIRD), AccountInfo(nonce=1, code=code))
    venue.chain.evm.insert_account_info(venue.chain.addresses["token"], AccountInfo(nonce=1, code=b""))

    # called by somebody without code the callback finds nobody to answer, which counts as success
    with refused(""):
        venue.chain.transact(address_of(TAKER), address_of(THIRD), b"")


def sending(address: str, calls: list[bytes]) -> bytes:
    """Return code that makes these calls to one contract in one transaction, all or nothing."""
    target = bytes.fromhex(address[2:])
    n_head = 43 * len(calls) + 5
    head, body = b"", b"".join(calls)
    at = n_head
    for call in calls:
        size, start = len(call).to_bytes(2, "big"), at.to_bytes(2, "big")
        head += b"\x61" + size + b"\x61" + start + b"\x5f\x39"  # codecopy to 0
        head += b"\x5f\x5f\x61" + size + b"\x5f\x5f\x73" + target + b"\x5a\xf1"  # call, gas as it is
        head += b"\x15\x61" + (n_head - 4).to_bytes(2, "big") + b"\x57"  # on failure to the end
        at += len(call)
    head += b"\x00\x5b\x5f\x5f\xfd"
    assert len(head) == n_head
    return head + body


def test_settle__two_batches_in_one_transaction__leave_nothing_over_in_between(venue: Venue) -> None:
    """What a batch keeps for itself within the transaction must not reach the next: realised sums and locks.

    Both batches are round trips over 1,000 lots: each realises minus its own fees, 2 x 1,000 for MAKER.
    """
    contract = "0x" + "cc" * 20
    clearinghouse = venue.chain.addresses["Clearinghouse"]
    venue.chain.call("MarketRegistry", "approve_sequencer", contract, sender=GOVERNOR)
    venue.chain.call("MarketRegistry", "rotate_sequencer", contract, sender=GOVERNOR)
    calls, heads = [], [venue.chain.head]
    for _ in range(2):
        orders = [
            venue.order(MAKER, is_buy=False, lane=3), venue.order(TAKER, is_buy=True),
            venue.order(MAKER, is_buy=True, lane=4), venue.order(TAKER, is_buy=False, lane=5),
        ]  # fmt: skip
        table = venue.table(orders, [(0, 1, 1_000), (2, 3, 1_000)])
        table = replace(table, header=replace(table.header, sequence=venue.chain.sequence + len(heads)))
        payload = encode(table)
        calls.append(encode_call("Clearinghouse", "settle", heads[-1], payload))
        heads.append(compute_head(heads[-1], keccak(payload), b""))
    venue.chain.evm.insert_account_info(contract, AccountInfo(nonce=1, code=sending(clearinghouse, calls)))

    venue.chain.transact(address_of(THIRD), contract, b"")

    changes = [
        change
        for event in venue.chain.events() if event.name == "PositionsChanged"
        for key, change in zip(event.args["records"][::3], event.args["records"][1::3], strict=True)
        if key == MAKER_ACCOUNT << 16 | 1
    ]  # fmt: skip
    assert venue.chain.head == heads[-1]
    assert changes == [(2 * MAKER_FEE << 160) | ((-2 * MAKER_FEE) % 2**96 << 64)] * 2
    assert venue.account(MAKER_ACCOUNT).collateral_quote == 10_000 * USDC - 4 * MAKER_FEE
    venue.check_books()


# Batches.


def test_settle__empty_batch__moves_only_head_and_sequence(venue: Venue) -> None:
    before = [venue.chain.read_word("accounts", MAKER_ACCOUNT << 16), venue.price(), venue.totals()]
    head = venue.chain.head

    settled = venue.settle()

    assert venue.chain.head != head
    assert [event.name for event in settled.events] == ["BatchSettled"]
    assert before == [venue.chain.read_word("accounts", MAKER_ACCOUNT << 16), venue.price(), venue.totals()]


def test_settle__same_batch_twice__is_refused(venue: Venue) -> None:
    payload = encode(venue.table(venue.pair(), [(0, 1, 100)]))
    head = venue.chain.head
    venue.chain.settle(payload)

    with refused("batch: head"):
        venue.chain.settle(payload, previous_head=head)
    with refused("batch: sequence"):
        venue.chain.settle(payload)


def test_settle__two_batches_of_one_sequence__only_one_lands(venue: Venue) -> None:
    first, second = (encode(venue.table(venue.pair(), [(0, 1, lots)])) for lots in (100, 200))
    head = venue.chain.head
    venue.chain.settle(second, previous_head=head)

    with refused("batch: head"):
        venue.chain.settle(first, previous_head=head)


def test_settle__by_a_replaced_sequencer__is_refused(venue: Venue) -> None:
    venue.chain.call("MarketRegistry", "approve_sequencer", address_of(THIRD), sender=GOVERNOR)
    venue.chain.call("MarketRegistry", "rotate_sequencer", address_of(THIRD), sender=GOVERNOR)
    payload = encode(venue.table())

    with refused("batch: not sequencer"):
        venue.chain.settle(payload, sender=SEQUENCER)
    venue.chain.settle(payload, sender=address_of(THIRD))
    assert venue.chain.call("Clearinghouse", "operator_word") >> 160 == 2


def test_settle__operation_and_order_and_fill_failed__has_a_code_each_in_this_order(venue: Venue) -> None:
    orders = venue.pair(maker={"size_lots": 0})

    settled = venue.settle(orders, [(0, 1, 100)], [venue.withdraw(MAKER, 0)])

    failures = settled.named("BatchFailures")
    in_table = [settled.orders[place] for place in sorted(venue.index_of, key=venue.index_of.__getitem__)]
    assert list(failures[0]["codes"]) == [StatusCode.ZERO_WITHDRAWAL, *in_table, settled.fills[0]]
    assert settled.orders == [StatusCode.ZERO_SIZE, 0]
    assert settled.fills == [StatusCode.ORDER_INVALID]
    assert settled.named("BatchSettled")[0]["n_failures"] == 3


# A hostile user: whatever it signs may fail alone, never for the others.

ODD_ORDERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "market_id": st.sampled_from([0, 1, 2, 8, 9, 32, 33, 255]),
        "epoch": st.sampled_from([0, 1, 2, 2**32 - 1]),
        "size_lots": st.sampled_from([0, 1, 10, 1_000, 1_000_000, 1_000_010, 2**40, 2**47, 2**48 - 1]),
        "limit_ticks": st.sampled_from([0, 1, 5, 9_000, 10_000, 11_000, 2**33, 2**39, 2**40 - 1]),
        "max_fee_ppm": st.sampled_from([0, 450, 1_000, 1_001, 2**16 - 1]),
        "expiry_s": st.sampled_from([0, 1_900_000_000, 1_900_000_000 + 30 * 86_400, 2**40 - 1]),
        "lane": st.sampled_from([0, 1, 2, 65_534, 65_535]),
        "seq": st.sampled_from([0, 1, 2**39, 2**40 - 1]),
        "reduce_only": st.booleans(),
        "post_only": st.booleans(),
        "time_in_force": st.sampled_from(list(TimeInForce)),
        "trigger_kind": st.sampled_from([*TriggerKind, 5, 255]),
        "trigger_ticks": st.sampled_from([0, 10_000, 2**40 - 1]),
        "subaccount": st.sampled_from([0, 1, 2**80 - 1]),
        "fees": st.sampled_from([(0, 0), (65_535, 65_535), (450, 0)]),
    },
)


@cache
def open_shared() -> Venue:
    """Return one venue for all examples; each undoes what it did."""
    return Venue.open()


@given(
    changes=ODD_ORDERS, is_buy=st.booleans(), lots=st.sampled_from([0, 1, 10, 1_000, 2**40, 2**48 - 1]),
    quote=st.sampled_from([0, 1, 10_000 * USDC, 2**64 - 1]), nonce=st.sampled_from([0, 2**40, 2**56 - 1]),
)  # fmt: skip
def test_settle__any_order_and_operation_somebody_signs__stops_nobody_else(
    changes: dict[str, Any], is_buy: bool, lots: int, quote: int, nonce: int
) -> None:
    """THIRD signs anything; the fill between MAKER and TAKER settles in the same batch and the books stay exact."""
    venue = open_shared()
    with venue.chain.undone():
        venue.chain.deposit(account_of(THIRD), 10_000 * USDC)
        odd = venue.order(THIRD, is_buy=is_buy, **changes)
        orders = [odd, *venue.pair(maker={"lane": 90, "size_lots": 5_000}, taker={"lane": 91, "size_lots": 5_000})]
        other = 2 if not is_buy else 1
        operations = [
            venue.withdraw(THIRD, quote), venue.cancel(THIRD, nonce),
            venue.cancel_all(THIRD, nonce & 2**40 - 1),
        ]  # fmt: skip

        settled = venue.settle(orders, [(0, other, lots), (1, 2, 1_000), (other, 0, lots)], operations)

        assert settled.orders[1:] == [0, 0]
        assert settled.fills[1] == 0


# Bounds that do not exist: what a hostile sequencer can do, so that nobody believes otherwise.


def test_fill_or_kill__filled_in_part__settles_and_is_consumed(venue: Venue) -> None:
    """The chain bounds price, size, fee and life of an order; that a FOK fills whole is the engine's promise."""
    settled = venue.trade(10, taker={"time_in_force": TimeInForce.FOK})

    assert settled.is_clean
    assert venue.position(TAKER_ACCOUNT).size_lots == 10
    assert venue.lane(TAKER_ACCOUNT, 1)[1] == ALL_ONES


def test_order__expired_but_matched_before__settles_up_to_the_lag(venue: Venue) -> None:
    """Life ends at matched_at, which the sequencer may set up to 300 s back, never before the batch before."""
    orders = venue.pair(maker={"expiry_s": venue.chain.time_s}, taker={"expiry_s": venue.chain.time_s})
    matched_at_s = venue.chain.time_s
    venue.wait(300)

    assert venue.settle(orders, [(0, 1, 100)], matched_at_s=matched_at_s).is_clean
    venue.settle(matched_at_s=matched_at_s + 1)
    with refused("batch: matched at"):
        venue.settle(orders, [(0, 1, 100)], matched_at_s=matched_at_s)


def test_fill__below_the_size_step__settles_inside_the_order(venue: Venue) -> None:
    """Steps bound orders, not fills: a sequencer can leave somebody a position of one lot."""
    assert venue.trade(1).is_clean
    assert venue.position(TAKER_ACCOUNT).size_lots == 1


def test_withdrawal__of_unrealised_profit__leaves_collateral_negative_and_the_debt_bound_to_the_position(
    venue: Venue,
) -> None:
    """Market 1 rises from 10,000 to 12,000. TAKER's 1,000 lots gain 2 USDC; 1.2 stay as a tenth of the notional.

    The gain is MAKER's unrealised loss: it leaves the vault before MAKER has paid it. What protects the vault is
    MAKER's margin alone, until liquidation and an insurance fund stand beside it.
    """
    open_short(venue)
    # a jump counts when a second report confirms it
    for _ in range(2):
        venue.wait(60)
        venue.set_prices({1: 12_000})
    most = 10_000 * USDC - TAKER_FEE + 2 * USDC - 1_200_000

    settled = venue.settle(operations=[venue.withdraw(TAKER, most + 1), venue.withdraw(TAKER, most)])

    assert settled.operations == [StatusCode.MARGIN, 0]
    assert venue.account(TAKER_ACCOUNT).collateral_quote == 10_000 * USDC - most == -795_500
    changes = {"limit_ticks": 12_000, "reduce_only": True}
    assert venue.trade(maker_buys=True, maker=changes, taker=changes).is_clean
    # 12 USDC x 450 ppm = 5,400 for closing
    assert venue.account(TAKER_ACCOUNT).collateral_quote == 1_200_000 - 5_400
