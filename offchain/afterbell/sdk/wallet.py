"""The wallet side: token and vault transactions, signed here and sent as raw JSON-RPC.

Through the venue's own relay (`/v1/rpc`, local chain) or any node. Quote units are the token's base units. Must not:
sign anything of the exchange; client.py does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import httpx

from afterbell.domain.hashing import keccak
from afterbell.sdk.errors import WalletFailed
from afterbell.sdk.transport import is_loopback

_MAX_UINT256: Final = (1 << 256) - 1
_GAS_MARGIN_PERCENT: Final = 130
_TIP_WEI: Final = 1_000_000_000
_POLL_S: Final = 0.2


def selector(signature: str) -> bytes:
    """Return the four bytes that choose a contract's function."""
    return keccak(signature.encode())[:4]


def encode_call(signature: str, *arguments: int | bytes) -> bytes:
    """Return calldata of a function whose arguments each take one word; bytes are right-aligned (addresses)."""
    words = [
        argument.rjust(32, b"\0") if isinstance(argument, bytes) else argument.to_bytes(32, "big")
        for argument in arguments
    ]
    return selector(signature) + b"".join(words)


class Wallet:
    """One key on one chain. Transactions go out one after another, so nonces never collide."""

    def __init__(self, *, rpc_url: str, private_key: bytes, chain_id: int, timeout_s: float) -> None:
        from eth_account import Account  # Imported here: it costs half a second that quoting programs need not pay.

        self._signer = Account.from_key(private_key)
        self._chain_id = chain_id
        self._rpc_url = rpc_url
        self._http = httpx.AsyncClient(timeout=timeout_s, trust_env=not is_loopback(rpc_url))
        self._lock = asyncio.Lock()
        self._next_id = 0

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def request(self, method: str, *params: Any) -> Any:
        """Send one JSON-RPC request and return its result. Raises: WalletFailed."""
        self._next_id += 1
        body = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": list(params)}
        try:
            response = await self._http.post(self._rpc_url, json=body)
            answer = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise WalletFailed(f"{method} at {self._rpc_url}: {type(error).__name__} {error}") from error
        if not isinstance(answer, dict) or "result" not in answer:
            problem = answer.get("error") if isinstance(answer, dict) else answer
            text = problem.get("message", problem) if isinstance(problem, dict) else problem
            raise WalletFailed(f"{method}: {text}")
        return answer["result"]

    async def call(self, to: bytes, calldata: bytes) -> int:
        """Return the number a view answers with."""
        answer = await self.request("eth_call", {"to": "0x" + to.hex(), "data": "0x" + calldata.hex()}, "latest")
        return int(str(answer), 16) if answer not in ("0x", None) else 0

    async def send(self, to: bytes, calldata: bytes, *, timeout_s: float) -> str:
        """Sign, send and wait until mined; return the transaction hash.

        Raises: WalletFailed when refused or reverted.
        """
        from eth_utils.address import to_checksum_address

        async with self._lock:
            transaction = {"from": self._signer.address, "to": "0x" + to.hex(), "data": "0x" + calldata.hex()}
            gas = int(await self.request("eth_estimateGas", transaction), 16)
            base_fee_wei = int(await self.request("eth_gasPrice"), 16)
            nonce = int(await self.request("eth_getTransactionCount", self._signer.address, "pending"), 16)
            signed = self._signer.sign_transaction(
                {
                    "type": 2,
                    "chainId": self._chain_id,
                    "nonce": nonce,
                    "to": to_checksum_address(to),
                    "data": "0x" + calldata.hex(),
                    "value": 0,
                    "gas": gas * _GAS_MARGIN_PERCENT // 100,
                    "maxFeePerGas": 2 * base_fee_wei + _TIP_WEI,
                    "maxPriorityFeePerGas": _TIP_WEI,
                }
            )
            sent = str(await self.request("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()))
            return await self._wait(sent, timeout_s)

    async def _wait(self, transaction: str, timeout_s: float) -> str:
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            receipt = await self.request("eth_getTransactionReceipt", transaction)
            if receipt is not None:
                if int(receipt["status"], 16) != 1:
                    raise WalletFailed(f"transaction {transaction} reverted in block {int(receipt['blockNumber'], 16)}")
                return transaction
            await asyncio.sleep(_POLL_S)
        raise WalletFailed(f"transaction {transaction} was not mined within {timeout_s} s")

    async def approve_if_needed(self, token: bytes, spender: bytes, quote: int, *, timeout_s: float) -> None:
        """Let `spender` take `quote` of the token, once and for all if it may not yet."""
        owner = bytes.fromhex(self._signer.address[2:])
        if await self.call(token, encode_call("allowance(address,address)", owner, spender)) < quote:
            await self.send(token, encode_call("approve(address,uint256)", spender, _MAX_UINT256), timeout_s=timeout_s)
