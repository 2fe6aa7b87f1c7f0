"""Stream what happens: one WebSocket, many channels, a snapshot and then gap-free deltas.

    publish (sequencer's task, never blocks) → fold → flush in `flush_interval_ms` → a bounded queue each → writer

Every message of a channel names its sequence and the one before it, so a client sees a gap; there is none as long as
it is connected. A client whose queue is full is told so and dropped: it never slows the others or the sequencer. The
hub also sees the frames of a replay at start (no client is there yet) and knows books, trades and batches from them.
Must not: await anything between a snapshot and its subscription.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from afterbell.domain.codes import RejectReason, describe_code
from afterbell.domain.commands import ConfirmBatch
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    DepositCredited,
    Event,
    FillMatched,
    FillRejected,
    MarketHalted,
    MarketListed,
    OrderAccepted,
    OrderCancelled,
    PricesAdopted,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import account_hex, parse_account_hex
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine import queries
from afterbell.engine.book_view import BookView, LevelChange
from afterbell.engine.state import EngineState
from afterbell.gateway.services import ClockStatus, GatewayLimits, VenueClock
from afterbell.gateway.stream_client import StreamClient, StreamRefused, encode_message
from afterbell.gateway.views import (
    build_account,
    build_account_fills,
    build_batch,
    build_matched_fill,
    build_open_order,
    build_trade,
    session_name,
    to_hex,
)
from afterbell.ports import Frame
from afterbell.readmodel.queries import BatchView, FillView
from afterbell.waiting import sleep_ms

BOOK_DEPTH: Final = 200
N_TRADES: Final = 100
N_BATCHES: Final = 50
_N_LIVING_BATCHES: Final = 4_096
_MAX_FOUND_CHARACTERS: Final = 72
_CLOCK_INTERVAL_MS: Final = 1_000


@dataclass(slots=True)
class _AccountChanges:
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    life: list[dict[str, Any]] = field(default_factory=list)
    transfers: list[dict[str, Any]] = field(default_factory=list)
    is_touched: bool = False

    def is_empty(self) -> bool:
        return not (self.orders or self.fills or self.life or self.transfers or self.is_touched)


class StreamHub:
    """All channels. Implements ports.EventSink. Use on the event loop only."""

    def __init__(
        self,
        *,
        clock: VenueClock,
        clock_status: Callable[[], ClockStatus],
        limits: GatewayLimits | None = None,
        flush_interval_ms: int = 25,
    ) -> None:
        self._clock = clock
        self._clock_status = clock_status
        self._limits = limits or GatewayLimits()
        self._flush_interval_ms = flush_interval_ms
        self._state: Callable[[], EngineState] | None = None
        self._books = BookView()
        self._symbols: dict[int, str] = {}
        self._markets: dict[str, int] = {}
        self._clients: set[StreamClient] = set()
        self._subscribers: dict[str, set[StreamClient]] = {}
        self._sequences: dict[str, int] = {}
        self._trades: dict[int, deque[FillView]] = {}
        self._batches: dict[int, BatchView] = {}
        self._living_fills: dict[int, list[FillView]] = {}
        self._last_sequence = 0
        self._wake = asyncio.Event()
        self._stopping = False
        # What changed since the last flush.
        self._levels: dict[int, dict[tuple[bool, int], LevelChange]] = {}
        self._new_trades: dict[int, list[FillView]] = {}
        self._changed_batches: dict[int, None] = {}
        self._accounts: dict[str, _AccountChanges] = {}
        self._has_new_prices = False
        self._has_new_fills = False

    # ------------------------------------------------------------ what others read

    @property
    def symbols(self) -> dict[int, str]:
        """Market id → symbol of everything listed."""
        return self._symbols

    @property
    def markets(self) -> dict[str, int]:
        """Symbol → market id."""
        return self._markets

    @property
    def last_sequence(self) -> int:
        """Journal sequence of the last frame seen."""
        return self._last_sequence

    @property
    def n_clients(self) -> int:
        """Open connections."""
        return len(self._clients)

    @property
    def books(self) -> BookView:
        """Aggregated books, as of the last frame seen."""
        return self._books

    def attach_state(self, state: Callable[[], EngineState]) -> None:
        """Name the live engine state, which replay builds after the hub."""
        self._state = state

    # ------------------------------------------------------------ what others tell

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        """Fold one applied frame; never blocks."""
        self._last_sequence = frame.sequence
        for event in events:
            for change in self._books.fold(event):
                if f"book:{self._symbols.get(change.market)}" in self._subscribers:
                    level = (change.is_bid, change.price_ticks)
                    self._levels.setdefault(change.market, {})[level] = change
            self._fold(frame, event)
        if events:
            self._wake.set()

    def note_submitted(self, sequence: int, transaction: bytes) -> None:
        """Show that a batch is on its way to the chain."""
        batch = self._batches.get(sequence)
        if batch is not None and batch.status in ("sealed", "submitted"):
            self._move_batch(replace(batch, status="submitted", transaction=transaction))

    def note_final(self, block: int) -> None:
        """Show that everything mined up to `block` is final."""
        for batch in list(self._batches.values()):
            if batch.status == "mined" and batch.block is not None and batch.block <= block:
                self._move_batch(replace(batch, status="final"))
                self._living_fills.pop(batch.sequence, None)

    def note_claim_paid(self, recipient: bytes, transaction: bytes) -> None:
        """Show the accounts of a recipient that its claims are paid."""
        owner = "account:0x" + recipient.hex()
        for channel in list(self._subscribers):
            if channel.startswith(owner):
                changes = self._accounts.setdefault(channel[8:], _AccountChanges())
                changes.transfers.append({"status": "paid", "paid_transaction": to_hex(transaction)})
        self._wake.set()

    def _fold(self, frame: Frame, event: Event) -> None:
        match event:
            case MarketListed():
                self._symbols[event.market] = event.symbol
                self._markets[event.symbol] = event.market
            case PricesAdopted() | MarketHalted():
                self._has_new_prices = True
            case FillMatched():
                self._fold_fill(frame, event)
            case OrderAccepted() | OrderCancelled():
                self._touch_order(event)
            case FillRejected():
                self._fold_rejected_fill(event)
            case DepositCredited() | WithdrawalAccepted() | WithdrawalRejected():
                self._touch_transfer(event)
            case BatchSealed():
                self._fold_sealed(frame, event)
            case BatchConfirmed():
                self._fold_confirmed(frame, event)
            case _:
                pass

    def _fold_fill(self, frame: Frame, event: FillMatched) -> None:
        fill = build_matched_fill(event, frame.time_ms)
        self._trades.setdefault(event.market, deque(maxlen=N_TRADES)).appendleft(fill)
        self._living_fills.setdefault(event.sequence, []).append(fill)
        if f"trades:{self._symbols[event.market]}" in self._subscribers:
            self._new_trades.setdefault(event.market, []).append(fill)
        self._has_new_fills = True
        for account in {fill.maker_account, fill.taker_account}:
            changes = self._changes_of("0x" + account.hex())
            if changes is not None:
                fills = build_account_fills([fill], account, self._symbols)
                changes.fills += [shown.model_dump() for shown in fills]
                changes.is_touched = True
        self._touch_order_of_maker(event)

    def _touch_order_of_maker(self, event: FillMatched) -> None:
        changes = self._changes_of(account_hex(event.maker_account))
        if changes is not None:
            changes.orders.setdefault("0x" + event.maker_order_id.hex(), {})

    def _touch_order(self, event: OrderAccepted | OrderCancelled) -> None:
        changes = self._changes_of(account_hex(event.account))
        if changes is None:
            return
        changes.is_touched = True
        order = changes.orders.setdefault("0x" + event.order_id.hex(), {})
        if isinstance(event, OrderCancelled):
            order |= {"status": "CANCELLED", "reason": event.reason}
            return
        accepted = {
            "account": account_hex(event.account),
            "market": event.market,
            "symbol": self._symbols[event.market],
            "is_buy": event.is_buy,
            "size_lots": event.size_lots,
            "limit_ticks": event.limit_ticks,
            "filled_lots": event.filled_lots,
            "nonce": str(event.nonce),
            "reduce_only": event.reduce_only,
            "post_only": event.post_only,
            "expiry_s": event.expiry_s,
            "client_id": event.client_id,
        }
        changes.orders["0x" + event.order_id.hex()] = accepted | order

    def _fold_rejected_fill(self, event: FillRejected) -> None:
        for fill in self._living_fills.get(event.sequence, []):
            if fill.fill_id == event.fill_id:
                self._tell_life([fill], {"status": "rejected", "code": describe_code(event.code)})
        living = self._living_fills.get(event.sequence, [])
        self._living_fills[event.sequence] = [fill for fill in living if fill.fill_id != event.fill_id]

    def _touch_transfer(self, event: DepositCredited | WithdrawalAccepted | WithdrawalRejected) -> None:
        changes = self._changes_of(account_hex(event.account))
        if changes is None:
            return
        changes.is_touched = True
        if isinstance(event, DepositCredited):
            changes.transfers.append(
                {
                    "transfer_id": f"d{event.direct_op}",
                    "kind": "deposit",
                    "quote": str(event.quote),
                    "status": "credited",
                }
            )
            return
        status = "accepted" if isinstance(event, WithdrawalAccepted) else "rejected"
        changes.transfers.append(
            {
                "transfer_id": "0x" + event.withdrawal_id.hex(),
                "kind": "withdrawal",
                "quote": str(event.quote),
                "status": status,
            }
        )

    def _fold_sealed(self, frame: Frame, event: BatchSealed) -> None:
        self._move_batch(
            BatchView(
                sequence=event.sequence,
                status="sealed",
                matched_at_s=event.matched_at_s,
                sealed_at_ms=frame.time_ms,
                head=event.head,
                codes=event.codes,
                n_operations=event.n_operations,
                n_orders=event.n_orders,
                n_fills=len(event.fill_ids),
                payload_bytes=len(event.payload),
                transaction=None,
                block=None,
                gas_used=None,
            )
        )

    def _fold_confirmed(self, frame: Frame, event: BatchConfirmed) -> None:
        batch = self._batches.get(event.sequence)
        if batch is not None and isinstance(frame.command, ConfirmBatch):
            self._move_batch(
                replace(
                    batch,
                    status="mined",
                    transaction=event.transaction,
                    block=event.block,
                    gas_used=event.gas_used,
                )
            )

    def _move_batch(self, batch: BatchView) -> None:
        self._batches[batch.sequence] = batch
        if "batches" in self._subscribers:
            self._changed_batches[batch.sequence] = None
        while len(self._batches) > _N_LIVING_BATCHES:
            oldest = next(iter(self._batches))
            del self._batches[oldest]
            self._living_fills.pop(oldest, None)
        if batch.status != "sealed":
            self._tell_life(
                self._living_fills.get(batch.sequence, []),
                {
                    "sequence": batch.sequence,
                    "status": batch.status,
                    "transaction": to_hex(batch.transaction),
                    "block": batch.block,
                },
            )
        self._wake.set()

    def _tell_life(self, fills: Sequence[FillView], news: dict[str, Any]) -> None:
        by_account: dict[bytes, list[int]] = {}
        for fill in fills:
            for account in {fill.maker_account, fill.taker_account}:
                by_account.setdefault(account, []).append(fill.fill_id)
        for account, fill_ids in by_account.items():
            changes = self._changes_of("0x" + account.hex())
            if changes is not None:
                changes.life.append({"fill_ids": fill_ids} | news)

    def _changes_of(self, account: str) -> _AccountChanges | None:
        """Return where to note changes of an account, None if nobody listens."""
        if f"account:{account}" not in self._subscribers:
            return None
        return self._accounts.setdefault(account, _AccountChanges())

    # ------------------------------------------------------------ clients

    def connect(self) -> StreamClient:
        """Take a new connection. Raises: StreamRefused when there are too many."""
        if len(self._clients) >= self._limits.max_clients:
            raise StreamRefused(
                RejectReason.OVERLOADED,
                "too many connections",
                required=f"at most {self._limits.max_clients} connections to the venue",
                found="as many as that",
                action="try again later",
            )
        client = StreamClient(self._limits.max_queued_messages)
        self._clients.add(client)
        return client

    def disconnect(self, client: StreamClient) -> None:
        """Forget a connection."""
        self._clients.discard(client)
        for channel in list(client.channels):
            self._leave(client, channel)

    def subscribe(self, client: StreamClient, channel: str) -> None:
        """Send the snapshot, then deltas. Raises: StreamRefused."""
        if channel in client.channels:
            return
        if len(client.channels) >= self._limits.max_channels_per_client:
            raise StreamRefused(
                RejectReason.RATE_LIMITED,
                "too many channels",
                required=f"at most {self._limits.max_channels_per_client} channels per connection",
                found=f"{channel[:_MAX_FOUND_CHARACTERS]} would be one more",
                action="unsubscribe from some, or open another connection",
            )
        self._must_exist(channel)
        # Those already here get what is pending first: the snapshot then starts exactly where they are.
        self._flush()
        client.channels.add(channel)
        self._subscribers.setdefault(channel, set()).add(client)
        sequence = self._sequences.setdefault(channel, 0)
        if channel.startswith("book:"):
            sequence = self._books.sequence(self._markets[channel[5:]])
            self._sequences[channel] = sequence
        client.offer(encode_message(channel, sequence, None, "snapshot", self._build_snapshot(channel)))

    def unsubscribe(self, client: StreamClient, channel: str) -> None:
        """Stop a channel; nothing happens if it was not subscribed."""
        self._leave(client, channel)

    def _leave(self, client: StreamClient, channel: str) -> None:
        client.channels.discard(channel)
        subscribers = self._subscribers.get(channel)
        if subscribers is None:
            return
        subscribers.discard(client)
        if not subscribers:
            del self._subscribers[channel]
            if channel.startswith("account:"):
                # Nobody can hold a sequence of it any more; accounts are too many to remember.
                self._sequences.pop(channel, None)
                self._accounts.pop(channel[8:], None)

    def _must_exist(self, channel: str) -> None:
        kind, _, rest = channel.partition(":")
        if kind in ("prices", "batches", "clock") and not rest:
            return
        if kind in ("book", "trades"):
            if rest not in self._markets:
                raise StreamRefused(
                    RejectReason.UNKNOWN_MARKET,
                    "no such market",
                    required="a symbol of /v1/markets",
                    found=rest[:_MAX_FOUND_CHARACTERS],
                    action="GET /v1/markets",
                )
            return
        if kind == "account":
            try:
                parse_account_hex(rest)
            except ValueError as error:
                raise StreamRefused(
                    RejectReason.MALFORMED_REQUEST,
                    f"account channel: {error}",
                    required='"account:0x" and 60 lower-case hex digits: owner (20 bytes) and subaccount (10 bytes)',
                    found=channel[:_MAX_FOUND_CHARACTERS],
                    action="append 20 zeros to the owner's address for its first account",
                ) from error
            return
        raise StreamRefused(
            RejectReason.MALFORMED_REQUEST,
            "no such channel",
            required="book:SYMBOL, trades:SYMBOL, prices, account:0x…, batches or clock",
            found=channel[:_MAX_FOUND_CHARACTERS],
            action="subscribe to one of these",
        )

    # ------------------------------------------------------------ content

    def _must_state(self) -> EngineState:
        if self._state is None:
            raise StreamRefused(
                RejectReason.NOT_READY, "the engine is not up yet", action="try again in a moment; /readyz tells when"
            )
        return self._state()

    def _build_snapshot(self, channel: str) -> dict[str, Any]:
        kind, _, rest = channel.partition(":")
        if kind == "book":
            market = self._markets[rest]
            return {
                "market": market,
                "symbol": rest,
                "bids": _show_levels(self._books.levels(market, is_bid=True, depth=BOOK_DEPTH)),
                "asks": _show_levels(self._books.levels(market, is_bid=False, depth=BOOK_DEPTH)),
            }
        if kind == "trades":
            trades = self._trades.get(self._markets[rest], ())
            return {"trades": [build_trade(trade, self._symbols).model_dump() for trade in trades]}
        if kind == "prices":
            return self._show_prices()
        if kind == "account":
            return self._show_account(rest)
        if kind == "batches":
            newest = sorted(self._batches, reverse=True)[:N_BATCHES]
            return {"batches": [build_batch(self._batches[sequence]).model_dump() for sequence in newest]}
        return self._show_clock()

    def _show_prices(self) -> dict[str, Any]:
        now_s = milliseconds_to_seconds(self._clock.now_ms())
        return {
            "time_ms": self._clock.now_ms(),
            "prices": [
                {
                    "market": view.market,
                    "symbol": view.symbol,
                    "epoch": view.epoch,
                    "mark_ticks": view.mark_ticks,
                    "index_ticks": view.index_ticks,
                    "external_ticks": view.external_ticks,
                    "external_time_s": view.external_time_s,
                    "is_fresh": view.is_fresh,
                    "session": session_name(view.session),
                    "open_interest_lots": view.open_interest_lots,
                    "best_bid_ticks": view.best_bid_ticks,
                    "best_ask_ticks": view.best_ask_ticks,
                    "is_halted": view.is_halted,
                    "halt_reason": view.halt_reason,
                }
                for view in queries.read_markets(self._must_state(), now_s)
            ],
        }

    def _show_account(self, account: str) -> dict[str, Any]:
        state, account_id = self._must_state(), parse_account_hex(account)
        return {
            "account": self._show_money(account),
            "orders": [
                build_open_order(order, self._symbols).model_dump()
                for order in queries.read_open_orders(state, account_id)
            ],
        }

    def _show_money(self, account: str) -> dict[str, Any]:
        now_s = milliseconds_to_seconds(self._clock.now_ms())
        summary = queries.read_account(self._must_state(), parse_account_hex(account), now_s)
        return build_account(summary, self._symbols, sequence=self._last_sequence).model_dump()

    def _show_clock(self) -> dict[str, Any]:
        status = self._clock_status()
        return {
            "venue_time_ms": self._clock.now_ms(),
            "step": status.step,
            "step_time_ms": status.step_time_ms,
            "next_step_ms": status.next_step_ms,
            "speed": status.speed,
            "mode": status.mode,
        }

    # ------------------------------------------------------------ tasks

    async def run(self) -> None:
        """Send until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            clock = tasks.create_task(self._tick())
            while not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                self._flush()
                await sleep_ms(self._flush_interval_ms)
            clock.cancel()

    def stop(self) -> None:
        """Let `run` return and end every connection."""
        self._stopping = True
        self._wake.set()
        for client in list(self._clients):
            client.close()

    async def _tick(self) -> None:
        while True:
            if "clock" in self._subscribers:
                self._send("clock", self._show_clock())
            await sleep_ms(_CLOCK_INTERVAL_MS)

    def _flush(self) -> None:
        """Send what changed since the last time."""
        levels, self._levels = self._levels, {}
        for market, changes in levels.items():
            channel = f"book:{self._symbols[market]}"
            bids = _show_levels(change for change in changes.values() if change.is_bid)
            asks = _show_levels(change for change in changes.values() if not change.is_bid)
            self._send(channel, {"bids": bids, "asks": asks}, sequence=self._books.sequence(market))
        trades, self._new_trades = self._new_trades, {}
        for market, fills in trades.items():
            shown = [build_trade(fill, self._symbols).model_dump() for fill in reversed(fills[-N_TRADES:])]
            self._send(f"trades:{self._symbols[market]}", {"trades": shown})
        batches, self._changed_batches = self._changed_batches, {}
        if batches:
            shown_batches = [
                build_batch(self._batches[sequence]).model_dump() for sequence in batches if sequence in self._batches
            ]
            self._send("batches", {"batches": shown_batches})
        has_new_prices, self._has_new_prices = self._has_new_prices, False
        has_new_fills, self._has_new_fills = self._has_new_fills, False
        # Open interest and best prices stand in the channel of prices too.
        if (has_new_prices or has_new_fills) and "prices" in self._subscribers:
            self._send("prices", self._show_prices())
        if has_new_prices:
            for channel in self._subscribers:
                if channel.startswith("account:"):
                    self._accounts.setdefault(channel[8:], _AccountChanges()).is_touched = True
        accounts, self._accounts = self._accounts, {}
        for account, account_changes in accounts.items():
            self._flush_account(account, account_changes)

    def _flush_account(self, account: str, changes: _AccountChanges) -> None:
        if changes.is_empty():
            return
        content: dict[str, Any] = {"account": self._show_money(account)}
        if changes.orders:
            content["orders"] = [self._show_order(order_id, order) for order_id, order in changes.orders.items()]
        for name in ("fills", "life", "transfers"):
            if getattr(changes, name):
                content[name] = getattr(changes, name)
        self._send(f"account:{account}", content)

    def _show_order(self, order_id: str, changed: dict[str, Any]) -> dict[str, Any]:
        """Return an order as it rests, or what is known of one that has left the book."""
        resting = queries.get_open_order(self._must_state(), bytes.fromhex(order_id[2:]))
        if resting is not None:
            return build_open_order(resting, self._symbols).model_dump()
        return {"order_id": order_id, "status": "FILLED", "reason": None, "remaining_lots": 0} | changed

    def _send(self, channel: str, content: dict[str, Any], *, sequence: int | None = None) -> None:
        subscribers = self._subscribers.get(channel)
        if not subscribers:
            return
        previous = self._sequences.get(channel, 0)
        current = previous + 1 if sequence is None else sequence
        self._sequences[channel] = current
        text = encode_message(channel, current, previous, "delta", content)
        for client in subscribers:
            client.offer(text)


def _show_levels(levels: Iterable[LevelChange]) -> list[list[int]]:
    """Return [price_ticks, size_lots, n_orders] of each level; size_lots 0: the level is gone."""
    return [[level.price_ticks, level.size_lots, level.n_orders] for level in levels]
