"""Ask an Ethereum node over JSON-RPC and believe no answer before its shape is checked.

A small client of its own: the auditor shares no code with the services it audits. Reads only. Must not: retry for ever,
or turn a wrong answer into an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from afterbell.domain.errors import Unavailable

N_CALLS_PER_REQUEST: Final = 200
N_ATTEMPTS: Final = 3
TIMEOUT_S: Final = 30


class RpcFailed(Unavailable):
    """The node did not answer, or answered something that is not an answer."""

    def __init__(self, url: str, required: str, found: str) -> None:
        super().__init__(f"{url}: required {required}; found {found}; check the address and that the node is running")
        self.required = required
        self.found = found


class RpcRefused(RpcFailed):
    """The node answered a call with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One event log as the node returned it, in chain order (block, index)."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    index: int
    transaction: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What a transaction called: `to` is empty for a creation."""

    to: bytes
    input: bytes
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockHeader:
    """What the auditor needs of a block."""

    hash: bytes
    time_s: int


def hex_quantity(number: int) -> str:
    """Return the JSON-RPC spelling of a number."""
    return hex(number)


class RpcClient:
    """A checked JSON-RPC client."""

    def __init__(self, url: str, *, timeout_s: int = TIMEOUT_S) -> None:
        self.url = url
        try:
            self._parsed_url = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise RpcFailed(url, "an http or https address", str(error)) from error
        if self._parsed_url.scheme not in ("http", "https"):
            raise RpcFailed(url, "an http or https address", f"scheme {self._parsed_url.scheme!r}")
        # A proxy of the environment must not be asked for a loopback address.
        is_loopback = self._parsed_url.host in ("localhost", "127.0.0.1", "::1")
        self._http = httpx.Client(timeout=timeout_s, trust_env=not is_loopback)

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, *params: object) -> object:
        """Return the result of one call. Raises: RpcFailed."""
        return self.call_many([(method, params)])[0]

    def call_many(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[object]:
        """Return the results of many calls, in order. Raises: RpcFailed if any has no result."""
        results: list[object] = []
        for start in range(0, len(calls), N_CALLS_PER_REQUEST):
            results += self._call_some(calls[start : start + N_CALLS_PER_REQUEST])
        return results

    def _call_some(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[object]:
        request = [
            {"jsonrpc": "2.0", "id": position, "method": method, "params": list(params)}
            for position, (method, params) in enumerate(calls)
        ]
        answers = self._post(request if len(request) > 1 else request[0])
        if len(request) == 1:
            answers = [answers]
        if not isinstance(answers, list):
            raise RpcFailed(self.url, f"a list of {len(request)} answers", _shorten(answers))
        by_id: dict[object, dict[str, Any]] = {}
        for answer in answers:
            if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0" or not isinstance(answer.get("id"), int):
                raise RpcFailed(self.url, "JSON-RPC 2.0 answers with ids", _shorten(answer))
            by_id[answer["id"]] = answer
        if len(answers) != len(request) or by_id.keys() != set(range(len(request))):
            raise RpcFailed(
                self.url,
                f"one answer to each of {len(request)} calls",
                f"answers to ids {sorted(map(str, by_id))[:10]}",
            )
        results: list[object] = []
        for position, (method, _) in enumerate(calls):
            answer = by_id[position]
            if "error" in answer:
                raise RpcRefused(self.url, f"a result of {method}", f"error {_shorten(answer['error'])}")
            if "result" not in answer:
                raise RpcFailed(self.url, f"a result of {method}", _shorten(answer))
            results.append(answer["result"])
        return results

    def _post(self, body: object) -> object:
        failure = ""
        for _ in range(N_ATTEMPTS):
            try:
                response = self._http.post(self._parsed_url, json=body)
            except httpx.HTTPError as error:
                failure = f"{type(error).__name__}: {error}"
                continue
            if response.status_code != httpx.codes.OK:
                failure = f"HTTP status {response.status_code}"
                continue
            try:
                answer: object = json.loads(response.content)
            except ValueError:
                failure = f"{len(response.content)} bytes that are not JSON"
                continue
            return answer
        raise RpcFailed(self.url, "a JSON-RPC answer", f"{failure} ({N_ATTEMPTS} attempts)")

    # Typed questions. Every one checks the shape of what it returns.

    def chain_id(self) -> int:
        """Return the chain id."""
        return self._quantity("eth_chainId", self.call("eth_chainId"))

    def block_number(self) -> int:
        """Return the number of the latest block."""
        return self._quantity("eth_blockNumber", self.call("eth_blockNumber"))

    def blocks(self, numbers: Sequence[int]) -> list[BlockHeader]:
        """Return headers by number. Raises: RpcFailed if the node lacks one."""
        answers = self.call_many([("eth_getBlockByNumber", (hex_quantity(number), False)) for number in numbers])
        headers = []
        for number, answer in zip(numbers, answers, strict=True):
            if not isinstance(answer, dict) or self._quantity("block number", answer.get("number")) != number:
                raise RpcFailed(self.url, f"block {number}", _shorten(answer))
            headers.append(
                BlockHeader(
                    hash=self._bytes("block hash", answer.get("hash"), 32),
                    time_s=self._quantity("block timestamp", answer.get("timestamp")),
                )
            )
        return headers

    def code(self, address: bytes, block: int) -> bytes:
        """Return the code at an address."""
        return self._bytes("eth_getCode", self.call("eth_getCode", _hex(address), hex_quantity(block)))

    def call_words(self, calls: Sequence[tuple[bytes, bytes]], block: int) -> list[bytes]:
        """Return what (address, calldata) view calls return at a block. Raises: RpcFailed if one reverts."""
        answers = self.call_many(
            [("eth_call", ({"to": _hex(to), "data": _hex(data)}, hex_quantity(block))) for to, data in calls]
        )
        return [self._bytes("eth_call", answer) for answer in answers]

    def logs(self, addresses: Sequence[bytes], topics: Sequence[object], first: int, last: int) -> list[Log]:
        """Return logs of blocks first..last, ascending; asks for smaller ranges when a node refuses a large one."""
        query: dict[str, object] = {
            "address": [_hex(address) for address in addresses],
            "fromBlock": hex_quantity(first),
            "toBlock": hex_quantity(last),
        }
        if topics:
            query["topics"] = list(topics)
        try:
            answer = self.call("eth_getLogs", query)
        except RpcRefused:
            if first == last:
                raise
            middle = (first + last) // 2
            return self.logs(addresses, topics, first, middle) + self.logs(addresses, topics, middle + 1, last)
        if not isinstance(answer, list):
            raise RpcFailed(self.url, "a list of logs", _shorten(answer))
        logs = [self._log(entry) for entry in answer]
        for log in logs:
            if log.address not in addresses or not first <= log.block <= last:
                raise RpcFailed(
                    self.url,
                    f"logs of the addresses and blocks {first}..{last} asked for",
                    f"a log of {_hex(log.address)} in block {log.block}",
                )
        return sorted(logs, key=lambda log: (log.block, log.index))

    def transactions(self, hashes: Sequence[bytes]) -> list[Transaction | None]:
        """Return transactions by hash; None where the node says it has none."""
        answers = self.call_many([("eth_getTransactionByHash", (_hex(digest),)) for digest in hashes])
        found: list[Transaction | None] = []
        for digest, answer in zip(hashes, answers, strict=True):
            if answer is None:
                found.append(None)
                continue
            if not isinstance(answer, dict) or self._bytes("transaction hash", answer.get("hash"), 32) != digest:
                raise RpcFailed(self.url, f"transaction {_hex(digest)}", _shorten(answer))
            to = answer.get("to")
            found.append(
                Transaction(
                    to=b"" if to is None else self._bytes("transaction to", to, 20),
                    input=self._bytes("transaction input", answer.get("input")),
                    block=self._quantity("transaction blockNumber", answer.get("blockNumber")),
                )
            )
        return found

    def _log(self, entry: object) -> Log:
        if not isinstance(entry, dict) or not isinstance(entry.get("topics"), list):
            raise RpcFailed(self.url, "a log with topics", _shorten(entry))
        if entry.get("removed"):
            raise RpcFailed(
                self.url, "logs of the canonical chain", "a log marked removed: the chain is reorganising, run again"
            )
        return Log(
            address=self._bytes("log address", entry.get("address"), 20),
            topics=tuple(self._bytes("log topic", topic, 32) for topic in entry["topics"]),
            data=self._bytes("log data", entry.get("data")),
            block=self._quantity("log blockNumber", entry.get("blockNumber")),
            index=self._quantity("log logIndex", entry.get("logIndex")),
            transaction=self._bytes("log transactionHash", entry.get("transactionHash"), 32),
        )

    def _quantity(self, what: str, answer: object) -> int:
        if isinstance(answer, str) and answer.startswith("0x"):
            try:
                return int(answer, 16)
            except ValueError:
                pass
        raise RpcFailed(self.url, f"{what} as a 0x number", _shorten(answer))

    def _bytes(self, what: str, answer: object, n_bytes: int | None = None) -> bytes:
        if isinstance(answer, str) and answer.startswith("0x"):
            try:
                content = bytes.fromhex(answer[2:])
            except ValueError:
                content = None
            if content is not None and n_bytes in (None, len(content)):
                return content
        size = "0x bytes" if n_bytes is None else f"{n_bytes} 0x bytes"
        raise RpcFailed(self.url, f"{what} as {size}", _shorten(answer))


def _hex(content: bytes) -> str:
    return "0x" + content.hex()


def _shorten(answer: object) -> str:
    text = json.dumps(answer, default=str)
    return text if len(text) <= 160 else text[:157] + "..."
