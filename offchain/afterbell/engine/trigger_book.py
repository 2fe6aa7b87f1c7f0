"""Keep the orders that carry a trigger: those that wait for it, and those that rest in a book while it is met.

Found by looking at all of a market's: prices change once a step, and an account holds at most 200 orders. Must not:
act on anything; triggers.py does.
"""

from __future__ import annotations

from collections.abc import Iterable

from afterbell.domain.order import is_trigger_met
from afterbell.domain.words import PriceWord
from afterbell.engine.book import OpenOrder


def is_met(order: OpenOrder, price: PriceWord) -> bool:
    """Tell whether these prices satisfy the order's trigger; an order without one always lives."""
    record = order.record
    return is_trigger_met(
        record.trigger_kind, record.trigger_ticks, mark_ticks=price.mark_ticks, index_ticks=price.index_ticks
    )


class TriggerBook:
    """Waiting and resting orders with a trigger, by market."""

    __slots__ = ("_resting", "_waiting", "is_pending")

    def __init__(self) -> None:
        self._waiting: dict[int, dict[bytes, OpenOrder]] = {}
        self._resting: dict[int, dict[bytes, OpenOrder]] = {}
        self.is_pending = False
        """Some waiting orders have their trigger met and act after the next seal: the open batch had no room."""

    def wait(self, order: OpenOrder) -> None:
        """Let an order wait for its trigger."""
        self.forget(order)
        order.is_waiting = True
        self._waiting.setdefault(order.record.market_id, {})[order.order_id] = order

    def rest(self, order: OpenOrder) -> None:
        """Remember an order that rests in its book while its trigger is met."""
        self._resting.setdefault(order.record.market_id, {})[order.order_id] = order

    def forget(self, order: OpenOrder) -> None:
        """Drop an order; one without a trigger is not known and need not be."""
        for orders in (self._waiting, self._resting):
            orders.get(order.record.market_id, {}).pop(order.order_id, None)
        order.is_waiting = False

    def list_waiting(self, market: int) -> list[OpenOrder]:
        """Return the waiting orders of a market, first accepted first."""
        return _sorted(self._waiting.get(market, {}).values())

    def list_met(self, prices: dict[int, PriceWord]) -> list[OpenOrder]:
        """Return the waiting orders of these markets whose trigger is met, first accepted first."""
        return _sorted(
            order
            for market, price in prices.items()
            for order in self._waiting.get(market, {}).values()
            if is_met(order, price)
        )

    def list_unmet(self, market: int, price: PriceWord) -> list[OpenOrder]:
        """Return the resting orders of a market whose trigger is not met any more, first accepted first."""
        return _sorted(order for order in self._resting.get(market, {}).values() if not is_met(order, price))


def _sorted(orders: Iterable[OpenOrder]) -> list[OpenOrder]:
    return sorted(orders, key=lambda order: order.order_number)
