"""One cancels the other: two orders with one lane and seq share what is filled, as the chain's lane does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterbell.domain.commands import HaltMarket
from afterbell.domain.events import Event, OrderAccepted
from afterbell.domain.ids import seq_of
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.engine.book_view import BookView
from afterbell.engine.queries import find_order, read_account
from tests.engine.outcomes import (
    accepted_of,
    book_of,
    cancels_of,
    fills_of,
    kinds_of,
    reason_of,
    reduced_of,
    sealed_clean,
)
from tests.engine.support import USDC, Venue, account, open_venue

IOC = TimeInForce.IOC
BELOW = TriggerKind.MARK_AT_OR_BELOW
STOP: dict[str, object] = {"time_in_force": IOC, "trigger_kind": BELOW, "trigger_ticks": 9_900}


def move(venue: Venue, ticks: int) -> list[Event]:
    venue.time_ms += 60_000
    return venue.prices(ticks)


def place_second(venue: Venue, side: str, size_lots: int, limit_ticks: int, **fields: object) -> list[Event]:
    """Place an order of account 1 with lane 4 and the seq of the moment: the one the last order had."""
    seq = venue.now_seq()
    return venue.place(1, side, size_lots, limit_ticks, lane=4, seq=seq, **fields)


def protect(venue: Venue, *, take_lots: int = 500, stop_lots: int = 500) -> tuple[OrderAccepted, OrderAccepted]:
    """Give account 1 a long of 500 lots at 10,000, a take-profit at 10,100 and a stop at 9,900, as one OCO."""
    venue.place(2, "sell", 500, 10_000)
    venue.place(1, "buy", 500, 10_000)
    take = accepted_of(venue.place(1, "sell", take_lots, 10_100, lane=4, reduce_only=True))
    stop = accepted_of(place_second(venue, "sell", stop_lots, 9_800, reduce_only=True, **STOP))
    assert take.nonce == stop.nonce
    assert (take.resting_lots, stop.is_waiting) == (take_lots, True)
    return take, stop


def lots_of(venue: Venue, accepted: OrderAccepted) -> int | None:
    view = find_order(venue.state, accepted.order_id)
    return None if view is None else view.remaining_lots


def test_oco__take_profit_fills_whole__the_stop_leaves() -> None:
    venue = open_venue()
    take, stop = protect(venue)

    events = venue.place(3, "buy", 500, 10_100)

    assert fills_of(events) == [(10_100, 500)]
    assert cancels_of(events) == [(stop.order_id, "OCO", 500)]
    assert take.order_id not in venue.state.orders
    assert venue.state.orders == {}
    assert kinds_of(move(venue, 9_900)) == ["PricesAdopted"]
    sealed_clean(venue)


def test_oco__take_profit_fills_a_part__the_stop_closes_only_the_rest() -> None:
    """200 of 500 at 10,100; the stop then sells 300 at 9,850, in the same lane, with no fill refused by the chain."""
    venue = open_venue()
    take, stop = protect(venue)

    partial = venue.place(3, "buy", 200, 10_100)
    assert reduced_of(partial) == [(stop.order_id, 300)]
    assert (lots_of(venue, take), lots_of(venue, stop)) == (300, 300)
    venue.place(2, "buy", 500, 9_850, lane=1)
    events = move(venue, 9_900)

    assert kinds_of(events) == ["PricesAdopted", "OrderTriggered", "OrderCancelled", "FillMatched"]
    assert fills_of(events) == [(9_850, 300)]
    assert cancels_of(events) == [(take.order_id, "OCO", 300)]
    assert venue.state.account_orders.get(account(1)) is None  # type: ignore[call-overload]
    assert read_account(venue.state, account(1), venue.time_s).positions == ()
    sealed_clean(venue)


def test_oco__ioc_joins_a_partly_filled_order__fills_only_what_their_lane_allows_in_the_same_batch() -> None:
    """First rests 500 and fills 200; an IOC of 400 with its seq may fill 200 more; the first leaves, lane consumed."""
    venue = open_venue()
    first = accepted_of(venue.place(1, "sell", 500, 10_100, lane=4))
    seq = venue.now_seq()
    venue.place(3, "buy", 200, 10_100)
    venue.place(2, "buy", 900, 9_990)

    events = venue.place(1, "sell", 400, 9_990, lane=4, seq=seq, time_in_force=IOC)

    assert fills_of(events) == [(9_990, 200)]
    assert cancels_of(events) == [(first.order_id, "OCO", 300)]
    sealed_clean(venue)
    assert venue.state.chain.lane(account(1), 4) == (seq, (1 << 48) - 1)
    assert reason_of(venue.place(1, "sell", 400, 9_990, lane=4, seq=seq)) == "DEAD_LANE"


def test_oco__second_joins_after_a_fill__is_born_with_what_is_left() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "sell", 500, 10_100, lane=4))
    seq = venue.now_seq()
    venue.place(3, "buy", 200, 10_100)

    too_small = venue.place(1, "sell", 200, 10_110, lane=4, seq=seq)
    events = venue.place(1, "sell", 600, 10_120, lane=4, seq=seq)

    assert reason_of(too_small) == "DEAD_LANE"
    second = accepted_of(events)
    assert (second.filled_lots, second.resting_lots) == (0, 400)
    assert reduced_of(events) == [(second.order_id, 400)]
    assert (lots_of(venue, first), lots_of(venue, second)) == (300, 400)


def test_oco__smaller_partner_has_nothing_left__leaves_and_the_larger_goes_on_alone() -> None:
    """Sizes 500 and 300: 300 lots of the first use up the second; the first keeps 200, and no third may join."""
    venue = open_venue()
    first = accepted_of(venue.place(1, "sell", 500, 10_100, lane=4))
    second = accepted_of(place_second(venue, "sell", 300, 10_200))
    seq = seq_of(first.nonce)

    events = venue.place(3, "buy", 300, 10_100)

    assert cancels_of(events) == [(second.order_id, "OCO", 300)]
    assert lots_of(venue, first) == 200
    assert reason_of(venue.place(1, "sell", 900, 10_300, lane=4, seq=seq)) == "DEAD_LANE"
    assert fills_of(venue.place(3, "buy", 300, 10_100)) == [(10_100, 200)]
    sealed_clean(venue)


def test_oco__smaller_one_fills_to_its_size__the_larger_leaves() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "sell", 500, 10_200, lane=4))
    place_second(venue, "sell", 300, 10_100)

    events = venue.place(3, "buy", 300, 10_100)

    assert cancels_of(events) == [(first.order_id, "OCO", 500)]
    assert book_of(venue) == []


def test_oco__opposite_sides__the_fill_of_one_takes_from_the_other() -> None:
    """A breakout: buy above, sell below, one seq. The buy of 500 fills 200, the sell has 300 left."""
    venue = open_venue()
    above = TriggerKind.MARK_AT_OR_ABOVE
    buy = accepted_of(venue.place(1, "buy", 500, 10_100, lane=4, trigger_kind=above, trigger_ticks=10_050))
    sell = accepted_of(place_second(venue, "sell", 500, 9_900, **(STOP | {"trigger_ticks": 9_950})))
    venue.place(2, "sell", 200, 10_060)

    events = move(venue, 10_050)

    assert fills_of(events) == [(10_060, 200)]
    assert reduced_of(events) == [(sell.order_id, 300)]
    assert (lots_of(venue, buy), lots_of(venue, sell)) == (300, 300)
    sealed_clean(venue)


@pytest.mark.parametrize("market", [1, 2])
def test_oco__second_of_another_market__is_dead(market: int) -> None:
    venue = open_venue()
    venue.list_market(2)
    venue.prices_of([(1, 10_000, 10_000), (2, 10_000, 10_000)])
    venue.place(1, "sell", 500, 10_100, lane=4, market=1)

    events = place_second(venue, "sell", 500, 10_200, market=market)

    assert isinstance(events[0], OrderAccepted) if market == 1 else reason_of(events) == "DEAD_LANE"


def test_oco__same_order_again__is_no_partner_of_itself() -> None:
    venue = open_venue()
    command = venue.build_order(1, is_buy=False, size_lots=500, limit_ticks=10_100, lane=4)
    venue.send(command)

    assert reason_of(venue.send(command)) == "DEAD_LANE"


def test_oco__third_order__is_dead() -> None:
    venue = open_venue()
    take, _ = protect(venue)

    assert reason_of(venue.place(1, "sell", 300, 10_200, lane=4, seq=seq_of(take.nonce))) == "DEAD_LANE"


def test_oco__first_has_left__an_equal_seq_is_dead() -> None:
    venue = open_venue()
    accepted = accepted_of(venue.place(1, "sell", 500, 10_100, lane=4))
    seq = venue.now_seq()
    venue.cancel(1, accepted.nonce)

    assert reason_of(venue.place(1, "sell", 500, 10_200, lane=4, seq=seq)) == "DEAD_LANE"


def test_oco__cancelled_by_nonce_or_cancel_all__both_leave_for_the_user() -> None:
    venue = open_venue()
    take, stop = protect(venue)
    assert cancels_of(venue.cancel(1, take.nonce)) == [(take.order_id, "USER", 500), (stop.order_id, "USER", 500)]

    venue.time_ms += 1
    again = accepted_of(venue.place(1, "sell", 300, 10_100, lane=4, reduce_only=True))
    second = accepted_of(place_second(venue, "sell", 300, 9_800, reduce_only=True, **STOP))
    assert cancels_of(venue.cancel_all(1)) == [(again.order_id, "USER", 300), (second.order_id, "USER", 300)]


def test_oco__replaced_on_its_lane__both_leave() -> None:
    venue = open_venue()
    take, stop = protect(venue)

    events = venue.place(1, "sell", 500, 10_150, lane=4, reduce_only=True)

    assert cancels_of(events) == [(take.order_id, "REPLACED", 500), (stop.order_id, "REPLACED", 500)]


def test_oco__one_expires__the_other_leaves() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "sell", 500, 10_100, lane=4, lifetime_s=10))
    second = accepted_of(place_second(venue, "sell", 500, 10_200))
    venue.time_ms += 11_500

    assert cancels_of(venue.deposit(2, USDC)) == [(first.order_id, "EXPIRED", 500), (second.order_id, "OCO", 500)]


def test_oco__market_halted__both_leave_for_it() -> None:
    venue = open_venue()
    take, stop = protect(venue)

    events = venue.send(HaltMarket(market=1, reason="split"))

    assert cancels_of(events) == [(take.order_id, "MARKET_HALTED", 500), (stop.order_id, "MARKET_HALTED", 500)]


def test_oco__position_closed_otherwise__the_resting_one_is_at_fault_and_the_stop_leaves_with_it() -> None:
    venue = open_venue()
    take, stop = protect(venue)
    venue.place(2, "buy", 500, 10_000, lane=1)
    venue.place(1, "sell", 500, 10_000, lane=1)

    events = venue.place(3, "buy", 500, 10_100)

    assert cancels_of(events)[:2] == [(take.order_id, "REDUCE_ONLY", 500), (stop.order_id, "OCO", 500)]


def test_oco__stop_is_refused_when_met__the_take_profit_leaves_too() -> None:
    venue = open_venue()
    take, stop = protect(venue)
    venue.place(2, "buy", 500, 10_000, lane=1)
    venue.place(1, "sell", 500, 10_000, lane=1)

    events = move(venue, 9_900)

    assert cancels_of(events) == [(stop.order_id, "REDUCE_ONLY", 500), (take.order_id, "OCO", 500)]


def test_oco__stop_without_reduce_only__needs_no_margin_beside_the_order_it_ends() -> None:
    """Long 1,000 lots (10 USDC) with 1.1 USDC: margin 1 USDC, fee 0.004. Stop and take-profit close it, each whole.

    Counted beside each other they would open a short of 1,000; the stop ends the take-profit before it acts.
    """
    venue = open_venue()
    venue.deposit(9, 1_110_000)
    venue.place(2, "sell", 1_000, 10_000)
    venue.place(9, "buy", 1_000, 10_000)
    venue.withdraw(9, 100_000)
    take = accepted_of(venue.place(9, "sell", 1_000, 10_100, lane=4))
    stop_terms = STOP | {"trigger_ticks": 9_990, "lane": 4, "seq": seq_of(take.nonce)}
    assert accepted_of(venue.place(9, "sell", 1_000, 9_900, **stop_terms)).is_waiting
    venue.place(3, "buy", 1_000, 9_980)

    events = move(venue, 9_990)

    assert fills_of(events) == [(9_980, 1_000)]
    assert cancels_of(events) == [(take.order_id, "OCO", 1_000)]
    sealed_clean(venue)


def test_oco__fok_that_cannot_fill__ends_both() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "sell", 500, 10_100, lane=4))

    events = place_second(venue, "sell", 500, 10_000, time_in_force=TimeInForce.FOK)

    assert [reason for _, reason, _ in cancels_of(events)] == ["OCO", "CANNOT_FILL"]
    assert first.order_id not in venue.state.orders


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    takes=st.lists(st.tuples(st.integers(10, 60), st.sampled_from((10_100, 10_200)), st.booleans()), max_size=12),
)
def test_oco__any_takers_across_any_batches__never_fill_more_than_the_larger_and_the_chain_agrees(
    sizes: tuple[int, int], takes: list[tuple[int, int, bool]]
) -> None:
    """Two asks at 10,100 and 10,200 (sizes in steps of 10 lots); each take buys at one of the two and may seal after.

    An independent account: filled is what the two share; an order has its size less filled; the first to reach
    zero by its own fill ends both, by the other's fill leaves alone.
    """
    venue = open_venue()
    size_lots = [size * 10 for size in sizes]
    accepted_of(venue.place(1, "sell", size_lots[0], 10_100, lane=4))
    accepted_of(place_second(venue, "sell", size_lots[1], 10_200))
    live = {0: 10_100, 1: 10_200}
    filled_lots = 0
    view = BookView()
    for lots, limit_ticks, is_sealed in takes:
        want_lots = lots * 10
        expected: list[tuple[int, int]] = []
        for index in (0, 1):
            if index in live and live[index] <= limit_ticks and want_lots:
                fill_lots = min(want_lots, size_lots[index] - filled_lots)
                expected.append((live[index], fill_lots))
                filled_lots += fill_lots
                want_lots -= fill_lots
                if filled_lots == size_lots[index]:
                    live.clear()
                live = {key: ticks for key, ticks in live.items() if size_lots[key] > filled_lots}

        assert fills_of(venue.place(3, "buy", lots * 10, limit_ticks, time_in_force=IOC)) == expected
        assert book_of(venue) == [("ask", ticks, size_lots[key] - filled_lots) for key, ticks in sorted(live.items())]
        if is_sealed and venue.state.has_open_batch:
            sealed_clean(venue)
    if venue.state.has_open_batch:
        sealed_clean(venue)
    assert venue.state.chain.lane(account(1), 4)[1] == filled_lots <= max(size_lots)
    for event in venue.events:
        view.fold(event)
    assert [(level.price_ticks, level.size_lots) for level in view.levels(1, is_bid=False, depth=9)] == [
        (ticks, size_lots[key] - filled_lots) for key, ticks in sorted(live.items())
    ]
