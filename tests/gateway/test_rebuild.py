"""The read model and the stream's memory are views of the journal: thrown away and replayed, they say the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from afterbell.adapters.file_journal import FileJournal
from afterbell.engine.state import EngineConfig, EngineState
from afterbell.gateway.stream import StreamHub
from afterbell.gateway.stream_client import StreamClient
from afterbell.readmodel.database import open_database, sqlite_dsn
from afterbell.readmodel.projector import Projector
from afterbell.sequencer.recovery import replay
from tests.gateway.venue import ADDRESSES, CHAIN_ID, CLEARINGHOUSE, GENESIS_S, USDC, Venue, open_venue
from tests.readmodel.test_projector import dump

CHANNELS = ("book:AAPL", "trades:AAPL", "batches")


async def live(venue: Venue) -> None:
    """Trade, cancel, withdraw, be refused; two batches mined, one only sealed."""
    maker, taker = await venue.participant(1), await venue.participant(2, 1_000 * USDC)
    for lane in range(6):
        order = maker.order(is_buy=lane < 2, limit_ticks=9_900 + 40 * lane, lane=lane, size_lots=2_000)
        await venue.post("/v1/orders", maker.order_body(order))
    await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True, size_lots=5_000, limit_ticks=10_050)))
    await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True, size_lots=9_000_000)))
    await venue.mine(await venue.seal())
    await venue.post("/v1/withdrawals", taker.withdraw_body(10 * USDC))
    await venue.mine(await venue.seal())
    await venue.post("/v1/orders/cancel-all", maker.cancel_all_body())
    await venue.adopt_prices(10_050, 10_050)
    await venue.post("/v1/orders", maker.order_body(maker.order(is_buy=False, limit_ticks=10_060, lane=7)))
    await venue.post("/v1/orders", taker.order_body(taker.order(is_buy=True, limit_ticks=10_060, size_lots=3_000)))
    await venue.seal()
    await venue.projector.wait_for(venue.hub.last_sequence)


async def read_snapshots(hub: StreamHub) -> list[Any]:
    client = StreamClient(100)
    for channel in CHANNELS:
        hub.subscribe(client, channel)
    return [await client.take() for _ in CHANNELS]


def test_journal_replayed__into_empty_views__same_rows_and_same_snapshots(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    async def scenario() -> tuple[list[Any], list[Any]]:
        async with open_venue(first) as venue:
            await live(venue)
            database = open_database(sqlite_dsn(first / "readmodel.sqlite"))
            before = dump(database)
            database.dispose()
            snapshots = await read_snapshots(venue.hub)
            clock, status = venue.services.clock, venue.services.clock_status
        hub = StreamHub(clock=clock, clock_status=status)
        rows = rebuild(first / "journal.log", second / "readmodel.sqlite", hub)
        # What only the chain knows (a batch being on its way) is told again by the settler, not by the journal.
        assert rows == before
        return snapshots, await read_snapshots(hub)

    snapshots, rebuilt = asyncio.run(scenario())

    assert rebuilt == snapshots and all(snapshots)


def rebuild(journal_path: Path, database_path: Path, hub: StreamHub) -> dict[str, Any]:
    """Replay a journal into a fresh engine, a fresh read model and a fresh hub; return the rows."""
    config = EngineConfig(
        chain_id=CHAIN_ID,
        clearinghouse=CLEARINGHOUSE,
        vault=ADDRESSES["vault"],
        token=ADDRESSES["token"],
        genesis_s=GENESIS_S,
    )
    journal = FileJournal(journal_path, chain_id=CHAIN_ID, clearinghouse=CLEARINGHOUSE)
    database = open_database(sqlite_dsn(database_path))
    state = EngineState(config)
    hub.attach_state(lambda: state)
    frames = []
    for frame, events in replay(journal, state):
        hub.publish(frame, events)
        frames.append((frame, events))
    Projector(database).catch_up(frames)
    rows = dump(database)
    journal.close()
    database.dispose()
    return rows
