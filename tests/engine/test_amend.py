"""Amend: a new signed order takes the place of a named one, if it is still what the caller believes."""

from __future__ import annotations

import msgspec
import pytest

from afterbell.domain.commands import PlaceOrder
from afterbell.domain.events import Event, OrderAccepted
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.engine.book_view import BookView
from tests.engine.outcomes import accepted_of, book_of, cancels_of, fills_of, kinds_of, reason_of, sealed_clean
from tests.engine.support import USDC, Venue, account, open_venue


def amend(
    venue: Venue, number: int, named: OrderAccepted, size_lots: int, limit_ticks: int, **fields: object
) -> list[Event]:
    """Send an amendment one millisecond later, in the lane of the named order unless said otherwise."""
    venue.time_ms += 1
    filled_lots = fields.pop("filled_lots", 0)
    terms: dict[str, object] = {"is_buy": named.is_buy, "lane": named.nonce >> 40} | fields
    command: PlaceOrder = venue.build_order(number, size_lots=size_lots, limit_ticks=limit_ticks, **terms)  # type: ignore[arg-type]
    return venue.send(msgspec.structs.replace(command, amends=named.order_id, amends_filled_lots=filled_lots))


def test_amend__same_price_and_less__keeps_its_turn() -> None:
    """First of two at 9,990 goes from 500 to 300 and still trades first."""
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    venue.place(2, "buy", 500, 9_990)

    events = amend(venue, 1, first, 300, 9_990)

    assert kinds_of(events) == ["OrderCancelled", "OrderAccepted"]
    assert cancels_of(events) == [(first.order_id, "AMENDED", 500)]
    accepted = accepted_of(events)
    assert (accepted.amends, accepted.keeps_priority, accepted.resting_lots) == (first.order_id, True, 300)
    assert book_of(venue) == [("bid", 9_990, 300), ("bid", 9_990, 500)]
    taken = venue.place(3, "sell", 400, 9_990)
    assert [event.maker_account for event in taken if hasattr(event, "maker_account")] == [account(1), account(2)]
    sealed_clean(venue)


@pytest.mark.parametrize(("size_lots", "limit_ticks"), [(510, 9_990), (300, 9_989), (300, 9_991)])
def test_amend__more_or_another_price__goes_to_the_end(size_lots: int, limit_ticks: int) -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    for limit in (9_989, 9_990, 9_991):
        venue.place(2, "buy", 500, limit, lane=limit)

    events = amend(venue, 1, first, size_lots, limit_ticks)

    accepted = accepted_of(events)
    assert cancels_of(events) == [(first.order_id, "AMENDED", 500)]
    assert (accepted.amends, accepted.keeps_priority) == (first.order_id, False)
    at_price = [lots for _, ticks, lots in book_of(venue) if ticks == limit_ticks]
    assert at_price == [500, size_lots]


def test_amend__new_price_crosses__takes() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    venue.place(2, "sell", 200, 10_000)

    events = amend(venue, 1, first, 500, 10_000)

    assert fills_of(events) == [(10_000, 200)]
    assert book_of(venue) == [("bid", 10_000, 300)]
    sealed_clean(venue)


def test_amend__partly_filled__new_size_counts_from_zero() -> None:
    """200 of 500 filled; amended to 300: 300 more may fill, and 300 <= the 300 left keeps the turn."""
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    venue.place(2, "sell", 200, 9_990)

    events = amend(venue, 1, first, 300, 9_990, filled_lots=200)

    assert accepted_of(events).keeps_priority
    assert fills_of(venue.place(2, "sell", 400, 9_990, lane=1)) == [(9_990, 300)]
    sealed_clean(venue)
    assert venue.state.chain.lane(account(1), 3)[1] == 300


def test_amend__filled_meanwhile__is_refused_and_the_order_stays() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    venue.place(2, "sell", 200, 9_990)

    events = amend(venue, 1, first, 500, 9_980)

    assert reason_of(events) == "FILLED_MEANWHILE"
    assert events[0].required == "200 lots, what the order has filled"  # type: ignore[union-attr]
    assert book_of(venue) == [("bid", 9_990, 300)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"lane": 5}, "NOT_AMENDABLE"),
        ({"is_buy": False, "limit_ticks": 10_500}, "NOT_AMENDABLE"),
        ({"market": 2}, "NOT_AMENDABLE"),
        ({"size_lots": 505}, "OFF_STEP"),
        ({"limit_ticks": 10_501}, "PRICE_OUTSIDE_BAND"),
        ({"size_lots": 5_000_000}, "INSUFFICIENT_MARGIN"),
        ({"seq": 0}, "DEAD_LANE"),
    ],
)
def test_amend__refused__the_order_stays(fields: dict[str, object], reason: str) -> None:
    venue = open_venue(deposit_quote=1_000 * USDC)
    venue.list_market(2)
    venue.prices_of([(1, 10_000, 10_000), (2, 10_000, 10_000)])
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    terms: dict[str, object] = {"size_lots": 400, "limit_ticks": 9_990} | fields

    assert reason_of(amend(venue, 1, first, **terms)) == reason  # type: ignore[arg-type]
    assert book_of(venue) == [("bid", 9_990, 500)]


def test_amend__seq_of_the_named_order__is_dead_and_makes_no_oco() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    seq = venue.now_seq()

    assert reason_of(amend(venue, 1, first, 400, 9_990, seq=seq)) == "DEAD_LANE"
    assert venue.state.orders[first.order_id].partner_id == b""


def test_amend__order_that_left_or_is_anothers__is_unknown() -> None:
    venue = open_venue()
    mine = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    other = accepted_of(venue.place(2, "buy", 500, 9_990, lane=3))
    venue.cancel(1, mine.nonce)

    assert reason_of(amend(venue, 1, mine, 400, 9_990)) == "UNKNOWN_ORDER"
    assert reason_of(amend(venue, 1, other, 400, 9_990)) == "UNKNOWN_ORDER"
    assert book_of(venue) == [("bid", 9_990, 500)]


def test_amend__order_of_an_oco__is_refused() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    venue.place(1, "buy", 500, 9_980, lane=3, seq=venue.now_seq())

    assert reason_of(amend(venue, 1, first, 400, 9_990)) == "NOT_AMENDABLE"
    assert len(venue.state.orders) == 2


def test_amend__margin__counts_without_the_order_that_leaves() -> None:
    """10 USDC hold one bid of 9,000 lots at 10,000 (9 USDC and 0.036 fees), not two."""
    venue = open_venue()
    venue.deposit(9, 10 * USDC)
    first = accepted_of(venue.place(9, "buy", 9_000, 10_000, lane=3))

    assert reason_of(venue.place(9, "buy", 9_000, 9_990, lane=4)) == "INSUFFICIENT_MARGIN"
    assert accepted_of(amend(venue, 9, first, 9_000, 9_990)).resting_lots == 9_000


def test_amend__stop_that_waits__becomes_the_new_stop() -> None:
    venue = open_venue()
    stop: dict[str, object] = {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": 10_100}
    first = accepted_of(venue.place(1, "buy", 500, 10_200, lane=3, **stop))

    events = amend(venue, 1, first, 500, 10_200, **(stop | {"trigger_ticks": 10_050}))

    assert cancels_of(events) == [(first.order_id, "AMENDED", 500)]
    accepted = accepted_of(events)
    assert (accepted.is_waiting, accepted.keeps_priority, accepted.amends) == (True, False, first.order_id)
    venue.time_ms += 60_000
    assert kinds_of(venue.prices(10_050)) == ["PricesAdopted", "OrderTriggered"]


def test_amend__into_an_ioc__takes_what_crosses_and_leaves() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))

    events = amend(venue, 1, first, 500, 9_990, time_in_force=TimeInForce.IOC)

    assert [reason for _, reason, _ in cancels_of(events)] == ["AMENDED", "IOC"]
    assert book_of(venue) == []


def test_amend__keeping_its_turn_with_a_trigger__waits_when_it_is_not_met_any_more() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    met: dict[str, object] = {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": 10_000}
    assert accepted_of(amend(venue, 1, first, 400, 9_990, **met)).keeps_priority
    venue.time_ms += 60_000

    assert kinds_of(venue.prices(9_999)) == ["PricesAdopted", "OrderWaiting"]
    assert book_of(venue) == []


def test_book_view__order_amended_in_place__equals_the_book() -> None:
    venue = open_venue()
    first = accepted_of(venue.place(1, "buy", 500, 9_990, lane=3))
    venue.place(2, "buy", 200, 9_990)
    amend(venue, 1, first, 300, 9_990)
    view = BookView()
    for event in venue.events:
        view.fold(event)

    (level,) = view.levels(1, is_bid=True, depth=5)
    assert (level.size_lots, level.n_orders) == (500, 2)
