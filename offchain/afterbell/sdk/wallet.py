"""The wallet side: a node asked in JSON-RPC, and transactions of one key, signed here and sent raw.

Through the venue's own relay (`/v1/rpc`, local chain) or any node. Quote units are the token's base units. Must not:
sign anything of the exchange; the other parts do.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from afterbell.domain.hashing import keccak
from afterbell.domain.ids import address_hex
from afterbell.sdk.errors import WalletFailed
from afterbell.sdk.transport import is_loopback
from afterbell.signing.keys import CURVE_ORDER, SigningKey, join_signature

_MAX_UINT256: Final = (1 << 256) - 1
_GAS_MARGIN_PERCENT: Final = 130
_TIP_WEI: Final = 1_000_000_000
_POLL_S: Final = 0.2

_TOKEN_DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_PERMIT_TYPE: Final = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
_RECEIVE_TYPE: Final = (
    "ReceiveWithAuthorization"
    "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


def selector(signature: str) -> bytes:
    """Return the four bytes that choose a contract's function."""
    return keccak(signature.encode())[:4]


def encode_words(*arguments: int | bytes) -> bytes:
    """Return abi_encode of arguments that each take one word; bytes are right-aligned (addresses, whole words)."""
    return b"".join(
        argument.rjust(32, b"\0") if isinstance(argument, bytes) else argument.to_bytes(32, "big")
        for argument in arguments
    )


def encode_call(signature: str, *arguments: int | bytes) -> bytes:
    """Return calldata of a function whose arguments each take one word."""
    return selector(signature) + encode_words(*arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedKey:
    """A new key: keep `private_key` (32 bytes in hex) secret, link `address`."""

    private_key: str = field(repr=False)
    address: str


def generate_key() -> GeneratedKey:
    """Return a new random key, for a session key or a test wallet; nobody else knows it."""
    while True:
        secret = secrets.token_bytes(32)
        if 0 < int.from_bytes(secret, "big") < CURVE_ORDER:
            return GeneratedKey(private_key="0x" + secret.hex(), address=address_hex(SigningKey(secret).address))


class Node:
    """One JSON-RPC node: questions, and transactions that are signed already."""

    def __init__(self, *, rpc_url: str, timeout_s: float) -> None:
        self._rpc_url = rpc_url
        self._http = httpx.AsyncClient(timeout=timeout_s, trust_env=not is_loopback(rpc_url))
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

    async def call(self, to: bytes, calldata: bytes) -> bytes:
        """Return what a view answers with."""
        answer = await self.request("eth_call", {"to": "0x" + to.hex(), "data": "0x" + calldata.hex()}, "latest")
        return bytes.fromhex(str(answer or "0x")[2:])

    async def call_number(self, to: bytes, calldata: bytes) -> int:
        """Return the number a view answers with, 0 for nothing."""
        return int.from_bytes((await self.call(to, calldata))[:32], "big")

    async def call_text(self, to: bytes, function: str) -> str:
        """Return the string a view without arguments answers with. Raises: WalletFailed."""
        answer = await self.call(to, selector(function))
        length = int.from_bytes(answer[32:64], "big")
        if len(answer) < 64 + length:
            raise WalletFailed(f"{function} of 0x{to.hex()} is no string: {answer.hex() or 'nothing'}")
        return answer[64 : 64 + length].decode()

    async def wait_mined(self, transaction: str, *, timeout_s: float) -> int:
        """Return the block of a transaction once it is mined. Raises: WalletFailed when it reverted or in vain."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            receipt = await self.request("eth_getTransactionReceipt", transaction)
            if receipt is not None:
                block = int(receipt["blockNumber"], 16)
                if int(receipt["status"], 16) != 1:
                    raise WalletFailed(f"transaction {transaction} reverted in block {block}")
                return block
            if time.monotonic() > deadline_s:
                raise WalletFailed(f"transaction {transaction} was not mined within {timeout_s} s")
            await asyncio.sleep(_POLL_S)


class Wallet:
    """One key on one chain. Transactions go out one after another, so nonces never collide."""

    def __init__(self, *, node: Node, private_key: bytes, chain_id: int) -> None:
        from eth_account import Account  # Imported here: it costs half a second that quoting programs need not pay.

        self.node = node
        self._signer = Account.from_key(private_key)
        self._signing_key = SigningKey(private_key)
        self._chain_id = chain_id
        self._lock = asyncio.Lock()

    @property
    def address(self) -> bytes:
        """Return the address of the key."""
        return self._signing_key.address

    async def send(self, to: bytes, calldata: bytes, *, timeout_s: float) -> str:
        """Sign, send and wait until mined; return the transaction hash.

        Raises: WalletFailed when refused or reverted.
        """
        from eth_utils.address import to_checksum_address

        async with self._lock:
            transaction = {"from": self._signer.address, "to": "0x" + to.hex(), "data": "0x" + calldata.hex()}
            gas = int(await self.node.request("eth_estimateGas", transaction), 16)
            base_fee_wei = int(await self.node.request("eth_gasPrice"), 16)
            nonce = int(await self.node.request("eth_getTransactionCount", self._signer.address, "pending"), 16)
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
            sent = str(await self.node.request("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex()))
            await self.node.wait_mined(sent, timeout_s=timeout_s)
            return sent

    async def approve_if_needed(self, token: bytes, spender: bytes, quote: int, *, timeout_s: float) -> None:
        """Let `spender` take `quote` of the token, once and for all if it may not yet."""
        allowance = encode_call("allowance(address,address)", self.address, spender)
        if await self.node.call_number(token, allowance) < quote:
            await self.send(token, encode_call("approve(address,uint256)", spender, _MAX_UINT256), timeout_s=timeout_s)

    async def sign_permit(self, token: bytes, spender: bytes, quote: int, deadline_s: int) -> tuple[int, bytes, bytes]:
        """Return (v, r, s) that let `spender` take `quote` until the deadline. Source: EIP-2612."""
        nonce = await self.node.call_number(token, encode_call("nonces(address)", self.address))
        permit = encode_words(keccak(_PERMIT_TYPE.encode()), self.address, spender, quote, nonce, deadline_s)
        return await self._sign_for_token(token, permit)

    async def sign_authorization(
        self, token: bytes, to: bytes, quote: int, valid_after_s: int, valid_before_s: int, nonce: bytes
    ) -> bytes:
        """Return 65 bytes that let `to` alone fetch `quote`, once. Source: EIP-3009, receiveWithAuthorization."""
        authorization = encode_words(
            keccak(_RECEIVE_TYPE.encode()), self.address, to, quote, valid_after_s, valid_before_s, nonce
        )
        v, r, s = await self._sign_for_token(token, authorization)
        return r + s + bytes([v])

    async def _sign_for_token(self, token: bytes, struct: bytes) -> tuple[int, bytes, bytes]:
        # The domain is computed here, not taken from the node: a node that lies could have us sign for another token.
        name, version = await self.node.call_text(token, "name()"), await self.node.call_text(token, "version()")
        separator = keccak(
            encode_words(
                keccak(_TOKEN_DOMAIN_TYPE.encode()),
                keccak(name.encode()),
                keccak(version.encode()),
                self._chain_id,
                token,
            )
        )
        signature = join_signature(*self._signing_key.sign(keccak(b"\x19\x01" + separator + keccak(struct))))
        return signature[64], signature[:32], signature[32:64]
