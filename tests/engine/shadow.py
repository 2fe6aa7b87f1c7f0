"""What must be true of an engine, worked out from its events alone: who is next, what is left, who may act.

Knows nothing of engine code. Fold every event in order; it asserts as it goes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from afterbell.domain.events import (
    Event,
    FillMatched,
    OrderAccepted,
    OrderCancelled,
    OrderReduced,
    OrderTriggered,
    OrderWaiting,
    PricesAdopted,
)

IOC, FOK = 2, 3


@dataclass
class Known:
    """One live order."""

    accepted: OrderAccepted
    remaining_lots: int
    arrival: int | None
    """Place in the queue of its price; None: it rests in no book."""

    @property
    def lane(self) -> tuple[int, int]:
        return self.accepted.account, self.accepted.nonce


class Shadow:
    """Live orders, positions and shared fills, folded from events."""

    def __init__(self) -> None:
        self.live: dict[bytes, Known] = {}
        self.terms: dict[bytes, OrderAccepted] = {}
        """Every order ever accepted."""
        self.arrivals: dict[bytes, int] = {}
        self.n_arrivals = 0
        self.armed: set[bytes] = set()
        """Orders whose trigger may still act: exactly once, until they wait again."""
        self.lane_filled: dict[tuple[int, int], int] = defaultdict(int)
        self.positions: dict[tuple[int, int], int] = defaultdict(int)
        self.prices: dict[int, tuple[int, int]] = {}
        self.taken: dict[bytes, int] = defaultdict(int)
        """Lots each order has taken in the frame now, for fill-or-kill."""

    def fold_frame(self, events: list[Event]) -> None:
        """Fold the events of one frame. A new order's fills come before its OrderAccepted: announce it first."""
        self.taken.clear()
        for event in events:
            if isinstance(event, OrderAccepted):
                self.terms[event.order_id] = event
        for event in events:
            self._fold(event)
        for order_id, lots in self.taken.items():
            order = self.terms[order_id]
            if order.time_in_force == FOK:
                # Whole: nothing of its size is left in its lane.
                assert self.lane_filled[order.account, order.nonce] == order.size_lots >= lots
            if order.time_in_force in (IOC, FOK):
                # The chain consumes the lane: nothing may live in it any more.
                assert not any(known.lane == (order.account, order.nonce) for known in self.live.values())
        for known in self.live.values():
            assert known.remaining_lots == known.accepted.size_lots - self.lane_filled[known.lane] > 0

    def best(self, market: int, is_bid: bool) -> bytes | None:
        """Return the order that must trade next: best price, then first come."""
        side = [
            (-known.accepted.limit_ticks if is_bid else known.accepted.limit_ticks, known.arrival, order_id)
            for order_id, known in self.live.items()
            if known.arrival is not None and (known.accepted.market, known.accepted.is_buy) == (market, is_bid)
        ]
        return min(side)[2] if side else None

    def is_met(self, order: OrderAccepted) -> bool:
        mark_ticks, index_ticks = self.prices[order.market]
        price_ticks = mark_ticks if order.trigger_kind <= 2 else index_ticks
        if order.trigger_kind % 2:
            return price_ticks >= order.trigger_ticks
        return price_ticks <= order.trigger_ticks

    def _rest(self, order_id: bytes, resting_lots: int, turn_of: bytes = b"") -> None:
        self.n_arrivals += 1
        arrival = self.arrivals[turn_of] if turn_of else self.n_arrivals
        self.arrivals[order_id] = arrival
        known = self.live[order_id]
        assert known.remaining_lots == resting_lots
        known.arrival = arrival

    def _fold(self, event: Event) -> None:
        match event:
            case PricesAdopted():
                for market, mark_ticks, index_ticks, _, _ in event.prices:
                    self.prices[market] = (mark_ticks, index_ticks)
            case OrderAccepted():
                self._accept(event)
            case OrderTriggered():
                self.armed.remove(event.order_id)
                order = self.terms[event.order_id]
                assert self.is_met(order)
                if event.resting_lots:
                    # Told before its fills: what it will have left once they are folded.
                    known = self.live[event.order_id]
                    self.n_arrivals += 1
                    self.arrivals[event.order_id] = known.arrival = self.n_arrivals
            case OrderWaiting():
                known = self.live[event.order_id]
                assert known.arrival is not None and not self.is_met(known.accepted)
                assert known.remaining_lots == event.remaining_lots
                known.arrival = None
                assert event.order_id not in self.armed
                self.armed.add(event.order_id)
            case FillMatched():
                self._fill(event)
            case OrderReduced():
                known = self.live[event.order_id]
                known.remaining_lots = known.accepted.size_lots - self.lane_filled[known.lane]
                assert known.remaining_lots == event.remaining_lots > 0
            case OrderCancelled():
                self._cancel(event)
            case _:
                pass

    def _accept(self, event: OrderAccepted) -> None:
        left_lots = event.size_lots - self.lane_filled[event.account, event.nonce]
        if event.time_in_force == FOK and not event.is_waiting:
            assert event.resting_lots == 0
        if not (event.is_waiting or event.resting_lots):
            return
        assert event.is_waiting or event.time_in_force not in (IOC, FOK)
        self.live[event.order_id] = Known(event, left_lots, None)
        if event.is_waiting:
            assert event.trigger_kind and not self.is_met(event)
            self.armed.add(event.order_id)
        else:
            assert not event.trigger_kind or self.is_met(event)
            self._rest(event.order_id, event.resting_lots, event.amends if event.keeps_priority else b"")

    def _fill(self, event: FillMatched) -> None:
        assert event.maker_order_id == self.best(event.market, not event.taker_is_buy)
        self.taken[event.taker_order_id] += event.size_lots
        for order_id, is_buy in (
            (event.maker_order_id, not event.taker_is_buy),
            (event.taker_order_id, event.taker_is_buy),
        ):
            order = self.terms[order_id]
            self.lane_filled[order.account, order.nonce] += event.size_lots
            # An OCO shares this sum: neither of the two may fill beyond its own size.
            assert self.lane_filled[order.account, order.nonce] <= order.size_lots
            key = (order.account, event.market)
            old_lots = self.positions[key]
            new_lots = old_lots + (event.size_lots if is_buy else -event.size_lots)
            if order.reduce_only:
                assert abs(new_lots) < abs(old_lots) and new_lots * old_lots >= 0
            if order.trigger_kind:
                assert self.is_met(order)
            self.positions[key] = new_lots
            known = self.live.get(order_id)
            if known is not None:
                known.remaining_lots -= event.size_lots
                assert known.remaining_lots >= 0
                if known.remaining_lots == 0:
                    self._drop(order_id)

    def _cancel(self, event: OrderCancelled) -> None:
        order = self.terms[event.order_id]
        if event.reason == "CANNOT_FILL":
            assert order.time_in_force == FOK and event.order_id not in self.taken
        known = self.live.get(event.order_id)
        if known is None:
            assert event.remaining_lots == order.size_lots - self.lane_filled[order.account, order.nonce]
            return
        assert event.remaining_lots == known.remaining_lots
        self._drop(event.order_id)

    def _drop(self, order_id: bytes) -> None:
        del self.live[order_id]
        self.armed.discard(order_id)
