"""Hold one connection of the stream: its bounded queue, and the shape of its messages.

Must not: know what channels mean; stream.py does.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from afterbell.domain.codes import RejectReason

N_CHECKSUM_LEVELS: Final = 10
"""Levels of each side a book's checksum covers."""


class StreamRefused(Exception):
    """A client asked for something that is not there; the connection stays."""

    def __init__(
        self, code: RejectReason, message: str, *, required: str = "", found: str = "", action: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.required = required
        self.found = found
        self.action = action

    def encode(self) -> str:
        """Return the message that tells the client."""
        return encode_error(self.code, self.message, required=self.required, found=self.found, action=self.action)


class StreamClient:
    """One connection: a bounded queue and why it ended."""

    __slots__ = ("_queue", "channels", "is_dropped")

    def __init__(self, max_queued_messages: int) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(max_queued_messages)
        self.channels: set[str] = set()
        self.is_dropped = False

    @property
    def n_free(self) -> int:
        """Messages that still fit."""
        return self._queue.maxsize - self._queue.qsize()

    def offer(self, text: str) -> None:
        """Queue a message, or drop the client."""
        if self.is_dropped:
            return
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.is_dropped = True
            # What is queued is old already; the last word takes its place.
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(
                encode_error(
                    RejectReason.OVERLOADED,
                    "you read too slowly",
                    required=f"fewer than {self._queue.maxsize} messages waiting",
                    found="a full queue",
                    action="reconnect, resume after the last sequence of each channel, and read faster",
                )
            )
            self._queue.put_nowait(None)

    def close(self) -> None:
        """End the connection without another word."""
        self.is_dropped = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def take(self) -> str | None:
        """Return the next message, None when the connection must close."""
        return await self._queue.get()


def encode_hello(stream_id: str, heartbeat_ms: int) -> str:
    """Return the first message of a connection."""
    return msgspec.json.encode({"kind": "hello", "stream_id": stream_id, "heartbeat_ms": heartbeat_ms}).decode()


def encode_heartbeat(venue_time_ms: int) -> str:
    """Return what fills a silence: nothing happened in any of the client's channels."""
    return msgspec.json.encode({"kind": "heartbeat", "venue_time_ms": venue_time_ms}).decode()


def encode_resumed(channel: str, sequence: int) -> str:
    """Return what comes before the deltas a client has missed."""
    return msgspec.json.encode({"channel": channel, "kind": "resumed", "sequence": sequence}).decode()


def encode_message(
    channel: str, sequence: int, previous: int | None, kind: str, content: dict[str, Any], checksum: int | None = None
) -> str:
    """Return one message of a channel."""
    message = {"channel": channel, "sequence": sequence, "previous_sequence": previous, "kind": kind, "data": content}
    if checksum is not None:
        message["checksum"] = checksum
    return msgspec.json.encode(message).decode()


def encode_error(code: RejectReason, message: str, *, required: str = "", found: str = "", action: str = "") -> str:
    """Return a message that is about the connection, not about a channel, worded like the errors of HTTP."""
    error = {"code": code.value, "message": message, "required": required, "found": found, "action": action}
    return msgspec.json.encode({"error": error}).decode()
