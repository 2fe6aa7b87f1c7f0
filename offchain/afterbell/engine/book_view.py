"""Fold events into aggregated books for streams: snapshot and per-event level changes, without the engine.

An order is on the book from OrderAccepted or OrderTriggered with resting lots until its fills, its cancellation or
OrderWaiting take it off. What happens to orders that do not rest (IOC, waiting ones) changes nothing. Must not: decide
anything. Twin: engine/book.py, which it must equal after every frame.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, replace

from afterbell.domain.events import (
    Event,
    FillMatched,
    OrderAccepted,
    OrderCancelled,
    OrderReduced,
    OrderTriggered,
    OrderWaiting,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChange:
    """A price level after a change; size_lots 0: the level is gone."""

    market: int
    is_bid: bool
    price_ticks: int
    size_lots: int
    n_orders: int


@dataclass(slots=True)
class _Resting:
    market: int
    is_bid: bool
    price_ticks: int
    remaining_lots: int


class _Side:
    """Sizes and order counts by price."""

    __slots__ = ("levels", "prices")

    def __init__(self) -> None:
        self.levels: dict[int, tuple[int, int]] = {}
        self.prices: list[int] = []  # ascending

    def change(self, price_ticks: int, size_change_lots: int, n_orders_change: int) -> tuple[int, int]:
        """Return (size_lots, n_orders) of the level after the change."""
        size_lots, n_orders = self.levels.get(price_ticks, (0, 0))
        if n_orders == 0:
            insort(self.prices, price_ticks)
        size_lots, n_orders = size_lots + size_change_lots, n_orders + n_orders_change
        if n_orders == 0:
            del self.levels[price_ticks]
            del self.prices[bisect_left(self.prices, price_ticks)]
        else:
            self.levels[price_ticks] = (size_lots, n_orders)
        return size_lots, n_orders


class BookView:
    """Aggregated books of all markets, kept by feeding every event in order."""

    def __init__(self) -> None:
        self._resting: dict[bytes, _Resting] = {}
        self._waiting: dict[bytes, _Resting] = {}
        self._sides: dict[tuple[int, bool], _Side] = {}
        self._sequences: dict[int, int] = {}

    def fold(self, event: Event) -> tuple[LevelChange, ...]:
        """Adopt one event and return the levels it changed: none or one."""
        match event:
            case OrderAccepted():
                return self._accept(event)
            case FillMatched():
                return self._take(event.maker_order_id, event.size_lots)
            case OrderCancelled():
                self._waiting.pop(event.order_id, None)
                return self._leave(event.order_id)
            case OrderReduced() if event.order_id in self._resting:
                return self._take(event.order_id, self._resting[event.order_id].remaining_lots - event.remaining_lots)
            case OrderTriggered():
                place = self._waiting.pop(event.order_id)
                return self._rest(event.order_id, replace(place, remaining_lots=event.resting_lots))
            case OrderWaiting():
                self._waiting[event.order_id] = replace(self._resting[event.order_id])
                return self._leave(event.order_id)
            case _:
                return ()

    def sequence(self, market: int) -> int:
        """Count of level changes of a book so far: the stream's sequence number."""
        return self._sequences.get(market, 0)

    def levels(self, market: int, *, is_bid: bool, depth: int) -> tuple[LevelChange, ...]:
        """Return the best `depth` levels of a side, best first."""
        side = self._sides.get((market, is_bid))
        if side is None or depth <= 0:
            return ()
        prices = side.prices[: -depth - 1 : -1] if is_bid else side.prices[:depth]
        return tuple(
            LevelChange(
                market=market,
                is_bid=is_bid,
                price_ticks=price_ticks,
                size_lots=side.levels[price_ticks][0],
                n_orders=side.levels[price_ticks][1],
            )
            for price_ticks in prices
        )

    def _accept(self, event: OrderAccepted) -> tuple[LevelChange, ...]:
        order = _Resting(event.market, event.is_buy, event.limit_ticks, event.resting_lots)
        if event.is_waiting:
            self._waiting[event.order_id] = order
            return ()
        return self._rest(event.order_id, order)

    def _rest(self, order_id: bytes, order: _Resting) -> tuple[LevelChange, ...]:
        if order.remaining_lots == 0:
            return ()
        self._resting[order_id] = order
        return (self._change(order_id, order.remaining_lots, 1),)

    def _leave(self, order_id: bytes) -> tuple[LevelChange, ...]:
        order = self._resting.get(order_id)
        return () if order is None else self._take(order_id, order.remaining_lots)

    def _take(self, order_id: bytes, size_lots: int) -> tuple[LevelChange, ...]:
        if size_lots == 0:
            return ()
        resting = self._resting[order_id]
        resting.remaining_lots -= size_lots
        change = self._change(order_id, -size_lots, -1 if resting.remaining_lots == 0 else 0)
        if resting.remaining_lots == 0:
            del self._resting[order_id]
        return (change,)

    def _change(self, order_id: bytes, size_change_lots: int, n_orders_change: int) -> LevelChange:
        resting = self._resting[order_id]
        side = self._sides.setdefault((resting.market, resting.is_bid), _Side())
        size_lots, n_orders = side.change(resting.price_ticks, size_change_lots, n_orders_change)
        self._sequences[resting.market] = self.sequence(resting.market) + 1
        return LevelChange(
            market=resting.market,
            is_bid=resting.is_bid,
            price_ticks=resting.price_ticks,
            size_lots=size_lots,
            n_orders=n_orders,
        )
