"""Thousands of random orders over moving prices: what must hold whatever anybody does.

One seed drives one run of actions (hypothesis chooses seeds). A shadow book kept here from events alone says which
maker must be next; the mirror at each seal says whether the chain would have refused anything.
"""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterbell.domain.codes import StatusCode
from afterbell.domain.commands import AdoptPrices, Command, CreditDeposit, ListMarket, SetMarketRules
from afterbell.domain.events import (
    BatchSealed,
    CancelRejected,
    Event,
    FillMatched,
    FillRejected,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import owner_of
from afterbell.domain.order import TimeInForce
from afterbell.domain.session import Session
from afterbell.domain.settlement import AcceptedReport, ChainState, apply_batch, apply_deposit, list_market, set_rules
from afterbell.engine.apply import apply
from afterbell.engine.book_view import BookView
from afterbell.engine.state import EngineState, compute_state_hash
from afterbell.signing.keys import recover
from tests.engine.support import CONFIG, RULES, USDC, Venue, account

N_PARTICIPANTS = 8
MARKETS = (1, 2)
TIGHT = replace(RULES, max_age_s=30, open_interest_cap_lots=9_000, mark_step_ppm=20_000)


class Shadow:
    """Resting orders known from events: (market, is_bid) -> list in arrival order."""

    def __init__(self) -> None:
        self.resting: dict[tuple[int, bool], list[tuple[int, int, bytes]]] = {}
        self.remaining: dict[bytes, int] = {}
        self.places: dict[bytes, tuple[int, bool]] = {}
        self.n_arrivals = 0

    def best(self, market: int, is_bid: bool) -> bytes | None:
        """Return the order that must trade next: best price, then first come."""
        side = self.resting.get((market, is_bid), [])
        return min(side, key=lambda entry: (-entry[0] if is_bid else entry[0], entry[1]))[2] if side else None

    def drop(self, order_id: bytes) -> None:
        place = self.places.pop(order_id)
        self.resting[place] = [entry for entry in self.resting[place] if entry[2] != order_id]
        del self.remaining[order_id]

    def fold(self, event: Event) -> None:
        if isinstance(event, OrderAccepted) and event.resting_lots:
            self.n_arrivals += 1
            place = (event.market, event.is_buy)
            self.resting.setdefault(place, []).append((event.limit_ticks, self.n_arrivals, event.order_id))
            self.places[event.order_id] = place
            self.remaining[event.order_id] = event.resting_lots
        elif isinstance(event, FillMatched):
            assert event.maker_order_id == self.best(event.market, not event.taker_is_buy)
            self.remaining[event.maker_order_id] -= event.size_lots
            assert self.remaining[event.maker_order_id] >= 0
            if self.remaining[event.maker_order_id] == 0:
                self.drop(event.maker_order_id)
        elif isinstance(event, OrderCancelled) and event.order_id in self.places:
            assert event.remaining_lots == self.remaining[event.order_id]
            self.drop(event.order_id)


class Contract:
    """What the contract would hold: fed with listings, deposits and sealed payloads alone, recovering signatures."""

    def __init__(self) -> None:
        self.chain = ChainState(forbidden_recipients=frozenset({CONFIG.vault, CONFIG.clearinghouse, CONFIG.token}))
        self.reports: tuple[AcceptedReport, ...] = ()
        self.separator = EngineState(CONFIG).domain_separator

    def follow(self, command: Command, events: list[Event]) -> None:
        if isinstance(command, ListMarket):
            list_market(self.chain, command.market)
        elif isinstance(command, SetMarketRules):
            set_rules(self.chain, command.market, command.session, int.from_bytes(command.rules_word, "big"))
        elif isinstance(command, CreditDeposit):
            apply_deposit(self.chain, command.account, command.quote)
        for event in events:
            if isinstance(event, BatchSealed):
                result = apply_batch(
                    self.chain,
                    event.payload,
                    previous_head=event.previous_head,
                    block_time_s=event.matched_at_s + 2,
                    accepted_reports=self.reports,
                    domain_separator=self.separator,
                    recover=recover,
                )
                assert (result.head, result.codes) == (event.head, event.codes)
                self.reports = ()
        if isinstance(command, AdoptPrices):
            self.reports = tuple(
                AcceptedReport(market_id=market, external_ticks=ticks, external_time_s=time_s, session=session)
                for market, ticks, time_s, session in command.reports
            )


class Trading:
    """Random actions on one venue, with the checks that hold after each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.venue = Venue()
        self.shadow = Shadow()
        self.view = BookView()
        self.ticks = dict.fromkeys(MARKETS, 10_000)
        self.session = Session.REGULAR
        for market in MARKETS:
            self.venue.list_market(market, TIGHT)
            self.venue.set_rules(market, replace(TIGHT, is_opening_allowed=False), Session.POST)
            self.venue.set_rules(market, replace(TIGHT, max_age_s=0, initial_margin_ppm=200_000), Session.CLOSED)
        for number in range(1, N_PARTICIPANTS + 1):
            # Poor and rich: margin must bind for some.
            self.venue.deposit(number, self.random.choice((2, 5, 50, 5_000)) * USDC)
        self.move_prices()
        self.n_seen = len(self.venue.events)

    def act(self) -> None:
        choice = self.random.random()
        if choice < 0.80:
            self.place()
        elif choice < 0.86:
            self.cancel()
        elif choice < 0.90:
            self.withdraw()
        elif choice < 0.92:
            self.venue.deposit(self.random.randint(1, N_PARTICIPANTS), self.random.randint(1, 2 * USDC))
        elif choice < 0.95:
            self.venue.seal()
        elif choice < 0.97:
            self.venue.time_ms += self.random.randint(1, 40_000)  # may make prices stale, orders expire
        else:
            self.move_prices()
        self.check()

    def move_prices(self) -> None:
        self.venue.time_ms += self.random.randint(1_000, 30_000)
        if self.random.random() < 0.2:
            self.session = self.random.choice((Session.REGULAR, Session.POST, Session.CLOSED, Session.OVERNIGHT))
        elif self.random.random() < 0.5:
            self.session = Session.REGULAR
        for market in MARKETS:
            change = self.random.choice((0, 3, 30, 300, 900))
            self.ticks[market] = max(2_000, self.ticks[market] + self.random.randint(-change, change))
        rows = [
            (market, max(1, self.ticks[market] + self.random.randint(-80, 80)), self.ticks[market])
            for market in MARKETS
        ]
        self.venue.prices_of(rows, self.session)

    def place(self) -> None:
        market = self.random.choice(MARKETS)
        time_in_force = self.random.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTT, TimeInForce.IOC))
        self.venue.place(
            self.random.randint(1, N_PARTICIPANTS),
            self.random.choice(("buy", "sell")),
            self.random.choice((10, 100, 150, 500, 500, 1_500, 3_000, 9_000)),
            max(1, self.ticks[market] + self.random.choice((-600, -60, -20, -5, 0, 5, 20, 60, 600))),
            market=market,
            lane=self.random.randint(0, 3),
            subaccount=self.random.choice((0, 0, 0, 1)),
            lifetime_s=self.random.choice((5, 60, 3_600)),
            time_in_force=time_in_force,
            reduce_only=self.random.random() < 0.15,
            post_only=time_in_force is not TimeInForce.IOC and self.random.random() < 0.2,
        )

    def cancel(self) -> None:
        number = self.random.randint(1, N_PARTICIPANTS)
        if self.random.random() < 0.3:
            self.venue.cancel_all(number)
            return
        own = list(self.venue.state.account_orders.get(account(number), {}).values())
        self.venue.cancel(number, self.random.choice(own).nonce if own else 77)

    def withdraw(self) -> None:
        self.venue.withdraw(self.random.randint(1, N_PARTICIPANTS), self.random.choice((1, 3, 30, 3_000)) * USDC)

    def check(self) -> None:
        state = self.venue.state
        for event in self.venue.events[self.n_seen :]:
            self.shadow.fold(event)
            self.view.fold(event)
            assert not isinstance(event, FillRejected)
            if isinstance(event, FillMatched):
                assert owner_of(event.maker_account) != owner_of(event.taker_account)
            if isinstance(event, BatchSealed):
                assert not any(event.codes), [StatusCode(code & 63).name for code in event.codes if code]
                state.chain.validate_invariants()
        self.n_seen = len(self.venue.events)
        for market, book in state.books.items():
            bid_ticks, ask_ticks = book.bids.best_ticks, book.asks.best_ticks
            assert bid_ticks is None or ask_ticks is None or bid_ticks < ask_ticks
            for is_bid, side in ((True, book.bids), (False, book.asks)):
                levels = [(ticks, level.size_lots, len(level.orders)) for ticks, level in side.iterate_levels()]
                viewed = self.view.levels(market, is_bid=is_bid, depth=1_000)
                assert [(level.price_ticks, level.size_lots, level.n_orders) for level in viewed] == levels
                for _, level in side.iterate_levels():
                    assert level.size_lots == sum(order.remaining_lots for order in level.orders.values())
        assert self.shadow.remaining == {order_id: order.remaining_lots for order_id, order in state.orders.items()}
        assert sum(len(own) for own in state.account_orders.values()) == len(state.orders)
        assert sum(len(in_lane) for in_lane in state.lane_orders.values()) == len(state.orders)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_engine__random_trading__keeps_every_promise(seed: int) -> None:
    """No fill the chain would refuse; no crossed book; price, then time; nothing minted; replay gives the same.

    A contract model that sees payloads, deposits and true signatures alone ends with the engine's words and heads.
    """
    trading = Trading(seed)
    for _ in range(400):
        trading.act()
    trading.venue.seal()
    trading.check()

    again, contract = EngineState(CONFIG), Contract()
    events: list[Event] = []
    for time_ms, previous_hash, command in trading.venue.frames:
        applied = apply(again, command, time_ms=time_ms, previous_hash=previous_hash)
        contract.follow(command, applied)
        events += applied
    assert contract.chain == again.chain
    assert compute_state_hash(again) == compute_state_hash(trading.venue.state)
    assert events == trading.venue.events


def test_random_trading__one_long_run__meets_every_kind_of_outcome() -> None:
    """A generator that never trades proves nothing: this run must fill, refuse, replace, expire and withdraw."""
    trading = Trading(20_260)
    for _ in range(3_000):
        trading.act()

    events = trading.venue.events
    cancelled = {event.reason for event in events if isinstance(event, OrderCancelled)}
    rejected = {event.reason for event in events if isinstance(event, OrderRejected | CancelRejected)}
    assert sum(isinstance(event, FillMatched) for event in events) > 150
    assert {"USER", "REPLACED", "EXPIRED", "IOC", "SELF_TRADE", "REDUCE_ONLY", "MARGIN"} <= cancelled
    assert {"INSUFFICIENT_MARGIN", "WOULD_TAKE", "STALE_PRICE", "OPENING_NOT_ALLOWED", "UNKNOWN_ORDER"} <= rejected
    assert any(isinstance(event, WithdrawalAccepted) for event in events)
    assert any(isinstance(event, WithdrawalRejected) for event in events)
