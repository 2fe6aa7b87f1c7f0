"""Lanes: what has been filled of an order, and which orders are dead. A lane must never fill an order twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from afterbell.domain.codes import TAKER_SIDE, StatusCode
from afterbell.domain.order import TimeInForce
from tests.contracts.venue import MAKER, RULES, TAKER, THIRD, USDC, Venue, account_of

ALL_ONES = 2**48 - 1
LANES = (0, 1, 2, 3, 65_533)
MAKER_ACCOUNT, TAKER_ACCOUNT = account_of(MAKER), account_of(TAKER)


@pytest.fixture
def venue() -> Venue:
    return Venue.open()


@pytest.mark.parametrize("lane", LANES)
def test_lane__two_fills_in_two_batches__add_up_to_the_size_and_no_further(venue: Venue, lane: int) -> None:
    """1,000 lots: 600 and 400 fill in batches of their own, the 1,001st lot does not."""
    ask = venue.order(MAKER, is_buy=False, lane=lane)
    seq = ask[1].seq
    for lots, filled in ((600, 600), (400, 1_000)):
        bid = venue.order(TAKER, is_buy=True)
        assert venue.settle([ask, bid], [(0, 1, lots)]).is_clean
        assert venue.lane(MAKER_ACCOUNT, lane) == (seq, filled)

    settled = venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 1)])

    assert settled.fills == [StatusCode.OVERFILL]
    assert venue.lane(MAKER_ACCOUNT, lane) == (seq, 1_000)
    assert venue.position(MAKER_ACCOUNT).size_lots == -1_000


@pytest.mark.parametrize("lane", LANES)
def test_lane__taker_overfilled__is_the_takers_code(venue: Venue, lane: int) -> None:
    bid = venue.order(TAKER, is_buy=True, lane=lane)
    big = venue.order(MAKER, is_buy=False, size_lots=2_000)

    settled = venue.settle([big, bid], [(0, 1, 1_000), (0, 1, 1)])

    assert settled.fills == [0, StatusCode.OVERFILL + TAKER_SIDE]


def test_lane__recycled_by_a_later_seq__starts_at_zero_and_kills_the_earlier(venue: Venue) -> None:
    early = venue.order(MAKER, is_buy=False, seq=500, lane=7)
    late = venue.order(MAKER, is_buy=False, seq=501, lane=7)
    bid = venue.order(TAKER, is_buy=True, size_lots=3_000)

    settled = venue.settle([early, late, bid], [(0, 2, 400), (1, 2, 1_000), (0, 2, 10)])

    assert settled.fills == [0, 0, StatusCode.DEAD_LANE]
    assert venue.lane(MAKER_ACCOUNT, 7) == (501, 1_000)
    assert venue.settle([early, venue.order(TAKER, is_buy=True)], [(0, 1, 10)]).fills == [StatusCode.DEAD_LANE]


def test_lane__neighbours_in_one_word__do_not_disturb_each_other(venue: Venue) -> None:
    """Lanes 6 and 7 share a word; each of them filled alone, together, and cancelled."""
    even = venue.order(MAKER, is_buy=False, lane=6)
    odd = venue.order(MAKER, is_buy=False, lane=7)
    venue.settle([even, venue.order(TAKER, is_buy=True)], [(0, 1, 100)])
    venue.settle([odd, venue.order(TAKER, is_buy=True)], [(0, 1, 200)])
    assert (venue.lane(MAKER_ACCOUNT, 6), venue.lane(MAKER_ACCOUNT, 7)) == (
        (even[1].seq, 100), (odd[1].seq, 200)
    )  # fmt: skip

    venue.settle([even, odd, venue.order(TAKER, is_buy=True)], [(0, 2, 1), (1, 2, 2)])
    assert (venue.lane(MAKER_ACCOUNT, 6)[1], venue.lane(MAKER_ACCOUNT, 7)[1]) == (101, 202)

    venue.settle(operations=[venue.cancel(MAKER, odd[1])])
    assert (venue.lane(MAKER_ACCOUNT, 6)[1], venue.lane(MAKER_ACCOUNT, 7)[1]) == (101, ALL_ONES)


@pytest.mark.parametrize("lane", [65_534, 65_535])
def test_lane__of_liquidations_or_operations__takes_no_order_and_no_cancellation(venue: Venue, lane: int) -> None:
    """Whoever could use up lane 65,534 would be liquidated by nobody."""
    ask = venue.order(MAKER, is_buy=False, lane=lane)
    cancel = venue.cancel(MAKER, lane << 40 | 5_000_000)

    settled = venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 300)], [cancel])

    assert (settled.operations, settled.orders[0], settled.fills) == ([StatusCode.BAD_CANCEL], 2, [32])
    assert venue.lane(MAKER_ACCOUNT, 65_534) == (0, 0)
    assert venue.lane(MAKER_ACCOUNT, 65_535) == (cancel.seq, ALL_ONES)


def test_lane__of_operations_on_an_order__is_refused(venue: Venue) -> None:
    settled = venue.settle([venue.order(MAKER, is_buy=False, lane=65_535)])

    assert settled.orders == [StatusCode.UNKNOWN_FLAGS]


def test_lane__seq_zero__fills_once_like_any_other(venue: Venue) -> None:
    """A lane never used reads seq 0, filled 0: an order of seq 0 must not be endless."""
    ask = venue.order(MAKER, is_buy=False, seq=0, lane=9)
    assert venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 1_000)]).is_clean

    settled = venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 1)])

    assert settled.fills == [StatusCode.OVERFILL]


# Orders that share a lane.


@pytest.mark.parametrize("lane", [0, 1, 4])
@pytest.mark.parametrize("flaw", ["signature", "flags", "size"])
def test_lane__invalid_order_between_two_records_of_one__fills_once(venue: Venue, lane: int, flaw: str) -> None:
    """The same signed order twice with a broken twin between: 1,000 lots in all, not 2,000."""
    ask = venue.order(MAKER, is_buy=False, lane=lane)
    broken = venue.order(
        MAKER, is_buy=False, lane=lane, seq=ask[1].seq,
        record_changes={
            "signature": {"r": bytes(32)}, "flags": {"flags": 1 << 7}, "size": {"size_lots": 0}
        }[flaw],
    )  # fmt: skip
    bid = venue.order(TAKER, is_buy=True, size_lots=5_000)

    settled = venue.settle([ask, broken, ask, bid], [(0, 3, 1_000), (2, 3, 1_000), (1, 3, 10), (2, 3, 10)])

    assert settled.fills == [0, StatusCode.OVERFILL, StatusCode.ORDER_INVALID, StatusCode.OVERFILL]
    assert venue.position(MAKER_ACCOUNT).size_lots == -1_000
    assert venue.lane(MAKER_ACCOUNT, lane) == (ask[1].seq, 1_000)


@pytest.mark.parametrize("n_copies", [2, 5])
def test_lane__same_order_many_times_in_a_table__fills_once(venue: Venue, n_copies: int) -> None:
    ask = venue.order(MAKER, is_buy=False)
    bid = venue.order(TAKER, is_buy=True, size_lots=5_000)

    settled = venue.settle([*[ask] * n_copies, bid], [(i, n_copies, 500) for i in range(n_copies)])

    assert settled.fills == [0, 0, *[StatusCode.OVERFILL] * (n_copies - 2)]
    assert venue.position(MAKER_ACCOUNT).size_lots == -1_000


def test_lane__two_orders_of_one_seq__share_what_is_filled(venue: Venue) -> None:
    """One cancels the other: an ask at market 1 and one at market 2 with one nonce; 700 + 300 of 1,000, no more."""
    first = venue.order(MAKER, is_buy=False, seq=900, lane=3)
    second = venue.order(MAKER, is_buy=False, seq=900, lane=3, market_id=2)
    bids = [venue.order(TAKER, is_buy=True, lane=10 + m, market_id=m) for m in (1, 2)]

    settled = venue.settle([first, second, *bids], [(0, 2, 700), (1, 3, 301), (1, 3, 300)])

    assert settled.fills == [0, StatusCode.OVERFILL, 0]
    assert venue.lane(MAKER_ACCOUNT, 3) == (900, 1_000)


def test_lane__smaller_twin_of_one_seq__is_bounded_by_its_own_size(venue: Venue) -> None:
    large = venue.order(MAKER, is_buy=False, seq=900, lane=3)
    small = venue.order(MAKER, is_buy=False, seq=900, lane=3, size_lots=500)
    bid = venue.order(TAKER, is_buy=True, size_lots=5_000)

    settled = venue.settle([large, small, bid], [(0, 2, 600), (1, 2, 1), (0, 2, 400), (0, 2, 1)])

    assert settled.fills == [0, StatusCode.OVERFILL, 0, StatusCode.OVERFILL]


@pytest.mark.parametrize("places", list(permutations(range(3))))
def test_lane__three_seqs_in_any_table_order__only_forward(venue: Venue, places: tuple[int, ...]) -> None:
    """Fills follow the table's order here: whatever comes after a later seq is dead."""
    orders = [venue.order(MAKER, is_buy=False, seq=700 + place, lane=3) for place in places]
    bid = venue.order(TAKER, is_buy=True, size_lots=5_000)

    settled = venue.settle([*orders, bid], [(i, 3, 100) for i in range(3)])

    expected = [0 if place >= max(places[: i + 1]) else StatusCode.DEAD_LANE for i, place in enumerate(places)]
    assert settled.fills == expected
    assert venue.lane(MAKER_ACCOUNT, 3) == (702, 100)


# Immediate orders.


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
def test_lane__immediate_order_in_the_table__never_comes_back(venue: Venue, time_in_force: TimeInForce) -> None:
    bid = venue.order(TAKER, is_buy=True, time_in_force=time_in_force)
    ask = venue.order(MAKER, is_buy=False)
    assert venue.settle([ask, bid], [(0, 1, 400)]).is_clean
    assert venue.lane(TAKER_ACCOUNT, 1) == (bid[1].seq, ALL_ONES)

    assert venue.settle([ask, bid], [(0, 1, 400)]).fills == [StatusCode.OVERFILL + TAKER_SIDE]


@pytest.mark.parametrize("time_in_force", [TimeInForce.GTC, TimeInForce.GTT])
def test_lane__resting_order_without_a_fill__stays_as_it_was(venue: Venue, time_in_force: TimeInForce) -> None:
    bid = venue.order(TAKER, is_buy=True, time_in_force=time_in_force)

    venue.settle([bid])

    assert venue.lane(TAKER_ACCOUNT, 1) == (0, 0)


def test_lane__immediate_order_unfilled__is_consumed(venue: Venue) -> None:
    bid = venue.order(TAKER, is_buy=True, time_in_force=TimeInForce.IOC)

    venue.settle([bid])

    assert venue.lane(TAKER_ACCOUNT, 1) == (bid[1].seq, ALL_ONES)


def test_lane__invalid_immediate_order__consumes_nothing(venue: Venue) -> None:
    """Otherwise anyone who can put bytes into a batch could burn a stranger's lane."""
    bid = venue.order(TAKER, is_buy=True, time_in_force=TimeInForce.IOC, signer=THIRD)

    assert venue.settle([bid]).orders == [StatusCode.BAD_SIGNATURE]

    assert venue.lane(TAKER_ACCOUNT, 1) == (0, 0)


def test_lane__dead_immediate_order__leaves_the_later_seq_alone(venue: Venue) -> None:
    dead = venue.order(TAKER, is_buy=True, time_in_force=TimeInForce.IOC, seq=200)
    late = venue.order(TAKER, is_buy=True, seq=201)
    ask = venue.order(MAKER, is_buy=False)

    venue.settle([dead, late, ask], [(2, 1, 300)])

    assert venue.lane(TAKER_ACCOUNT, 1) == (201, 300)
    assert venue.settle([late, ask], [(1, 0, 300)]).is_clean


def test_lane__immediate_twin_of_a_resting_seq__consumes_what_is_left_of_both(venue: Venue) -> None:
    resting = venue.order(TAKER, is_buy=True, seq=300)
    immediate = venue.order(TAKER, is_buy=True, seq=300, time_in_force=TimeInForce.IOC)
    ask = venue.order(MAKER, is_buy=False)

    assert venue.settle([resting, immediate, ask], [(2, 0, 100), (2, 1, 100)]).is_clean

    assert venue.lane(TAKER_ACCOUNT, 1) == (300, ALL_ONES)


@pytest.mark.parametrize("seqs", [(300, 301), (301, 300), (300, 300)])
@pytest.mark.parametrize("kinds", ["II", "IG", "GI"])
@pytest.mark.parametrize("lane", [0, 6])
def test_lane__shared_with_immediate_orders__ends_at_the_latest_consumed_seq(
    venue: Venue, seqs: tuple[int, int], kinds: str, lane: int
) -> None:
    """I is immediate, G rests. Unfilled, a lane ends at the highest immediate seq, whatever the table's order."""
    orders = [
        venue.order(
            TAKER, is_buy=True, seq=seq, lane=lane, time_in_force=TimeInForce.IOC if kind == "I" else TimeInForce.GTC
        )
        for seq, kind in zip(seqs, kinds, strict=True)
    ]

    assert venue.settle(orders).is_clean

    latest = max(seq for seq, kind in zip(seqs, kinds, strict=True) if kind == "I")
    assert venue.lane(TAKER_ACCOUNT, lane) == (latest, ALL_ONES)


# All ones.


def test_lane__filled_all_ones__no_size_is_large_enough() -> None:
    """The cap of a trusted price bounds a size to 20,000,000 lots; the largest order finds a consumed lane full."""
    rules_cap = 20_000_000
    venue = Venue.open(rules=replace(RULES, open_interest_cap_lots=rules_cap, size_step_lots=1))
    ask = venue.order(MAKER, is_buy=False, size_lots=rules_cap)
    venue.settle(operations=[venue.cancel(MAKER, ask[1])])

    settled = venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 1), (0, 1, ALL_ONES)])

    assert settled.orders == [0, 0]
    assert settled.fills == [StatusCode.OVERFILL] * 2


@pytest.mark.parametrize("lots", [1_001, 2**40, 2**47, 2**48 - 1])
def test_lane__fill_larger_than_the_order__is_overfill_not_overflow(venue: Venue, lots: int) -> None:
    settled = venue.settle(venue.pair(), [(0, 1, lots)])

    assert settled.fills == [StatusCode.OVERFILL]
    assert venue.position(MAKER_ACCOUNT).size_lots == 0


# Cancellation.


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("in_table", [True, False])
def test_cancel_order__before_the_fill__stops_it(venue: Venue, lane: int, in_table: bool) -> None:
    ask = venue.order(MAKER, is_buy=False, lane=lane)
    bid = venue.order(TAKER, is_buy=True)
    cancel = venue.cancel(MAKER, ask[1])

    if in_table:
        settled = venue.settle([ask, bid], [(0, 1, 1)], [cancel])
    else:
        assert venue.settle(operations=[cancel]).named("OrderCancelled") == [
            {"account": MAKER_ACCOUNT, "nonce": lane << 40 | ask[1].seq}
        ]
        settled = venue.settle([ask, bid], [(0, 1, 1)])

    assert settled.fills == [StatusCode.OVERFILL]
    assert venue.lane(MAKER_ACCOUNT, lane) == (ask[1].seq, ALL_ONES)


@pytest.mark.parametrize("lane", LANES)
def test_cancel_order__in_the_batch_after_a_fill__stops_the_rest(venue: Venue, lane: int) -> None:
    ask = venue.order(MAKER, is_buy=False, lane=lane)
    assert venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 10)]).is_clean

    settled = venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 10)], [venue.cancel(MAKER, ask[1])])

    assert settled.fills == [StatusCode.OVERFILL]
    assert venue.lane(MAKER_ACCOUNT, lane) == (ask[1].seq, ALL_ONES)
    assert venue.position(MAKER_ACCOUNT).size_lots == -10


@pytest.mark.parametrize("lane", [0, 3])
def test_cancel_order__lane_held_only_by_an_invalid_order__is_written_through(venue: Venue, lane: int) -> None:
    """The order table has the lane but no record of it: the cancellation must reach storage all the same."""
    broken = venue.order(MAKER, is_buy=False, lane=lane, record_changes={"r": bytes(32)})
    good = venue.order(MAKER, is_buy=False, lane=20)

    settled = venue.settle(
        [broken, good, venue.order(TAKER, is_buy=True)], [(1, 2, 10)], [venue.cancel(MAKER, broken[1])]
    )

    assert settled.fills == [0]
    assert venue.lane(MAKER_ACCOUNT, lane) == (broken[1].seq, ALL_ONES)
    assert venue.lane(MAKER_ACCOUNT, 20) == (good[1].seq, 10)


def test_cancel_order__of_an_earlier_seq__touches_nothing_but_is_logged(venue: Venue) -> None:
    late = venue.order(MAKER, is_buy=False, seq=900, lane=5)
    venue.settle([late, venue.order(TAKER, is_buy=True)], [(0, 1, 10)])

    settled = venue.settle(operations=[venue.cancel(MAKER, 5 << 40 | 899)])

    assert settled.is_clean
    assert len(settled.named("OrderCancelled")) == 1
    assert venue.lane(MAKER_ACCOUNT, 5) == (900, 10)


def test_cancel_order__of_the_operations_lane__is_refused_and_still_consumes_its_nonce(venue: Venue) -> None:
    cancel = venue.cancel(MAKER, 65_535 << 40 | 5_000_000)

    settled = venue.settle(operations=[cancel])

    assert settled.operations == [StatusCode.BAD_CANCEL]
    assert venue.lane(MAKER_ACCOUNT, 65_535) == (cancel.seq, ALL_ONES)
    assert settled.named("OrderCancelled") == []


def test_cancel_order__of_another_account__consumes_the_signers_own_lane(venue: Venue) -> None:
    """A nonce names no account: TAKER cancelling MAKER's nonce only burns TAKER's lane of that number."""
    ask = venue.order(MAKER, is_buy=False, lane=5)

    settled = venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 10)], [venue.cancel(TAKER, ask[1])])

    assert settled.fills == [0]
    assert venue.lane(TAKER_ACCOUNT, 5) == (ask[1].seq, ALL_ONES)


@pytest.mark.parametrize(("min_seq_offset", "code"), [(0, 0), (1, StatusCode.SEQ_BELOW_MINIMUM)])
@pytest.mark.parametrize("side", [0, 1])
def test_cancel_all__in_the_batch__kills_lower_seqs_of_its_orders(
    venue: Venue, min_seq_offset: int, code: int, side: int
) -> None:
    orders = venue.pair(maker={"lane": 4}, taker={"lane": 6})
    killed = orders[side][1]
    cancel = venue.cancel_all((MAKER, TAKER)[side], killed.seq + min_seq_offset)

    settled = venue.settle(orders, [(0, 1, 10)], [cancel])

    assert settled.orders[side] == code
    assert settled.fills == [code and StatusCode.ORDER_INVALID + side * TAKER_SIDE]
    assert settled.named("AllCancelled") == [{"account": orders[side][0], "min_seq": killed.seq + min_seq_offset}]
    settled = venue.settle([orders[side]])
    assert settled.orders == [code]


def test_cancel_all__lower_than_before__never_takes_min_seq_back(venue: Venue) -> None:
    first, second = venue.cancel_all(MAKER, 5_000), venue.cancel_all(MAKER, 10)

    settled = venue.settle(operations=[first, second])

    assert [event["min_seq"] for event in settled.named("AllCancelled")] == [5_000, 5_000]
    assert venue.account(MAKER_ACCOUNT).min_seq == 5_000


def test_cancel_all__beside_lane_zero_fills_and_a_withdrawal__keeps_each_lane_of_the_account_word(venue: Venue) -> None:
    """One account word carries collateral, min_seq, lane 0 and open markets; all four move in this batch."""
    ask = venue.order(MAKER, is_buy=False, lane=0)
    operations = [
        venue.withdraw(MAKER, 7 * USDC),
        venue.cancel_all(MAKER, ask[1].seq),
    ]

    settled = venue.settle([ask, venue.order(TAKER, is_buy=True)], [(0, 1, 250), (0, 1, 250)], operations)

    word = venue.account(MAKER_ACCOUNT)
    assert settled.is_clean
    assert word.collateral_quote == 9_993 * USDC
    assert word.min_seq == ask[1].seq
    assert (word.lane0_seq, word.lane0_filled_lots) == (ask[1].seq, 500)
    assert sorted(word.open_markets) == [0, 0, 0, 0, 0, 1]


# Replays.


def test_operation__replayed_or_older__is_consumed(venue: Venue) -> None:
    first, second = venue.withdraw(MAKER, USDC), venue.withdraw(MAKER, 2 * USDC)

    settled = venue.settle(operations=[second, second, first])

    assert settled.operations == [0, StatusCode.NONCE_CONSUMED, StatusCode.NONCE_CONSUMED]
    assert venue.settle(operations=[second]).operations == [StatusCode.NONCE_CONSUMED]
    assert venue.account(MAKER_ACCOUNT).collateral_quote == 9_998 * USDC


def test_operation__failed_after_its_signature__is_consumed_too(venue: Venue) -> None:
    """A withdrawal that margin refuses today must not be kept for a better day."""
    withdrawal = venue.withdraw(MAKER, 10_001 * USDC)
    assert venue.settle(operations=[withdrawal]).operations == [StatusCode.MARGIN]
    venue.chain.deposit(MAKER_ACCOUNT, 100 * USDC)

    assert venue.settle(operations=[withdrawal]).operations == [StatusCode.NONCE_CONSUMED]


def test_operation__seq_zero__cannot_be_used(venue: Venue) -> None:
    """Zero is what a lane never used reads: it counts as consumed."""
    assert venue.settle(operations=[venue.withdraw(MAKER, USDC, seq=0)]).operations == [StatusCode.NONCE_CONSUMED]
