"""Fill or kill: whole or not at all, and when not at all, nothing has moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.engine.queries import read_account
from afterbell.engine.state import EngineState
from tests.engine.outcomes import accepted_of, book_of, cancels_of, fills_of, kinds_of, reason_of, sealed_clean
from tests.engine.support import RULES, USDC, Venue, account, open_venue

FOK = TimeInForce.FOK


def batch_of(state: EngineState) -> tuple[int, int]:
    assert state.batch is not None
    return len(state.batch.fills), len(state.batch.orders)


def test_fok__book_holds_all_of_it__fills_whole_in_one_batch() -> None:
    """300 at 10,000 and 200 of 400 at 10,001."""
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "sell", 400, 10_001)

    events = venue.place(3, "buy", 500, 10_001, time_in_force=FOK)

    assert fills_of(events) == [(10_000, 300), (10_001, 200)]
    assert (accepted_of(events).filled_lots, accepted_of(events).resting_lots) == (500, 0)
    assert cancels_of(events) == []
    assert len(sealed_clean(venue).fill_ids) == 2
    assert book_of(venue) == [("ask", 10_001, 200)]


def test_fok__one_lot_step_is_missing__nothing_moves_and_its_seq_is_used() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "sell", 190, 10_001)
    venue.place(4, "sell", 300, 10_002)
    before = book_of(venue), batch_of(venue.state)

    events = venue.place(3, "buy", 500, 10_001, time_in_force=FOK, lane=2)

    accepted = accepted_of(events)
    assert kinds_of(events) == ["OrderAccepted", "OrderCancelled"]
    assert (accepted.filled_lots, accepted.resting_lots) == (0, 0)
    assert cancels_of(events) == [(accepted.order_id, "CANNOT_FILL", 500)]
    assert (book_of(venue), batch_of(venue.state)) == before
    assert read_account(venue.state, account(3), venue.time_s).collateral_quote == 100_000 * USDC
    assert reason_of(venue.place(3, "buy", 500, 10_001, lane=2, seq=venue.now_seq())) == "DEAD_LANE"


def test_fok__empty_book__cannot_fill() -> None:
    venue = open_venue()

    events = venue.place(3, "buy", 500, 10_001, time_in_force=FOK)

    assert [reason for _, reason, _ in cancels_of(events)] == ["CANNOT_FILL"]


def with_own_quote(venue: Venue) -> None:
    venue.place(1, "sell", 300, 10_000)
    venue.place(3, "sell", 300, 10_001, lane=1)


def with_49_makers(venue: Venue) -> None:
    for number in range(10, 59):
        venue.place(number, "sell", 100, 10_000)


def with_quote_beyond_the_band(venue: Venue) -> None:
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "sell", 4_600, 10_501)


def with_poor_second_maker(venue: Venue) -> None:
    """10 USDC cover the margin of 4,600 lots at 10,001 (10 % of 46 USDC) until 9 of them are withdrawn."""
    venue.deposit(70, 10 * USDC)
    venue.place(70, "sell", 4_600, 10_001)
    venue.withdraw(70, 9 * USDC)
    venue.place(1, "sell", 300, 10_000)


@pytest.mark.parametrize(
    "prepare", [with_own_quote, with_49_makers, with_quote_beyond_the_band, with_poor_second_maker]
)
def test_fok__match_would_stop_before_its_end__cannot_fill_and_no_maker_is_touched(
    prepare: Callable[[Venue], None],
) -> None:
    """The same size as IOC fills a part: the book would hold enough by size alone or by skipping."""
    venue, twin = open_venue(n_participants=60), open_venue(n_participants=60)
    for each in (venue, twin):
        prepare(each)
    before = book_of(venue), batch_of(venue.state)

    events = venue.place(3, "buy", 4_900, 10_600, time_in_force=FOK)
    partial = twin.place(3, "buy", 4_900, 10_600, time_in_force=TimeInForce.IOC)

    assert [reason for _, reason, _ in cancels_of(events)] == ["CANNOT_FILL"]
    assert (book_of(venue), batch_of(venue.state)) == before
    assert 0 < sum(size_lots for _, size_lots in fills_of(partial)) < 4_900
    sealed_clean(venue)


def test_fok__faulty_maker_in_the_way__is_removed_when_the_rest_fills_whole() -> None:
    venue = open_venue()
    with_poor_second_maker(venue)
    venue.place(2, "sell", 4_600, 10_001)

    events = venue.place(3, "buy", 4_900, 10_001, time_in_force=FOK)

    assert fills_of(events) == [(10_000, 300), (10_001, 4_600)]
    assert [(reason, lots) for _, reason, lots in cancels_of(events)] == [("MARGIN", 4_600)]


def test_fok__open_interest_at_its_cap__cannot_fill_and_the_maker_stays() -> None:
    """Cap 500 lots: a FOK of 500 reaches it exactly, one of 100 more is killed."""
    venue = Venue()
    venue.list_market(rules=replace(RULES, open_interest_cap_lots=500))
    for number in (1, 2, 3, 4):
        venue.deposit(number, 1_000 * USDC)
    venue.prices(10_000)
    for number, lane, size_lots in ((1, 0, 400), (1, 1, 100), (2, 0, 100)):
        venue.place(number, "sell", size_lots, 10_000, lane=lane)

    too_much = venue.place(3, "buy", 500, 9_999, time_in_force=FOK)
    enough = venue.place(3, "buy", 500, 10_000, time_in_force=FOK)
    over_cap = venue.place(4, "buy", 100, 10_000, time_in_force=FOK)

    assert [reason for _, reason, _ in cancels_of(too_much)] == ["CANNOT_FILL"]
    assert fills_of(enough) == [(10_000, 400), (10_000, 100)]
    assert [reason for _, reason, _ in cancels_of(over_cap)] == ["CANNOT_FILL"]
    assert book_of(venue) == [("ask", 10_000, 100)]


def test_fok__oco_makers_share_one_size__counts_it_once() -> None:
    """Two asks of 300 with one lane and seq: 300 lots in all, not 600."""
    venue = open_venue()
    first = accepted_of(venue.place(1, "sell", 300, 10_000, lane=4))
    venue.place(1, "sell", 300, 10_001, lane=4, seq=venue.now_seq())
    assert book_of(venue) == [("ask", 10_000, 300), ("ask", 10_001, 300)]

    too_much = venue.place(3, "buy", 310, 10_001, time_in_force=FOK)
    enough = venue.place(3, "buy", 300, 10_001, time_in_force=FOK)

    assert [reason for _, reason, _ in cancels_of(too_much)] == ["CANNOT_FILL"]
    assert fills_of(enough) == [(10_000, 300)]
    assert first.order_id not in venue.state.orders
    assert book_of(venue) == []


def test_fok__reduce_only_larger_than_the_position__cannot_fill() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_000)
    venue.place(2, "buy", 300, 10_000)
    venue.place(3, "buy", 1_000, 10_000)

    too_much = venue.place(2, "sell", 310, 10_000, reduce_only=True, time_in_force=FOK)
    enough = venue.place(2, "sell", 300, 10_000, reduce_only=True, time_in_force=FOK)

    assert [reason for _, reason, _ in cancels_of(too_much)] == ["CANNOT_FILL"]
    assert fills_of(enough) == [(10_000, 300)]


def test_fok__with_a_trigger__waits_and_is_killed_when_the_book_is_thin_then() -> None:
    venue = open_venue()
    venue.place(1, "sell", 300, 10_030)
    accepted = accepted_of(
        venue.place(
            3, "buy", 500, 10_100, time_in_force=FOK, trigger_kind=TriggerKind.MARK_AT_OR_ABOVE, trigger_ticks=10_020
        )
    )
    assert accepted.is_waiting
    venue.time_ms += 3_000

    events = venue.prices(10_020)

    assert cancels_of(events) == [(accepted.order_id, "CANNOT_FILL", 500)]
    assert book_of(venue) == [("ask", 10_030, 300)]
    sealed_clean(venue)
