"""A rotated sequencer: the process of the old key stops, the one of the standby settles what the journal holds."""

from __future__ import annotations

import asyncio

import pytest
from eth_account import Account

from afterbell.adapters.deployment import KeySender, connect
from afterbell.adapters.governance import Governance
from afterbell.adapters.keys import read_key
from afterbell.adapters.vyper_compiler import compile_contracts
from afterbell.settlement.settler import SettlementFaulted
from afterbell.signing.keys import SigningKey
from tests.settlement.core_venue import run_core
from tests.support.venue import ACTORS, MAKER, TAKER, Venue

SIZE_LOTS = 10_000
TIMEOUT_S = 90


def rotate_to_standby(venue: Venue) -> None:
    """Rotate as the guardian of the deployment does."""
    keys = venue.root / "template" / "keys"
    web3 = connect(venue.anvil.url)
    guardian = KeySender(web3, Account.from_key(read_key(keys / "guardian.key")))
    standby = SigningKey(read_key(keys / "standby.key")).address
    Governance(web3, venue.manifest, compile_contracts()).rotate_sequencer(guardian, standby)


def test_sequencer__rotated_while_it_trades__stops_and_the_standby_settles_its_last_fill(venue: Venue) -> None:
    data_dir = venue.make_data_dir()

    async def trade_until_rotated() -> None:
        async with run_core(venue, data_dir) as live:
            await live.wait_for_deposits(len(ACTORS))
            await live.adopt_prices(live.start_s)
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()
            await asyncio.to_thread(rotate_to_standby, venue)
            # Acknowledged to both sides under a key the chain no longer takes batches from.
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()

    async def go_on() -> None:
        async with run_core(venue, data_dir) as live:
            await live.core.settler.wait_until_settled()
            assert venue.read_batch()[0] == 2
            await live.trade(MAKER, TAKER, size_lots=SIZE_LOTS)
            await live.seal_and_settle()

            assert venue.read_batch()[0] == 3
            assert await live.core.reconciler.check_all() > 10

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(asyncio.wait_for(trade_until_rotated(), TIMEOUT_S))
    assert raised.group_contains(SettlementFaulted, match="batch 2 reverted on chain: batch: not sequencer")
    assert venue.read_batch()[0] == 1

    (data_dir / "keys" / "standby.key").replace(data_dir / "keys" / "sequencer.key")
    asyncio.run(asyncio.wait_for(go_on(), TIMEOUT_S))
