"""Errors are types: every reason of the venue belongs to one family, and rate limits are honoured."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from afterbell.domain.codes import RejectReason
from afterbell.gateway.services import GatewayLimits
from afterbell.sdk import AsyncClient, RateLimited, SdkError, Superseded, UnknownOrder, VenueBusy
from afterbell.sdk.errors import FAMILIES, ApiRejected, build_rejection
from tests.sdk.support import MAKER, app_transport, build_client, playing


def test_families__all_reasons__stand_in_exactly_one() -> None:
    counted = Counter(code for codes in FAMILIES.values() for code in codes)

    assert set(counted) == {reason.value for reason in RejectReason}
    assert set(counted.values()) == {1}


def test_rejection__known_and_unknown_code__keeps_every_word() -> None:
    body = {
        "code": "FILLED_MEANWHILE",
        "message": "m",
        "required": "r",
        "found": "f",
        "action": "a",
        "details": {"x": 1},
    }
    known = build_rejection(body, 409)
    unknown = build_rejection({"code": "NEW_WORD"}, 422)

    assert (type(known), known.reason, known.details) == (Superseded, "FILLED_MEANWHILE", {"x": 1})
    assert str(known) == "FILLED_MEANWHILE: m; required: r; found: f; do: a"
    assert type(unknown) is ApiRejected and isinstance(unknown, SdkError)
    assert isinstance(build_rejection({"code": "UNKNOWN_ORDER"}, 404), UnknownOrder)


class Refuses(httpx.AsyncBaseTransport):
    """Refuses the first `n` requests of a path with a status and Retry-After."""

    def __init__(self, inner: httpx.AsyncBaseTransport, path: str, n: int, code: str, status: int, retry_after_s: int):
        self._inner = inner
        self._path = path
        self._answer = (code, status, retry_after_s)
        self.n = n
        self.times_s: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == self._path:
            self.times_s.append(time.monotonic())
            if self.n:
                self.n -= 1
                code, status, retry_after_s = self._answer
                error: dict[str, Any] = {"error": {"code": code, "message": "later"}}
                return httpx.Response(status, json=error, headers={"Retry-After": str(retry_after_s)})
        return await self._inner.handle_async_request(request)


@pytest.mark.anyio
async def test_rate_limit__retry_after__is_waited_for(tmp_path: Path) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        limited = Refuses(app_transport(venue), "/v1/orders", 1, "RATE_LIMITED", 429, 1)
        async with build_client(venue, MAKER, limited) as maker:
            order = await maker.limit("AAPL", "BUY", "1", "99.00")

        first_s, second_s = limited.times_s
        assert order.status == "OPEN" and second_s - first_s >= 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "status", "kind"), [("RATE_LIMITED", 429, RateLimited), ("OVERLOADED", 503, VenueBusy)]
)
async def test_rate_limit__lasting__is_a_type_with_seconds(
    tmp_path: Path, code: str, status: int, kind: type[ApiRejected]
) -> None:
    async with playing(tmp_path) as (venue, _maker, _taker):
        limited = Refuses(app_transport(venue), "/v1/orders", 10_000, code, status, 0)
        late = Refuses(app_transport(venue), "/v1/orders", 10_000, code, status, 3_600)
        async with build_client(venue, MAKER, limited, n_retries=1) as maker:
            with pytest.raises(kind):
                await maker.limit("AAPL", "BUY", "1", "99.00")
        async with build_client(venue, MAKER, late) as maker:
            with pytest.raises(kind) as caught:
                await maker.limit("AAPL", "BUY", "1", "99.00")

        assert len(limited.times_s) == 2 and len(late.times_s) == 1
        assert caught.value.retry_after_s == 3_600  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_rate_limit__headers_of_the_real_gateway__are_shown(tmp_path: Path) -> None:
    limits = GatewayLimits(n_requests_per_s=50)
    async with playing(tmp_path, limits=limits) as (venue, maker, _taker):
        async with AsyncClient("http://venue", http_transport=app_transport(venue)) as fresh:
            assert fresh.rate_limit is None
        await maker.limit("AAPL", "BUY", "1", "99.00")

        shown = maker.rate_limit
        assert shown is not None and shown.limit == 50 and 0 < shown.remaining < 50


@pytest.mark.anyio
async def test_rate_limit__real_gateway__slows_a_client_down_and_loses_nothing(tmp_path: Path) -> None:
    """Five a second: twelve orders one after another all arrive."""
    limits = GatewayLimits(n_requests_per_s=5)
    async with playing(tmp_path, limits=limits) as (venue, _, _), build_client(venue, MAKER, n_retries=8) as maker:
        for n in range(12):
            venue.clock.advance(1_000)
            await maker.limit("AAPL", "BUY", "1", 9_900 - 5 * n)

        assert len(await maker.orders(only_open=True)) == 12
