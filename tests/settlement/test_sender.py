"""The nonce actor against a real node behind a proxy that fails on purpose: every transaction lands exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from afterbell.adapters.web3_chain import ChainFaulted, Web3Chain, must_match_deployment
from afterbell.domain.errors import Faulted
from afterbell.ports import ChainUnavailable
from afterbell.settlement.sender import NonceConsumed, TransactionSender
from tests.settlement.fault_proxy import FaultProxy, Rule, serve_fault_proxy
from tests.settlement.local_node import CHAIN_ID, FUNDED_KEY, run_bare_anvil

TARGET = bytes.fromhex("00000000000000000000000000000000000000aa")
GAS = 60_000


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with run_bare_anvil() as url:
        yield url


def _run(node: str, scenario: Callable[[FaultProxy, Web3Chain, TransactionSender], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serve_fault_proxy(node) as proxy:
            chain = Web3Chain(proxy.url, timeout_ms=1_000)
            sender = TransactionSender(chain=chain, private_key=FUNDED_KEY, chain_id=CHAIN_ID, receipt_timeout_ms=400)
            try:
                await scenario(proxy, chain, sender)
            finally:
                await chain.close()

    asyncio.run(asyncio.wait_for(main(), 60))


async def _anvil(node_url: str, method: str, *params: object) -> None:
    chain = Web3Chain(node_url)
    await chain._one(method, list(params))
    await chain.close()


@pytest.mark.parametrize("fault", ["lose_request", "lose_response", "status_429", "status_500", "not_json", "hang"])
def test_sender__node_fails_while_a_transaction_is_handed_in__lands_once(node: str, fault: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        before = await chain.count_transactions(sender.address, pending=False)
        proxy.add(Rule(method="eth_sendRawTransaction", fault=fault))  # type: ignore[arg-type]

        receipt = await sender.land(await sender.launch(to=TARGET, calldata=b"\x01", gas=GAS))

        assert receipt.is_success
        assert await chain.count_transactions(sender.address, pending=False) == before + 1

    _run(node, scenario)


@pytest.mark.parametrize("fault", ["lose_response", "status_500", "hang"])
def test_sender__node_fails_while_a_receipt_is_asked__returns_it_later(node: str, fault: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        proxy.add(Rule(method="eth_getTransactionReceipt", fault=fault))  # type: ignore[arg-type]

        receipt = await sender.land(await sender.launch(to=TARGET, calldata=b"\x02", gas=GAS))

        assert receipt.is_success

    _run(node, scenario)


def test_sender__node_says_underpriced__replaces_with_the_same_nonce(node: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        before = await chain.count_transactions(sender.address, pending=False)
        proxy.add(
            Rule(method="eth_sendRawTransaction", fault="error", error_message="replacement transaction underpriced")
        )

        flight = await sender.launch(to=TARGET, calldata=b"\x03", gas=GAS)
        await sender.land(flight)

        assert flight.nonce == before
        assert len(flight.hashes) == 2
        assert await chain.count_transactions(sender.address, pending=False) == before + 1

    _run(node, scenario)


def test_sender__pool_forgets_the_transaction__hands_it_in_again(node: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        await _anvil(node, "evm_setAutomine", False)
        flight = await sender.launch(to=TARGET, calldata=b"\x04", gas=GAS)
        await _anvil(node, "anvil_dropAllTransactions")
        await _anvil(node, "evm_setAutomine", True)

        receipt = await sender.land(flight)

        assert receipt.is_success
        assert await chain.count_transactions(sender.address, pending=False) == flight.nonce + 1

    _run(node, scenario)


def test_sender__transaction_is_stuck__one_of_its_versions_lands(node: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        await _anvil(node, "evm_setAutomine", False)
        flight = await sender.launch(to=TARGET, calldata=b"\x05", gas=GAS)
        landing = asyncio.ensure_future(sender.land(flight))
        while len(flight.hashes) < 2:  # noqa: ASYNC110  # the sender tells nobody when it replaces
            await asyncio.sleep(0.02)
        await _anvil(node, "evm_mine")
        await _anvil(node, "evm_setAutomine", True)

        receipt = await landing

        assert receipt.transaction in flight.hashes
        assert await chain.count_transactions(sender.address, pending=False) == flight.nonce + 1

    _run(node, scenario)


def test_sender__another_writer_takes_the_nonce__says_so(node: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        await sender.reconcile_nonce()
        intruder = TransactionSender(chain=chain, private_key=FUNDED_KEY, chain_id=CHAIN_ID)
        await intruder.land(await intruder.launch(to=TARGET, calldata=b"\x06", gas=GAS))

        with pytest.raises(NonceConsumed):
            await sender.launch(to=TARGET, calldata=b"\x07", gas=GAS)

        receipt = await sender.land(await sender.launch(to=TARGET, calldata=b"\x07", gas=GAS))
        assert receipt.is_success

    _run(node, scenario)


def test_sender__node_refuses_for_lack_of_funds__faults_and_names_the_key(node: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        poor = TransactionSender(chain=chain, private_key=bytes(31) + b"\x01", chain_id=CHAIN_ID)

        with pytest.raises(Faulted, match=poor.address.hex()):
            await poor.launch(to=TARGET, calldata=b"", gas=GAS)

    _run(node, scenario)


def test_chain__wrong_chain_id__refuses_the_node(node: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        with pytest.raises(ChainFaulted, match=r"chain 1, the node is chain 31337"):
            await must_match_deployment(chain, chain_id=1, code_hashes={})

    _run(node, scenario)


def test_chain__no_code_at_an_address__refuses_the_node(node: str) -> None:
    async def scenario(proxy: FaultProxy, chain: Web3Chain, sender: TransactionSender) -> None:
        with pytest.raises(ChainFaulted, match=r"Clearinghouse must stand at 0x0+aa, found no code"):
            await must_match_deployment(chain, chain_id=CHAIN_ID, code_hashes={"Clearinghouse": (TARGET, None)})

    _run(node, scenario)


def test_chain__node_is_gone__is_unavailable() -> None:
    async def main() -> None:
        chain = Web3Chain("http://127.0.0.1:9", timeout_ms=300)
        with pytest.raises(ChainUnavailable):
            await chain.get_block()
        await chain.close()

    asyncio.run(main())
