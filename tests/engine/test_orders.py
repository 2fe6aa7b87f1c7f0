"""Orders and cancels: every refusal has its test, beside the order that just passes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from afterbell.domain.commands import HaltMarket, PlaceOrder
from afterbell.domain.events import (
    CancelRejected,
    Event,
    MarketHalted,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
)
from afterbell.domain.ids import build_nonce
from afterbell.domain.order import TimeInForce
from afterbell.domain.session import Session
from tests.engine.support import RULES, START_MS, USDC, Venue, account, open_venue


def reason_of(events: list[Event]) -> str:
    """Return why the one order was rejected; its words must be there too."""
    (event,) = events
    assert isinstance(event, OrderRejected | CancelRejected), event
    assert event.required and event.found and event.action
    return event.reason


def is_accepted(events: list[Event]) -> bool:
    return any(isinstance(event, OrderAccepted) for event in events)


def resting(venue: Venue) -> list[tuple[int, int]]:
    return [(order.record.limit_ticks, order.remaining_lots) for order in venue.state.orders.values()]


def test_order__resting__is_accepted_with_its_terms() -> None:
    venue = open_venue()

    (event,) = venue.place(1, "buy", 500, 9_990, lane=3, client_id="mine")

    assert isinstance(event, OrderAccepted)
    assert (event.account, event.market, event.is_buy) == (account(1), 1, True)
    assert (event.size_lots, event.filled_lots, event.resting_lots, event.limit_ticks) == (500, 0, 500, 9_990)
    assert (event.client_id, event.nonce) == ("mine", build_nonce(3, venue.now_seq()))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"market": 2}, "UNKNOWN_MARKET"),
        ({"market": 200}, "UNKNOWN_MARKET"),
        ({"epoch": 2}, "WRONG_EPOCH"),
        ({"epoch": 0, "reduce_only": True}, "WRONG_EPOCH"),
        ({"size_lots": 0}, "ZERO_SIZE"),
        ({"size_lots": 505}, "OFF_STEP"),
        ({"size_lots": 100, "limit_ticks": 9_999}, "BELOW_MINIMUM"),
        ({"size_lots": 10_000_010}, "SIZE_TOO_LARGE"),
        ({"max_fee_ppm": 399}, "FEE_ABOVE_MAXIMUM"),
        ({"lifetime_s": -1}, "EXPIRED"),
        ({"lifetime_s": 30 * 86_400 + 1}, "EXPIRY_TOO_FAR"),
        ({"lane": 65_535}, "UNKNOWN_FLAGS"),
        ({"post_only": True, "time_in_force": TimeInForce.IOC}, "UNKNOWN_FLAGS"),
        ({"post_only": True, "time_in_force": TimeInForce.FOK}, "UNKNOWN_FLAGS"),
        ({"trigger_ticks": 9_000}, "MALFORMED_REQUEST"),
        ({"reduce_only": True}, "REDUCE_ONLY"),
        ({"size_lots": 5_000_000}, "INSUFFICIENT_MARGIN"),
    ],
)
def test_order__breaks_one_rule__is_rejected_with_words(fields: dict[str, object], reason: str) -> None:
    venue = open_venue(deposit_quote=100 * USDC)
    terms: dict[str, object] = {"size_lots": 500, "limit_ticks": 9_990} | fields

    events = venue.place(1, "buy", **terms)  # type: ignore[arg-type]

    assert reason_of(events) == reason
    assert resting(venue) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"size_lots": 100, "limit_ticks": 10_000},  # exactly the minimum notional of 1 USDC
        {"max_fee_ppm": 400},
        {"lifetime_s": 0},
        {"lifetime_s": 30 * 86_400},
        {"lane": 65_533},
        {"time_in_force": TimeInForce.GTT},
    ],
)
def test_order__just_inside_a_rule__is_accepted(fields: dict[str, object]) -> None:
    venue = open_venue()
    terms: dict[str, object] = {"size_lots": 500, "limit_ticks": 9_990} | fields

    assert is_accepted(venue.place(1, "buy", **terms))  # type: ignore[arg-type]


def test_order__off_price_step__is_rejected() -> None:
    venue = Venue()
    venue.list_market(rules=replace(RULES, price_step_ticks=5))
    venue.deposit(1, 1_000 * USDC)
    venue.prices(10_000)

    assert reason_of(venue.place(1, "buy", 500, 9_993)) == "OFF_STEP"
    assert is_accepted(venue.place(1, "buy", 500, 9_995))


def test_order__digest_of_other_terms__is_a_bad_signature() -> None:
    venue = open_venue()
    command = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=9_990)

    events = venue.send(msgspec.structs.replace(command, size_lots=510))

    assert reason_of(events) == "BAD_SIGNATURE"


@pytest.mark.parametrize(
    "fields",
    [
        {"owner": b"\x01" * 19},
        {"subaccount": 1 << 80},
        {"limit_ticks": 1 << 40},
        {"nonce": 1 << 56},
        {"time_in_force": 4},
        {"trigger_kind": 5},
        {"r": b""},
        {"vs": b"\x01" * 33},
    ],
)
def test_order__field_outside_its_type__is_malformed(fields: dict[str, object]) -> None:
    venue = open_venue()
    command = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=9_990)

    events = venue.send(msgspec.structs.replace(command, **fields))

    assert reason_of(events) == "MALFORMED_REQUEST"


def test_order__seq_ahead_of_the_venue_clock__is_rejected_beyond_one_second() -> None:
    venue = open_venue()

    assert reason_of(venue.place(1, "buy", 500, 9_990, seq=venue.now_seq() + 1_002)) == "SEQ_TOO_FAR_AHEAD"
    assert is_accepted(venue.place(1, "buy", 500, 9_990, seq=venue.now_seq() + 1_001))


def test_order__higher_seq_on_its_lane__replaces_the_older_one() -> None:
    venue = open_venue()
    (first,) = venue.place(1, "buy", 500, 9_990, lane=7)
    assert isinstance(first, OrderAccepted)

    cancelled, accepted = venue.place(1, "buy", 200, 9_980, lane=7)

    assert isinstance(cancelled, OrderCancelled)
    assert (cancelled.order_id, cancelled.reason, cancelled.remaining_lots) == (first.order_id, "REPLACED", 500)
    assert isinstance(accepted, OrderAccepted)
    assert resting(venue) == [(9_980, 200)]


def test_order__replacement_is_rejected__the_older_one_stays() -> None:
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990, lane=7)

    assert reason_of(venue.place(1, "buy", 505, 9_980, lane=7)) == "OFF_STEP"
    assert resting(venue) == [(9_990, 500)]


def test_order__lower_seq_on_its_lane__is_dead() -> None:
    """An equal one is the second order of an OCO (test_oco.py)."""
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990, lane=7)
    seq = venue.now_seq()

    assert reason_of(venue.place(1, "buy", 500, 9_980, lane=7, seq=seq - 1)) == "DEAD_LANE"
    assert is_accepted(venue.place(1, "buy", 500, 9_980, lane=8, seq=seq - 1))


def test_order__replayed_after_it_filled__is_dead() -> None:
    venue = open_venue()
    venue.place(2, "sell", 500, 10_000)
    venue.time_ms += 1
    command = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=10_000)
    assert is_accepted(venue.send(command))
    venue.seal()

    assert reason_of(venue.send(command)) == "DEAD_LANE"


def test_order__market_halted__is_rejected_and_the_book_is_emptied() -> None:
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990)
    venue.place(2, "sell", 500, 10_010)

    halted, *cancelled = venue.send(HaltMarket(market=1, reason="split in the price file"))

    assert halted == MarketHalted(market=1, reason="split in the price file")
    assert [event.reason for event in cancelled if isinstance(event, OrderCancelled)] == ["MARKET_HALTED"] * 2
    assert resting(venue) == []
    assert reason_of(venue.place(1, "buy", 500, 9_990)) == "MARKET_HALTED"


def test_order__post_only_would_trade__is_rejected() -> None:
    venue = open_venue()
    venue.place(2, "sell", 500, 10_010)

    assert reason_of(venue.place(1, "buy", 500, 10_010, post_only=True)) == "WOULD_TAKE"
    assert is_accepted(venue.place(1, "buy", 500, 10_009, post_only=True))


def test_order__account_holds_as_many_as_it_may__is_rejected_unless_it_replaces_one() -> None:
    venue = open_venue()
    for lane in range(200):
        assert is_accepted(venue.place(1, "buy", 200, 9_900, lane=lane))

    assert reason_of(venue.place(1, "buy", 200, 9_900, lane=200)) == "TOO_MANY_ORDERS"
    assert is_accepted(venue.place(1, "buy", 200, 9_901, lane=0))


def test_order__session_without_openings__only_reducing_passes() -> None:
    venue = open_venue()
    venue.place(1, "sell", 500, 10_000)
    venue.place(2, "buy", 500, 10_000)
    venue.set_rules(rules=replace(RULES, is_opening_allowed=False), session=Session.CLOSED)
    venue.time_ms += 3_000
    venue.prices(10_000, session=Session.CLOSED)

    assert reason_of(venue.place(2, "buy", 500, 9_990)) == "OPENING_NOT_ALLOWED"
    assert reason_of(venue.place(2, "sell", 510, 10_010)) == "OPENING_NOT_ALLOWED"
    assert is_accepted(venue.place(2, "sell", 500, 10_010))


def test_order__session_without_rules__is_an_unknown_market() -> None:
    venue = open_venue()
    venue.time_ms += 3_000
    venue.prices(10_000, session=Session.OVERNIGHT)

    assert reason_of(venue.place(1, "buy", 500, 9_990)) == "UNKNOWN_MARKET"


def test_order__price_report_too_old__only_reducing_passes() -> None:
    """Reports live 60 s under these rules; a batch sealed and 61 s later nothing fresh is left."""
    venue = open_venue()
    venue.place(1, "sell", 500, 10_000)
    venue.place(2, "buy", 500, 10_000)
    venue.seal()

    venue.time_ms = START_MS + 60_000
    assert is_accepted(venue.place(3, "buy", 500, 9_990))
    venue.time_ms = START_MS + 61_000
    assert reason_of(venue.place(3, "buy", 500, 9_991, lane=1)) == "STALE_PRICE"
    assert is_accepted(venue.place(2, "sell", 500, 10_010))


def test_order__expires_while_resting__leaves_when_time_has_passed_it() -> None:
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990, lifetime_s=5)
    expiry_s = venue.time_s + 5

    venue.time_ms = expiry_s * 1_000 + 999
    venue.deposit(3, USDC)
    assert resting(venue) == [(9_990, 500)]
    venue.time_ms += 1
    events = venue.deposit(3, USDC)

    assert [event.reason for event in events if isinstance(event, OrderCancelled)] == ["EXPIRED"]
    assert resting(venue) == []


def test_cancel__resting_order__leaves_the_book() -> None:
    venue = open_venue()
    (accepted,) = venue.place(1, "buy", 500, 9_990, lane=4)
    assert isinstance(accepted, OrderAccepted)

    (event,) = venue.cancel(1, accepted.nonce)

    assert event == OrderCancelled(
        order_id=accepted.order_id, account=account(1), market=1, remaining_lots=500, reason="USER"
    )
    assert resting(venue) == []


def test_cancel__order_of_somebody_else__is_unknown() -> None:
    venue = open_venue()
    (accepted,) = venue.place(1, "buy", 500, 9_990, lane=4)
    assert isinstance(accepted, OrderAccepted)

    assert reason_of(venue.cancel(2, accepted.nonce)) == "UNKNOWN_ORDER"
    assert resting(venue) == [(9_990, 500)]


def test_cancel__overtakes_its_order__the_order_is_dead_on_arrival() -> None:
    venue = open_venue()
    command: PlaceOrder = venue.build_order(1, is_buy=True, size_lots=500, limit_ticks=9_990, lane=4)

    assert reason_of(venue.cancel(1, command.nonce)) == "UNKNOWN_ORDER"
    assert reason_of(venue.send(command)) == "DEAD_LANE"


@pytest.mark.parametrize(("lifetime_s", "reason"), [(-1, "EXPIRED"), (30 * 86_400 + 1, "EXPIRY_TOO_FAR")])
def test_cancel__outside_its_time__is_rejected(lifetime_s: int, reason: str) -> None:
    venue = open_venue()
    (accepted,) = venue.place(1, "buy", 500, 9_990)
    assert isinstance(accepted, OrderAccepted)

    assert reason_of(venue.cancel(1, accepted.nonce, lifetime_s=lifetime_s)) == reason


def test_cancel_all__min_seq__takes_what_is_older_and_bars_its_return() -> None:
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990, lane=1)
    venue.place(1, "buy", 500, 9_991, lane=2)
    limit_seq = venue.now_seq()
    venue.place(2, "buy", 500, 9_992, lane=1)

    events = venue.cancel_all(1, min_seq=limit_seq)

    assert [event.reason for event in events if isinstance(event, OrderCancelled)] == ["USER"]
    assert resting(venue) == [(9_991, 500), (9_992, 500)]
    assert reason_of(venue.place(1, "buy", 500, 9_990, lane=9, seq=limit_seq - 1)) == "SEQ_BELOW_MINIMUM"
    assert is_accepted(venue.place(1, "buy", 500, 9_990, lane=9, seq=limit_seq))


def test_cancel_all__min_seq_in_the_future__is_rejected() -> None:
    venue = open_venue()
    venue.place(1, "buy", 500, 9_990)

    assert reason_of(venue.cancel_all(1, min_seq=venue.now_seq() + 1_002)) == "SEQ_TOO_FAR_AHEAD"
    assert resting(venue) == [(9_990, 500)]
