"""Talk JSON-RPC to a node and believe nothing it says before checking its shape.

    connection lost, timeout, HTTP 429 or 5xx, not JSON      ChainUnavailable   the caller may ask again
    the node's own error on a call, "execution reverted"     CallReverted
    the node's own error on a transaction                    TransactionRefused
    a well-formed answer of the wrong shape, chain or code   ChainFaulted       stop

No request is repeated here: whether a repetition is harmless is known to the caller alone. Must not: sign or hold keys.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from afterbell.domain.errors import Faulted
from afterbell.domain.hashing import keccak
from afterbell.ports import (
    Block,
    CallReverted,
    ChainLog,
    ChainUnavailable,
    Receipt,
    TransactionRefused,
)

_N_WORD_BYTES: Final = 32
_N_ADDRESS_BYTES: Final = 20
_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
"""Error(string), what an assert with a message returns."""
_RETRYABLE_CODES: Final = frozenset({-32005, -32016, -32097})
"""Limit exceeded, in the dialects of the common providers."""
_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024


class ChainFaulted(Faulted):
    """The node answered with something no correct node of this chain would say."""


class _RpcError(Exception):
    """The error object of a JSON-RPC answer."""

    def __init__(self, code: int, message: str, extra: object) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.extra = extra


class Web3Chain:
    """ports.Chain, and ports.ChainTime on a local chain, over one HTTP connection pool."""

    def __init__(self, url: str, *, timeout_ms: int = 5_000) -> None:
        self._url = url
        seconds = timeout_ms / 1_000
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(seconds), headers={"content-type": "application/json"})
        self._next_id = 1

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get_chain_id(self) -> int:
        """Return the node's chain id."""
        return _integer(await self._one("eth_chainId", []), "chain id")

    async def get_code(self, address: bytes) -> bytes:
        """Return the code at an address, empty if there is none."""
        return _bytes(await self._one("eth_getCode", ["0x" + address.hex(), "latest"]), "code")

    async def get_block(self, number: int | None = None) -> Block:
        """Return a block's header, the latest if no number is given."""
        answer = await self._one("eth_getBlockByNumber", [_block_tag(number), False])
        if answer is None:
            raise ChainUnavailable(f"block {number} is not known to the node yet")
        block = _mapping(answer, "block")
        found = _integer(block.get("number"), "block number")
        if number is not None and found != number:
            raise ChainFaulted(f"asked for block {number}, found {found}")
        return Block(
            number=found,
            hash=_sized(block.get("hash"), _N_WORD_BYTES, "block hash"),
            parent_hash=_sized(block.get("parentHash"), _N_WORD_BYTES, "parent hash"),
            time_s=_integer(block.get("timestamp"), "block time"),
            base_fee_wei=_integer(block.get("baseFeePerGas", "0x0"), "base fee"),
        )

    async def call(self, to: bytes, calldata: bytes, block: int | None = None, *, sender: bytes | None = None) -> bytes:
        """Return what a call returns, without a transaction."""
        transaction = {"to": "0x" + to.hex(), "data": "0x" + calldata.hex()}
        if sender is not None:
            transaction["from"] = "0x" + sender.hex()
        (answer,) = await self._many([("eth_call", [transaction, _block_tag(block)])])
        return _returned(answer)

    async def call_many(self, calls: Sequence[tuple[bytes, bytes]], block: int | None = None) -> list[bytes]:
        """Run many views in one request."""
        requests = [
            ("eth_call", [{"to": "0x" + to.hex(), "data": "0x" + calldata.hex()}, _block_tag(block)])
            for to, calldata in calls
        ]
        return [_returned(answer) for answer in await self._many(requests)]

    async def get_logs(
        self, addresses: Sequence[bytes], topics: Sequence[Sequence[bytes]], from_block: int, to_block: int
    ) -> list[ChainLog]:
        """Return logs in chain order; refuse one that was not asked for."""
        query = {
            "address": ["0x" + address.hex() for address in addresses],
            "topics": [["0x" + topic.hex() for topic in position] or None for position in topics],
            "fromBlock": hex(from_block),
            "toBlock": hex(to_block),
        }
        logs = [_log(entry) for entry in _sequence(await self._one("eth_getLogs", [query]), "logs")]
        wanted = frozenset(addresses)
        for log in logs:
            if log.address not in wanted or not from_block <= log.block <= to_block:
                raise ChainFaulted(
                    f"asked for logs of blocks {from_block}..{to_block}, "
                    f"found one of 0x{log.address.hex()} in block {log.block}"
                )
        if any((a.block, a.log_index) >= (b.block, b.log_index) for a, b in zip(logs, logs[1:], strict=False)):
            raise ChainFaulted("logs must come in chain order without repetition")
        return logs

    async def get_receipt(self, transaction: bytes) -> Receipt | None:
        """Return a mined transaction's receipt, None while it waits or is unknown."""
        answer = await self._one("eth_getTransactionReceipt", ["0x" + transaction.hex()])
        if answer is None:
            return None
        receipt = _mapping(answer, "receipt")
        found = _sized(receipt.get("transactionHash"), _N_WORD_BYTES, "transaction hash")
        if found != transaction:
            raise ChainFaulted(f"asked for the receipt of 0x{transaction.hex()}, found 0x{found.hex()}")
        return Receipt(
            transaction=found,
            block=_integer(receipt.get("blockNumber"), "block number"),
            block_hash=_sized(receipt.get("blockHash"), _N_WORD_BYTES, "block hash"),
            is_success=_integer(receipt.get("status"), "status") == 1,
            gas_used=_integer(receipt.get("gasUsed"), "gas used"),
            logs=tuple(_log(entry) for entry in _sequence(receipt.get("logs"), "logs")),
        )

    async def count_transactions(self, address: bytes, *, pending: bool) -> int:
        """Return the next nonce of an address."""
        tag = "pending" if pending else "latest"
        return _integer(await self._one("eth_getTransactionCount", ["0x" + address.hex(), tag]), "nonce")

    async def send_raw_transaction(self, raw: bytes) -> None:
        """Hand in a signed transaction."""
        (answer,) = await self._many([("eth_sendRawTransaction", ["0x" + raw.hex()])])
        if isinstance(answer, _RpcError):
            raise TransactionRefused(answer.message)
        _sized(answer, _N_WORD_BYTES, "transaction hash")

    # The rest is anvil's: ports.ChainTime.

    async def set_next_block_time(self, time_s: int) -> None:
        """Give the next block this timestamp."""
        (answer,) = await self._many([("evm_setNextBlockTimestamp", [time_s])])
        if isinstance(answer, _RpcError):
            raise TransactionRefused(answer.message)

    async def mine_block(self, time_s: int) -> None:
        """Mine a block, with this timestamp unless the chain is past it."""
        with contextlib.suppress(TransactionRefused):
            await self.set_next_block_time(time_s)
        await self._one("evm_mine", [])

    async def set_balance(self, address: bytes, balance_wei: int) -> None:
        """Give an address gas out of nothing."""
        await self._one("anvil_setBalance", ["0x" + address.hex(), hex(balance_wei)])

    async def _one(self, method: str, params: list[Any]) -> object:
        (answer,) = await self._many([(method, params)])
        if isinstance(answer, _RpcError):
            raise ChainUnavailable(f"{method} failed: {answer}")
        return answer

    async def _many(self, requests: Sequence[tuple[str, list[Any]]]) -> list[object]:
        """Send one request, or several as a batch; return results and errors in the order asked."""
        if not requests:
            return []
        first_id = self._next_id
        self._next_id += len(requests)
        bodies = [
            {"jsonrpc": "2.0", "id": first_id + offset, "method": method, "params": params}
            for offset, (method, params) in enumerate(requests)
        ]
        content = json.dumps(bodies[0] if len(bodies) == 1 else bodies).encode()
        try:
            response = await self._client.post(self._url, content=content)
        except httpx.HTTPError as error:
            raise ChainUnavailable(f"{requests[0][0]}: {type(error).__name__} {error}") from error
        if response.status_code != 200:
            raise ChainUnavailable(f"{requests[0][0]}: HTTP status {response.status_code}")
        if len(response.content) > _MAX_RESPONSE_BYTES:
            raise ChainFaulted(f"an answer may have {_MAX_RESPONSE_BYTES} bytes, found {len(response.content)}")
        try:
            parsed = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            raise ChainUnavailable(f"{requests[0][0]}: the answer is not JSON") from error
        answers = [parsed] if len(bodies) == 1 else _sequence(parsed, "batch answer")
        by_id: dict[int, object] = {}
        for answer in answers:
            entry = _mapping(answer, "answer")
            request_id = entry.get("id")
            if "error" in entry and entry["error"] is not None:
                error_object = _mapping(entry["error"], "error")
                code, message = error_object.get("code"), error_object.get("message")
                rpc_error = _RpcError(code if isinstance(code, int) else 0, str(message), error_object.get("data"))
                if rpc_error.code in _RETRYABLE_CODES:
                    raise ChainUnavailable(f"{requests[0][0]}: {rpc_error}")
                by_id[_request_id(request_id, first_id)] = rpc_error
            elif "result" in entry:
                by_id[_request_id(request_id, first_id)] = entry["result"]
            else:
                raise ChainFaulted("an answer must hold a result or an error")
        try:
            return [by_id[first_id + offset] for offset in range(len(bodies))]
        except KeyError as error:
            raise ChainFaulted(f"no answer to request {error}") from error


async def must_match_deployment(
    chain: Web3Chain, *, chain_id: int, code_hashes: Mapping[str, tuple[bytes, bytes | None]]
) -> None:
    """Refuse a node that is another chain, or holds other code than was deployed.

    code_hashes: name -> (address, keccak of the runtime code, or None when only presence is known).
    Raises: ChainFaulted, ChainUnavailable.
    """
    found_id = await chain.get_chain_id()
    if found_id != chain_id:
        raise ChainFaulted(f"the manifest was written for chain {chain_id}, the node is chain {found_id}")
    for name, (address, expected) in code_hashes.items():
        code = await chain.get_code(address)
        if not code:
            raise ChainFaulted(
                f"{name} must stand at 0x{address.hex()}, found no code: the chain was started anew; "
                "deploy again or start it from its saved state"
            )
        if expected is not None and keccak(code) != expected:
            raise ChainFaulted(f"{name} at 0x{address.hex()} has other code than the manifest names")


# -------------------------------------------------------------------- shapes


def _block_tag(number: int | None) -> str:
    return "latest" if number is None else hex(number)


def _request_id(found: object, default: int) -> int:
    """Return the id of an answer; an error to an unreadable request has none and can only mean the first."""
    if found is None:
        return default
    if not isinstance(found, int):
        raise ChainFaulted(f"an answer's id must be an integer, found {found!r}")
    return found


def _mapping(found: object, what: str) -> Mapping[str, object]:
    if not isinstance(found, dict):
        raise ChainFaulted(f"{what} must be an object, found {type(found).__name__}")
    return found


def _sequence(found: object, what: str) -> Sequence[object]:
    if not isinstance(found, list):
        raise ChainFaulted(f"{what} must be a list, found {type(found).__name__}")
    return found


def _integer(found: object, what: str) -> int:
    if not isinstance(found, str) or not found.startswith("0x") or len(found) > 66:
        raise ChainFaulted(f"{what} must be a hexadecimal quantity, found {str(found)[:80]!r}")
    try:
        return int(found, 16)
    except ValueError as error:
        raise ChainFaulted(f"{what} must be a hexadecimal quantity, found {found!r}") from error


def _bytes(found: object, what: str) -> bytes:
    if not isinstance(found, str) or not found.startswith("0x"):
        raise ChainFaulted(f"{what} must be hexadecimal bytes, found {str(found)[:80]!r}")
    try:
        return bytes.fromhex(found[2:])
    except ValueError as error:
        raise ChainFaulted(f"{what} must be hexadecimal bytes, found {found[:80]!r}") from error


def _sized(found: object, n_bytes: int, what: str) -> bytes:
    raw = _bytes(found, what)
    if len(raw) != n_bytes:
        raise ChainFaulted(f"{what} must have {n_bytes} bytes, found {len(raw)}")
    return raw


def _log(found: object) -> ChainLog:
    log = _mapping(found, "log")
    if log.get("removed") is True:
        raise ChainUnavailable("a log was removed by a reorganisation while it was read")
    return ChainLog(
        address=_sized(log.get("address"), _N_ADDRESS_BYTES, "log address"),
        topics=tuple(_sized(topic, _N_WORD_BYTES, "topic") for topic in _sequence(log.get("topics"), "topics")),
        payload=_bytes(log.get("data"), "log data"),
        block=_integer(log.get("blockNumber"), "block number"),
        block_hash=_sized(log.get("blockHash"), _N_WORD_BYTES, "block hash"),
        transaction=_sized(log.get("transactionHash"), _N_WORD_BYTES, "transaction hash"),
        log_index=_integer(log.get("logIndex"), "log index"),
    )


def _returned(answer: object) -> bytes:
    if not isinstance(answer, _RpcError):
        return _bytes(answer, "call result")
    if _is_revert(answer):
        raise CallReverted(_revert_reason(answer))
    raise ChainUnavailable(f"eth_call failed: {answer}")


def _is_revert(error: _RpcError) -> bool:
    return error.code == 3 or "revert" in error.message.lower()


def _revert_reason(error: _RpcError) -> str:
    """Return the string of Error(string), or what the node's message adds after "execution reverted"."""
    if isinstance(error.extra, str) and error.extra.startswith("0x"):
        raw = _bytes(error.extra, "revert data")
        if raw[:4] == _ERROR_SELECTOR and len(raw) >= 68:
            length = int.from_bytes(raw[36:68], "big")
            return raw[68 : 68 + length].decode("utf-8", "replace")
    _, _, reason = error.message.partition("reverted")
    return reason.strip(" :")
