"""Transport: HTTP requests with timeouts and retries, and the WebSocket stream with reconnects.

A request is repeated only when repeating is safe: reads, and signed messages, whose id is their digest, so that the
venue recognises the second copy. Must not: know what the messages mean.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import httpx
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from afterbell.sdk.errors import ApiRejected, ApiUnavailable, build_rejection
from afterbell.sdk.values import StreamMessage

_Answer = TypeVar("_Answer")
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0


def is_loopback(url: str) -> bool:
    """Tell whether a URL names this machine: then a proxy of the environment must not be asked."""
    return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")


class Transport:
    """One connection pool to one venue."""

    def __init__(
        self, url: str, *, timeout_s: float, n_retries: int, http_transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Take the venue's address, e.g. http://127.0.0.1:8720.

        `http_transport` replaces the network (tests, proxies).
        """
        self.url = url.rstrip("/")
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
        return await self._repeat("GET", path, answer, params=given, content=None, n_retries=self._n_retries)

    async def post(
        self, path: str, body: Mapping[str, Any], answer: type[_Answer], *, is_repeatable: bool = False
    ) -> _Answer:
        """Send. Raises: ApiRejected, ApiUnavailable."""
        content = json.dumps(body, separators=(",", ":")).encode()
        n_retries = self._n_retries if is_repeatable else 0
        return await self._repeat("POST", path, answer, params={}, content=content, n_retries=n_retries)

    async def _repeat(
        self,
        method: str,
        path: str,
        answer: type[_Answer],
        *,
        params: Mapping[str, str | int],
        content: bytes | None,
        n_retries: int,
    ) -> _Answer:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(n_retries + 1):
            try:
                return await self._once(method, path, answer, params=params, content=content)
            except ApiRejected as refusal:
                refusal.is_repeat = attempt > 0
                raise
            except ApiUnavailable:
                if attempt == n_retries:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(
        self, method: str, path: str, answer: type[_Answer], *, params: Mapping[str, str | int], content: bytes | None
    ) -> _Answer:
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            response = await self._http.request(method, path, params=dict(params), content=content, headers=headers)
        except httpx.TransportError as error:
            raise ApiUnavailable(f"{method} {self.url}{path}: {type(error).__name__} {error}".rstrip()) from error
        if response.is_success:
            try:
                return msgspec.json.decode(response.content, type=answer, strict=False)
            except msgspec.MsgspecError as error:
                raise ApiUnavailable(f"{method} {path}: the answer has another shape: {error}") from error
        raise _read_error(method, path, response)

    async def stream(self, channels: Sequence[str], *, reconnect: bool) -> AsyncIterator[StreamMessage]:
        """Yield messages of channels; after a lost connection or a gap, start again with snapshots."""
        url = "ws" + self.url.removeprefix("http") + "/v1/stream"
        proxy: Literal[True] | None = None if is_loopback(self.url) else True
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with connect(url, max_size=None, open_timeout=10, proxy=proxy) as socket:
                    await socket.send(json.dumps({"op": "subscribe", "channels": list(channels)}))
                    last: dict[str, int] = {}
                    async for text in socket:
                        message = _read_message(text)
                        if message is None:
                            continue
                        if message.kind == "delta" and message.previous_sequence != last.get(
                            message.channel, message.previous_sequence
                        ):
                            break  # A message is missing: a new subscription brings a new snapshot.
                        last[message.channel] = message.sequence
                        pause_s = _FIRST_PAUSE_S
                        yield message
                if not reconnect:
                    raise ApiUnavailable(f"{url}: the stream ended")
            except (OSError, WebSocketException, InvalidHandshake, TimeoutError) as error:
                if not reconnect or isinstance(error, InvalidURI):
                    raise ApiUnavailable(f"{url}: {type(error).__name__} {error}".rstrip()) from error
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _read_error(method: str, path: str, response: httpx.Response) -> ApiRejected | ApiUnavailable:
    try:
        body = response.json()
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ApiUnavailable(f"{method} {path}: HTTP {response.status_code} without an error of ours")
    return build_rejection(error, response.status_code)


def _read_message(text: str | bytes) -> StreamMessage | None:
    document = json.loads(text)
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        raise build_rejection(document["error"], 0)
    if not isinstance(document, dict) or "channel" not in document or "kind" not in document:
        return None  # Acknowledgements and pings.
    return msgspec.convert(document, StreamMessage, strict=False)
