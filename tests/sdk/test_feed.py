"""Live books and accounts over a network that breaks: resumed, or begun anew, never wrong without a word.

A proxy between client and gateway cuts connections, loses messages and changes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from afterbell.sdk import ApiUnavailable, AsyncClient, LiveAccount, LiveBook, NotFound
from tests.gateway.test_stream import listening
from tests.gateway.venue import Venue
from tests.sdk.support import MAKER, playing

Change = Callable[[dict[str, Any]], dict[str, Any] | None]


class StreamProxy:
    """Stands between client and gateway; `change` may alter a message or lose it (None), `cut` ends the connections."""

    def __init__(self, stream_url: str) -> None:
        self._stream_url = stream_url
        self.change: Change = lambda message: message
        self.subscriptions: list[dict[str, Any]] = []
        self.connections: list[ServerConnection] = []
        self.is_silent = False

    async def carry(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        with contextlib.suppress(Exception):
            async with connect(self._stream_url) as upstream, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry_up(connection, upstream))
                async for text in upstream:
                    message = self.change(json.loads(text))
                    if message is not None and not self.is_silent:
                        await connection.send(json.dumps(message))

    async def _carry_up(self, connection: ServerConnection, upstream: Any) -> None:
        async for text in connection:
            self.subscriptions.append(json.loads(text))
            await upstream.send(text)
        await upstream.close()

    async def cut(self) -> None:
        """End every connection at once, without a closing handshake."""
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.transport.abort()


@asynccontextmanager
async def proxied(venue: Venue, key: int | None = MAKER) -> AsyncIterator[tuple[StreamProxy, AsyncClient]]:
    """Yield the proxy and a client whose stream goes through it. HTTP of that client is not served."""
    async with listening(venue) as stream_url:
        proxy = StreamProxy(stream_url)
        async with serve(proxy.carry, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            private_key = None if key is None else key.to_bytes(32, "big")
            async with AsyncClient(f"http://127.0.0.1:{port}", key=private_key) as client:
                yield proxy, client


async def read_until(updates: AsyncIterator[Any], is_wanted: Callable[[Any], bool]) -> list[Any]:
    seen = []
    async with asyncio.timeout(30):
        async for update in updates:
            seen.append(update)
            if is_wanted(update):
                return seen
    raise AssertionError("the stream ended")


def bids_of(book: LiveBook) -> dict[int, int]:
    return {level.price_ticks: level.size_lots for level in book.bids}


@pytest.mark.anyio
async def test_live_book__changes__equals_the_book_of_the_gateway(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, taker), proxied(venue) as (_, client):
        updates = client.live_book("AAPL", depth=3)
        await read_until(updates, lambda book: book.sequence == 0)
        for n in range(4):
            await maker.limit("AAPL", "BUY", "1", 9_900 - 5 * n)
        await taker.market_order("AAPL", "SELL", "1.5", worst_price="98.90")
        wanted = await maker.book("AAPL", depth=3)
        last = (await read_until(updates, lambda book: book.sequence >= wanted.sequence))[-1]

        assert (last.sequence, last.bids, last.asks) == (wanted.sequence, wanted.bids, wanted.asks)
        assert bids_of(last) == {9_895: 5_000, 9_890: 10_000, 9_885: 10_000}
        assert last.n_resyncs == 0


@pytest.mark.anyio
async def test_live_book__connection_cut__resumes_with_what_was_missed(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker), proxied(venue) as (proxy, client):
        updates = client.live_book("AAPL")
        await read_until(updates, lambda book: book.sequence == 0)
        await maker.limit("AAPL", "BUY", "1", "99.00")
        await read_until(updates, lambda book: book.sequence == 1)
        await proxy.cut()
        for n in range(1, 4):
            await maker.limit("AAPL", "BUY", "1", 9_900 - 5 * n)
        seen = await read_until(updates, lambda book: book.sequence == 4)

        assert [book.event for book in seen if book.event] == ["lost", "connected", "resumed"]
        assert bids_of(seen[-1]) == {9_900: 10_000, 9_895: 10_000, 9_890: 10_000, 9_885: 10_000}
        assert seen[-1].n_resyncs == 0
        assert proxy.subscriptions[-1]["resume"]["book:AAPL"] == 1


@pytest.mark.anyio
async def test_live_book__message_lost__is_noticed_and_begun_anew(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, _taker), proxied(venue) as (proxy, client):
        updates = client.live_book("AAPL")
        await read_until(updates, lambda book: book.sequence == 0)
        proxy.change = lambda message: None if message.get("sequence") == 1 else message
        await maker.limit("AAPL", "BUY", "1", "99.00")
        await asyncio.sleep(0.1)
        await maker.limit("AAPL", "BUY", "1", "98.00")
        seen = await read_until(updates, lambda book: book.sequence == 2)

        assert [book.event for book in seen] == ["gap", ""]
        assert bids_of(seen[-1]) == {9_900: 10_000, 9_800: 10_000} and seen[-1].n_resyncs == 1


@pytest.mark.anyio
async def test_live_book__message_changed__checksum_tells_and_the_wrong_book_is_never_shown(tmp_path: Path) -> None:
    def lie(message: dict[str, Any]) -> dict[str, Any]:
        if message.get("kind") == "delta" and message["sequence"] == 1:
            message["data"]["bids"][0][1] = 20_000
        return message

    async with playing(tmp_path) as (venue, maker, _taker), proxied(venue) as (proxy, client):
        updates = client.live_book("AAPL")
        await read_until(updates, lambda book: book.sequence == 0)
        proxy.change = lie
        await maker.limit("AAPL", "BUY", "1", "99.00")
        seen = await read_until(updates, lambda book: book.sequence == 1)

        assert [book.event for book in seen] == ["checksum", ""]
        assert bids_of(seen[-1]) == {9_900: 10_000} and seen[-1].n_resyncs == 1
        assert all(20_000 not in bids_of(book).values() for book in seen if not book.event)


@pytest.mark.anyio
async def test_live_book__another_process_answers__begins_anew_and_says_so(tmp_path: Path) -> None:
    def rename(message: dict[str, Any]) -> dict[str, Any]:
        return message | {"stream_id": "another life"} if message.get("kind") == "hello" else message

    async with playing(tmp_path) as (venue, maker, _taker), proxied(venue) as (proxy, client):
        updates = client.live_book("AAPL")
        await read_until(updates, lambda book: book.sequence == 0)
        proxy.change = rename
        await proxy.cut()
        await maker.limit("AAPL", "BUY", "1", "99.00")
        seen = await read_until(updates, lambda book: book.sequence == 1)

        assert [book.event for book in seen] == ["lost", "restarted", ""]
        assert bids_of(seen[-1]) == {9_900: 10_000} and "resume" not in proxy.subscriptions[-1]


@pytest.mark.anyio
async def test_stream__silence__is_a_dead_connection(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker), proxied(venue) as (proxy, client):
        venue.hub.heartbeat_ms = 100
        stream = client.stream("book:AAPL", events=True)
        await read_until(stream, lambda message: message.kind == "snapshot")
        await asyncio.sleep(0.5)  # heartbeats keep it alive
        proxy.is_silent = True
        seen = await read_until(stream, lambda message: message.kind == "lost")
        proxy.is_silent = False
        seen += await read_until(stream, lambda message: message.kind == "resumed")

        assert [message.kind for message in seen] == ["lost", "connected", "resumed"]
        assert "TimeoutError" in seen[0].reason


@pytest.mark.anyio
async def test_stream__without_reconnect__ends_with_an_error(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker), proxied(venue) as (proxy, client):
        stream = client.stream("prices", reconnect=False)
        first = await anext(stream)
        await proxy.cut()

        assert first.kind == "snapshot"
        with pytest.raises(ApiUnavailable):
            await anext(stream)
        with pytest.raises(NotFound):
            await anext(client.stream("book:NVDA"))


@pytest.mark.anyio
async def test_live_account__order_fill_cancel__kept_across_a_cut(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, maker, taker), proxied(venue) as (proxy, client):
        updates = client.live_account()
        first = (await read_until(updates, lambda account: not account.event))[-1]
        resting = await maker.limit("AAPL", "SELL", "2", "100.00")
        stop = await maker.stop("AAPL", "BUY", "1", "103.00", worst_price="104.00", reduce_only=False)
        await read_until(updates, lambda account: len(account.orders) == 2)
        await proxy.cut()
        await taker.market_order("AAPL", "BUY", "0.5", worst_price="100.00")
        seen: list[LiveAccount] = await read_until(updates, lambda account: bool(account.fills))
        await maker.cancel(resting)
        seen += await read_until(updates, lambda account: bool(account.ended))

        assert first.orders == () and first.account.collateral_quote == 100_000 * 10**6
        fill = next(account for account in seen if account.fills)
        assert (fill.fills[0].size_lots, fill.fills[0].role) == (5_000, "maker")
        left = {order.order_id: (order.status, order.remaining_lots) for order in fill.orders}
        assert left == {resting.order_id: ("OPEN", 15_000), stop.order_id: ("WAITING", 10_000)}
        assert [order.order_id for order in seen[-1].orders] == [stop.order_id]
        assert (seen[-1].ended[0]["status"], seen[-1].ended[0]["reason"]) == ("CANCELLED", "USER")
        assert [account.event for account in seen if account.event] == ["lost", "connected", "resumed"]
        now = await maker.account()
        assert (seen[-1].account.free_quote, seen[-1].account.n_open_orders) == (now.free_quote, 1)
