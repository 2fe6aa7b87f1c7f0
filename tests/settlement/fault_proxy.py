"""A JSON-RPC proxy in front of a real node that fails on purpose, request by request.

A rule names a method and says what happens to the next request with it; without a rule the request passes unchanged.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

Fault = Literal["lose_request", "lose_response", "hang", "status_429", "status_500", "not_json", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to one request; with the fault "error" it is not forwarded and `error_message` is the answer."""

    method: str
    fault: Fault
    error_message: str = ""
    error_code: int = -32000


@dataclass(slots=True)
class FaultProxy:
    """One listening proxy; `rules` are consumed in order per method, `seen` lists every method asked for."""

    upstream: str
    url: str = ""
    rules: deque[Rule] = field(default_factory=deque)
    seen: list[str] = field(default_factory=list)

    def add(self, *rules: Rule) -> None:
        """Put faults into effect."""
        self.rules.extend(rules)

    def take(self, methods: list[str]) -> Rule | None:
        """Return and consume the first rule that fits."""
        for rule in self.rules:
            if rule.method in methods:
                self.rules.remove(rule)
                return rule
        return None


@asynccontextmanager
async def serve_fault_proxy(upstream: str) -> AsyncIterator[FaultProxy]:
    """Listen on a free port of the loopback."""
    proxy = FaultProxy(upstream)
    writers: set[asyncio.StreamWriter] = set()
    async with httpx.AsyncClient(timeout=30) as client:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            try:
                while await _serve_one(proxy, client, reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writers.discard(writer)
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            for writer in list(writers):
                writer.close()


async def _serve_one(
    proxy: FaultProxy, client: httpx.AsyncClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Answer one request; False when the connection is to be closed."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    body = await reader.readexactly(int(lengths[0].split(b":")[1]))
    request: Any = json.loads(body)
    calls = request if isinstance(request, list) else [request]
    methods = [str(call["method"]) for call in calls]
    proxy.seen.extend(methods)
    rule = proxy.take(methods)
    if rule is not None:
        match rule.fault:
            case "lose_request":
                return False
            case "lose_response":
                await client.post(proxy.upstream, content=body, headers={"content-type": "application/json"})
                return False
            case "hang":
                await asyncio.sleep(60)
                return False
            case "status_429" | "status_500":
                _answer(writer, int(rule.fault.removeprefix("status_")), b"busy")
                return True
            case "not_json":
                _answer(writer, 200, b"<html>gateway</html>")
                return True
            case "error":
                errors = [
                    {
                        "jsonrpc": "2.0",
                        "id": call["id"],
                        "error": {"code": rule.error_code, "message": rule.error_message},
                    }
                    for call in calls
                ]
                _answer(writer, 200, json.dumps(errors if isinstance(request, list) else errors[0]).encode())
                return True
    response = await client.post(proxy.upstream, content=body, headers={"content-type": "application/json"})
    _answer(writer, response.status_code, response.content)
    return True


def _answer(writer: asyncio.StreamWriter, status: int, content: bytes) -> None:
    head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
