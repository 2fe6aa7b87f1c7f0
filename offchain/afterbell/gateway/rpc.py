"""Pass a few JSON-RPC methods on to the local node, so that the page needs no second origin.

Only where the chain is local; a public chain is reached through the wallet. Must not: pass a method that changes the
node.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from afterbell.domain.errors import Unavailable

ALLOWED_METHODS: Final = frozenset(
    {
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getBalance",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getTransactionByHash",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
        "eth_sendRawTransaction",
        "net_version",
    }
)
_TIMEOUT_S: Final = 10


class NodeUnavailable(Unavailable):
    """The local node did not answer as JSON-RPC."""


class LocalRpc:
    """Implements services.JsonRpc over HTTP."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, trust_env=False)

    async def __call__(self, method: str, params: Sequence[Any]) -> Mapping[str, Any]:
        """Return {"result": …} or {"error": …}. Raises: NodeUnavailable."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                response = await self._client.post(
                    "",
                    content=json.dumps(request, ensure_ascii=True).encode("ascii"),
                    headers={"content-type": "application/json"},
                )
            answer = response.json()
        except (httpx.HTTPError, ValueError, TimeoutError) as error:
            raise NodeUnavailable(f"local node: {type(error).__name__}") from error
        if not isinstance(answer, dict):
            raise NodeUnavailable("local node: no JSON-RPC answer")
        return {key: answer[key] for key in ("result", "error") if key in answer}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
