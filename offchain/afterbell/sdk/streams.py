"""Streams: messages as they are, a book and an account kept up to date from them.

Must not: reconnect or check anything; feed.py does.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from afterbell.sdk.feed import Feed
from afterbell.sdk.money import MoneyCalls
from afterbell.sdk.values import AccountSnapshot, Fill, LiveAccount, LiveBook, PlacedOrder, SessionKey, StreamMessage

_RESYNCS = frozenset({"gap", "checksum", "restarted"})
_LIVE = frozenset({"OPEN", "WAITING"})


class StreamCalls(MoneyCalls):
    """What happens, as it happens."""

    async def stream(
        self, *channels: str, reconnect: bool = True, events: bool = False
    ) -> AsyncGenerator[StreamMessage, None]:
        """Yield messages of channels.

        `book:AAPL`, `trades:AAPL`, `prices`, `batches`, `clock`, `account` (this one) or `account:0x…`.
        Each channel starts with a snapshot; after a lost connection exactly what was missed follows, or a snapshot
        again; a missing message or a book that does not match its checksum brings a snapshot. events: yield also what
        happened to the stream itself (StreamMessage.is_event). Raises: ApiRejected for an unknown channel;
        ApiUnavailable when the connection ends and `reconnect` is off.
        """
        named = [f"account:{self.account_id}" if channel == "account" else channel for channel in channels]
        async with contextlib.aclosing(Feed(self.url, named, reconnect=reconnect).read()) as messages:
            async for message in messages:
                if events or not message.is_event:
                    yield message

    async def live_book(self, symbol: str, depth: int = 20) -> AsyncGenerator[LiveBook, None]:
        """Yield the book after every change, kept here and verified by its checksum; best levels first.

        What happens to the stream is yielded too, with `event` set and the last book known. Units: ticks, lots.
        Raises: ApiRejected for an unknown market.
        """
        channel, sequence, n_resyncs = f"book:{symbol}", 0, 0
        feed = Feed(self.url, [channel], reconnect=True)
        async with contextlib.aclosing(feed.read()) as messages:
            async for message in messages:
                n_resyncs += message.kind in _RESYNCS
                book = feed.books.get(channel)
                if book is None:
                    continue  # Nothing is known yet.
                sequence = sequence if message.is_event else message.sequence
                yield LiveBook(
                    symbol=symbol,
                    sequence=sequence,
                    bids=book.levels(is_bid=True, depth=depth),
                    asks=book.levels(is_bid=False, depth=depth),
                    event=message.kind if message.is_event else "",
                    n_resyncs=n_resyncs,
                )

    async def live_account(self) -> AsyncGenerator[LiveAccount, None]:
        """Yield the account after every change: money, live orders and keys kept here, fills and transfers as news.

        News of the time between a lost connection and a snapshot (not a resumption) stand in `fills`, `transfers` and
        `orders` alone. Raises: SdkError without an account.
        """
        sequence, n_resyncs = 0, 0
        account: AccountSnapshot | None = None
        orders: dict[str, PlacedOrder] = {}
        keys: dict[str, SessionKey] = {}
        feed = Feed(self.url, [f"account:{self.account_id}"], reconnect=True)
        async with contextlib.aclosing(feed.read()) as messages:
            async for message in messages:
                n_resyncs += message.kind in _RESYNCS
                content: dict[str, Any] = message.data or {}
                ended = []
                if not message.is_event:
                    sequence = message.sequence
                    account = msgspec.convert(content["account"], AccountSnapshot, strict=False)
                    if message.kind == "snapshot":
                        orders, keys = {}, {}
                    for order in content.get("orders", ()):
                        if order["status"] in _LIVE and "size_lots" in order:
                            orders[order["order_id"]] = msgspec.convert(order, PlacedOrder, strict=False)
                        else:
                            orders.pop(order["order_id"], None)
                            ended.append(order)
                    for key in content.get("keys", ()):
                        keys[key["key"]] = msgspec.convert(key, SessionKey, strict=False)
                if account is None:
                    continue
                for placed in orders.values():
                    self._follow(placed)
                for order in ended:
                    self._lanes.release_order(order["order_id"])
                yield LiveAccount(
                    account=account,
                    sequence=sequence,
                    orders=tuple(orders.values()),
                    keys=tuple(keys.values()),
                    fills=msgspec.convert(content.get("fills", ()), tuple[Fill, ...], strict=False),
                    ended=tuple(ended),
                    life=tuple(content.get("life", ())),
                    transfers=tuple(content.get("transfers", ())),
                    event=message.kind if message.is_event else "",
                    n_resyncs=n_resyncs,
                )
