"""A venue in one process: real journal, sequencer, engine, read model and gateway; the chain is told by hand.

`mine` stands where settler and indexer stand in the exchange: it confirms sealed batches with the codes and head the
engine predicted, as an honest chain would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from afterbell.adapters.file_journal import FileJournal
from afterbell.domain.commands import AdoptPrices, ConfirmBatch, CreditDeposit, SealBatch
from afterbell.domain.events import BatchSealed, Event
from afterbell.domain.ids import account_hex, address_hex, build_account_id, build_nonce
from afterbell.domain.order import (
    CancelAll,
    CancelOrder,
    LinkKey,
    Order,
    RevokeKey,
    TimeInForce,
    Transfer,
    TriggerKind,
    Withdraw,
)
from afterbell.domain.session import Session
from afterbell.domain.words import RulesWord
from afterbell.engine.state import EngineConfig, EngineState
from afterbell.gateway.app import create_app
from afterbell.gateway.metrics import Metrics
from afterbell.gateway.recorder import LiveRecorder
from afterbell.gateway.services import ClockStatus, FaucetGrant, GatewayLimits, Services, VenueInfo
from afterbell.gateway.stream import StreamHub
from afterbell.ports import ChainUnavailable, DepositAuthorization, Frame
from afterbell.readmodel.database import open_database, sqlite_dsn
from afterbell.readmodel.projector import Projector
from afterbell.readmodel.queries import ReadModel
from afterbell.sequencer.genesis import GenesisMarket, build_genesis_commands
from afterbell.sequencer.sequencer import Sequencer
from afterbell.signing.keys import SigningKey, join_signature
from afterbell.signing.typed_data import Message, digest, exchange_domain

CHAIN_ID = 31337
GENESIS_S = 1_200_000_000
START_S = GENESIS_S + 7 * 86_400
USDC = 1_000_000
CLEARINGHOUSE = b"\xc1" * 20
ADDRESSES = {
    "token": b"\xc3" * 20,
    "vault": b"\xc2" * 20,
    "clearinghouse": CLEARINGHOUSE,
    "price_oracle": b"\xc4" * 20,
    "signed_price_source": b"\xc5" * 20,
    "market_registry": b"\xc6" * 20,
    "lens": b"\xc7" * 20,
    "operations": b"\xc8" * 20,
}
RULES = RulesWord(
    initial_margin_ppm=100_000,
    settlement_margin_ppm=75_000,
    maintenance_margin_ppm=50_000,
    band_ppm=50_000,
    mark_step_ppm=5_000,
    max_age_s=900,
    open_interest_cap_lots=10_000_000,
    is_opening_allowed=True,
    is_funding_on=False,
    size_step_lots=100,
    price_step_ticks=5,
    min_notional_quote=10 * USDC,
    max_fee_ppm=1_000,
)
MARKETS = (("AAPL", False), ("TSLA", True))


class HandClock:
    """Venue time that moves when a test says so."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, change_ms: int) -> None:
        self._now_ms += change_ms


class Sealed:
    """EventSink that keeps what a settler would submit."""

    def __init__(self) -> None:
        self.batches: list[BatchSealed] = []

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        self.batches += [event for event in events if isinstance(event, BatchSealed)]


class HandApprovals:
    """ports.ApprovalReader that knows what a test approved."""

    def __init__(self) -> None:
        self.approved: set[tuple[bytes, bytes]] = set()
        self.is_down = False

    async def is_approved(self, owner: bytes, digest: bytes) -> bool:
        if self.is_down:
            raise ChainUnavailable("no answer within 5000 ms")
        return (owner, digest) in self.approved


class HandRelayer:
    """ports.Relayer that notes what it would send, or refuses with what a test puts there."""

    def __init__(self) -> None:
        self.sent: list[bytes | DepositAuthorization] = []
        self.refusal: Exception | None = None

    async def claim(self, recipient: bytes) -> bytes:
        return self._send(recipient)

    async def deposit_with_authorization(self, authorization: DepositAuthorization) -> bytes:
        return self._send(authorization)

    def _send(self, what: bytes | DepositAuthorization) -> bytes:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(what)
        return b"\x99" * 32


class Participant:
    """A person with a key; builds and signs request bodies as an SDK would."""

    def __init__(self, number: int, venue: Venue) -> None:
        self.key = SigningKey(number.to_bytes(32, "big"))
        self.venue = venue
        self.account = build_account_id(self.key.address, 0)
        self.account_hex = account_hex(self.account)
        self.address_hex = address_hex(self.key.address)

    def order(
        self,
        *,
        is_buy: bool,
        size_lots: int = 10_000,
        limit_ticks: int = 10_000,
        market: int = 1,
        epoch: int = 1,
        lane: int = 0,
        seq: int | None = None,
        lifetime_s: int = 3_600,
        max_fee_ppm: int = 500,
        reduce_only: bool = False,
        post_only: bool = False,
        time_in_force: TimeInForce = TimeInForce.GTC,
        trigger_ticks: int = 0,
        trigger_kind: TriggerKind = TriggerKind.NONE,
    ) -> Order:
        return Order(
            owner=self.key.address,
            market_id=market,
            epoch=epoch,
            is_buy=is_buy,
            size_lots=size_lots,
            limit_ticks=limit_ticks,
            max_fee_ppm=max_fee_ppm,
            expiry_s=self.venue.now_s + lifetime_s,
            lane=lane,
            seq=self.venue.next_seq() if seq is None else seq,
            reduce_only=reduce_only,
            post_only=post_only,
            time_in_force=time_in_force,
            trigger_ticks=trigger_ticks,
            trigger_kind=trigger_kind,
        )

    def sign(self, message: Message, *, chain_id: int = CHAIN_ID) -> str:
        return "0x" + join_signature(*self.key.sign(self.digest(message, chain_id=chain_id))).hex()

    @staticmethod
    def digest(message: Message, *, chain_id: int = CHAIN_ID) -> bytes:
        return digest(message, exchange_domain(chain_id, CLEARINGHOUSE).separator())

    def order_body(self, order: Order, **changes: Any) -> dict[str, Any]:
        body: dict[str, Any] = {
            "order": {
                "account": account_hex(order.account_id),
                "market": order.market_id,
                "epoch": order.epoch,
                "is_buy": order.is_buy,
                "size_lots": order.size_lots,
                "limit_ticks": order.limit_ticks,
                "max_fee_ppm": order.max_fee_ppm,
                "expiry_s": order.expiry_s,
                "nonce": str(order.nonce),
                "reduce_only": order.reduce_only,
                "post_only": order.post_only,
                "time_in_force": order.time_in_force.name,
                "trigger_ticks": order.trigger_ticks,
                "trigger_kind": int(order.trigger_kind),
            },
            "signature": self.sign(order),
        }
        return body | changes

    def amend_body(self, old: Order, new: Order, *, filled_lots: int = 0, **changes: Any) -> dict[str, Any]:
        named = {"order_id": "0x" + self.digest(old).hex(), "filled_lots": filled_lots}
        return named | self.order_body(new) | changes

    def link_key(self, key: bytes, **changes: Any) -> LinkKey:
        fields: dict[str, Any] = {
            "owner": self.key.address,
            "key": key,
            "key_expiry_s": self.venue.now_s + 86_400,
            "max_notional_quote": 1_000 * USDC,
            "markets": 0b01,
            "trade_only": True,
            "expiry_s": self.venue.now_s + 60,
            "seq": self.venue.next_seq(),
        }
        return LinkKey(**(fields | changes))

    def link_body(self, message: LinkKey, **changes: Any) -> dict[str, Any]:
        body: dict[str, Any] = {
            "link_key": {
                "account": self.account_hex,
                "key": address_hex(message.key),
                "key_expiry_s": message.key_expiry_s,
                "max_notional_quote": str(message.max_notional_quote),
                "markets": [market for market in range(1, 33) if message.markets >> (market - 1) & 1],
                "trade_only": message.trade_only,
                "reduce_only": message.reduce_only,
                "expiry_s": message.expiry_s,
                "nonce": str(message.nonce),
            },
            "signature": self.sign(message),
        }
        return body | changes

    def revoke_body(self, key: bytes, **changes: Any) -> dict[str, Any]:
        message = RevokeKey(owner=self.key.address, key=key, expiry_s=self.venue.now_s + 60, seq=self.venue.next_seq())
        body: dict[str, Any] = {
            "revoke_key": {
                "account": self.account_hex,
                "key": address_hex(key),
                "expiry_s": message.expiry_s,
                "nonce": str(message.nonce),
            },
            "signature": self.sign(message),
        }
        return body | changes

    def cancel_body(self, order: Order) -> dict[str, Any]:
        message = CancelOrder(
            owner=self.key.address,
            order_nonce=order.nonce,
            expiry_s=self.venue.now_s + 60,
            seq=self.venue.next_seq(),
        )
        return {
            "cancel": {
                "account": self.account_hex,
                "order_nonce": str(message.order_nonce),
                "expiry_s": message.expiry_s,
                "nonce": str(message.nonce),
            },
            "signature": self.sign(message),
        }

    def cancel_all_body(self) -> dict[str, Any]:
        message = CancelAll(
            owner=self.key.address,
            min_seq=self.venue.next_seq(),
            expiry_s=self.venue.now_s + 60,
            seq=self.venue.next_seq(),
        )
        return {
            "cancel_all": {
                "account": self.account_hex,
                "min_seq_ms": message.min_seq,
                "expiry_s": message.expiry_s,
                "nonce": str(message.nonce),
            },
            "signature": self.sign(message),
        }

    def withdraw_message(self, quote: int) -> Withdraw:
        return Withdraw(
            owner=self.key.address,
            quote=quote,
            recipient=self.key.address,
            expiry_s=self.venue.now_s + 60,
            seq=self.venue.next_seq(),
        )

    def transfer_body(self, quote: int, to_subaccount: int) -> dict[str, Any]:
        message = Transfer(
            owner=self.key.address,
            quote=quote,
            to_subaccount=to_subaccount,
            expiry_s=self.venue.now_s + 60,
            seq=self.venue.next_seq(),
        )
        return {
            "transfer": {
                "account": self.account_hex,
                "to_subaccount": str(to_subaccount),
                "quote": str(quote),
                "expiry_s": message.expiry_s,
                "nonce": str(message.nonce),
            },
            "signature": self.sign(message),
        }

    def withdraw_body(self, quote: int, message: Withdraw | None = None) -> dict[str, Any]:
        message = message or self.withdraw_message(quote)
        return {
            "withdrawal": {
                "account": self.account_hex,
                "quote": str(quote),
                "recipient": self.address_hex,
                "expiry_s": message.expiry_s,
                "nonce": str(build_nonce(65535, message.seq)),
            },
            "signature": self.sign(message),
        }


@dataclass
class Venue:
    """Everything a test talks to."""

    app: FastAPI
    services: Services
    sequencer: Sequencer
    projector: Projector
    hub: StreamHub
    recorder: LiveRecorder
    clock: HandClock
    http: httpx.AsyncClient
    sealed: Sealed
    approvals: HandApprovals
    relayer: HandRelayer
    n_deposits: int = 0
    n_blocks: int = 0
    granted: list[bytes] = field(default_factory=list)

    @property
    def now_s(self) -> int:
        return self.clock.now_ms() // 1_000

    def next_seq(self) -> int:
        """Return a seq nobody has used: the clock moves by one millisecond."""
        self.clock.advance(1)
        return self.clock.now_ms() - GENESIS_S * 1_000

    async def participant(self, number: int, quote: int = 100_000 * USDC) -> Participant:
        person = Participant(number, self)
        if quote:
            self.n_deposits += 1
            self.n_blocks += 1
            await self.sequencer.submit(
                CreditDeposit(
                    direct_op=self.n_deposits,
                    account=person.account,
                    quote=quote,
                    sender=person.key.address,
                    block=self.n_blocks,
                    transaction=self.n_blocks.to_bytes(32, "big"),
                )
            )
        return person

    async def adopt_prices(self, *ticks: int, session: Session = Session.REGULAR) -> None:
        """Set mark and external of the markets in order; time moves far enough for the mark to follow."""
        self.clock.advance(60_000)
        rows = tuple((market, price, price, 0) for market, price in enumerate(ticks, 1))
        await self.sequencer.submit(
            AdoptPrices(
                rows=rows,
                stated=tuple(
                    (market, price, self.now_s, int(session), 1_440, self.now_s) for market, price, _, _ in rows
                ),
                evidence=b"evidence",
            )
        )

    async def seal(self) -> BatchSealed:
        await self.sequencer.submit(SealBatch(journal_hash=b""))
        return self.sealed.batches[-1]

    async def submit_batch(self, batch: BatchSealed) -> bytes:
        transaction = b"\x77" + batch.sequence.to_bytes(31, "big")
        await self.projector.wait_for(self.hub.last_sequence)
        await self.recorder.record_batch_submitted(batch.sequence, transaction)
        return transaction

    async def mine(self, batch: BatchSealed) -> bytes:
        transaction = await self.submit_batch(batch)
        self.n_blocks += 1
        await self.sequencer.submit(
            ConfirmBatch(
                sequence=batch.sequence,
                head=batch.head,
                codes=batch.codes,
                block=self.n_blocks,
                transaction=transaction,
                gas_used=90_000,
            )
        )
        await self.projector.wait_for(self.hub.last_sequence)
        return transaction

    async def finalise(self) -> None:
        await self.recorder.record_final_block(self.n_blocks)

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.http.post(path, json=body)

    async def get(self, path: str) -> Any:
        response = await self.http.get(path)
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def open_venue(
    folder: Path, *, limits: GatewayLimits | None = None, node_modules: Path | None = None, start_ticks: int = 10_000
) -> AsyncIterator[Venue]:
    """Start a venue with two markets at the same price, AAPL and the synthetic TSLA."""
    config = EngineConfig(
        chain_id=CHAIN_ID,
        clearinghouse=CLEARINGHOUSE,
        vault=ADDRESSES["vault"],
        token=ADDRESSES["token"],
        genesis_s=GENESIS_S,
    )
    limits = limits or GatewayLimits(n_requests_per_s=0, n_reads_per_s=0)
    approvals, relayer, metrics = HandApprovals(), HandRelayer(), Metrics()
    clock = HandClock(START_S * 1_000)
    state = EngineState(config)
    journal = FileJournal(folder / "journal.log", chain_id=CHAIN_ID, clearinghouse=CLEARINGHOUSE)
    database = open_database(sqlite_dsn(folder / "readmodel.sqlite"))
    projector, readmodel = Projector(database), ReadModel(database)

    def clock_status() -> ClockStatus:
        return ClockStatus(mode="replay", step=7, step_time_ms=START_S * 1_000, speed="1")

    hub = StreamHub(clock=clock, clock_status=clock_status, limits=limits, flush_interval_ms=1)
    hub.attach_state(lambda: state)
    sealed = Sealed()
    sequencer = Sequencer(
        state=state, journal=metrics.time_syncs(journal), clock=clock, sinks=(projector, hub, sealed, metrics)
    )

    async def faucet(address: bytes) -> FaucetGrant:
        venue.granted.append(address)
        return FaucetGrant(usdc_quote=10_000 * USDC, gas_wei=10**18, transactions=(b"\x01" * 32,))

    services = Services(
        venue=VenueInfo(
            chain_id=CHAIN_ID,
            genesis_s=GENESIS_S,
            addresses={name: address_hex(address) for name, address in ADDRESSES.items()},
        ),
        submitter=sequencer,
        state=lambda: state,
        readmodel=readmodel,
        projector=projector,
        hub=hub,
        clock=clock,
        clock_status=clock_status,
        faucet=faucet,
        approvals=approvals,
        relayer=relayer,
        metrics=metrics,
        limits=limits,
        node_modules=node_modules,
    )
    app = create_app(services)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    try:
        async with (
            asyncio.TaskGroup() as tasks,
            httpx.AsyncClient(transport=transport, base_url="http://venue") as http,
        ):
            running = [tasks.create_task(part.run()) for part in (sequencer, projector, hub)]
            venue = Venue(
                app=app,
                services=services,
                sequencer=sequencer,
                projector=projector,
                hub=hub,
                recorder=LiveRecorder(projector, hub),
                clock=clock,
                http=http,
                sealed=sealed,
                approvals=approvals,
                relayer=relayer,
            )
            markets = tuple(
                GenesisMarket(
                    market=market,
                    symbol=symbol,
                    epoch=1,
                    lot_exponent=4,
                    ticks_per_usd=100,
                    synthetic=synthetic,
                    rules_words={
                        int(session): RULES.pack().to_bytes(32, "big")
                        for session in (Session.PRE, Session.REGULAR, Session.POST)
                    },
                )
                for market, (symbol, synthetic) in enumerate(MARKETS, 1)
            )
            await asyncio.gather(*(sequencer.submit(command) for command in build_genesis_commands(markets)))
            await venue.adopt_prices(start_ticks, start_ticks)
            yield venue
            sequencer.stop()
            await running[0]
            projector.stop()
            hub.stop()
    finally:
        readmodel.close()
        journal.close()
        database.dispose()
