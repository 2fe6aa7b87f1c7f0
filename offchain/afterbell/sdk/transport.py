"""Transport: HTTP requests with timeouts, retries and patience.

A request is repeated only when repeating is safe: reads; signed messages, whose id is their digest, so that the venue
recognises the second copy; and anything the venue refused for its rate, because then nothing was done. Must not: know
what the messages mean.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import httpx
import msgspec

from afterbell.sdk.errors import ApiRejected, ApiUnavailable, RateLimited, VenueBusy, build_rejection
from afterbell.sdk.values import RateLimit

_Answer = TypeVar("_Answer")
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
_LONGEST_RETRY_AFTER_S: Final = 60
_TRUST_NOBODY: Final = ("127.0.0.1", "localhost", "::1")


def is_loopback(url: str) -> bool:
    """Tell whether a URL names this machine: then a proxy of the environment must not be asked."""
    return httpx.URL(url).host in _TRUST_NOBODY


class Transport:
    """One connection pool to one venue."""

    def __init__(
        self, url: str, *, timeout_s: float, n_retries: int, http_transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Take the venue's address, e.g. http://127.0.0.1:8720.

        `http_transport` replaces the network (tests, proxies).
        """
        self.url = url.rstrip("/")
        self.rate_limit: RateLimit | None = None
        """The bucket the last answer named."""
        self._n_retries = n_retries
        self._http = httpx.AsyncClient(
            base_url=self.url, timeout=timeout_s, transport=http_transport, trust_env=not is_loopback(self.url)
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def get(self, path: str, answer: type[_Answer], **params: str | int | None) -> _Answer:
        """Read, retrying while the venue does not answer. Raises: ApiRejected, ApiUnavailable."""
        given = {name: value for name, value in params.items() if value is not None}
        return (await self._repeat("GET", path, answer, params=given, content=None, is_repeatable=True))[0]

    async def post(
        self, path: str, body: Mapping[str, Any], answer: type[_Answer], *, is_repeatable: bool = False
    ) -> _Answer:
        """Send. Raises: ApiRejected, ApiUnavailable."""
        content = json.dumps(body, separators=(",", ":")).encode()
        return (await self._repeat("POST", path, answer, params={}, content=content, is_repeatable=is_repeatable))[0]

    async def post_noting_repeat(
        self, path: str, body: Mapping[str, Any], answer: type[_Answer]
    ) -> tuple[_Answer, bool]:
        """Send what may be repeated; return the answer and whether an earlier copy may have been carried out."""
        content = json.dumps(body, separators=(",", ":")).encode()
        return await self._repeat("POST", path, answer, params={}, content=content, is_repeatable=True)

    async def _repeat(
        self,
        method: str,
        path: str,
        answer: type[_Answer],
        *,
        params: Mapping[str, str | int],
        content: bytes | None,
        is_repeatable: bool,
    ) -> tuple[_Answer, bool]:
        pause_s, is_lost = FIRST_PAUSE_S, False
        for attempt in range(self._n_retries + 1):
            wait_s = pause_s
            try:
                return await self._once(method, path, answer, params=params, content=content), is_lost
            except (RateLimited, VenueBusy) as refusal:
                refusal.is_repeat = is_lost
                # A venue too busy to answer in time may have carried it out; one that counts requests has not.
                is_lost = is_lost or isinstance(refusal, VenueBusy)
                is_safe = is_repeatable or isinstance(refusal, RateLimited)
                if not is_safe or attempt == self._n_retries or refusal.retry_after_s > _LONGEST_RETRY_AFTER_S:
                    raise
                wait_s = max(pause_s, refusal.retry_after_s)
            except ApiRejected as refusal:
                refusal.is_repeat = is_lost
                raise
            except ApiUnavailable:
                is_lost = True
                if not is_repeatable or attempt == self._n_retries:
                    raise
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(
        self, method: str, path: str, answer: type[_Answer], *, params: Mapping[str, str | int], content: bytes | None
    ) -> _Answer:
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            response = await self._http.request(method, path, params=dict(params), content=content, headers=headers)
        except httpx.TransportError as error:
            raise ApiUnavailable(f"{method} {self.url}{path}: {type(error).__name__} {error}".rstrip()) from error
        self.rate_limit = _read_rate_limit(response) or self.rate_limit
        if response.is_success:
            try:
                return msgspec.json.decode(response.content, type=answer, strict=False)
            except msgspec.MsgspecError as error:
                raise ApiUnavailable(f"{method} {path}: the answer has another shape: {error}") from error
        raise _read_error(method, path, response)


def _read_error(method: str, path: str, response: httpx.Response) -> ApiRejected | ApiUnavailable:
    try:
        body = response.json()
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ApiUnavailable(f"{method} {path}: HTTP {response.status_code} without an error of ours")
    refusal = build_rejection(error, response.status_code)
    if isinstance(refusal, RateLimited | VenueBusy):
        refusal.retry_after_s = _read_seconds(response, "retry-after") or 0
    return refusal


def _read_rate_limit(response: httpx.Response) -> RateLimit | None:
    numbers = [_read_seconds(response, f"ratelimit-{name}") for name in ("limit", "remaining", "reset")]
    limit, remaining, reset_s = numbers
    if limit is None or remaining is None or reset_s is None:
        return None
    return RateLimit(limit=limit, remaining=remaining, reset_s=reset_s)


def _read_seconds(response: httpx.Response, header: str) -> int | None:
    text = response.headers.get(header, "")
    return int(text) if text.isascii() and text.isdigit() else None
