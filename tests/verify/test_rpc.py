"""The checked JSON-RPC client: every wrong answer is an error that says what was required and found."""

from __future__ import annotations

import json

import pytest

from afterbell.verify.rpc import RpcClient, RpcFailed
from tests.verify.json_rpc_proxy import serve_json_rpc

WORD = "0x" + "11" * 32


def answer_with(result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 0, "result": result}).encode()


def test_chain_id__a_hex_quantity__is_a_number() -> None:
    with serve_json_rpc(lambda _: answer_with("0x7a69")) as url, RpcClient(url) as client:
        assert client.chain_id() == 31337


@pytest.mark.parametrize("result", [None, 31337, "31337", "0xzz", [], {}])
def test_chain_id__anything_else__is_refused(result: object) -> None:
    with (
        serve_json_rpc(lambda _: answer_with(result)) as url,
        RpcClient(url) as client,
        pytest.raises(RpcFailed, match="required eth_chainId"),
    ):
        client.chain_id()


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"jsonrpc": "2.0", "id": 1, "result": "0x1"}',
        b'{"jsonrpc": "2.0", "id": 0}',
        b'{"jsonrpc": "2.0", "id": 0, "error": {"code": -32601, "message": "method not found"}}',
        b'{"jsonrpc": "1.0", "id": 0, "result": "0x1"}',
    ],
)
def test_call__an_answer_that_is_none__is_refused(body: bytes) -> None:
    with serve_json_rpc(lambda _: body) as url, RpcClient(url) as client, pytest.raises(RpcFailed):
        client.block_number()


def test_call_many__one_answer_missing__is_refused() -> None:
    def answer(_: bytes) -> bytes:
        return b'[{"jsonrpc": "2.0", "id": 1, "result": "0x1"}]'

    with (
        serve_json_rpc(answer) as url,
        RpcClient(url) as client,
        pytest.raises(RpcFailed, match="one answer to each of 2 calls"),
    ):
        client.call_many([("eth_blockNumber", ()), ("eth_chainId", ())])


def test_call_many__answers_out_of_order__are_put_in_order() -> None:
    def answer(_: bytes) -> bytes:
        return b'[{"jsonrpc": "2.0", "id": 1, "result": "0xb"}, {"jsonrpc": "2.0", "id": 0, "result": "0xa"}]'

    with serve_json_rpc(answer) as url, RpcClient(url) as client:
        assert client.call_many([("eth_blockNumber", ()), ("eth_chainId", ())]) == ["0xa", "0xb"]


def test_call__nobody_listens__names_address_and_action() -> None:
    message = r"127\.0\.0\.1:9: .*ConnectError.*check the address and that the node is running"
    with RpcClient("http://127.0.0.1:9") as client, pytest.raises(RpcFailed, match=message):
        client.chain_id()


@pytest.mark.parametrize("url", ["localhost:8545", "ws://127.0.0.1:8545", "", "http://[::1"])
def test_client__an_address_of_another_kind__is_refused(url: str) -> None:
    with pytest.raises(RpcFailed, match="required an http or https address"):
        RpcClient(url)


def build_log(**changes: object) -> dict[str, object]:
    log: dict[str, object] = {
        "address": "0x" + "aa" * 20,
        "topics": [WORD],
        "data": "0x",
        "blockNumber": "0x5",
        "logIndex": "0x0",
        "transactionHash": WORD,
        "removed": False,
    }
    return log | changes


def test_logs__of_another_address__are_refused() -> None:
    with (
        serve_json_rpc(lambda _: answer_with([build_log(address="0x" + "bb" * 20)])) as url,
        RpcClient(url) as client,
        pytest.raises(RpcFailed, match="logs of the addresses and blocks"),
    ):
        client.logs([b"\xaa" * 20], [], 5, 5)


def test_logs__of_another_block__are_refused() -> None:
    with (
        serve_json_rpc(lambda _: answer_with([build_log(blockNumber="0x6")])) as url,
        RpcClient(url) as client,
        pytest.raises(RpcFailed, match="in block 6"),
    ):
        client.logs([b"\xaa" * 20], [], 5, 5)


def test_logs__removed_by_a_reorg__are_refused() -> None:
    with (
        serve_json_rpc(lambda _: answer_with([build_log(removed=True)])) as url,
        RpcClient(url) as client,
        pytest.raises(RpcFailed, match="reorganising"),
    ):
        client.logs([b"\xaa" * 20], [], 5, 5)


def test_logs__a_node_that_refuses_large_ranges__is_asked_for_smaller_ones() -> None:
    asked: list[tuple[int, int]] = []

    def answer(body: bytes) -> bytes:
        query = json.loads(body)["params"][0]
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first > 1:
            return b'{"jsonrpc": "2.0", "id": 0, "error": {"code": -32005, "message": "range too large"}}'
        asked.append((first, last))
        return answer_with([build_log(blockNumber=hex(first), logIndex="0x1"), build_log(blockNumber=hex(first))])

    with serve_json_rpc(answer) as url, RpcClient(url) as client:
        logs = client.logs([b"\xaa" * 20], [], 1, 4)

    assert asked == [(1, 2), (3, 4)]
    assert [(log.block, log.index) for log in logs] == [(1, 0), (1, 1), (3, 0), (3, 1)]


def test_transactions__the_node_has_none__is_none() -> None:
    with serve_json_rpc(lambda _: answer_with(None)) as url, RpcClient(url) as client:
        assert client.transactions([b"\x11" * 32]) == [None]


def test_transactions__another_hash__is_refused() -> None:
    entry = {"hash": "0x" + "22" * 32, "to": None, "input": "0x", "blockNumber": "0x1"}
    with (
        serve_json_rpc(lambda _: answer_with(entry)) as url,
        RpcClient(url) as client,
        pytest.raises(RpcFailed, match="transaction 0x1111"),
    ):
        client.transactions([b"\x11" * 32])
