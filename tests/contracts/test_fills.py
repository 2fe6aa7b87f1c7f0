"""Codes of orders and fills: each positive case first, what refuses it right below."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from afterbell.domain.batch import PriceRow
from afterbell.domain.order import TimeInForce, TriggerKind
from tests.contracts.desk import DAY_S, DEPOSIT_QUOTE, FEE_PPM, LOTS, MARKET, PRICE_TICKS, RULES, Desk, signing_key
from tests.contracts.lens import look

ALL_ONES = (1 << 48) - 1
TAKER_SIDE = 64


def test_fill__two_crossing_orders__positions_and_entries(desk: Desk) -> None:
    """1,000 lots at 10,000 ticks = 10,000,000 quote; maker pays 100 ppm = 1,000, taker 400 ppm = 4,000."""
    maker = desk.order(desk.maker, buy=False, maker_fee_ppm=100)
    taker = desk.order(desk.taker, buy=True, taker_fee_ppm=400)

    codes = desk.settle([maker, taker], [(0, 1, LOTS)])

    assert (codes.orders, codes.fills) == ([0, 0], [0])
    assert desk.position(desk.maker) == (-LOTS, -10_000_000 + 1_000)
    assert desk.position(desk.taker) == (LOTS, 10_000_000 + 4_000)
    settled = desk.events("BatchSettled")[0].args
    assert (settled["volume_quote"], settled["fees_quote"], settled["n_failures"]) == (10_000_000, 5_000, 0)
    assert desk.position_changes()[desk.account(desk.taker)] == 4_000 << 160 | LOTS
    assert desk.is_solvent()


def test_fill__round_trip__entry_realised_into_collateral(desk: Desk) -> None:
    """Taker buys 1,000 lots at 10,000 and sells them at 10,005 ticks: 5,000 quote from maker to taker."""
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    back = [desk.order(desk.maker, buy=True, ticks=10_005), desk.order(desk.taker, buy=False, ticks=10_005)]

    codes = desk.settle(back, [(0, 1, LOTS)])

    assert codes.fills == [0]
    assert desk.position(desk.maker) == desk.position(desk.taker) == (0, 0)
    assert desk.collateral(desk.taker) == DEPOSIT_QUOTE + 5_000
    assert desk.collateral(desk.maker) == DEPOSIT_QUOTE - 5_000
    assert desk.position_changes()[desk.account(desk.taker)] >> 64 & (1 << 96) - 1 == 5_000
    assert desk.is_solvent()


def test_fill__flip__size_crosses_zero_and_open_interest_stays(desk: Desk) -> None:
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    back = [desk.order(desk.maker, buy=True, lots=3 * LOTS), desk.order(desk.taker, buy=False, lots=3 * LOTS)]

    codes = desk.settle(back, [(0, 1, 2 * LOTS)])

    assert codes.fills == [0]
    assert (desk.position(desk.maker)[0], desk.position(desk.taker)[0]) == (LOTS, -LOTS)
    assert look(desk.chain, "MarketLens", "market_summary", MARKET, desk.chain.time_s)["open_interest_lots"] == LOTS


ORDER_CODES: list[tuple[str, dict[str, Any], int]] = [
    ("market not listed", {"market_id": 20}, 1),
    ("lane of operations", {"lane": 65_535}, 2),
    ("post-only and IOC", {"post_only": True, "time_in_force": TimeInForce.IOC}, 2),
    ("post-only and FOK", {"post_only": True, "time_in_force": TimeInForce.FOK}, 2),
    ("expired", {"expiry_s": 1_899_999_999}, 5),
    ("expiry too far", {"expiry_s": 1_900_000_000 + 30 * DAY_S + 1}, 6),
    ("off size step", {"size_lots": LOTS + 1}, 7),
    ("off price step", {"limit_ticks": PRICE_TICKS + 1}, 7),
    ("below minimum", {"size_lots": 490}, 8),
    ("too large", {"size_lots": 10**9 + 10}, 9),
    ("trigger mark >=", {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": PRICE_TICKS + 1}, 11),
    ("trigger mark <=", {"trigger_kind": TriggerKind.MARK_AT_OR_BELOW, "trigger_ticks": PRICE_TICKS - 1}, 11),
    ("trigger index >=", {"trigger_kind": TriggerKind.INDEX_AT_OR_ABOVE, "trigger_ticks": PRICE_TICKS + 1}, 11),
    ("trigger index <=", {"trigger_kind": TriggerKind.INDEX_AT_OR_BELOW, "trigger_ticks": PRICE_TICKS - 1}, 11),
    ("zero size", {"size_lots": 0}, 12),
]


@pytest.mark.parametrize(("changes", "code"), [case[1:] for case in ORDER_CODES], ids=[case[0] for case in ORDER_CODES])
def test_order__broken__carries_its_code_and_fills_carry_order_invalid(
    desk: Desk, changes: dict[str, Any], code: int
) -> None:
    good = desk.order(desk.maker, buy=False)
    bad = desk.order(desk.taker, buy=True, **changes)

    as_taker = desk.settle([good, bad], [(0, 1, LOTS)])
    as_maker = desk.settle([good, bad], [(1, 0, LOTS)])

    assert (as_taker.orders, as_taker.fills) == ([0, code], [32 + TAKER_SIDE])
    assert (as_maker.orders, as_maker.fills) == ([0, code], [32])
    assert desk.position(desk.maker) == (0, 0)


@pytest.mark.parametrize("kind", list(TriggerKind)[1:])
def test_order__trigger_met_exactly__fills(desk: Desk, kind: TriggerKind) -> None:
    orders = [
        desk.order(desk.maker, buy=False),
        desk.order(desk.taker, buy=True, trigger_kind=kind, trigger_ticks=PRICE_TICKS),
    ]

    assert desk.settle(orders, [(0, 1, LOTS)]).fills == [0]


def test_order__expiry_at_the_edges__alive(desk: Desk) -> None:
    now_s = desk.chain.time_s
    orders = [
        desk.order(desk.maker, buy=False, expiry_s=now_s),
        desk.order(desk.taker, buy=True, expiry_s=now_s + 30 * DAY_S),
    ]

    assert desk.settle(orders, [(0, 1, LOTS)]).fills == [0]


@pytest.mark.parametrize("bit", range(10, 16))
def test_order__reserved_flag__unknown(desk: Desk, bit: int) -> None:
    bad = desk.order(desk.taker, buy=True)
    bad = replace(bad, record=replace(bad.record, flags=bad.record.flags | 1 << bit))

    assert desk.settle([bad]).orders == [2]


def test_order__fee_up_to_signed_and_market_maximum__then_above(desk: Desk) -> None:
    fits = desk.order(desk.taker, buy=True, taker_fee_ppm=FEE_PPM, maker_fee_ppm=FEE_PPM)
    above_signed = desk.order(desk.taker, buy=True, maker_fee_ppm=FEE_PPM + 1, lane=2)
    above_market = desk.order(desk.taker, buy=True, max_fee_ppm=2_000, taker_fee_ppm=1_001, lane=3)

    assert desk.settle([fits, above_signed, above_market]).orders == [0, 10, 10]


def test_order__epochs__previous_one_only_reduces(desk: Desk) -> None:
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    first = [
        desk.order(desk.taker, buy=False, epoch=0, previous_epoch=True, reduce_only=True),
        desk.order(desk.taker, buy=False, epoch=2, lane=2),
    ]
    assert desk.settle(first).orders == [13, 3]
    price = desk.chain.read_word("prices", MARKET)
    desk.chain.write_word("prices", MARKET, price + (1 << 208))
    later = [
        desk.order(desk.taker, buy=False, epoch=1, previous_epoch=True, reduce_only=True),
        desk.order(desk.taker, buy=False, epoch=1, previous_epoch=True, lane=2),
        desk.order(desk.maker, buy=True, epoch=2),
    ]

    codes = desk.settle(later, [(2, 0, LOTS)])

    assert (codes.orders, codes.fills) == ([0, 13, 0], [0])


def test_fill__unequal_pairings__named(desk: Desk) -> None:
    sell, buy = desk.pair()
    other_market = desk.order(desk.taker, buy=True, market_id=2, lane=2)
    also_sells = desk.order(desk.taker, buy=False, lane=3)
    own_side = desk.order(desk.maker, buy=True, subaccount=7)
    posted = desk.order(desk.taker, buy=True, post_only=True, lane=4)
    orders = [sell, buy, other_market, also_sells, own_side, posted]

    codes = desk.settle(orders, [(0, 1, 0), (0, 2, LOTS), (0, 3, LOTS), (0, 4, LOTS), (0, 5, LOTS), (5, 0, LOTS)])

    assert codes.fills == [33, 34, 35, 36, 38, 0]


def test_fill__limits__price_is_the_makers(desk: Desk) -> None:
    sell = desk.order(desk.maker, buy=False, ticks=9_990)
    buy = desk.order(desk.taker, buy=True, ticks=10_010)
    low = desk.order(desk.taker, buy=True, ticks=9_985, lane=2)

    codes = desk.settle([sell, buy, low], [(0, 2, 100), (0, 1, 100), (1, 0, 100)])

    assert codes.fills == [37, 0, 0]
    assert desk.position(desk.taker)[1] == 100 * 9_990 + 100 * 10_010


def test_fill__auction_price__inside_both_limits(desk: Desk) -> None:
    sell = desk.order(desk.maker, buy=False, ticks=9_990)
    buy = desk.order(desk.taker, buy=True, ticks=10_010)

    def row(auction_ticks: int) -> tuple[PriceRow, ...]:
        return (PriceRow(market_id=1, mark_ticks=PRICE_TICKS, index_ticks=PRICE_TICKS, auction_ticks=auction_ticks),)

    assert desk.settle([sell, buy], [(0, 1, 100)], rows=row(10_003)).fills == [0]
    assert desk.position(desk.taker)[1] == 100 * 10_003
    assert desk.settle([sell, buy], [(0, 1, 100)], rows=row(10_011)).fills == [37]
    assert desk.settle([sell, buy], [(1, 0, 100)], rows=row(9_989)).fills == [37]


def test_fill__price_at_the_band__then_beyond(desk: Desk) -> None:
    """Band 10 % around 10,000: 9,000 and 11,000 pass."""
    edge = [desk.order(desk.maker, buy=False, ticks=11_000), desk.order(desk.taker, buy=True, ticks=11_000)]
    beyond = [
        desk.order(desk.maker, buy=False, ticks=11_005, lane=2),
        desk.order(desk.taker, buy=True, ticks=11_005, lane=2),
    ]

    assert desk.settle(edge + beyond, [(0, 1, LOTS), (2, 3, LOTS)]).fills == [0, 42]


def test_lane__partial_fills__accumulate_to_the_size(desk: Desk) -> None:
    orders = desk.pair()

    assert desk.settle(orders, [(0, 1, 400), (0, 1, 600)]).fills == [0, 0]
    assert desk.lane(desk.taker) == (orders[1].record.seq, LOTS)
    assert desk.settle(orders, [(0, 1, 10)]).fills == [41]


def test_lane__larger_taker__overfill_is_the_makers_then_the_takers(desk: Desk) -> None:
    small, large = desk.order(desk.maker, buy=False), desk.order(desk.taker, buy=True, lots=2 * LOTS)

    assert desk.settle([small, large], [(0, 1, LOTS + 10), (1, 0, LOTS + 10)]).fills == [41, 41 + TAKER_SIDE]


def test_lane__higher_seq__recycles_it_and_the_older_order_is_dead(desk: Desk) -> None:
    old = desk.pair()
    new = desk.pair()
    desk.settle(new, [(0, 1, LOTS)])

    assert desk.settle([old[0], desk.order(desk.taker, buy=True)], [(0, 1, 10)]).fills == [40]
    assert desk.settle([desk.order(desk.maker, buy=False), old[1]], [(0, 1, 10)]).fills == [40 + TAKER_SIDE]


@pytest.mark.parametrize("lane", [0, 1, 2, 3, 65_533])
def test_lane__all_ones__neither_fills_nor_carries_into_seq(desk: Desk, lane: int) -> None:
    """A packed add on an all-ones lane once revived a dead order: the seq must not move."""
    taker = desk.order(desk.taker, buy=True, lane=lane, time_in_force=TimeInForce.IOC)
    maker = desk.order(desk.maker, buy=False)
    assert desk.settle([maker, taker], [(0, 1, 10)]).fills == [0]
    consumed = (taker.record.seq, ALL_ONES)
    assert desk.lane(desk.taker, lane) == consumed

    assert desk.settle([maker, taker], [(0, 1, 10)]).fills == [41 + TAKER_SIDE]
    assert desk.lane(desk.taker, lane) == consumed


def test_lane__neighbours_in_one_word__do_not_touch(desk: Desk) -> None:
    makers = [desk.order(desk.maker, buy=False, lane=lane) for lane in (2, 3)]
    taker = desk.order(desk.taker, buy=True, lots=2 * LOTS)

    desk.settle([*makers, taker], [(0, 2, 100), (1, 2, 200)])

    assert [desk.lane(desk.maker, lane)[1] for lane in (2, 3)] == [100, 200]


def test_lane__one_cancels_other__equal_lane_and_seq_share_their_lots(desk: Desk) -> None:
    seq = desk.seq + 100
    twins = [desk.order(desk.maker, buy=False, lane=2, seq=seq, ticks=ticks) for ticks in (10_000, 10_005)]
    taker = desk.order(desk.taker, buy=True, ticks=10_005, lots=2 * LOTS)

    assert desk.settle([*twins, taker], [(0, 2, 600), (1, 2, 600)]).fills == [0, 41]


def test_lane__invalid_order_between_valid_ones__still_one_state(desk: Desk) -> None:
    """Two valid orders of a lane with a broken one between must not each get the whole size."""
    seq = desk.seq + 100
    first, broken, last = (desk.order(desk.maker, buy=False, lane=2, seq=seq, size_lots=n) for n in (1_000, 0, 1_000))
    taker = desk.order(desk.taker, buy=True, lots=2 * LOTS)

    codes = desk.settle([first, broken, last, taker], [(0, 3, 1_000), (2, 3, 1_000)])

    assert (codes.orders, codes.fills) == ([0, 12, 0, 0], [0, 41])


def test_consumption__ioc_without_any_fill__consumed(desk: Desk) -> None:
    ioc = desk.order(desk.taker, buy=True, time_in_force=TimeInForce.IOC)
    fok = desk.order(desk.taker, buy=True, time_in_force=TimeInForce.FOK, lane=2)
    gtc = desk.order(desk.taker, buy=True, lane=3)

    desk.settle([ioc, fok, gtc])

    assert desk.lane(desk.taker) == (ioc.record.seq, ALL_ONES)
    assert desk.lane(desk.taker, 2) == (fok.record.seq, ALL_ONES)
    assert desk.lane(desk.taker, 3) == (0, 0)


def test_reduce_only__reduces_then_would_flip(desk: Desk) -> None:
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    orders = [
        desk.order(desk.maker, buy=True, lots=3 * LOTS),
        desk.order(desk.taker, buy=False, lots=3 * LOTS, reduce_only=True),
    ]

    assert desk.settle(orders, [(0, 1, 400), (0, 1, 610), (0, 1, 600), (0, 1, 10)]).fills == [0, 43 + 64, 0, 43 + 64]


def test_opening__session_without_openings__only_reduces(desk: Desk) -> None:
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    desk.set_rules(replace(RULES, is_opening_allowed=False))
    more = desk.pair()
    back = [desk.order(desk.maker, buy=True, lane=2), desk.order(desk.taker, buy=False, lane=2)]

    assert desk.settle(more + back, [(0, 1, 10), (2, 3, 10)]).fills == [46, 0]


def test_stale__old_external_price__only_reduces(desk: Desk) -> None:
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    desk.age_prices(RULES.max_age_s + 1)
    more = desk.pair()
    back = [desk.order(desk.maker, buy=True, lane=2), desk.order(desk.taker, buy=False, lane=2)]

    assert desk.settle(more + back, [(0, 1, 10), (2, 3, 10)]).fills == [45, 0]


def test_stale__another_open_market_of_the_taker__blocks_until_it_is_closed(desk: Desk) -> None:
    desk.settle(desk.pair(market_id=2), [(0, 1, LOTS)])
    desk.age_prices(RULES.max_age_s + 1)
    desk.settle(evidence=desk.evidence(PRICE_TICKS, markets=(1,)))
    fresh = [desk.order(signing_key("second"), buy=False), desk.order(desk.taker, buy=True)]
    desk.chain.deposit(fresh[0].account_id, DEPOSIT_QUOTE)
    close = [
        desk.order(desk.maker, buy=True, market_id=2, lane=2),
        desk.order(desk.taker, buy=False, market_id=2, lane=2),
    ]

    codes = desk.settle(fresh + close, [(0, 1, 10), (2, 3, LOTS), (0, 1, 10)])

    assert codes.fills == [45 + TAKER_SIDE, 0, 0]


def test_open_markets__six__and_no_seventh(desk: Desk) -> None:
    makers = [desk.order(desk.maker, buy=False, market_id=m, lane=m) for m in range(1, 8)]
    takers = [desk.order(desk.taker, buy=True, market_id=m, lane=m) for m in range(1, 8)]

    codes = desk.settle(makers + takers, [(i, 7 + i, LOTS) for i in range(7)])
    close = [
        desk.order(desk.maker, buy=True, market_id=3, lane=3),
        desk.order(desk.taker, buy=False, market_id=3, lane=3),
    ]
    again = desk.settle([*close, makers[6], takers[6]], [(0, 1, LOTS), (2, 3, LOTS)])

    assert codes.fills == [0] * 6 + [44]
    assert again.fills == [0, 0]
    assert len(desk.chain.call("Lens", "account_summary", desk.account(desk.taker), desk.chain.time_s)[-1]) == 6


def test_open_interest__up_to_the_cap__then_beyond(desk: Desk) -> None:
    desk.set_rules(replace(RULES, open_interest_cap_lots=LOTS))
    first = desk.pair()
    desk.settle(first, [(0, 1, LOTS)])

    assert desk.settle(desk.pair(), [(0, 1, 10)]).fills == [49]
    # whoever holds less than the cap meets the market's
    desk.chain.deposit(desk.account(desk.outsider), DEPOSIT_QUOTE)
    small = [desk.order(desk.outsider, buy=False), desk.order(desk.taker, buy=True, subaccount=1)]
    desk.chain.deposit(desk.account(desk.taker, 1), DEPOSIT_QUOTE)
    assert desk.settle(small, [(0, 1, 10)]).fills == [47]


def test_margin__at_settlement_margin__then_one_quote_below(desk: Desk) -> None:
    """1,000 lots at 10,000: notional 10,000,000, settlement margin 15 % = 1,500,000."""
    exact, short = signing_key("exact"), signing_key("short")
    desk.chain.deposit(desk.account(exact), 1_500_000)
    desk.chain.deposit(desk.account(short), 1_499_999)
    orders = [
        desk.order(desk.maker, buy=False, lots=3 * LOTS),
        desk.order(exact, buy=True),
        desk.order(short, buy=True),
    ]

    codes = desk.settle(orders, [(0, 1, LOTS), (0, 2, LOTS), (2, 0, LOTS)])

    assert codes.fills == [0, 48 + TAKER_SIDE, 48]


def test_margin__below_settlement_margin__may_lower_risk_only(desk: Desk) -> None:
    """Bought at 10,000 with 1,500,000; at 9,400 equity 900,000 is below maintenance 940,000, but not negative.

    Selling 10 lots at 8,490 loses 9,100: 890,900 x 940,000 < 900,000 x 930,600, so equity per maintenance would fall.
    """
    thin = signing_key("thin")
    desk.chain.deposit(desk.account(thin), 1_500_000)
    desk.settle([desk.order(desk.maker, buy=False), desk.order(thin, buy=True)], [(0, 1, LOTS)])
    desk.age_prices(30)
    desk.settle_prices(9_400)
    orders = [desk.order(desk.maker, buy=True, ticks=9_400), desk.order(thin, buy=False, ticks=9_400)]
    worse = [desk.order(desk.maker, buy=True, ticks=8_490, lane=2), desk.order(thin, buy=False, ticks=8_490, lane=2)]
    more = [desk.order(desk.maker, buy=False, ticks=9_400, lane=3), desk.order(thin, buy=True, ticks=9_400, lane=3)]

    codes = desk.settle(orders + worse + more, [(4, 5, 10), (2, 3, 10), (0, 1, 500)])

    assert codes.fills == [48 + TAKER_SIDE, 48 + TAKER_SIDE, 0]


def test_funding__index_moves__touch_moves_it_to_entry_and_pot(desk: Desk) -> None:
    """Long index up 1.5 quote a lot: 1,000 long lots owe 1,500; short index up 1: the short receives 1,000."""
    desk.settle(desk.pair(), [(0, 1, LOTS)])
    desk.chain.write_word("indices", MARKET, 10**12 << 96 | 15 * 10**11)

    desk.settle(desk.pair(), [(0, 1, 10)])

    assert desk.position(desk.taker)[1] == 10_000_000 + 100_000 + 1_500
    assert desk.position(desk.maker)[1] == -10_000_000 - 100_000 - 1_000
    assert look(desk.chain, "MarketLens", "market_summary", MARKET, desk.chain.time_s)["pot_quote"] == 500
    assert desk.is_solvent()
