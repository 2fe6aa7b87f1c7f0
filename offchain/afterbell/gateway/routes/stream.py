"""Serve /v1/stream: read what a client asks for, write what its queue holds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from afterbell.domain.codes import RejectReason
from afterbell.gateway.errors import shorten
from afterbell.gateway.services import Services
from afterbell.gateway.stream import StreamHub, read_resume
from afterbell.gateway.stream_client import StreamClient, StreamRefused, encode_error

router = APIRouter()
_TRY_AGAIN_LATER = 1013
_POLICY_VIOLATION = 1008
_SEND_TIMEOUT_S = 10
_MAX_BAD_MESSAGES = 20


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Carry one client until either side ends it."""
    services: Services = socket.app.state.services
    hub = services.hub
    await socket.accept()
    try:
        client = hub.connect()
    except StreamRefused as refusal:
        await socket.send_text(refusal.encode())
        await socket.close(_TRY_AGAIN_LATER)
        return
    reader = asyncio.create_task(_read(socket, hub, client, services.limits.max_stream_message_bytes))
    writer = asyncio.create_task(_write(socket, hub, client))
    try:
        await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        hub.disconnect(client)
        for task in (reader, writer):
            task.cancel()
        await asyncio.gather(reader, writer, return_exceptions=True)


async def _write(socket: WebSocket, hub: StreamHub, client: StreamClient) -> None:
    try:
        while (text := await _take(hub, client)) is not None:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await socket.send_text(text)
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await socket.close(_TRY_AGAIN_LATER)
    except (WebSocketDisconnect, TimeoutError, RuntimeError):
        return  # the client has gone; starlette says so with any of these


async def _take(hub: StreamHub, client: StreamClient) -> str | None:
    """Return the next message, a heartbeat when there is none for too long."""
    try:
        async with asyncio.timeout(hub.heartbeat_ms / 1_000):
            return await client.take()
    except TimeoutError:
        return hub.encode_heartbeat()


async def _read(socket: WebSocket, hub: StreamHub, client: StreamClient, max_bytes: int) -> None:
    n_bad = 0
    try:
        while n_bad < _MAX_BAD_MESSAGES:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None or len(text) > max_bytes:
                n_bad += 1
                client.offer(
                    encode_error(
                        RejectReason.MALFORMED_REQUEST,
                        "not a text message of a fitting size",
                        required=f"JSON text up to {max_bytes} bytes",
                        found="bytes" if text is None else f"{len(text)} characters",
                        action="send a text message, with fewer channels if it is too long",
                    )
                )
            elif not _obey(hub, client, text):
                n_bad += 1
        await socket.close(_POLICY_VIOLATION)
    except (WebSocketDisconnect, RuntimeError):
        return


def _obey(hub: StreamHub, client: StreamClient, text: str) -> bool:
    """Do what one message asks; return whether it could be understood."""
    wish = _parse(text)
    if wish is None:
        client.offer(
            encode_error(
                RejectReason.MALFORMED_REQUEST,
                "not a message of this stream",
                required='{"op": "subscribe" | "unsubscribe" | "ping", "channels": ["book:AAPL", …], '
                '"resume": {"stream_id": "…", "book:AAPL": 412}}',
                found=shorten(text),
                action="correct the message and send it again",
            )
        )
        return False
    operation, channels, resume = wish
    if operation == "ping":
        client.offer('{"op":"pong"}')
        return True
    is_understood = True
    for channel in channels:
        try:
            if operation == "subscribe":
                hub.subscribe(client, channel, after=read_resume(resume, hub.stream_id, channel))
            else:
                hub.unsubscribe(client, channel)
        except StreamRefused as refusal:
            is_understood = False
            client.offer(refusal.encode())
    return is_understood


def _parse(text: str) -> tuple[str, list[str], dict[str, Any]] | None:
    try:
        message: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    operation, channels, resume = message.get("op"), message.get("channels", []), message.get("resume", {})
    if operation not in ("subscribe", "unsubscribe", "ping") or not isinstance(channels, list) or len(channels) > 256:
        return None
    if not all(isinstance(channel, str) and channel.isascii() and len(channel) <= 128 for channel in channels):
        return None
    if not isinstance(resume, dict) or not isinstance(resume.get("stream_id", ""), str):
        return None
    if not all(name == "stream_id" or (type(number) is int and number >= 0) for name, number in resume.items()):
        return None
    return operation, channels, resume
