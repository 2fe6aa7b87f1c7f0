"""Keep one client from hurting others: size of bodies, rate of signed requests.

Must not: use venue time; replay would stretch a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from afterbell.domain.codes import RejectReason
from afterbell.gateway.errors import ApiError, build_error_response

_NS_PER_S: Final = 1_000_000_000
_MAX_BUCKETS: Final = 10_000


class RateLimiter:
    """Token buckets by key: a second's worth of burst, refilled steadily."""

    def __init__(self, *, n_per_period: int, period_s: int = 1, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._n_per_period = n_per_period
        self._period_ns = period_s * _NS_PER_S
        self._now_ns = now_ns
        self._full_again_ns: dict[object, int] = {}
        self._next_sweep_ns = 0

    def take(self, key: object) -> None:
        """Count one request. Raises: ApiError RATE_LIMITED."""
        if self._n_per_period <= 0:
            return
        now_ns = self._now_ns()
        if len(self._full_again_ns) >= _MAX_BUCKETS and now_ns >= self._next_sweep_ns:
            self._full_again_ns = {k: t for k, t in self._full_again_ns.items() if t > now_ns}
            self._next_sweep_ns = now_ns + self._period_ns
        # A bucket is told by the time at which it is full again: every token taken moves that time by one share.
        full_ns = max(self._full_again_ns.get(key, 0), now_ns) + self._period_ns // self._n_per_period
        if full_ns - now_ns > self._period_ns:
            wait_ns = full_ns - now_ns - self._period_ns
            raise ApiError(
                RejectReason.RATE_LIMITED,
                "too many requests",
                required=f"at most {self._n_per_period} in {self._period_ns // _NS_PER_S} s",
                found="more",
                action=f"wait {-(-wait_ns // 1_000_000)} ms",
                retry_after_s=-(-wait_ns // _NS_PER_S),
            )
        self._full_again_ns[key] = full_ns


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
            action="send one order per request",
        )
        response.headers["Connection"] = "close"
        await response(scope, receive, send)
