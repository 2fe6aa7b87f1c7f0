"""Feed: one WebSocket that survives: it resumes, checks every book, and starts a channel anew that cannot be right.

Every channel's last sequence is kept: after a reconnect the venue sends exactly what was missed, or a snapshot. A gap
(a delta that does not follow the last message) or a wrong checksum asks for a new snapshot; messages of the channel are
dropped until it comes. Silence for two heartbeats is a dead connection. Must not: know accounts or orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import zlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, Literal

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidURI, WebSocketException

from afterbell.sdk.errors import ApiUnavailable, VenueBusy, build_rejection
from afterbell.sdk.transport import FIRST_PAUSE_S, LONGEST_PAUSE_S, is_loopback
from afterbell.sdk.values import Level, StreamMessage

_N_CHECKSUM_LEVELS: Final = 10
_OPEN_TIMEOUT_S: Final = 10
_SILENCE_BEFORE_HELLO_S: Final = 15.0


class BookCopy:
    """One book as the stream tells it. Units: ticks, lots."""

    def __init__(self) -> None:
        self.bids: dict[int, tuple[int, int]] = {}
        self.asks: dict[int, tuple[int, int]] = {}

    def adopt(self, message: StreamMessage) -> bool:
        """Take over a snapshot or the changes of a delta; return whether the checksum holds."""
        if message.kind == "snapshot":
            self.bids, self.asks = {}, {}
        for side, name in ((self.bids, "bids"), (self.asks, "asks")):
            for price_ticks, size_lots, n_orders in message.data[name]:
                if size_lots:
                    side[price_ticks] = (size_lots, n_orders)
                else:
                    side.pop(price_ticks, None)
        return message.checksum is None or message.checksum == self.compute_checksum()

    def compute_checksum(self) -> int:
        """Return CRC-32 of the best ten levels: bids from the best, then asks, as price:size, joined by commas."""
        best = [(ticks, self.bids[ticks][0]) for ticks in heapq.nlargest(_N_CHECKSUM_LEVELS, self.bids)]
        best += [(ticks, self.asks[ticks][0]) for ticks in heapq.nsmallest(_N_CHECKSUM_LEVELS, self.asks)]
        return zlib.crc32(",".join(f"{ticks}:{lots}" for ticks, lots in best).encode("ascii"))

    def levels(self, *, is_bid: bool, depth: int) -> tuple[Level, ...]:
        """Return the best `depth` levels of a side, best first."""
        side = self.bids if is_bid else self.asks
        prices = heapq.nlargest(depth, side) if is_bid else heapq.nsmallest(depth, side)
        return tuple(Level(price_ticks=ticks, size_lots=side[ticks][0], n_orders=side[ticks][1]) for ticks in prices)


class Feed:
    """Messages of some channels, without a gap. Read once; close with `aclose` of what `read` returns."""

    def __init__(self, url: str, channels: Sequence[str], *, reconnect: bool) -> None:
        """Take the venue's HTTP address. reconnect: else the end of the connection is an ApiUnavailable."""
        self._url = "ws" + url.removeprefix("http") + "/v1/stream"
        self._proxy: Literal[True] | None = None if is_loopback(url) else True
        self._channels = list(dict.fromkeys(channels))
        self._reconnect = reconnect
        self._stream_id = ""
        self._last: dict[str, int] = {}
        self._waiting: set[str] = set()
        """Channels whose copy is wrong, until their snapshot comes."""
        self._silence_s = _SILENCE_BEFORE_HELLO_S
        self.books: dict[str, BookCopy] = {}
        """Copies of the subscribed books, by channel."""

    async def read(self) -> AsyncGenerator[StreamMessage, None]:
        """Yield messages and events for ever. Raises: ApiRejected for a channel that is not there; ApiUnavailable."""
        pause_s = FIRST_PAUSE_S
        while True:
            reason = "the stream ended"
            try:
                async with (
                    connect(self._url, max_size=None, open_timeout=_OPEN_TIMEOUT_S, proxy=self._proxy) as socket,
                    contextlib.aclosing(self._read_connection(socket)) as messages,
                ):
                    async for message in messages:
                        pause_s = FIRST_PAUSE_S
                        yield message
            except (OSError, WebSocketException, VenueBusy) as error:  # TimeoutError is an OSError
                reason = f"{type(error).__name__} {error}".rstrip()
                if isinstance(error, InvalidURI):
                    raise ApiUnavailable(f"{self._url}: {reason}") from error
            if not self._reconnect:
                raise ApiUnavailable(f"{self._url}: {reason}")
            yield StreamMessage(channel="", kind="lost", reason=reason)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _read_connection(self, socket: ClientConnection) -> AsyncGenerator[StreamMessage, None]:
        self._silence_s = _SILENCE_BEFORE_HELLO_S
        while True:
            async with asyncio.timeout(self._silence_s):
                text = await socket.recv()
            document = json.loads(text)
            if not isinstance(document, dict):
                continue
            if isinstance(document.get("error"), dict):
                raise build_rejection(document["error"], 0)
            message: StreamMessage | None = None
            if document.get("kind") == "hello":
                message = await self._greet(socket, document)
            elif "channel" in document and "kind" in document:
                message = await self._take(socket, msgspec.convert(document, StreamMessage, strict=False))
            if message is not None:
                yield message

    async def _greet(self, socket: ClientConnection, hello: dict[str, Any]) -> StreamMessage:
        """Subscribe, to go on after the last messages if the process is still the same."""
        self._silence_s = 2 * int(hello["heartbeat_ms"]) / 1000
        is_another = bool(self._stream_id) and hello["stream_id"] != self._stream_id
        if is_another:
            self._last = {}  # Numbers of another process mean nothing here.
        self._stream_id = hello["stream_id"]
        # A channel that waits for a snapshot must not resume into its wrong copy.
        resume = {channel: sequence for channel, sequence in self._last.items() if channel not in self._waiting}
        wish: dict[str, Any] = {"op": "subscribe", "channels": self._channels}
        if resume:
            wish["resume"] = {"stream_id": self._stream_id, **resume}
        await socket.send(json.dumps(wish))
        return StreamMessage(channel="", kind="restarted" if is_another else "connected")

    async def _take(self, socket: ClientConnection, message: StreamMessage) -> StreamMessage | None:
        """Return a message that follows the last one, an event in the place of one that does not, None to skip it."""
        channel = message.channel
        if message.kind == "resumed":
            return message
        if message.kind == "snapshot":
            self._waiting.discard(channel)
        elif channel in self._waiting:
            return None
        elif message.previous_sequence != self._last.get(channel):
            return await self._doubt(socket, channel, "gap")
        if channel.startswith("book:") and not self.books.setdefault(channel, BookCopy()).adopt(message):
            return await self._doubt(socket, channel, "checksum")
        self._last[channel] = message.sequence
        return message

    async def _doubt(self, socket: ClientConnection, channel: str, event: str) -> StreamMessage:
        """Ask for a new snapshot: what is held of the channel cannot be right."""
        self._waiting.add(channel)
        await socket.send(json.dumps({"op": "subscribe", "channels": [channel]}))
        return StreamMessage(channel=channel, kind=event, sequence=self._last.get(channel, 0))
