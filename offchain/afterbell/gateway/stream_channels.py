"""The channels of the stream: what news gathers in each, and how its snapshots and deltas are made.

A channel somebody listens to is flushed every few milliseconds; one that nobody listens to any more gathers its news
for a while, so that whoever comes back gets them as one delta. Must not: know when to send.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from afterbell.domain.events import OrderAccepted, OrderCancelled, OrderReduced, OrderTriggered, OrderWaiting
from afterbell.domain.ids import account_hex
from afterbell.engine.book_view import LevelChange
from afterbell.gateway.stream_client import N_CHECKSUM_LEVELS, StreamClient, encode_message
from afterbell.gateway.stream_history import HistoryLimits, MessageHistory
from afterbell.gateway.stream_view import N_BATCHES, StreamView
from afterbell.gateway.views import build_account_fills, build_batch, build_trade
from afterbell.readmodel.queries import FillView

_WHOLE_BOOK: Final = 1 << 30


class Channel:
    """One channel. Subclasses gather news and show them."""

    def __init__(self, name: str, view: StreamView, limits: HistoryLimits, sequence: int) -> None:
        self.name = name
        self.view = view
        self.sequence = sequence
        self.history = MessageHistory(limits)
        self.subscribers: set[StreamClient] = set()
        self.idle_since_ms = 0
        """When the last listener left; meaningless while there are any."""

    def count_news(self) -> int:
        """Return how many changes have gathered; 0: there is nothing to send."""
        raise NotImplementedError

    def take_news(self) -> dict[str, Any]:
        """Return what has gathered as the content of a delta, and start anew."""
        raise NotImplementedError

    def show_all(self) -> dict[str, Any]:
        """Return the content of a snapshot. No news may be waiting."""
        raise NotImplementedError

    def next_sequence(self) -> int:
        """Return the number of the next delta."""
        return self.sequence + 1

    def compute_checksum(self) -> int | None:
        """Return what lets a client check its copy, None where there is no such thing."""
        return None

    def encode_snapshot(self) -> str:
        """Return everything as one message."""
        return encode_message(self.name, self.sequence, None, "snapshot", self.show_all(), self.compute_checksum())

    def encode_delta(self, previous: int) -> str:
        """Return what has gathered as one message that follows `previous`."""
        return encode_message(self.name, self.sequence, previous, "delta", self.take_news(), self.compute_checksum())


class BookChannel(Channel):
    """book:SYMBOL. Its sequence counts level changes, as GET …/book does."""

    def __init__(self, name: str, view: StreamView, limits: HistoryLimits, market: int) -> None:
        super().__init__(name, view, limits, view.books.sequence(market))
        self._market = market
        self._levels: dict[tuple[bool, int], LevelChange] = {}

    def note(self, change: LevelChange) -> None:
        """Gather a level as it is now."""
        self._levels[change.is_bid, change.price_ticks] = change

    def count_news(self) -> int:
        """Return how many levels changed."""
        return len(self._levels)

    def take_news(self) -> dict[str, Any]:
        """Return the changed levels."""
        levels, self._levels = self._levels, {}
        return {
            "bids": _show_levels(change for change in levels.values() if change.is_bid),
            "asks": _show_levels(change for change in levels.values() if not change.is_bid),
        }

    def show_all(self) -> dict[str, Any]:
        """Return the whole book: a copy cut off at some depth would go wrong once the best levels are gone."""
        return {
            "market": self._market,
            "symbol": self.view.symbols[self._market],
            "bids": _show_levels(self._read_levels(is_bid=True, depth=_WHOLE_BOOK)),
            "asks": _show_levels(self._read_levels(is_bid=False, depth=_WHOLE_BOOK)),
        }

    def next_sequence(self) -> int:
        """Return the count of level changes."""
        return self.view.books.sequence(self._market)

    def compute_checksum(self) -> int:
        """Return CRC-32 of the best levels: bids from the best, then asks, as price:size, joined by commas."""
        levels = (
            *self._read_levels(is_bid=True, depth=N_CHECKSUM_LEVELS),
            *self._read_levels(is_bid=False, depth=N_CHECKSUM_LEVELS),
        )
        return zlib.crc32(",".join(f"{level.price_ticks}:{level.size_lots}" for level in levels).encode("ascii"))

    def _read_levels(self, *, is_bid: bool, depth: int) -> tuple[LevelChange, ...]:
        return self.view.books.levels(self._market, is_bid=is_bid, depth=depth)


class TradesChannel(Channel):
    """trades:SYMBOL."""

    def __init__(self, name: str, view: StreamView, limits: HistoryLimits, sequence: int, market: int) -> None:
        super().__init__(name, view, limits, sequence)
        self._market = market
        self._fills: list[FillView] = []

    def note(self, fill: FillView) -> None:
        """Gather a trade."""
        self._fills.append(fill)

    def count_news(self) -> int:
        """Return how many trades there were."""
        return len(self._fills)

    def take_news(self) -> dict[str, Any]:
        """Return the new trades, newest first."""
        fills, self._fills = self._fills, []
        return self._show(list(reversed(fills)))

    def show_all(self) -> dict[str, Any]:
        """Return the newest trades, newest first."""
        return self._show(self.view.trades.get(self._market, ()))

    def _show(self, fills: Iterable[FillView]) -> dict[str, Any]:
        return {"trades": [build_trade(fill, self.view.symbols).model_dump() for fill in fills]}


class BatchesChannel(Channel):
    """batches."""

    def __init__(self, name: str, view: StreamView, limits: HistoryLimits, sequence: int) -> None:
        super().__init__(name, view, limits, sequence)
        self._changed: dict[int, None] = {}

    def note(self, sequence: int) -> None:
        """Gather a batch, shown as it is when it is sent."""
        self._changed[sequence] = None

    def count_news(self) -> int:
        """Return how many batches changed."""
        return len(self._changed)

    def take_news(self) -> dict[str, Any]:
        """Return the batches that changed, oldest change first."""
        changed, self._changed = self._changed, {}
        return self._show(list(changed))

    def show_all(self) -> dict[str, Any]:
        """Return the newest batches, newest first."""
        return self._show(sorted(self.view.batches, reverse=True)[:N_BATCHES])

    def _show(self, sequences: Sequence[int]) -> dict[str, Any]:
        batches = self.view.batches
        return {"batches": [build_batch(batches[number]).model_dump() for number in sequences if number in batches]}


class WholeChannel(Channel):
    """prices and clock: each message says everything."""

    def __init__(self, name: str, view: StreamView, limits: HistoryLimits, sequence: int) -> None:
        super().__init__(name, view, limits, sequence)
        self._has_news = False

    def note(self) -> None:
        """Remember that there is something new to say."""
        self._has_news = True

    def count_news(self) -> int:
        """Return 1 if there is something new to say."""
        return int(self._has_news)

    def take_news(self) -> dict[str, Any]:
        """Return everything as it is now."""
        self._has_news = False
        return self.show_all()

    def show_all(self) -> dict[str, Any]:
        """Return everything as it is now."""
        return self.view.show_prices() if self.name == "prices" else self.view.show_clock()


class AccountChannel(Channel):
    """account:0x…: money, orders, fills and their life, transfers, keys."""

    def __init__(self, name: str, view: StreamView, limits: HistoryLimits, sequence: int) -> None:
        super().__init__(name, view, limits, sequence)
        self.account = name.partition(":")[2]
        self._orders: dict[str, dict[str, Any]] = {}
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._is_touched = False

    def note_money(self) -> None:
        """Remember that collateral, margins or values changed."""
        self._is_touched = True

    def note_fill(self, fill: FillView, account: bytes) -> None:
        """Gather a fill from the side, or both sides, of this account."""
        self._is_touched = True
        shown = build_account_fills([fill], account, self.view.symbols)
        self._lists.setdefault("fills", []).extend(side.model_dump() for side in shown)

    def note(self, kind: str, news: dict[str, Any]) -> None:
        """Gather what happened to fills (life), transfers or keys."""
        self._lists.setdefault(kind, []).append(news)

    def note_order_id(self, order_id: bytes) -> None:
        """Remember that an order changed; it is shown as it is when it is sent."""
        self._orders.setdefault("0x" + order_id.hex(), {})

    def note_order(self, event: OrderAccepted | OrderTriggered | OrderWaiting | OrderReduced | OrderCancelled) -> None:
        """Gather what happened to an order."""
        self._is_touched = True
        order = self._orders.setdefault("0x" + event.order_id.hex(), {})
        match event:
            case OrderAccepted():
                order |= self._show_accepted(event)
            case OrderTriggered():
                order.pop("status", None)
            case OrderWaiting():
                order |= {"status": "WAITING", "remaining_lots": event.remaining_lots}
            case OrderReduced():
                order["remaining_lots"] = event.remaining_lots
            case OrderCancelled():
                order |= {"status": "CANCELLED", "reason": event.reason, "remaining_lots": 0}

    def count_news(self) -> int:
        """Return how many changes there were."""
        return len(self._orders) + sum(len(news) for news in self._lists.values()) + self._is_touched

    def take_news(self) -> dict[str, Any]:
        """Return the money as it is now and every change."""
        orders, self._orders = self._orders, {}
        lists, self._lists = self._lists, {}
        self._is_touched = False
        content: dict[str, Any] = {"account": self.view.show_money(self.account)}
        if orders:
            content["orders"] = [self.view.show_order(order_id, order) for order_id, order in orders.items()]
        return content | lists

    def show_all(self) -> dict[str, Any]:
        """Return money, live orders and keys."""
        return self.view.show_account(self.account)

    def _show_accepted(self, event: OrderAccepted) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "account": account_hex(event.account),
            "market": event.market,
            "symbol": self.view.symbols[event.market],
            "is_buy": event.is_buy,
            "size_lots": event.size_lots,
            "limit_ticks": event.limit_ticks,
            "filled_lots": event.filled_lots,
            "nonce": str(event.nonce),
            "reduce_only": event.reduce_only,
            "post_only": event.post_only,
            "expiry_s": event.expiry_s,
            "client_id": event.client_id,
        }
        if event.is_waiting:
            shown["status"] = "WAITING"
        return shown


def _show_levels(levels: Iterable[LevelChange]) -> list[list[int]]:
    """Return [price_ticks, size_lots, n_orders] of each level; size_lots 0: the level is gone."""
    return [[level.price_ticks, level.size_lots, level.n_orders] for level in levels]
