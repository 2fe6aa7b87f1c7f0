"""What the SDK's tests share: clients of a venue in this process, and transports that lose, repeat and answer falsely.

Prices: both markets stand at 10,000 ticks = 100 USD; a lot is 0.0001 share; the taker rate is 400 ppm.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from afterbell.sdk import AsyncClient
from tests.gateway.venue import Venue, open_venue

MAKER, TAKER = 11, 12


def app_transport(venue: Venue) -> httpx.ASGITransport:
    return httpx.ASGITransport(app=venue.app, raise_app_exceptions=True)


def build_client(
    venue: Venue, number: int, transport: httpx.AsyncBaseTransport | None = None, **terms: Any
) -> AsyncClient:
    return AsyncClient(
        "http://venue", key=number.to_bytes(32, "big"), http_transport=transport or app_transport(venue), **terms
    )


@asynccontextmanager
async def playing(folder: Path, **terms: Any) -> AsyncIterator[tuple[Venue, AsyncClient, AsyncClient]]:
    """Open a venue with a funded maker and taker. terms: of open_venue."""
    async with open_venue(folder, **terms) as venue:
        await venue.participant(MAKER)
        await venue.participant(TAKER)
        async with build_client(venue, MAKER) as maker, build_client(venue, TAKER) as taker, asyncio.timeout(120):
            yield venue, maker, taker


class LosesAnswers(httpx.AsyncBaseTransport):
    """Carries requests out and loses the answers of the first `n` that match; or loses the requests themselves.

    `path` must be the whole path, or what a longer one starts with if it ends with a slash.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, path: str, n: int, *, before: bool = False) -> None:
        self._inner = inner
        self._path = path
        self.n = n
        self._before = before
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == self._path or (self._path.endswith("/") and path.startswith(self._path)):
            self.bodies.append(await request.aread())
            if self.n:
                self.n -= 1
                if not self._before:
                    await self._inner.handle_async_request(request)
                raise httpx.ReadError("connection lost", request=request)
        return await self._inner.handle_async_request(request)


class Unreliable(httpx.AsyncBaseTransport):
    """A bad network: drops requests, drops answers, delivers copies twice and late, in any combination."""

    def __init__(self, inner: httpx.AsyncBaseTransport, seed: int, *, trouble_percent: int = 30) -> None:
        self._inner = inner
        self._draws = random.Random(seed)
        self._trouble_percent = trouble_percent
        self._late: list[httpx.Request] = []
        self.seen: Counter[str] = Counter()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path in ("/v1/venue", "/v1/clock", "/v1/markets"):
            return await self._inner.handle_async_request(request)
        body = await request.aread()
        await self._deliver_late()
        if self._draws.randrange(100) >= self._trouble_percent:
            return await self._send(request, body)
        trouble = self._draws.choice(("request lost", "answer lost", "twice", "late"))
        self.seen[trouble] += 1
        if trouble == "answer lost":
            await self._send(request, body)
        if trouble == "twice":
            await self._send(request, body)
            return await self._send(request, body)
        if trouble == "late":
            self._late.append(httpx.Request(request.method, request.url, headers=request.headers, content=body))
        raise httpx.ReadError(trouble, request=request)

    async def _deliver_late(self) -> None:
        for request in [late for late in self._late if self._draws.random() < 0.3]:
            self._late.remove(request)
            await self._send(request, await request.aread())

    async def _send(self, request: httpx.Request, body: bytes) -> httpx.Response:
        copy = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        return await self._inner.handle_async_request(copy)


class ClockAhead(httpx.AsyncBaseTransport):
    """Answers the first reading of the clock with a time an hour ahead."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._is_first = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if request.url.path == "/v1/clock" and self._is_first:
            self._is_first = False
            clock = httpx.Response(200, content=await response.aread()).json()
            return httpx.Response(200, json=clock | {"venue_time_ms": clock["venue_time_ms"] + 3_600_000})
        return response
