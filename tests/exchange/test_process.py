"""The exchange as a process when chain and engine part ways: it stops, says why, and keeps the journal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import httpx

from afterbell.adapters.file_journal import read_journal
from afterbell.domain.batch import BatchHeader, Payload, encode
from afterbell.domain.commands import PlaceOrder
from tests.crash.exchange_process import ExchangeProcess, Ledger, Trader
from tests.support.venue import Venue, open_venue, serve_publishers


def test_exchange__another_sequencer_settles_a_batch__stops_loudly_and_keeps_every_order(tmp_path: Path) -> None:
    with open_venue(tmp_path / "venue") as venue:
        asyncio.run(asyncio.wait_for(_run(venue), 150))


async def _run(venue: Venue) -> None:
    data_dir = venue.make_data_dir()
    ledger = Ledger()
    with serve_publishers(venue, data_dir) as publishers:
        exchange = ExchangeProcess(venue, data_dir, publishers)
        try:
            url = await exchange.wait_for_address()
            assert url is not None, exchange.read_output()
            trader = Trader(url, venue.manifest, ledger)
            await trader.wait_until_ready()
            await trader.trade()
            # Stopped for a moment: whoever settles first must not depend on the machine's load.
            exchange.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(_settle_as_rival, venue)
            exchange.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(httpx.HTTPError):
                while exchange.process.poll() is None:
                    await trader.trade()
            await trader.close()

            assert await exchange.wait_for_end() == 1
        finally:
            exchange.kill()
    output = exchange.read_output()
    assert "exchange: stopped: SettlementFaulted: " in output
    assert "another sequencer runs" in output or "results diverged" in output
    journal = read_journal(
        data_dir / "journal.log",
        chain_id=venue.manifest.chain_id,
        clearinghouse=venue.manifest.get_address("clearinghouse"),
    )
    journalled = {"0x" + frame.command.order_id.hex() for frame in journal if isinstance(frame.command, PlaceOrder)}
    assert set(ledger.accepted) <= journalled
    assert ledger.accepted


def _settle_as_rival(venue: Venue) -> None:
    """Settle an empty batch ahead of the exchange."""
    sequence, last_matched_s, head = venue.read_batch()
    block = venue.anvil.call("eth_getBlockByNumber", "latest", False)
    assert isinstance(block, dict)
    # A step may have moved the chain's clock and not matched anything at the new time yet.
    matched_at_s = max(last_matched_s, int(block["timestamp"], 16))
    payload = encode(Payload(header=BatchHeader(sequence=sequence + 1, matched_at_s=matched_at_s)))
    venue.settle_as_rival(head, payload, matched_at_s)
