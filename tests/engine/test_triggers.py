"""Stop and take-profit: waiting outside the book, acting once a met price is adopted, waiting again when it is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from afterbell.domain.batch import MAX_PAYLOAD_BYTES
from afterbell.domain.commands import ConfirmBatch, HaltMarket, PlaceOrder
from afterbell.domain.events import BatchSealed, Event, OrderAccepted, OrderTriggered, OrderWaiting
from afterbell.domain.ids import build_nonce
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.domain.session import Session
from afterbell.engine.batching import needs_seal_before
from afterbell.engine.book_view import BookView
from afterbell.engine.queries import find_order, read_account, read_open_orders
from afterbell.engine.state import compute_state_hash
from tests.engine.outcomes import accepted_of, book_of, cancels_of, fills_of, kinds_of, reason_of, sealed_clean
from tests.engine.support import RULES, USDC, Venue, account, open_venue

ABOVE, BELOW = TriggerKind.MARK_AT_OR_ABOVE, TriggerKind.MARK_AT_OR_BELOW
IOC, GTC = TimeInForce.IOC, TimeInForce.GTC


def move(venue: Venue, ticks: int, seconds: int = 60) -> list[Event]:
    """Adopt this price after enough time for the mark to reach it (10 % in 60 s)."""
    venue.time_ms += seconds * 1_000
    return venue.prices(ticks)


def stop(venue: Venue, number: int, side: str, size_lots: int, limit_ticks: int, **fields: object) -> OrderAccepted:
    """Place an order that must wait: met at or above 10,100 unless said otherwise."""
    terms = {"trigger_kind": ABOVE, "trigger_ticks": 10_100} | fields
    accepted = accepted_of(venue.place(number, side, size_lots, limit_ticks, **terms))
    assert accepted.is_waiting
    return accepted


@pytest.mark.parametrize(
    ("kind", "trigger_ticks", "other_ticks"),
    [
        (TriggerKind.MARK_AT_OR_ABOVE, 10_000, 10_001),
        (TriggerKind.MARK_AT_OR_BELOW, 10_000, 9_999),
        (TriggerKind.INDEX_AT_OR_ABOVE, 10_020, 10_021),
        (TriggerKind.INDEX_AT_OR_BELOW, 10_020, 10_019),
    ],
)
def test_trigger__met_at_entry__acts_at_once_and_one_tick_further_waits(
    kind: TriggerKind, trigger_ticks: int, other_ticks: int
) -> None:
    """Mark 10,000, index 10,020."""
    venue = Venue()
    venue.list_market()
    for number in (1, 2):
        venue.deposit(number, 1_000 * USDC)
    venue.prices(10_020, mark_ticks=10_000)
    venue.place(2, "sell", 200, 10_000)

    acts = venue.place(1, "buy", 100, 10_000, lane=1, trigger_kind=kind, trigger_ticks=trigger_ticks)
    waits = venue.place(1, "buy", 100, 10_000, lane=2, trigger_kind=kind, trigger_ticks=other_ticks)

    assert fills_of(acts) == [(10_000, 100)]
    assert not accepted_of(acts).is_waiting
    assert kinds_of(waits) == ["OrderAccepted"]
    accepted = accepted_of(waits)
    assert (accepted.is_waiting, accepted.resting_lots, accepted.filled_lots) == (True, 0, 0)
    assert (accepted.trigger_kind, accepted.trigger_ticks) == (kind, other_ticks)
    sealed_clean(venue)


def test_trigger__waiting__is_open_in_no_book_and_reserves_nothing() -> None:
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 500, 10_200)

    assert book_of(venue) == []
    view = find_order(venue.state, accepted.order_id)
    assert view is not None
    assert (view.is_waiting, view.remaining_lots, view.trigger_kind, view.trigger_ticks) == (True, 500, ABOVE, 10_100)
    assert read_open_orders(venue.state, account(1)) == (view,)
    summary = read_account(venue.state, account(1), venue.time_s)
    assert (summary.n_open_orders, summary.order_margin_quote) == (1, 0)


def test_trigger__met_by_new_prices__fills_in_the_batch_of_these_prices() -> None:
    """A stop buy of 500 as IOC: 300 are there, 200 are given up; the chain takes the batch."""
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 500, 10_200, time_in_force=IOC)
    venue.place(2, "sell", 300, 10_150)

    below = move(venue, 10_099)
    events = move(venue, 10_100)

    assert kinds_of(below) == ["PricesAdopted"]
    assert kinds_of(events) == ["PricesAdopted", "OrderTriggered", "FillMatched", "OrderCancelled"]
    assert events[1] == OrderTriggered(
        order_id=accepted.order_id, account=account(1), market=1, trigger_ticks=10_100, resting_lots=0
    )
    assert fills_of(events) == [(10_150, 300)]
    assert cancels_of(events) == [(accepted.order_id, "IOC", 200)]
    assert venue.state.orders == {}
    sealed_clean(venue)


def test_trigger__met__acts_once() -> None:
    venue = open_venue()
    stop(venue, 1, "buy", 500, 10_200, time_in_force=IOC)
    move(venue, 10_100)

    assert kinds_of(move(venue, 10_090)) == ["PricesAdopted"]
    assert kinds_of(move(venue, 10_100)) == ["PricesAdopted"]


def test_trigger__limit_order__rests_while_met_and_waits_again_when_not() -> None:
    """It fills 200 of 500 while it rests; later 300 wait, and rest again when the price is back."""
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 500, 10_050)

    (_, triggered) = move(venue, 10_100)
    assert triggered == OrderTriggered(
        order_id=accepted.order_id, account=account(1), market=1, trigger_ticks=10_100, resting_lots=500
    )
    venue.place(2, "sell", 200, 10_050)
    sealed_clean(venue)

    gone = move(venue, 10_099)
    assert gone[1:] == [OrderWaiting(order_id=accepted.order_id, account=account(1), market=1, remaining_lots=300)]
    assert book_of(venue) == []
    assert fills_of(venue.place(2, "sell", 200, 10_050, lane=1)) == []

    back = move(venue, 10_101)
    assert kinds_of(back) == ["PricesAdopted", "OrderTriggered", "FillMatched"]
    assert fills_of(back) == [(10_050, 200)]
    assert book_of(venue) == [("bid", 10_050, 100)]
    sealed_clean(venue)
    assert venue.state.chain.lane(account(1), 0)[1] == 400


def test_trigger__resting_order_not_met_any_more__would_be_refused_by_the_chain() -> None:
    """Why it must leave the book: left there by force, its fill makes a batch with TRIGGER_NOT_MET."""
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 500, 10_050)
    move(venue, 10_100)
    order = venue.state.orders[accepted.order_id]
    venue.state.triggers.forget(order)
    move(venue, 10_090)

    events = venue.place(2, "sell", 200, 10_050)

    assert cancels_of(events) == [(accepted.order_id, "TRIGGER_NOT_MET", 500)]


def test_trigger__several_met_by_one_adoption__act_in_order_of_acceptance() -> None:
    """Three stops for 300 lots of one ask of 700: the last, though nearest to the price, gets what is left."""
    venue = open_venue()
    first = stop(venue, 1, "buy", 300, 10_200, trigger_ticks=10_100)
    second = stop(venue, 3, "buy", 300, 10_200, trigger_ticks=10_080)
    third = stop(venue, 4, "buy", 300, 10_200, trigger_ticks=10_010)
    venue.place(2, "sell", 700, 10_150)

    events = move(venue, 10_120)

    triggered = [event.order_id for event in events if isinstance(event, OrderTriggered)]
    assert triggered == [first.order_id, second.order_id, third.order_id]
    assert fills_of(events) == [(10_150, 300), (10_150, 300), (10_150, 100)]
    assert book_of(venue) == [("bid", 10_150 + 50, 200)]


def test_trigger__other_market_moves__nothing_acts() -> None:
    venue = open_venue()
    venue.list_market(2)
    stop(venue, 1, "buy", 300, 10_200, trigger_kind=BELOW, trigger_ticks=9_990)
    venue.time_ms += 60_000

    assert kinds_of(venue.prices(9_000, market=2)) == ["PricesAdopted"]


def test_trigger__margin_is_gone_when_met__is_given_up_with_the_reason() -> None:
    """Nothing is reserved while it waits, so the account may withdraw all it has."""
    venue = open_venue()
    venue.deposit(9, 10 * USDC)
    accepted = stop(venue, 9, "buy", 500, 10_200)
    venue.withdraw(9, 10 * USDC)

    events = move(venue, 10_100)

    assert kinds_of(events) == ["PricesAdopted", "OrderTriggered", "OrderCancelled"]
    assert cancels_of(events) == [(accepted.order_id, "INSUFFICIENT_MARGIN", 500)]
    assert venue.state.orders == {}


def test_trigger__reduce_only__is_taken_before_the_position_and_judged_when_met() -> None:
    """A bracket: the stop comes before the entry it protects. Without a position then, it is given up."""
    venue = open_venue()
    protect = stop(venue, 1, "sell", 300, 9_800, trigger_kind=BELOW, trigger_ticks=9_900, reduce_only=True, lane=1)
    alone = stop(venue, 3, "sell", 300, 9_800, trigger_kind=BELOW, trigger_ticks=9_900, reduce_only=True, lane=1)
    venue.place(2, "sell", 300, 10_000)
    venue.place(1, "buy", 300, 10_000)
    venue.place(2, "buy", 300, 9_850, lane=1)

    events = move(venue, 9_900)

    assert fills_of(events) == [(9_850, 300)]
    assert cancels_of(events) == [(alone.order_id, "REDUCE_ONLY", 300)]
    assert protect.order_id not in venue.state.orders
    assert read_account(venue.state, account(1), venue.time_s).positions == ()


def test_trigger__post_only_would_take_when_met__is_given_up() -> None:
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 300, 10_150, post_only=True)
    venue.place(2, "sell", 300, 10_150)

    assert cancels_of(move(venue, 10_100)) == [(accepted.order_id, "WOULD_TAKE", 300)]


def test_trigger__rules_of_a_new_session_refuse_it_when_met__is_given_up() -> None:
    venue = open_venue()
    venue.set_rules(rules=replace(RULES, size_step_lots=1_000), session=Session.POST)
    venue.prices(10_000)
    accepted = stop(venue, 1, "buy", 300, 10_150)
    venue.time_ms += 60_000

    assert cancels_of(venue.prices(10_100, session=Session.POST)) == [(accepted.order_id, "OFF_STEP", 300)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"lifetime_s": -1}, "EXPIRED"),
        ({"max_fee_ppm": 399}, "FEE_ABOVE_MAXIMUM"),
        ({"size_lots": 305}, "OFF_STEP"),
        ({"lane": 65_535}, "UNKNOWN_FLAGS"),
    ],
)
def test_trigger__breaks_a_rule_that_does_not_wait__is_rejected_at_entry(
    fields: dict[str, object], reason: str
) -> None:
    venue = open_venue()
    terms: dict[str, object] = {"size_lots": 300, "limit_ticks": 10_200} | fields

    assert reason_of(venue.place(1, "buy", trigger_kind=ABOVE, trigger_ticks=10_100, **terms)) == reason  # type: ignore[arg-type]


def test_trigger__below_the_accounts_minimum_seq_of_the_chain__is_rejected_at_entry() -> None:
    """The chain lists SEQ_BELOW_MINIMUM after the trigger; it must show all the same."""
    venue = open_venue()
    seq = venue.now_seq()
    venue.cancel_all(1, min_seq=seq)
    venue.state.min_seqs.clear()
    chain = venue.state.chain
    chain.accounts[account(1) << 16] = replace(chain.account(account(1)), min_seq=seq).pack()
    venue.seal()

    events = venue.place(1, "buy", 300, 10_200, seq=seq - 1, trigger_kind=ABOVE, trigger_ticks=10_100)

    assert reason_of(events) == "SEQ_BELOW_MINIMUM"


def test_trigger__cancelled_while_waiting__leaves_by_nonce_and_by_cancel_all() -> None:
    venue = open_venue()
    one = stop(venue, 1, "buy", 300, 10_200, lane=1)
    two = stop(venue, 1, "buy", 300, 10_200, lane=2)

    assert cancels_of(venue.cancel(1, one.nonce)) == [(one.order_id, "USER", 300)]
    assert cancels_of(venue.cancel_all(1)) == [(two.order_id, "USER", 300)]
    assert kinds_of(move(venue, 10_100)) == ["PricesAdopted"]


def test_trigger__expires_while_waiting__leaves() -> None:
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 300, 10_200, lifetime_s=10)
    venue.time_ms += 11_500

    assert cancels_of(venue.deposit(2, USDC)) == [(accepted.order_id, "EXPIRED", 300)]


def test_trigger__replaced_on_its_lane_while_waiting__leaves() -> None:
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 300, 10_200, lane=3)

    events = venue.place(1, "buy", 300, 9_990, lane=3)

    assert cancels_of(events) == [(accepted.order_id, "REPLACED", 300)]
    assert book_of(venue) == [("bid", 9_990, 300)]


def test_trigger__market_halted_while_waiting__leaves() -> None:
    venue = open_venue()
    accepted = stop(venue, 1, "buy", 300, 10_200)

    assert cancels_of(venue.send(HaltMarket(market=1, reason="split"))) == [(accepted.order_id, "MARKET_HALTED", 300)]


def test_trigger__waiting_orders__count_against_the_accounts_limit_even_as_ioc() -> None:
    venue = open_venue()
    for lane in range(200):
        stop(venue, 1, "buy", 300, 10_200, lane=lane, time_in_force=IOC)

    terms = {"trigger_kind": ABOVE, "trigger_ticks": 10_100, "time_in_force": IOC}
    assert reason_of(venue.place(1, "buy", 300, 10_200, lane=200, **terms)) == "TOO_MANY_ORDERS"
    assert accepted_of(venue.place(1, "buy", 300, 10_200, lane=5, **terms)).is_waiting


def test_trigger__quote_beyond_the_band_and_not_met__waits_instead_of_leaving() -> None:
    """External 9,000: band [8,550, 9,450]. A bid of 9,990 would be cancelled there, but its trigger is gone too."""
    venue = open_venue()
    accepted = accepted_of(venue.place(1, "buy", 300, 9_990, trigger_kind=ABOVE, trigger_ticks=9_900))
    assert not accepted.is_waiting

    events = move(venue, 9_000)

    assert kinds_of(events) == ["PricesAdopted", "OrderWaiting"]


def build_crowd(n_stops: int, *, n_rounds: int = 1) -> Venue:
    """One large ask at 10,150, and stops of 100 lots in n_rounds lanes of n_stops accounts to buy it."""
    venue = open_venue(n_participants=2 + n_stops)
    venue.place(1, "sell", 100 * n_stops * n_rounds, 10_150)
    for lane in range(n_rounds):
        for number in range(3, 3 + n_stops):
            stop(venue, number, "buy", 100, 10_200, time_in_force=IOC, lane=lane)
    return venue


def test_trigger__more_met_than_a_batch_holds__the_rest_act_after_each_seal_in_their_order() -> None:
    """130 stops, each two orders of a batch: the payload bound cuts before 57 orders do."""
    venue = build_crowd(130)

    events = move(venue, 10_100)
    assert venue.state.triggers.is_pending
    n_rounds = 1
    while venue.state.has_open_batch:
        sealed = venue.seal()
        assert not any(code for event in sealed if isinstance(event, BatchSealed) for code in event.codes)
        assert all(len(event.payload) <= MAX_PAYLOAD_BYTES for event in sealed if isinstance(event, BatchSealed))
        events += sealed
        n_rounds += 1

    takers = [event.account for event in events if isinstance(event, OrderTriggered)]
    assert takers == [account(number) for number in range(3, 133)]
    assert len(fills_of(events)) == 130
    assert n_rounds > 3
    assert not venue.state.triggers.is_pending


def test_trigger__waits_for_room__goes_before_any_later_order() -> None:
    """A late buyer would take what the last stops are to buy: the seals before its order let them act first."""
    venue = build_crowd(60)
    move(venue, 10_100)
    assert venue.state.triggers.is_pending
    late: PlaceOrder = venue.build_order(2, is_buy=True, size_lots=6_000, limit_ticks=10_200)
    assert needs_seal_before(venue.state, late)

    events = venue.send(late)

    assert fills_of(events) == []
    assert sum(isinstance(event, OrderTriggered) for event in venue.events) == 60


def test_trigger__waits_for_room_while_the_chain_is_behind__later_orders_are_put_off_and_cancels_pass() -> None:
    """960 stops, fewer than 57 a batch: more than 17 batches. With 16 on their way no order forces another."""
    venue = build_crowd(60, n_rounds=16)
    move(venue, 10_100)
    late = venue.build_order(2, is_buy=True, size_lots=500, limit_ticks=9_990, lane=9)

    events = venue.send(late)

    assert len(venue.state.sealed) == 16
    assert venue.state.triggers.is_pending
    assert reason_of(events) == "NOT_READY"
    assert venue.withdraw(2, USDC)[0].reason == "NOT_READY"  # type: ignore[union-attr]
    assert venue.cancel_all(1, min_seq=1) == []
    while venue.state.triggers.is_pending:
        sealed = venue.state.sealed[0]
        venue.send(
            ConfirmBatch(
                sequence=sealed.sequence,
                head=sealed.head,
                codes=sealed.codes,
                block=1,
                transaction=bytes(32),
                gas_used=1,
            )
        )
        events = venue.send(late)
    assert accepted_of(events).resting_lots == 500
    assert sum(isinstance(event, OrderTriggered) for event in venue.events) == 960


def test_trigger__account_without_money__may_not_wait() -> None:
    venue = open_venue()
    terms = {"trigger_kind": ABOVE, "trigger_ticks": 10_100}

    assert reason_of(venue.place(9, "buy", 300, 10_200, **terms)) == "INSUFFICIENT_MARGIN"
    venue.deposit(9, 1)
    assert accepted_of(venue.place(9, "buy", 300, 10_200, **terms)).is_waiting


def test_trigger__waits_for_room__can_still_be_cancelled() -> None:
    venue = build_crowd(60)
    move(venue, 10_100)

    events = venue.cancel(62, next(iter(venue.state.account_orders[account(62)].values())).nonce)

    assert [reason for _, reason, _ in cancels_of(events)] == ["USER"]


def test_state_hash__one_trigger_differs__differs() -> None:
    first, second = open_venue(), open_venue()
    stop(first, 1, "buy", 300, 10_200, trigger_ticks=10_100)
    stop(second, 1, "buy", 300, 10_200, trigger_ticks=10_101)

    assert compute_state_hash(first.state) != compute_state_hash(second.state)


def test_book_view__order_triggers_rests_and_waits_again__equals_the_book() -> None:
    venue = open_venue()
    view = BookView()
    n_seen = 0

    def levels() -> list[tuple[int, int, int]]:
        nonlocal n_seen
        for event in venue.events[n_seen:]:
            view.fold(event)
        n_seen = len(venue.events)
        return [(level.price_ticks, level.size_lots, level.n_orders) for level in view.levels(1, is_bid=True, depth=9)]

    stop(venue, 1, "buy", 500, 10_050)
    venue.place(2, "sell", 200, 10_050)
    assert levels() == []
    move(venue, 10_100)
    assert levels() == [(10_050, 300, 1)]
    move(venue, 10_090)
    assert levels() == []
    move(venue, 10_100)
    assert levels() == [(10_050, 300, 1)]
    venue.cancel(1, build_nonce(0, 1))
    venue.cancel_all(1)
    assert levels() == []
