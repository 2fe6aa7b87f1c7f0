"""An instance inside the test: the real core on a real chain, with a clock and prices the test moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from afterbell.adapters.chain_oracle import ChainOracle
from afterbell.adapters.keys import read_key
from afterbell.adapters.web3_chain import Web3Chain
from afterbell.bootstrap.core import Core
from afterbell.domain.commands import PlaceOrder, RequestWithdrawal, SealBatch
from afterbell.domain.events import Event
from afterbell.domain.evidence import SIGNED_SOURCE_ID
from afterbell.domain.ids import OPERATION_LANE, build_nonce
from afterbell.domain.oracle import SignedSource
from afterbell.domain.order import Order, TimeInForce, Withdraw
from afterbell.engine.queries import read_markets
from afterbell.keepers.collection import PriceCollector
from afterbell.keepers.publisher import Publisher, SignedRoot
from afterbell.keepers.replay import build_adopt_prices
from afterbell.settings import ExchangeSettings
from afterbell.signing.keys import recover
from afterbell.signing.typed_data import digest, exchange_domain, price_domain
from tests.support.venue import Actor, Venue

AAPL = 1
EXPIRY_S = 1_110_600_000


class HandClock:
    """Implements ports.Clock: stands still until the test moves it."""

    def __init__(self, floor_ms: int) -> None:
        self.time_ms = floor_ms

    def now_ms(self) -> int:
        return self.time_ms

    def move_to_s(self, time_s: int) -> None:
        assert time_s * 1_000 >= self.time_ms
        self.time_ms = time_s * 1_000


class DirectFetcher:
    """Implements keepers.collection.RootFetcher without HTTP."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.name = "0x" + publisher.address.hex()

    async def fetch_root(self, time_s: int) -> SignedRoot:
        return self._publisher.sign_root(time_s)


@dataclass(slots=True)
class CoreVenue:
    """A running core and what the test does with it."""

    core: Core
    clock: HandClock
    collector: PriceCollector
    oracle: ChainOracle
    start_s: int
    n_listed: int
    n_orders: int = 0

    async def adopt_prices(self, time_s: int) -> None:
        """Move the clock and open a batch with the publishers' prices of that second."""
        self.clock.move_to_s(time_s)
        prices = await self.collector.collect(time_s)
        oracle = await self.oracle.read_oracle(time_s)
        await self.core.sequencer.submit(build_adopt_prices(prices, oracle, self.core.state.chain))

    def mark_ticks(self, market: int = AAPL) -> int:
        now_s = self.clock.time_ms // 1_000
        return next(view.mark_ticks for view in read_markets(self.core.state, now_s) if view.market == market)

    async def place(
        self,
        actor: Actor,
        *,
        is_buy: bool,
        size_lots: int,
        limit_ticks: int,
        time_in_force: TimeInForce = TimeInForce.GTC,
        lane: int = 0,
        market: int = AAPL,
        reduce_only: bool = False,
    ) -> list[Event]:
        """Sign and submit an order as the gateway does."""
        self.n_orders += 1
        config = self.core.config
        # A millisecond each, so that no order of an actor shares a seq.
        self.clock.time_ms += 1
        order = Order(
            owner=actor.key.address,
            market_id=market,
            is_buy=is_buy,
            size_lots=size_lots,
            limit_ticks=limit_ticks,
            max_fee_ppm=1_000,
            expiry_s=EXPIRY_S,
            lane=lane,
            seq=self.clock.time_ms - config.genesis_s * 1_000,
            time_in_force=time_in_force,
            reduce_only=reduce_only,
        )
        order_id = digest(order, exchange_domain(config.chain_id, config.clearinghouse).separator())
        r, vs = actor.key.sign(order_id)
        _, events = await self.core.gate.submit(
            PlaceOrder(
                order_id=order_id,
                owner=order.owner,
                subaccount=order.subaccount,
                market=order.market_id,
                epoch=order.epoch,
                is_buy=order.is_buy,
                size_lots=order.size_lots,
                limit_ticks=order.limit_ticks,
                max_fee_ppm=order.max_fee_ppm,
                expiry_s=order.expiry_s,
                nonce=order.nonce,
                reduce_only=order.reduce_only,
                post_only=order.post_only,
                time_in_force=int(order.time_in_force),
                trigger_ticks=0,
                trigger_kind=0,
                r=r,
                vs=vs,
            )
        )
        return events

    async def trade(self, maker: Actor, taker: Actor, *, size_lots: int, taker_buys: bool = True) -> list[Event]:
        """Let a maker quote at the mark and a taker hit it; return the taker's events."""
        limit_ticks = self.mark_ticks()
        await self.place(maker, is_buy=not taker_buys, size_lots=size_lots, limit_ticks=limit_ticks, lane=1)
        return await self.place(
            taker, is_buy=taker_buys, size_lots=size_lots, limit_ticks=limit_ticks, time_in_force=TimeInForce.IOC
        )

    async def withdraw(self, actor: Actor, *, quote: int) -> bytes:
        """Sign and submit a withdrawal to the actor's own address; return its id."""
        config = self.core.config
        self.clock.time_ms += 1
        message = Withdraw(
            owner=actor.key.address,
            quote=quote,
            recipient=actor.key.address,
            expiry_s=EXPIRY_S,
            seq=self.clock.time_ms - config.genesis_s * 1_000,
        )
        withdrawal_id = digest(message, exchange_domain(config.chain_id, config.clearinghouse).separator())
        r, vs = actor.key.sign(withdrawal_id)
        await self.core.sequencer.submit(
            RequestWithdrawal(
                withdrawal_id=withdrawal_id,
                account=actor.account,
                quote=quote,
                recipient=message.recipient,
                expiry_s=message.expiry_s,
                nonce=build_nonce(OPERATION_LANE, message.seq),
                r=r,
                vs=vs,
            )
        )
        return withdrawal_id

    async def seal(self) -> None:
        await self.core.sequencer.submit(SealBatch(journal_hash=b""))

    async def seal_and_settle(self) -> None:
        await self.seal()
        await asyncio.wait_for(self.core.settler.wait_until_settled(), 20)

    async def wait_for_deposits(self, n_deposits: int) -> None:
        """Return when the follower has credited so many, what the listing did directly beside."""
        async with asyncio.timeout(10):
            while self.core.follower.last_direct_op < self.n_listed + n_deposits:  # noqa: ASYNC110  # the follower polls, and so do we
                await asyncio.sleep(0.01)


@asynccontextmanager
async def run_core(
    venue: Venue, data_dir: Path, *, rpc_url: str = "", is_stopped_in_order: bool = True, **chosen: int
) -> AsyncIterator[CoreVenue]:
    """Run a core on a data directory; leave it in order, or as if it had died."""
    settings = ExchangeSettings(
        data_dir=data_dir,
        rpc_url=rpc_url or venue.anvil.url,
        rpc_timeout_ms=chosen.pop("rpc_timeout_ms", 1_000),
        receipt_timeout_ms=chosen.pop("receipt_timeout_ms", 500),
        seal_interval_ms=chosen.pop("seal_interval_ms", 600_000),
        poll_ms=chosen.pop("poll_ms", 10),
        **chosen,  # type: ignore[arg-type]  # integers all
    )
    chain = Web3Chain(settings.rpc_url, timeout_ms=settings.rpc_timeout_ms)
    clocks: list[HandClock] = []

    def build_clock(floor_ms: int) -> HandClock:
        clocks.append(HandClock(max(floor_ms, venue.manifest.genesis_s * 1_000)))
        return clocks[0]

    core = Core(
        settings=settings,
        manifest=venue.manifest,
        chain=chain,
        sequencer_key=read_key(settings.keys_dir / "sequencer.key"),
        build_clock=build_clock,
        sets_block_time=True,
    )
    publishers = venue.build_publishers(data_dir)
    addresses = frozenset(publisher.address for publisher in publishers)
    domain = price_domain(venue.manifest.chain_id, venue.manifest.get_address("signed_price_source"))
    collector = PriceCollector(
        fetchers=[DirectFetcher(publisher) for publisher in publishers],
        publishers=addresses,
        threshold=venue.manifest.threshold,
        domain=domain,
    )
    source = SignedSource(
        publishers=addresses,
        threshold=venue.manifest.threshold,
        domain_separator=domain.separator(),
        recover=recover,
    )
    oracle = ChainOracle(
        chain=chain,
        price_oracle=venue.manifest.get_address("price_oracle"),
        corporate_actions=venue.manifest.get_address("corporate_actions"),
        market_ids=[market.market_id for market in venue.manifest.markets],
        sources={SIGNED_SOURCE_ID: source},
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            await core.start(tasks)
            yield CoreVenue(core, clocks[0], collector, oracle, venue.history.start_s, venue.n_listed)
            if is_stopped_in_order:
                await core.stop()
            else:
                core.abandon()
    finally:
        await chain.close()
        core.close()
