"""Keep the resting orders of one market by price, then time.

Plain containers on purpose: a dict of levels and one sorted list of prices per side. A level is a dict from order id
to order, whose insertion order is the time priority. Must not: know margin, batches or events; matching.py decides
what meets.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from afterbell.domain.batch import OrderRecord
from afterbell.domain.ids import AccountId
from afterbell.domain.order import Side


@dataclass(slots=True, kw_only=True, eq=False)
class OpenOrder:
    """One accepted order, as a batch will carry it, where it is and what is left of it."""

    order_id: bytes
    account: AccountId
    record: OrderRecord
    epoch: int
    nonce: int
    client_id: str
    accepted_ms: int
    signer: bytes = b""
    """Session key that signed; empty: the owner."""
    order_number: int = 0
    """Counts accepted orders of the instance from 1; 0 until accepted."""
    partner_id: bytes = b""
    """Order id of the other order of its OCO; kept when that one has left."""
    is_waiting: bool = False
    """In the trigger book, not in this one."""
    filled_lots: int = 0
    """Fills of this order alone; its lane on chain counts those of its OCO partner too."""
    remaining_lots: int

    @property
    def lane_key(self) -> int:
        """Return account << 16 | lane."""
        return self.account << 16 | self.record.lane

    @property
    def side(self) -> Side:
        """The side of the book it is on, or would be."""
        return Side.BID if self.record.is_buy else Side.ASK


@dataclass(slots=True)
class Level:
    """The orders at one price, oldest first, and the sum of what is left of them."""

    size_lots: int = 0
    orders: dict[bytes, OpenOrder] = field(default_factory=dict)


class BookSide:
    """Bids or asks of one market."""

    __slots__ = ("_levels", "_prices", "side")

    def __init__(self, side: Side) -> None:
        self.side = side
        self._levels: dict[int, Level] = {}
        self._prices: list[int] = []  # ascending; the best bid stands last, the best ask first

    def __len__(self) -> int:
        return len(self._prices)

    @property
    def best_ticks(self) -> int | None:
        """Price of the best level, None when the side is empty."""
        if not self._prices:
            return None
        return self._prices[-1 if self.side is Side.BID else 0]

    def is_crossed_by(self, limit_ticks: int) -> bool:
        """Tell whether an order of the other side with this limit would trade."""
        best_ticks = self.best_ticks
        if best_ticks is None:
            return False
        return limit_ticks <= best_ticks if self.side is Side.BID else limit_ticks >= best_ticks

    def get_first(self) -> OpenOrder | None:
        """Return the order with the best price, the oldest of them."""
        best_ticks = self.best_ticks
        if best_ticks is None:
            return None
        return next(iter(self._levels[best_ticks].orders.values()))

    def add(self, order: OpenOrder) -> None:
        """Put an order behind all others at its price."""
        price_ticks = order.record.limit_ticks
        level = self._levels.get(price_ticks)
        if level is None:
            level = self._levels[price_ticks] = Level()
            insort(self._prices, price_ticks)
        level.orders[order.order_id] = order
        level.size_lots += order.remaining_lots

    def remove(self, order: OpenOrder) -> None:
        """Take an order out, with whatever is left of it."""
        price_ticks = order.record.limit_ticks
        level = self._levels[price_ticks]
        del level.orders[order.order_id]
        level.size_lots -= order.remaining_lots
        if not level.orders:
            del self._levels[price_ticks]
            del self._prices[bisect_left(self._prices, price_ticks)]

    def fill(self, order: OpenOrder, size_lots: int) -> None:
        """Take `size_lots` off an order in place: it keeps its turn. An order with nothing left leaves."""
        self._levels[order.record.limit_ticks].size_lots -= size_lots
        order.remaining_lots -= size_lots
        order.filled_lots += size_lots
        if order.remaining_lots == 0:
            self.remove(order)

    def shrink(self, order: OpenOrder, remaining_lots: int) -> None:
        """Leave an order less than it had, in place: it keeps its turn. Not for zero: remove it then."""
        self._levels[order.record.limit_ticks].size_lots -= order.remaining_lots - remaining_lots
        order.remaining_lots = remaining_lots

    def swap(self, old: OpenOrder, new: OpenOrder) -> None:
        """Give `new`, at the same price, the turn of `old`, which leaves."""
        level = self._levels[old.record.limit_ticks]
        level.size_lots += new.remaining_lots - old.remaining_lots
        level.orders = {order.order_id: order for order in (new if o is old else o for o in level.orders.values())}

    def iterate_levels(self) -> Iterator[tuple[int, Level]]:
        """Yield (price_ticks, level), best first."""
        prices = reversed(self._prices) if self.side is Side.BID else iter(self._prices)
        for price_ticks in prices:
            yield price_ticks, self._levels[price_ticks]

    def iterate_orders(self) -> Iterator[OpenOrder]:
        """Yield all orders in the order in which they would trade."""
        for _, level in self.iterate_levels():
            yield from level.orders.values()


class Book:
    """Both sides of one market."""

    __slots__ = ("asks", "bids", "market")

    def __init__(self, market: int) -> None:
        self.market = market
        self.bids = BookSide(Side.BID)
        self.asks = BookSide(Side.ASK)

    def side(self, side: Side) -> BookSide:
        """Return the bids or the asks."""
        return self.bids if side is Side.BID else self.asks
