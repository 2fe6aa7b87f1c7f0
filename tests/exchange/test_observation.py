"""What the real exchange tells operators, and what it asks the chain for a contract wallet."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx

from afterbell.domain.ids import account_hex, address_hex, build_nonce
from afterbell.domain.order import Withdraw
from afterbell.signing.typed_data import digest, exchange_domain
from tests.crash.exchange_process import EXPIRY_S, ExchangeProcess, Ledger, Trader
from tests.support.venue import MAKER, Venue, build_call, open_venue, serve_publishers

GAUGES = (
    *("open_orders", "commands_waiting", "journal_sequence", "unsettled_batches", "oldest_unsettled_fill_seconds"),
    *("indexer_head_block", "indexer_lag_blocks", "readmodel_lag_frames", "stream_clients", "stream_dropped"),
    "relayed_under_way",
)


def test_exchange__running_and_trading__every_part_ready_and_every_gauge_told(tmp_path: Path) -> None:
    with open_venue(tmp_path / "venue") as venue:
        ready, metrics, answers, log = asyncio.run(asyncio.wait_for(_run(venue), 240))

    assert ready["is_ready"] is True
    assert {part["name"]: (part["ready"], part["reason"]) for part in ready["parts"]} == dict.fromkeys(
        ("started", "sequencer", "chain", "settlement", "readmodel", "prices"), (True, "")
    )
    told = dict(re.findall(r"^afterbell_(\w+) (\S+)$", metrics, re.MULTILINE))
    assert set(GAUGES) <= set(told)
    assert float(told["open_orders"]) >= 1 and float(told["indexer_head_block"]) > 0
    assert float(told["journal_sync_seconds_count"]) > 0
    assert 'afterbell_batches_by_status{status="sealed"}' in metrics
    assert 'afterbell_orders_total{outcome="accepted",reason=""}' in metrics
    before, after = answers
    assert (before.status_code, before.json()["error"]["code"]) == (422, "NOT_APPROVED")
    assert (after.status_code, after.json()["status"]) == (200, "accepted"), after.text
    assert '"event": "request.answered"' in log and '"order_ids": ["0x' in log


async def _run(venue: Venue) -> tuple[Any, str, tuple[httpx.Response, httpx.Response], str]:
    data_dir = venue.make_data_dir()
    with serve_publishers(venue, data_dir) as publishers:
        exchange = ExchangeProcess(venue, data_dir, publishers)
        try:
            url = await exchange.wait_for_address()
            assert url is not None, exchange.read_output()
            trader = Trader(url, venue.manifest, Ledger())
            await trader.wait_until_ready()
            await trader.trade()
            await trader.close()
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
                ready = (await client.get("/readyz")).json()
                answers = await _withdraw_by_approval(venue, client)
                metrics = (await client.get("/metrics")).text
        finally:
            exchange.kill()
    return ready, metrics, answers, (data_dir / "logs" / "exchange.log").read_text()


async def _withdraw_by_approval(venue: Venue, client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
    """Ask for a withdrawal without a signature, before and after its digest is approved on chain."""
    manifest = venue.manifest
    clock = (await client.get("/v1/clock")).json()
    message = Withdraw(
        owner=MAKER.key.address,
        quote=1_000_000,
        recipient=MAKER.key.address,
        expiry_s=EXPIRY_S,
        seq=clock["venue_time_ms"] - manifest.genesis_s * 1_000,
    )
    body = {
        "withdrawal": {
            "account": account_hex(MAKER.account),
            "quote": "1000000",
            "recipient": address_hex(MAKER.key.address),
            "expiry_s": message.expiry_s,
            "nonce": str(build_nonce(65_535, message.seq)),
        },
        "approved": True,
    }
    before = await client.post("/v1/withdrawals", json=body)
    separator = exchange_domain(manifest.chain_id, manifest.get_address("clearinghouse")).separator()
    approval = build_call("approve(bytes32)", int.from_bytes(digest(message, separator), "big"))
    sender = address_hex(MAKER.key.address)
    await asyncio.to_thread(venue.anvil.call, "anvil_impersonateAccount", sender)
    await asyncio.to_thread(venue.transact, MAKER, manifest.get_address("operations"), approval)
    after = await client.post("/v1/withdrawals", json=body)
    return before, after
