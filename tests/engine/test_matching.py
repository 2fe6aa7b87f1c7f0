"""Who meets whom, at what price and size, and why a match stops."""

from __future__ import annotations

from dataclasses import replace

from afterbell.domain.events import Event, FillMatched, OrderAccepted, OrderCancelled, OrderRejected
from afterbell.domain.order import TimeInForce
from afterbell.domain.session import Session
from tests.engine.support import RULES, USDC, Venue, account, open_venue


def fills(events: list[Event]) -> list[tuple[int, int, int]]:
    """Return (maker's account, price_ticks, size_lots) of each fill."""
    return [(e.maker_account, e.price_ticks, e.size_lots) for e in events if isinstance(e, FillMatched)]


def cancels(events: list[Event]) -> list[tuple[int, str, int]]:
    return [(e.account, e.reason, e.remaining_lots) for e in events if isinstance(e, OrderCancelled)]


def resting(venue: Venue) -> list[tuple[int, int]]:
    return [(order.record.limit_ticks, order.remaining_lots) for order in venue.state.orders.values()]


def test_match__several_makers__best_price_first_then_first_come() -> None:
    """Fills at the makers' limits: 300 at 10,000, then 200 and 100 at 10,010 in the order of arrival."""
    venue = open_venue()
    venue.place(1, "sell", 200, 10_010)
    venue.place(2, "sell", 200, 10_010)
    venue.place(3, "sell", 300, 10_000)

    events = venue.place(4, "buy", 600, 10_010)

    assert fills(events) == [(account(3), 10_000, 300), (account(1), 10_010, 200), (account(2), 10_010, 100)]
    assert resting(venue) == [(10_010, 100)]
    accepted = events[-1]
    assert isinstance(accepted, OrderAccepted)
    assert (accepted.filled_lots, accepted.resting_lots) == (600, 0)


def test_match__fees__are_the_rates_of_each_side_rounded_up() -> None:
    """100 lots x 10,007 ticks = 1,000,700 quote; 100 ppm = 100.07 -> 101; 400 ppm = 400.28 -> 401."""
    venue = open_venue()
    venue.place(1, "sell", 100, 10_007)

    (fill, _) = venue.place(2, "buy", 100, 10_010)

    assert isinstance(fill, FillMatched)
    assert (fill.maker_fee_quote, fill.taker_fee_quote) == (101, 401)


def test_match__rest_of_a_limit_order__goes_on_the_book() -> None:
    venue = open_venue()
    venue.place(1, "sell", 200, 10_000)

    events = venue.place(2, "buy", 500, 10_005)

    assert fills(events) == [(account(1), 10_000, 200)]
    assert resting(venue) == [(10_005, 300)]


def test_match__rest_of_an_ioc__is_given_up() -> None:
    venue = open_venue()
    venue.place(1, "sell", 200, 10_000)

    events = venue.place(2, "buy", 500, 10_005, time_in_force=TimeInForce.IOC)

    assert fills(events) == [(account(1), 10_000, 200)]
    assert cancels(events) == [(account(2), "IOC", 300)]
    assert resting(venue) == []


def test_match__partly_filled_maker__keeps_its_turn() -> None:
    venue = open_venue()
    venue.place(1, "sell", 500, 10_000)
    venue.place(2, "sell", 500, 10_000)
    venue.place(3, "buy", 100, 10_000)

    events = venue.place(4, "buy", 500, 10_000)

    assert fills(events) == [(account(1), 10_000, 400), (account(2), 10_000, 100)]


def test_match__own_order_is_next__the_incoming_rest_is_cancelled() -> None:
    """Owner 1 meets owner 2 first, then itself through another subaccount."""
    venue = open_venue()
    venue.place(2, "sell", 200, 10_000)
    venue.place(1, "sell", 200, 10_001)
    venue.deposit(1, 1_000 * USDC, subaccount=5)

    events = venue.place(1, "buy", 500, 10_005, subaccount=5)

    assert fills(events) == [(account(2), 10_000, 200)]
    assert cancels(events) == [(account(1, 5), "SELF_TRADE", 300)]
    assert resting(venue) == [(10_001, 200)]


def test_match__reduce_only_taker__stops_when_the_position_is_closed() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.place(3, "buy", 1_000, 10_000)

    events = venue.place(2, "sell", 800, 10_000, reduce_only=True)

    assert fills(events) == [(account(3), 10_000, 300)]
    assert cancels(events) == [(account(2), "REDUCE_ONLY", 500)]
    assert resting(venue) == [(10_000, 700)]


def test_match__reduce_only_maker_without_a_position_left__is_cancelled_and_the_next_is_asked() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.place(2, "sell", 300, 10_010, reduce_only=True, lane=1)
    venue.place(3, "buy", 500, 10_005)
    venue.place(2, "sell", 300, 10_005, lane=2)
    venue.cancel_all(3)
    venue.place(4, "sell", 300, 10_020)

    events = venue.place(3, "buy", 300, 10_020)

    assert fills(events) == [(account(4), 10_020, 300)]
    assert cancels(events) == [(account(2), "REDUCE_ONLY", 300)]


def test_match__reduce_only_maker_larger_than_its_position__fills_what_closes_it() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.place(2, "sell", 900, 10_010, reduce_only=True, lane=1)

    events = venue.place(3, "buy", 900, 10_010)

    assert fills(events) == [(account(2), 10_010, 300)]
    assert cancels(events) == [(account(2), "REDUCE_ONLY", 600)]
    assert resting(venue) == [(10_010, 600)]


def test_match__taker_meets_48_makers__the_rest_is_cancelled() -> None:
    venue = open_venue(n_participants=60)
    for number in range(2, 52):
        venue.place(number, "sell", 100, 10_000)

    events = venue.place(1, "buy", 5_000, 10_000)

    assert len(fills(events)) == 48
    assert cancels(events) == [(account(1), "BATCH_FULL", 200)]
    assert not any(venue.seal()[-1].codes)  # type: ignore[union-attr]


def test_prices__leave_quotes_beyond_the_band__they_are_cancelled_at_once() -> None:
    """External 11,000, band 5 %: [10,450, 11,550]. An ask of 10,000 can never fill and would block the book."""
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "sell", 300, 10_450)
    venue.place(3, "buy", 300, 9_900)
    venue.time_ms += 60_000

    events = venue.prices(11_000)

    assert cancels(events) == [(account(1), "PRICE_OUTSIDE_BAND", 300)]
    assert resting(venue) == [(10_450, 300), (9_900, 300)]


def test_order__could_only_rest_beyond_the_band__is_rejected() -> None:
    """Band [9,500, 10,500]: a bid of 10,501 that meets nobody is refused, one of 10,500 rests."""
    venue = open_venue()

    (rejected,) = venue.place(1, "buy", 300, 10_501)
    (accepted,) = venue.place(1, "buy", 300, 10_500)

    assert isinstance(rejected, OrderRejected)
    assert (rejected.reason, rejected.found) == ("PRICE_OUTSIDE_BAND", "10501 ticks")
    assert isinstance(accepted, OrderAccepted)


def test_order__limit_beyond_the_band__fills_inside_it_and_its_rest_is_given_up() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)

    events = venue.place(2, "buy", 500, 10_600)

    assert fills(events) == [(account(1), 10_000, 300)]
    assert cancels(events) == [(account(2), "PRICE_OUTSIDE_BAND", 200)]
    assert resting(venue) == []


def test_match__only_quotes_beyond_the_band_are_left__the_taker_stops_and_they_stay() -> None:
    """Bids at 9,000 wait for a price 10 % lower; a market sell must not wipe them out."""
    venue = open_venue()
    venue.place(1, "buy", 300, 9_000)
    venue.place(2, "buy", 300, 9_600)

    events = venue.place(3, "sell", 900, 9_000, time_in_force=TimeInForce.IOC)

    assert fills(events) == [(account(2), 9_600, 300)]
    assert cancels(events) == [(account(3), "PRICE_OUTSIDE_BAND", 600)]
    assert resting(venue) == [(9_000, 300)]


def test_match__maker_lost_its_margin__is_cancelled_and_the_next_is_asked() -> None:
    """Maker 1 has 20 USDC and two bids of 10 USDC margin room; a withdrawal leaves 1 USDC, below 7.5 % of 49.5."""
    venue = open_venue()
    venue.deposit(9, 10 * USDC)
    venue.place(9, "buy", 5_000, 9_900)
    venue.place(1, "buy", 5_000, 9_890)
    venue.withdraw(9, 9 * USDC)

    events = venue.place(2, "sell", 5_000, 9_890)

    assert cancels(events) == [(account(9), "MARGIN", 5_000)]
    assert fills(events) == [(account(1), 9_890, 5_000)]


def test_match__market_stale__reducing_taker_stops_and_opening_makers_stay() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.place(3, "buy", 300, 9_990)
    venue.seal()
    venue.time_ms += 61_000

    events = venue.place(2, "sell", 300, 9_990)

    assert fills(events) == []
    assert cancels(events) == [(account(2), "STALE_PRICE", 300)]
    assert resting(venue) == [(9_990, 300)]


def test_match__open_interest_at_its_cap__the_taker_stops() -> None:
    venue = Venue()
    venue.list_market(rules=replace(RULES, open_interest_cap_lots=500))
    for number in (1, 2, 3, 4):
        venue.deposit(number, 1_000 * USDC)
    venue.prices(10_000)
    venue.place(1, "sell", 500, 10_000)
    venue.place(4, "sell", 300, 10_000)
    venue.place(2, "buy", 500, 10_000)

    events = venue.place(3, "buy", 300, 10_000)

    assert fills(events) == []
    assert cancels(events) == [(account(3), "OPEN_INTEREST_CAP", 300)]


def test_match__account_at_its_cap__grows_no_further_but_may_reduce() -> None:
    """Cap 1,000 lots, share 32,768 / 65,536: 500 an account. 500 pass, 200 more do not, selling 200 does."""
    venue = Venue()
    venue.list_market(rules=replace(RULES, open_interest_cap_lots=1_000, account_share=32_768))
    for number in (1, 2, 3):
        venue.deposit(number, 1_000 * USDC)
    venue.prices(10_000)
    venue.place(1, "sell", 500, 10_000)
    assert fills(venue.place(2, "buy", 500, 10_000)) == [(account(1), 10_000, 500)]

    (refused,) = venue.place(2, "buy", 200, 9_990)
    venue.place(3, "buy", 200, 10_000)

    assert isinstance(refused, OrderRejected)
    assert (refused.reason, refused.required) == ("ACCOUNT_CAP", "at most 500 lots of market 1 in one account")
    assert fills(venue.place(2, "sell", 200, 10_000)) == [(account(3), 10_000, 200)]
    assert not any(venue.seal()[-1].codes)  # type: ignore[union-attr]


def test_match__two_orders_reach_the_accounts_cap_together__the_maker_leaves_at_its_turn() -> None:
    """Each bid of 300 fits a cap of 500 alone; when the second one's turn comes the first has filled."""
    venue = Venue()
    venue.list_market(rules=replace(RULES, open_interest_cap_lots=1_000, account_share=32_768))
    for number in (1, 2, 3):
        venue.deposit(number, 1_000 * USDC)
    venue.prices(10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.place(2, "buy", 300, 10_000, lane=1)
    venue.place(3, "sell", 300, 10_000)

    events = venue.place(1, "sell", 300, 10_000)

    assert cancels(events) == [(account(2), "ACCOUNT_CAP", 300)]


def test_match__rules_of_a_new_session_refuse_a_resting_order__it_is_cancelled_when_its_turn_comes() -> None:
    """The size step of the new session is 1,000 lots: 300 do not fit any more."""
    venue = open_venue()
    venue.set_rules(rules=replace(RULES, size_step_lots=1_000), session=Session.POST)
    venue.prices(10_000)
    venue.place(1, "sell", 300, 10_000)
    venue.time_ms += 3_000
    venue.prices(10_000, session=Session.POST)
    venue.place(2, "sell", 1_000, 10_001)

    events = venue.place(3, "buy", 1_000, 10_001)

    assert cancels(events) == [(account(1), "OFF_STEP", 300)]
    assert fills(events) == [(account(2), 10_001, 1_000)]
