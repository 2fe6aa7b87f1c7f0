"""Thousands of random orders over moving prices: what must hold whatever anybody does.

One seed drives one run of actions (hypothesis chooses seeds): every kind of order, session keys, withdrawals, and calls
made directly on chain that the engine hears of later. A shadow folded from events alone says who must be next and what
is left; a contract that sees payloads and true signatures alone settles every batch, some time after it was sealed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterbell.domain.codes import StatusCode
from afterbell.domain.direct import DirectOperation
from afterbell.domain.errors import DirectRefused
from afterbell.domain.events import (
    BatchSealed,
    CancelAllAdopted,
    CancelRejected,
    Event,
    FillMatched,
    FillRejected,
    KeyLinked,
    KeyOperationRejected,
    KeyRevoked,
    OrderAccepted,
    OrderCancelled,
    OrderReduced,
    OrderRejected,
    OrderTriggered,
    OrderWaiting,
    RulesAdopted,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import owner_of
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.domain.session import Session
from afterbell.engine.apply import apply
from afterbell.engine.book import OpenOrder
from afterbell.engine.book_view import BookView
from afterbell.engine.state import EngineState, compute_state_hash
from tests.engine.contract import Contract
from tests.engine.shadow import Shadow
from tests.engine.support import CONFIG, RULES, USDC, Venue, account, owner

N_PARTICIPANTS = 6
MARKETS = (1, 2)
TIGHT = replace(RULES, max_age_s=30, open_interest_cap_lots=9_000, mark_step_ppm=20_000, min_notional_quote=500_000)
SAFE_S = 240
"""Nothing on chain stays unheard or unsettled longer, so that nobody ever comes close to SETTLE_LAG."""


class Trading:
    """Random actions on one venue, with the checks that hold after each."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.venue = Venue()
        self.contract = Contract()
        self.unheard: deque[tuple[int, Callable[[], object]]] = deque()
        """(second, how the engine adopts it) of what was made directly on chain, in its order."""
        self.shadow = Shadow()
        self.view = BookView()
        self.n_seen = 0
        self.n_pending = 0
        """Adoptions of prices that met more stops than the batch had room for."""
        self.withdrawn_quote: dict[int, int] = {}
        """Batch -> withdrawals it carries."""
        self.ticks = dict.fromkeys(MARKETS, 10_000)
        self.session = Session.REGULAR
        for market in MARKETS:
            self.venue.list_market(market, TIGHT)
            self.venue.set_rules(market, replace(TIGHT, is_opening_allowed=False), Session.POST)
            self.venue.set_rules(market, replace(TIGHT, max_age_s=0, initial_margin_ppm=200_000), Session.CLOSED)
        for number in range(1, N_PARTICIPANTS + 1):
            # Poor and rich: margin must bind for some.
            self.deposit(number, self.random.choice((3, 10, 100, 5_000)) * USDC)
        self.adopt()
        self.move_prices()
        self.check()

    def act(self) -> None:
        actions: tuple[tuple[int, Callable[[], object]], ...] = (
            (44, self.place),
            (22, self.take),
            (8, self.place_second),
            (10, self.amend),
            (6, self.cancel),
            (4, self.withdraw),
            (3, self.transfer),
            (4, self.change_key),
            (3, self.call_directly),
            (3, self.adopt),
            (3, self.venue.seal),
            (3, self.settle),
            (1, lambda: self.pass_time(self.random.randint(1, 40_000))),  # prices go stale, orders expire
            (2, self.move_prices),
            (1, self.crowd),
        )
        (action,) = self.random.choices([action for _, action in actions], [weight for weight, _ in actions])
        action()
        self.check()

    def pass_time(self, milliseconds: int) -> None:
        then_s = (self.venue.time_ms + milliseconds) // 1_000
        if self.unheard and then_s - self.unheard[0][0] > SAFE_S:
            self.adopt()
        if self.contract.unsettled and then_s - self.contract.unsettled[0][0].matched_at_s > SAFE_S:
            self.settle()
        if self.venue.state.batch is not None and then_s - self.venue.state.batch.execution.matched_at_s > SAFE_S:
            self.venue.seal()
            self.hear()
            self.settle()
        self.venue.time_ms += milliseconds

    def move_prices(self) -> None:
        self.pass_time(self.random.randint(1_000, 30_000))
        if self.random.random() < 0.15:
            self.session = self.random.choice((Session.POST, Session.CLOSED, Session.OVERNIGHT))
        elif self.random.random() < 0.8:
            self.session = Session.REGULAR
        for market in MARKETS:
            change = self.random.choice((0, 3, 30, 300, 900))
            self.ticks[market] = max(2_000, self.ticks[market] + self.random.randint(-change, change))
        rows = [
            (market, max(1, self.ticks[market] + self.random.randint(-80, 80)), self.ticks[market])
            for market in MARKETS
        ]
        self.venue.prices_of(rows, self.session)

    def draw_terms(self, market: int) -> dict[str, object]:
        time_in_force = self.random.choice(
            (TimeInForce.GTC, TimeInForce.GTC, TimeInForce.GTT, TimeInForce.IOC, TimeInForce.FOK)
        )
        kind = TriggerKind(self.random.choice((0, 0, 0, 0, 1, 2, 3, 4)))
        return {
            "market": market,
            "lifetime_s": self.random.choice((5, 60, 3_600, 3_600)),
            "time_in_force": time_in_force,
            "reduce_only": self.random.random() < 0.12,
            "post_only": not time_in_force.is_immediate and self.random.random() < 0.2,
            "trigger_kind": kind,
            "trigger_ticks": max(1, self.ticks[market] + self.random.randint(-60, 60)) if kind else 0,
            "client_id": self.random.choice(("", "", "", str(self.random.randint(0, 99)))),
        }

    def draw_size(self) -> int:
        return self.random.choice((10, 100, 150, 200, 500, 500, 500, 1_000, 1_500, 3_000, 9_000))

    def draw_limit(self, market: int) -> int:
        return max(1, self.ticks[market] + self.random.choice((-600, -40, -20, -10, -5, 0, 0, 5, 10, 20, 40, 600)))

    def draw_key(self, number: int, chance: float) -> int | None:
        """Return a session key now and then, mostly one that is linked."""
        if self.random.random() >= chance:
            return None
        linked = [
            key for key in keys_of(number) if self.venue.state.chain.session_key_word(account(number), owner(key))
        ]
        return self.random.choice(linked if linked and self.random.random() < 0.9 else keys_of(number))

    def place(self) -> None:
        market, number = self.random.choice(MARKETS), self.random.randint(1, N_PARTICIPANTS)
        key = self.draw_key(number, 0.25)
        self.venue.place(
            number,
            self.random.choice(("buy", "sell")),
            self.draw_size(),
            self.draw_limit(market),
            lane=self.random.randint(0, 5),
            subaccount=0 if key else self.random.choice((0, 0, 0, 1)),
            key=key,
            **self.draw_terms(market),
        )

    def take(self) -> None:
        """Go for the best quote of a side, as a trader who wants to trade does."""
        market, number = self.random.choice(MARKETS), self.random.randint(1, N_PARTICIPANTS)
        is_buy = self.random.random() < 0.5
        book = self.venue.state.books[market]
        best_ticks = (book.asks if is_buy else book.bids).best_ticks
        if best_ticks is None:
            return
        self.venue.place(
            number,
            "buy" if is_buy else "sell",
            self.random.choice((100, 200, 500, 1_500)),
            max(1, best_ticks + self.random.choice((0, 5, 20)) * (1 if is_buy else -1)),
            lane=self.random.randint(0, 5),
            key=self.draw_key(number, 0.25),
            market=market,
            time_in_force=self.random.choice((TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC)),
            reduce_only=self.random.random() < 0.2,
        )

    def crowd(self) -> None:
        """Let many stops wait for one price and reach it: more than a batch holds, if the account's money lets them."""
        market, maker = self.random.choice(MARKETS), self.random.randint(1, N_PARTICIPANTS)
        mark_ticks = self.venue.state.read_execution(self.venue.time_s).price(market).mark_ticks
        self.venue.place(maker, "sell", 9_000, mark_ticks + 20, lane=40, market=market)
        for number in range(1, N_PARTICIPANTS + 1):
            for lane in range(41, 56):
                self.venue.place(
                    number,
                    "buy",
                    100,
                    mark_ticks + 60,
                    lane=lane,
                    market=market,
                    time_in_force=self.random.choice((TimeInForce.IOC, TimeInForce.GTC)),
                    trigger_kind=TriggerKind.MARK_AT_OR_ABOVE,
                    trigger_ticks=mark_ticks + self.random.randint(1, 10),
                )
        self.check()
        self.pass_time(6_000)
        self.ticks[market] = mark_ticks + 15
        self.session = Session.REGULAR
        self.venue.prices_of([(market, mark_ticks + 15, mark_ticks + 15)], self.session)
        self.n_pending += self.venue.state.triggers.is_pending

    def draw_live(self) -> tuple[int, OpenOrder] | None:
        """Return a participant and one of its live orders."""
        number = self.random.randint(1, N_PARTICIPANTS)
        own = list(self.venue.state.account_orders.get(account(number), {}).values())
        return (number, self.random.choice(own)) if own else None

    def place_second(self) -> None:
        """Join a live order to an OCO, or try to."""
        drawn = self.draw_live()
        if drawn is None:
            return
        number, first = drawn
        is_same_side = self.random.random() < 0.7
        is_buy = first.record.is_buy if is_same_side else not first.record.is_buy
        market = first.record.market_id if self.random.random() < 0.95 else self.random.choice(MARKETS)
        self.venue.place(
            number,
            "buy" if is_buy else "sell",
            self.draw_size(),
            self.draw_limit(market),
            lane=first.record.lane,
            seq=first.record.seq,
            **self.draw_terms(market),
        )

    def amend(self) -> None:
        drawn = self.draw_live()
        if drawn is None:
            return
        number, named = drawn
        record = named.record
        size_lots = max(10, named.remaining_lots - self.random.choice((0, 10, 50, -100)))
        is_in_place = self.random.random() < 0.6
        self.venue.time_ms += 1
        terms = {"market": record.market_id} if is_in_place else self.draw_terms(record.market_id)
        command = self.venue.build_order(
            number,
            is_buy=record.is_buy,
            size_lots=size_lots,
            limit_ticks=record.limit_ticks if is_in_place else self.draw_limit(record.market_id),
            lane=record.lane,
            **terms,  # type: ignore[arg-type]
        )
        filled_lots = named.filled_lots + self.random.choice((0, 0, 0, 0, 10))
        self.venue.send(msgspec.structs.replace(command, amends=named.order_id, amends_filled_lots=filled_lots))

    def cancel(self) -> None:
        number = self.random.randint(1, N_PARTICIPANTS)
        key = self.draw_key(number, 0.2)
        if self.random.random() < 0.3:
            self.venue.cancel_all(number, key=key)
            return
        own = list(self.venue.state.account_orders.get(account(number), {}).values())
        self.venue.cancel(number, self.random.choice(own).nonce if own else 77, key=key)

    def withdraw(self) -> None:
        number = self.random.randint(1, N_PARTICIPANTS)
        quote = self.random.choice((1, 1, 3, 3, 30, 3_000)) * USDC
        if self.random.random() < 0.3:
            self.approved(lambda: self.venue.withdraw(number, quote, is_approved=True), number)
        else:
            self.venue.withdraw(number, quote, key=self.draw_key(number, 0.2))

    def transfer(self) -> None:
        number, subaccount = self.random.randint(1, N_PARTICIPANTS), self.random.randint(0, 1)
        quote = self.random.choice((0, 1, 1, 3, 30, 3_000)) * USDC
        # Now and then to itself, which is refused.
        to_subaccount = subaccount if self.random.random() < 0.1 else 1 - subaccount
        self.venue.transfer(number, quote, to_subaccount, subaccount=subaccount)

    def change_key(self) -> None:
        number = self.random.randint(1, N_PARTICIPANTS)
        key = self.random.choice(keys_of(number))
        if self.random.random() < 0.2:
            self.venue.revoke_key(number, key)
        elif self.random.random() < 0.2:
            self.approved(lambda: self.venue.link_key(number, key, is_approved=True), number)
        else:
            self.venue.link_key(
                number,
                key,
                lifetime_s=self.random.choice((30, 600, 86_400, 86_400)),
                max_notional_quote=self.random.choice((2, 20, 1_000)) * USDC,
                markets=self.random.choice((0, 1, 2, 3, 3)),
                reduce_only=self.random.random() < 0.2,
                trade_only=self.random.random() < 0.5,
            )

    def approved(self, operate: Callable[[], list[Event]], number: int) -> None:
        """Carry an operation that its owner has approved on chain."""
        for event in operate():
            if isinstance(event, WithdrawalAccepted):
                self.contract.approve(number, event.withdrawal_id)
            elif isinstance(event, KeyLinked):
                self.contract.approve(number, event.operation_id)

    def call_directly(self) -> None:
        """Let somebody act on chain; the engine hears of it when `adopt` is drawn."""
        number, time_s = self.random.randint(1, N_PARTICIPANTS), self.venue.time_s
        choice = self.random.random()
        if choice < 0.3:
            self.deposit(number, self.random.randint(1, 2 * USDC))
            return
        key = self.random.choice(keys_of(number))
        try:
            if choice < 0.5:
                min_seq = max(0, self.venue.now_seq() + self.random.randint(-20_000, 2_000))
                done = self.contract.cancel_all(number, min_seq, time_s)
            elif choice < 0.75:
                done = self.contract.link_key(number, key, time_s, lifetime_s=self.random.choice((60, 86_400)))
            elif choice < 0.79:
                done = self.contract.revoke_key(number, key, time_s)
            else:
                rules = replace(TIGHT, max_age_s=self.random.choice((20, 30, 60)), is_opening_allowed=choice < 0.98)
                done = self.contract.change_rules(self.random.choice(MARKETS), Session.REGULAR, rules.pack(), time_s)
        except DirectRefused:
            return
        self.unheard.append((done.time_s, self.make_adoption(done)))

    def make_adoption(self, done: DirectOperation) -> Callable[[], object]:
        return lambda: self.venue.adopt(done)

    def deposit(self, number: int, quote: int) -> None:
        self.contract.deposit(number, quote, self.venue.time_s)
        self.unheard.append((self.contract.time_s, lambda: self.venue.deposit(number, quote)))

    def adopt(self) -> None:
        while self.unheard:
            self.unheard.popleft()[1]()

    def settle(self) -> None:
        for confirmation in self.contract.settle():
            self.venue.send(confirmation)

    def hear(self) -> None:
        """Fold every frame since: shadow, book view, contract."""
        frames = zip(self.venue.frames[self.n_seen :], self.venue.outcomes[self.n_seen :], strict=True)
        for (_, _, command), events in frames:
            self.contract.hear(command, events)
            self.shadow.fold_frame(events)
            for event in events:
                self.view.fold(event)
                assert not isinstance(event, FillRejected)
                if isinstance(event, FillMatched):
                    assert owner_of(event.maker_account) != owner_of(event.taker_account)
                if isinstance(event, WithdrawalAccepted):
                    before_quote = self.withdrawn_quote.get(event.sequence, 0)
                    self.withdrawn_quote[event.sequence] = before_quote + event.quote
                if isinstance(event, BatchSealed):
                    assert not any(event.codes), [StatusCode(code & 63).name for code in event.codes if code]
        self.n_seen = len(self.venue.frames)
        if len(self.contract.unsettled) >= 12:
            self.settle()

    def check(self) -> None:
        self.hear()
        state = self.venue.state
        if state.batch is None:
            state.chain.validate_invariants()
        self.check_money()
        for market, book in state.books.items():
            bid_ticks, ask_ticks = book.bids.best_ticks, book.asks.best_ticks
            assert bid_ticks is None or ask_ticks is None or bid_ticks < ask_ticks
            for is_bid, side in ((True, book.bids), (False, book.asks)):
                levels = [(ticks, level.size_lots, len(level.orders)) for ticks, level in side.iterate_levels()]
                viewed = self.view.levels(market, is_bid=is_bid, depth=1_000)
                assert [(level.price_ticks, level.size_lots, level.n_orders) for level in viewed] == levels
                for _, level in side.iterate_levels():
                    assert level.size_lots == sum(order.remaining_lots for order in level.orders.values())
        live = self.shadow.live
        assert {order_id: known.remaining_lots for order_id, known in live.items()} == {
            order_id: order.remaining_lots for order_id, order in state.orders.items()
        }
        assert {order_id for order_id, known in live.items() if known.arrival is None} == {
            order_id for order_id, order in state.orders.items() if order.is_waiting
        }
        for known in live.values():
            if known.accepted.trigger_kind:
                # Rests only while met; waits only while not, unless the batch has no room.
                is_resting = known.arrival is not None
                assert self.shadow.is_met(known.accepted) == is_resting or state.triggers.is_pending
        assert sum(len(own) for own in state.account_orders.values()) == len(state.orders)
        assert sum(len(in_lane) for in_lane in state.lane_orders.values()) == len(state.orders)
        for in_lane in state.lane_orders.values():
            assert len({order.nonce for order in in_lane}) == 1 and len(in_lane) <= 2

    def check_money(self) -> None:
        """Conservation at this moment of the open batch: what is held is what came in less what was let out."""
        state = self.venue.state
        execution = state.read_execution(self.venue.time_s)
        held_quote = state.chain.batch.fees_quote + (execution.fees_quote if state.batch is not None else 0)
        for number in range(1, N_PARTICIPANTS + 1):
            for subaccount in (0, 1):
                account_id = account(number, subaccount)
                positions = execution.positions(account_id)
                held_quote += execution.collateral_quote(account_id)
                held_quote -= sum(position.entry_quote for position in positions.values())
                for market in MARKETS:
                    lots = positions[market].size_lots if market in positions else 0
                    assert lots == self.shadow.positions[account_id, market]
        deposited_quote = state.chain.tracked_quote
        claimed_quote = sum(state.chain.claims.values())
        in_batch_quote = self.withdrawn_quote.get(state.next_batch_sequence, 0)
        assert held_quote == deposited_quote - claimed_quote - in_batch_quote

    def finish(self) -> None:
        """Seal, hear and settle everything: engine and contract hold the same words."""
        while self.venue.state.has_open_batch:
            self.venue.seal()
        self.check()
        self.settle()
        self.adopt()
        self.check()
        assert self.contract.chain == self.venue.state.chain


def keys_of(number: int) -> tuple[int, ...]:
    """Return the numbers of a participant's session keys."""
    return tuple(range(100 + 4 * number, 104 + 4 * number))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_engine__random_trading__keeps_every_promise(seed: int) -> None:
    """No fill the chain would refuse; no crossed book; price, then time; nothing minted; replay gives the same.

    Reduce-only never increases, a trigger acts once each time it is armed, two orders of an OCO never fill beyond
    either size, a fill-or-kill order fills whole (shadow.py). The contract ends with the engine's words and heads.
    """
    trading = Trading(seed)
    for _ in range(400):
        trading.act()
    trading.finish()

    again = EngineState(CONFIG)
    for (time_ms, previous_hash, command), events in zip(trading.venue.frames, trading.venue.outcomes, strict=True):
        assert apply(again, command, time_ms=time_ms, previous_hash=previous_hash) == events
    assert compute_state_hash(again) == compute_state_hash(trading.venue.state)


def test_random_trading__one_long_run__meets_every_kind_of_outcome() -> None:
    """A generator that never trades proves nothing: this run must meet every kind of order and end."""
    trading = Trading(20_260)
    for _ in range(3_500):
        trading.act()
    trading.finish()

    events = trading.venue.events
    cancelled = {event.reason for event in events if isinstance(event, OrderCancelled)}
    rejected = {event.reason for event in events if isinstance(event, OrderRejected | CancelRejected)}
    refused_keys = {event.reason for event in events if isinstance(event, KeyOperationRejected)}
    assert sum(isinstance(event, FillMatched) for event in events) > 150
    assert {"USER", "REPLACED", "EXPIRED", "IOC", "SELF_TRADE", "REDUCE_ONLY", "PRICE_OUTSIDE_BAND"} <= cancelled
    assert {"CANNOT_FILL", "OCO", "AMENDED", "INSUFFICIENT_MARGIN"} <= cancelled
    assert {"INSUFFICIENT_MARGIN", "WOULD_TAKE", "STALE_PRICE", "OPENING_NOT_ALLOWED", "UNKNOWN_ORDER"} <= rejected
    assert {"DEAD_LANE", "FILLED_MEANWHILE", "NOT_AMENDABLE", "DUPLICATE_CLIENT_ID"} <= rejected
    assert {"UNKNOWN_KEY", "KEY_EXPIRED", "KEY_LIMIT"} <= rejected
    assert "BAD_KEY" in refused_keys
    for kind in (
        WithdrawalAccepted,
        WithdrawalRejected,
        OrderTriggered,
        OrderWaiting,
        OrderReduced,
        KeyLinked,
        KeyRevoked,
        CancelAllAdopted,
        RulesAdopted,
    ):
        assert any(isinstance(event, kind) for event in events), kind.__name__
    accepted = {event.order_id: event for event in events if isinstance(event, OrderAccepted)}
    takers = [accepted[event.taker_order_id] for event in events if isinstance(event, FillMatched)]
    assert {taker.time_in_force for taker in takers} == {0, 1, 2, 3}
    assert any(taker.trigger_kind for taker in takers)
    assert any(taker.signer for taker in takers)
    assert any(taker.amends for taker in takers)
    assert any(event.keeps_priority for event in accepted.values())
    assert trading.n_pending > 0
