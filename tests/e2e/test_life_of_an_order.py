"""The life of an order, hop by hop, in the real venue: read it top to bottom, it is the path of offchain/README.md.

Real parts only: anvil, the deployed contracts, publishers with their own keys, the `afterbell exchange` process, the
public SDK. The test looks into every stage from outside: journal file, calldata, event, storage word, read model.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data

from afterbell import Client
from afterbell.adapters.file_journal import read_journal
from afterbell.domain.batch import Payload, decode
from afterbell.domain.codes import StatusCode
from afterbell.domain.commands import ConfirmBatch, PlaceOrder, SealBatch
from afterbell.domain.hashing import keccak
from afterbell.domain.order import Order, TimeInForce
from afterbell.domain.words import AccountWord, PositionWord
from afterbell.signing.typed_data import digest, eth_typed_data, exchange_domain
from tests.support.venue import MAKER, TAKER, Actor, Venue, build_call, open_venue, serve_publishers

AAPL = 1
SIZE_LOTS = 20_000
"""Two shares: a lot is 1e-4 share."""
pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Deploy on a chain of its own; maker and taker have deposited through the Vault."""
    with open_venue(tmp_path_factory.mktemp("life")) as venue:
        yield venue


@contextmanager
def run_exchange(venue: Venue, data_dir: Path, publisher_urls: list[str]) -> Iterator[str]:
    """Run `afterbell exchange` as its operator would; yield the gateway's address; stop it in order."""
    arguments = ["--data-dir", data_dir, "--port", "0", "--rpc", venue.anvil.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "afterbell", "exchange", *arguments],
        env={**os.environ, "AFTERBELL_PUBLISHER_URLS": json.dumps(publisher_urls), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                break
        else:
            raise AssertionError("the exchange ended before it listened")
        yield found.group(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, "an orderly stop exits with 0"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def build_client(url: str, venue: Venue, actor: Actor) -> Client:
    return Client(url, private_key=keccak(b"test actor " + actor.name.encode()), rpc_url=venue.anvil.url)


def read_word(venue: Venue, call: bytes) -> int:
    """Ask the Clearinghouse, not us."""
    to = "0x" + venue.manifest.get_address("clearinghouse").hex()
    return int(str(venue.anvil.call("eth_call", {"to": to, "data": "0x" + call.hex()}, "latest")), 16)


def read_frames(venue: Venue, data_dir: Path, copy: Path) -> list[object]:
    """Read a copy of the journal while the exchange goes on writing: every hash of the chain is checked on the way."""
    shutil.copy(data_dir / "journal.log", copy)
    clearinghouse = venue.manifest.get_address("clearinghouse")
    frames = read_journal(copy, chain_id=venue.manifest.chain_id, clearinghouse=clearinghouse)
    return [frame.command for frame in frames]


def decode_settle(calldata: bytes) -> tuple[bytes, Payload, bytes]:
    """Return (previous head, payload, payload bytes) of `settle(bytes32,bytes)`, decoded by the ABI's rules here."""
    assert calldata[:4] == keccak(b"settle(bytes32,bytes)")[:4]
    arguments = calldata[4:]
    offset = int.from_bytes(arguments[32:64], "big")
    length = int.from_bytes(arguments[offset : offset + 32], "big")
    payload = arguments[offset + 32 : offset + 32 + length]
    return arguments[:32], decode(payload), payload


def test_order__signed_and_crossed__is_acknowledged_settled_on_chain_and_final(venue: Venue, tmp_path: Path) -> None:
    """A taker buys 2 AAPL from a maker at the maker's limit.

    Money: notional = lots x ticks; maker pays 100 ppm of it, taker 400 ppm, rounded up; nothing else moves.
    """
    data_dir = venue.make_data_dir()
    with (
        serve_publishers(venue, data_dir) as publisher_urls,
        run_exchange(venue, data_dir, publisher_urls) as url,
        build_client(url, venue, MAKER) as maker,
        build_client(url, venue, TAKER) as taker,
    ):
        # The venue has prices, signed by two of three publishers, and the deposits that the indexer saw on chain.
        market = wait_for_price(taker)
        wait_for_collateral(maker)
        wait_for_collateral(taker)
        limit_ticks = market.mark_ticks

        # 1. The SDK signs. What it signs is exactly what a wallet would show and sign (EIP-712, eth_signTypedData_v4).
        resting = maker.place("AAPL", "SELL", SIZE_LOTS, limit_ticks, post_only=True)
        assert resting.is_open and resting.remaining_lots == SIZE_LOTS
        crossing = taker.place("AAPL", "BUY", SIZE_LOTS, limit_ticks, time_in_force="IOC")
        domain = exchange_domain(venue.manifest.chain_id, venue.manifest.get_address("clearinghouse"))

        # 2. Acknowledged means: durable and matched. The frame is in the journal file, its id the digest of the order.
        assert crossing.filled_lots == SIZE_LOTS
        placed = next(
            command
            for command in read_frames(venue, data_dir, tmp_path / "acknowledged.log")
            if isinstance(command, PlaceOrder) and "0x" + command.order_id.hex() == crossing.order_id
        )
        order = Order(
            owner=TAKER.key.address,
            market_id=AAPL,
            is_buy=True,
            size_lots=SIZE_LOTS,
            limit_ticks=limit_ticks,
            max_fee_ppm=placed.max_fee_ppm,
            expiry_s=placed.expiry_s,
            lane=placed.nonce >> 40,
            seq=placed.nonce & (1 << 40) - 1,
            time_in_force=TimeInForce.IOC,
        )
        assert digest(order, domain.separator()) == placed.order_id
        assert _hash_eip191_message(encode_typed_data(full_message=eth_typed_data(order, domain))) == placed.order_id

        # 3. The fill's life: matched → submitted → mined → final, each with its place on chain.
        final = taker.wait_for_order(crossing.order_id, status="final", timeout_s=60)
        (fill,) = final.fills
        assert (fill.status, fill.role, fill.price_ticks, fill.size_lots) == ("final", "taker", limit_ticks, SIZE_LOTS)
        assert fill.transaction is not None and fill.block is not None

        # 4. The batch is on chain as calldata: our order, our signature, our fill; sealed and confirmed in the journal.
        transaction = venue.anvil.call("eth_getTransactionByHash", fill.transaction)
        assert isinstance(transaction, dict)
        previous_head, batch, payload = decode_settle(bytes.fromhex(str(transaction["input"])[2:]))
        assert batch.header.sequence == fill.sequence
        records = [(account.account_id, record) for account in batch.accounts for record in account.orders]
        pairs = [
            (records[row.maker_order][0], records[row.taker_order][0], row.size_lots)
            for row in batch.fills
            if records[row.taker_order][1].r == placed.r
        ]
        assert pairs == [(MAKER.account, TAKER.account, SIZE_LOTS)]
        commands = read_frames(venue, data_dir, tmp_path / "confirmed.log")
        confirmed = next(c for c in commands if isinstance(c, ConfirmBatch) and c.sequence == fill.sequence)
        assert any(isinstance(command, SealBatch) for command in commands)
        assert set(confirmed.codes) <= {StatusCode.OK}
        assert confirmed.head == keccak(previous_head + keccak(payload) + bytes(32))

        # 5. The contract's words: size, cash-flow ledger and untouched collateral, worked out here by hand.
        notional_quote = SIZE_LOTS * limit_ticks
        maker_fee_quote = -(-notional_quote * 100 // 1_000_000)
        taker_fee_quote = -(-notional_quote * 400 // 1_000_000)
        long, short = (
            PositionWord.unpack(read_word(venue, build_call("position_word(uint256,uint256)", actor.account, AAPL)))
            for actor in (TAKER, MAKER)
        )
        assert (long.size_lots, long.entry_quote) == (SIZE_LOTS, notional_quote + taker_fee_quote)
        assert (short.size_lots, short.entry_quote) == (-SIZE_LOTS, -notional_quote + maker_fee_quote)
        word = AccountWord.unpack(read_word(venue, build_call("account_word(uint256)", TAKER.account)))
        assert word.collateral_quote == 50_000 * 10**6

        # 6. And back to the user: the read model says what the chain says.
        (position,) = taker.positions()
        assert (position.symbol, position.size_lots, position.entry_quote) == ("AAPL", SIZE_LOTS, long.entry_quote)
        batch_row = httpx.get(f"{url}/v1/batches/{fill.sequence}").raise_for_status().json()
        assert (batch_row["status"], batch_row["transaction"]) == ("final", fill.transaction)

        # 7. Out again: a signed withdrawal travels in a batch to a claim, which anybody may have paid to its owner.
        before_quote = taker.wallet_quote()
        withdrawal = taker.withdraw("1000")
        wait_for(lambda: taker.withdrawal(withdrawal.transfer_id).status in ("mined", "claimable"), "the claim")
        taker.claim()
        assert taker.wallet_quote() == before_quote + 1_000 * 10**6


def wait_for_price(client: Client):
    wait_for(lambda: client.market("AAPL").mark_ticks > 0, "a price of AAPL")
    return client.market("AAPL")


def wait_for_collateral(client: Client) -> None:
    wait_for(lambda: client.account().collateral_quote == 50_000 * 10**6, "the deposit to be credited")


def wait_for(condition, what: str, timeout_s: int = 40) -> None:
    import time

    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
