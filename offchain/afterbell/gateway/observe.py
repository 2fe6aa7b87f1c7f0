"""Accompany every request: an id, its bucket, its time, one log line.

    X-Request-Id      the client's if it is short and plain, else a new one; in the answer and in every log line
    RateLimit-*       of the bucket the request counted in (routes under /v1; cancels count in none)
    request.answered  method, route, status, time, order ids; requests that sign something at info, reads at debug

A request that no owner has signed counts in the bucket of its address: reads at once, others when they turn out to be
malformed, so that garbage cannot be had for free and nobody can use up another's bucket. Must not: read bodies.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from afterbell.gateway.errors import build_refusal
from afterbell.gateway.limits import BucketState, Limiters, RateLimited, RateLimiter
from afterbell.gateway.metrics import Metrics

_log = structlog.get_logger(__name__)

_CANCEL_PATHS: Final = frozenset({"/v1/orders/cancel", "/v1/orders/cancel-all"})
_BATCH_PATH: Final = "/v1/orders/batch"
"""May hold cancels only, which always pass: its route looks first."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")
_UNKNOWN_ROUTE: Final = "unknown"
_NS_PER_S: Final = 1_000_000_000
_NS_PER_US: Final = 1_000


class RequestNotes:
    """What routes tell about the request they answer; kept in its scope."""

    __slots__ = ("address", "bucket", "counts_nowhere", "order_ids")

    def __init__(self, address: str) -> None:
        self.address = address
        self.bucket: BucketState | None = None
        self.counts_nowhere = False
        self.order_ids: list[str] = []

    def take(self, limiter: RateLimiter, key: object) -> None:
        """Count the request in a bucket, and tell the client of that one. Raises: RateLimited."""
        try:
            self.bucket = limiter.take(key)
        except RateLimited as error:
            self.bucket = error.bucket
            raise


class Observe:
    """ASGI middleware; the outermost, so that refusals of the others are seen too."""

    def __init__(self, app: ASGIApp, *, limiters: Limiters, metrics: Metrics) -> None:
        self._app = app
        self._limiters = limiters
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_ns = time.perf_counter_ns()
        given_id = Headers(scope=scope).get("x-request-id", "")
        request_id = given_id if _REQUEST_ID.fullmatch(given_id) else uuid.uuid4().hex
        client = scope.get("client")
        notes = RequestNotes(client[0] if client else "")
        notes.counts_nowhere = scope["path"] in _CANCEL_PATHS
        scope.setdefault("state", {})["notes"] = notes
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._count_unsigned(scope, notes)
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if notes.bucket is not None:
                    headers.update(notes.bucket.headers())
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                refused = self._refuse_early(scope, notes)
                if refused is not None:
                    await build_refusal(refused)(scope, receive, send_with_headers)
                else:
                    await self._app(scope, receive, send_with_headers)
            finally:
                self._note(scope, notes, status, time.perf_counter_ns() - begun_ns)

    def _refuse_early(self, scope: Scope, notes: RequestNotes) -> RateLimited | None:
        """Count a read; look whether the address may send anything else."""
        if not _is_counted(scope, notes):
            return None
        try:
            if scope["method"] in ("GET", "HEAD"):
                notes.take(self._limiters.reads, notes.address)
            elif scope["path"] != _BATCH_PATH:
                self._limiters.reads.must_have_room(notes.address)
        except RateLimited as error:
            notes.bucket = error.bucket
            return error
        return None

    def _count_unsigned(self, scope: Scope, notes: RequestNotes) -> None:
        """Count what no route has counted."""
        if notes.bucket is not None or not _is_counted(scope, notes):
            return
        with contextlib.suppress(RateLimited):
            notes.take(self._limiters.reads, notes.address)

    def _note(self, scope: Scope, notes: RequestNotes, status: int, taken_ns: int) -> None:
        # A label must not be chosen by clients.
        method, route = scope["method"] if scope["method"] in _METHODS else "OTHER", _route_of(scope)
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.request_seconds.labels(route, method).observe(taken_ns / _NS_PER_S)
        if status == 429:
            self._metrics.rate_limited.labels(route).inc()
        tell = _log.debug if method == "GET" and status < 500 else _log.info
        fields: dict[str, Any] = {"order_ids": notes.order_ids} if notes.order_ids else {}
        tell("request.answered", method=method, route=route, status=status, taken_us=taken_ns // _NS_PER_US, **fields)


def _is_counted(scope: Scope, notes: RequestNotes) -> bool:
    return scope["path"].startswith("/v1/") and not notes.counts_nowhere


def _route_of(scope: Scope) -> str:
    """Return the route's pattern."""
    route = scope.get("route")
    return str(getattr(route, "path", _UNKNOWN_ROUTE))
