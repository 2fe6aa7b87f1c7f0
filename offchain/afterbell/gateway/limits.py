"""Keep one client from hurting others: size of bodies, rate of requests.

Must not: use venue time; replay would stretch a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from afterbell.domain.codes import RejectReason
from afterbell.gateway.errors import ApiError, build_error_response

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_MS_PER_S: Final = 1_000
_MAX_BUCKETS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketState:
    """What a client is told of the bucket its request counted in."""

    n_limit: int
    n_remaining: int
    reset_s: int
    """Until the bucket is full again."""

    def headers(self) -> dict[str, str]:
        """Return them as every answer carries them."""
        return {
            "RateLimit-Limit": str(self.n_limit),
            "RateLimit-Remaining": str(self.n_remaining),
            "RateLimit-Reset": str(self.reset_s),
        }


class RateLimiter:
    """Token buckets by key: a period's worth of burst, refilled steadily."""

    def __init__(self, *, n_per_period: int, period_s: int = 1, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._n_per_period = n_per_period
        self._period_ns = period_s * _NS_PER_S
        self._share_ns = self._period_ns // n_per_period if n_per_period > 0 else 0
        self._now_ns = now_ns
        self._full_again_ns: dict[object, int] = {}
        self._next_sweep_ns = 0

    def take(self, key: object) -> BucketState | None:
        """Count one request; None: there is no limit. Raises: RateLimited."""
        if self._n_per_period <= 0:
            return None
        now_ns = self._now_ns()
        if len(self._full_again_ns) >= _MAX_BUCKETS and now_ns >= self._next_sweep_ns:
            self._full_again_ns = {k: t for k, t in self._full_again_ns.items() if t > now_ns}
            self._next_sweep_ns = now_ns + self._period_ns
        # A bucket is told by the time at which it is full again: every token taken moves that time by one share.
        full_ns = max(self._full_again_ns.get(key, 0), now_ns) + self._share_ns
        if full_ns - now_ns > self._period_ns:
            raise self._refuse(full_ns - now_ns)
        self._full_again_ns[key] = full_ns
        return self._describe(full_ns - now_ns)

    def must_have_room(self, key: object) -> None:
        """Check that `take` would pass, and count nothing. Raises: RateLimited."""
        if self._n_per_period <= 0:
            return
        now_ns = self._now_ns()
        after_ns = max(self._full_again_ns.get(key, 0), now_ns) + self._share_ns - now_ns
        if after_ns > self._period_ns:
            raise self._refuse(after_ns)

    def _describe(self, until_full_ns: int) -> BucketState:
        return BucketState(
            n_limit=self._n_per_period,
            n_remaining=max((self._period_ns - until_full_ns) // self._share_ns, 0),
            reset_s=-(-until_full_ns // _NS_PER_S),
        )

    def _refuse(self, after_ns: int) -> RateLimited:
        wait_ns = after_ns - self._period_ns
        return RateLimited(
            n_limit=self._n_per_period,
            period_s=self._period_ns // _NS_PER_S,
            wait_ms=-(-wait_ns // _NS_PER_MS),
            bucket=self._describe(after_ns - self._share_ns),
        )


class RateLimited(ApiError):
    """Ask a client to come again later."""

    def __init__(self, *, n_limit: int, period_s: int, wait_ms: int, bucket: BucketState) -> None:
        super().__init__(
            RejectReason.RATE_LIMITED,
            "too many requests",
            required=f"at most {n_limit} in {period_s} s",
            found="more",
            action=f"wait {wait_ms} ms; cancels always pass",
            retry_after_s=-(-wait_ms // _MS_PER_S),
        )
        self.bucket = bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiters:
    """The buckets of one gateway; each is keyed by what it protects from."""

    reads: RateLimiter
    """By the client's address."""
    signed: RateLimiter
    """By owner, not by account: an owner has 2^80 accounts."""
    faucet: RateLimiter
    relayed: RateLimiter


class BodyLimit:
    """Refuse bodies above a size before they are held in memory (ASGI middleware)."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on that is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if len(body) > self._max_body_bytes:
                await self._refuse(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        is_given = False

        async def receive_again() -> Message:
            nonlocal is_given
            if is_given:
                return await receive()
            is_given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, receive_again, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = build_error_response(
            RejectReason.MALFORMED_REQUEST,
            413,
            "the body is too large",
            required=f"at most {self._max_body_bytes} bytes",
            found=f"more than {self._max_body_bytes} bytes",
            action="send fewer orders in one batch",
        )
        response.headers["Connection"] = "close"
        await response(scope, receive, send)
