"""Stream what happens: one WebSocket, many channels, a snapshot and then gap-free deltas.

    publish (sequencer's task, never blocks) → news gather in channels → flush in `flush_interval_ms` → a bounded queue
    per client → writer

Every message of a channel names its sequence and the one before it, and every channel keeps its last messages: a client
that comes back with the number of its last one gets exactly what it missed, or a snapshot. A client whose queue is full
is told so and dropped: it never slows the others or the sequencer. The hub also sees the frames of a replay at start
(no client is there yet). Must not: await anything between a snapshot and its subscription.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from afterbell.domain.codes import RejectReason, describe_code
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    CollateralExited,
    DepositCredited,
    Event,
    FillMatched,
    FillRejected,
    KeyLinked,
    KeyOperationRejected,
    KeyRevoked,
    MarketHalted,
    MarketListed,
    MarketMoved,
    ModeChanged,
    OrderAccepted,
    OrderCancelled,
    OrderReduced,
    OrderTriggered,
    OrderWaiting,
    PositionAdjusted,
    PricesAdopted,
    TransferAccepted,
    TransferRejected,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import account_hex, parse_account_hex
from afterbell.engine.book_view import BookView
from afterbell.engine.state import EngineState
from afterbell.gateway.services import ClockStatus, GatewayLimits, VenueClock
from afterbell.gateway.stream_channels import (
    AccountChannel,
    BatchesChannel,
    BookChannel,
    Channel,
    TradesChannel,
    WholeChannel,
)
from afterbell.gateway.stream_client import (
    StreamClient,
    StreamRefused,
    encode_heartbeat,
    encode_hello,
    encode_resumed,
)
from afterbell.gateway.stream_history import HistoryLimits
from afterbell.gateway.stream_view import Living, StreamView
from afterbell.gateway.views import to_hex
from afterbell.ports import Frame
from afterbell.readmodel.queries import BatchView, FillView
from afterbell.waiting import sleep_ms

_MAX_FOUND_CHARACTERS: Final = 72
_CLOCK_INTERVAL_MS: Final = 1_000
_Kind = TypeVar("_Kind", bound=Channel)


def read_monotonic_ms() -> int:
    """Return a time that never steps; it ages what is kept, nothing else."""
    return time.monotonic_ns() // 1_000_000


class StreamHub:
    """All channels. Implements ports.EventSink. Use on the event loop only."""

    def __init__(
        self,
        *,
        clock: VenueClock,
        clock_status: Callable[[], ClockStatus],
        limits: GatewayLimits | None = None,
        history_limits: HistoryLimits | None = None,
        flush_interval_ms: int = 25,
        heartbeat_ms: int = 5_000,
        monotonic_ms: Callable[[], int] = read_monotonic_ms,
    ) -> None:
        self.stream_id = secrets.token_hex(8)
        """Names this life of the process: sequences of another mean nothing here."""
        self.heartbeat_ms = heartbeat_ms
        self._view = StreamView(clock=clock, clock_status=clock_status)
        self._limits = limits or GatewayLimits()
        self._history_limits = history_limits or HistoryLimits()
        self._flush_interval_ms = flush_interval_ms
        self._monotonic_ms = monotonic_ms
        self._clients: set[StreamClient] = set()
        self._n_dropped = 0
        self._channels: dict[str, Channel] = {}
        self._changed: dict[str, None] = {}
        """Channels with news, in the order in which they got them."""
        self._n_messages = 0
        self._n_kept_bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False

    # ------------------------------------------------------------ what others read

    @property
    def symbols(self) -> dict[int, str]:
        """Market id → symbol of everything listed."""
        return self._view.symbols

    @property
    def markets(self) -> dict[str, int]:
        """Symbol → market id."""
        return self._view.markets

    @property
    def last_sequence(self) -> int:
        """Journal sequence of the last frame seen."""
        return self._view.last_sequence

    @property
    def n_clients(self) -> int:
        """Open connections."""
        return len(self._clients)

    @property
    def n_dropped(self) -> int:
        """Connections ended because they read too slowly."""
        return self._n_dropped

    @property
    def n_channels(self) -> int:
        """Channels remembered, listened to or not."""
        return len(self._channels)

    @property
    def n_kept_bytes(self) -> int:
        """Size of all histories."""
        return self._n_kept_bytes

    @property
    def books(self) -> BookView:
        """Aggregated books, as of the last frame seen."""
        return self._view.books

    def attach_state(self, state: Callable[[], EngineState]) -> None:
        """Name the live engine state, which replay builds after the hub."""
        self._view.read_state = state

    # ------------------------------------------------------------ what others tell

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        """Fold one applied frame; never blocks."""
        self._view.last_sequence = frame.sequence
        for event in events:
            for change in self._view.books.fold(event):
                book = self._find(f"book:{self._view.symbols.get(change.market)}", BookChannel)
                if book is not None:
                    book.note(change)
            self._fold(frame, event)
        if events:
            self._wake.set()

    def note_submitted(self, sequence: int, transaction: bytes) -> None:
        """Show that a batch is on its way to the chain."""
        batch = self._view.batches.get(sequence)
        if batch is not None and batch.status in ("sealed", "submitted"):
            self._move_batch(replace(batch, status="submitted", transaction=transaction))

    def note_final(self, block: int) -> None:
        """Show that everything mined up to `block` is final."""
        for batch in list(self._view.batches.values()):
            if batch.status == "mined" and batch.block is not None and batch.block <= block:
                self._move_batch(replace(batch, status="final"))

    def note_claim_paid(self, recipient: bytes, transaction: bytes) -> None:
        """Show the accounts of a recipient that its claims are paid."""
        owner = "account:0x" + recipient.hex()
        for name, channel in self._channels.items():
            if name.startswith(owner) and isinstance(channel, AccountChannel):
                channel.note("transfers", {"status": "paid", "paid_transaction": to_hex(transaction)})
                self._changed[name] = None
        self._wake.set()

    def _fold(self, frame: Frame, event: Event) -> None:
        match event:
            case MarketListed():
                self._view.list_market(event.market, event.symbol)
            case PricesAdopted() | MarketHalted():
                self._note_everything()
            case FillMatched():
                self._fold_fill(event, frame.time_ms)
            case OrderAccepted() | OrderCancelled() | OrderTriggered() | OrderWaiting() | OrderReduced():
                account = self._account(account_hex(event.account))
                if account is not None:
                    account.note_order(event)
            case FillRejected():
                self._fold_rejected_fill(event)
            case DepositCredited() | WithdrawalAccepted() | WithdrawalRejected() | CollateralExited():
                self._fold_transfer(event)
            case TransferAccepted() | TransferRejected():
                self._fold_between(event)
            case PositionAdjusted():
                self._note_prices()
                self._note_money(account_hex(event.account))
            case MarketMoved() | ModeChanged():
                self._note_everything()
            case KeyLinked() | KeyRevoked():
                self._note_key(self._view.change_key(event).account, event.key)
            case KeyOperationRejected():
                self._fold_rejected_key(event)
            case BatchSealed():
                self._move_batch(self._view.add_batch(event, frame.time_ms))
            case BatchConfirmed():
                self._fold_confirmed(event)
            case _:
                pass

    def _note_everything(self) -> None:
        """Prices moved: every price and every account's money shows it."""
        self._note_prices()
        for name, channel in self._channels.items():
            if isinstance(channel, AccountChannel):
                channel.note_money()
                self._changed[name] = None

    def _note_money(self, account: str) -> None:
        channel = self._account(account)
        if channel is not None:
            channel.note_money()

    def _fold_fill(self, event: FillMatched, time_ms: int) -> None:
        fill = self._view.add_fill(event, time_ms)
        trades = self._find(f"trades:{self._view.symbols[event.market]}", TradesChannel)
        if trades is not None:
            trades.note(fill)
        self._note_prices()  # Open interest and best prices stand there too.
        for account in {fill.maker_account, fill.taker_account}:
            channel = self._account("0x" + account.hex())
            if channel is not None:
                channel.note_fill(fill, account)
        for account_id, order_id in (
            (event.maker_account, event.maker_order_id),
            (event.taker_account, event.taker_order_id),
        ):
            channel = self._account(account_hex(account_id))
            if channel is not None:
                channel.note_order_id(order_id)

    def _fold_rejected_fill(self, event: FillRejected) -> None:
        living = self._view.living.get(event.sequence)
        if living is None:
            return
        rejected = [fill for fill in living.fills if fill.fill_id == event.fill_id]
        living.fills = [fill for fill in living.fills if fill.fill_id != event.fill_id]
        self._tell_life(rejected, {"status": "rejected", "code": describe_code(event.code)})
        for fill in rejected:
            for account in {fill.maker_account, fill.taker_account}:
                channel = self._account("0x" + account.hex())
                if channel is not None:
                    channel.note_money()

    def _fold_between(self, event: TransferAccepted | TransferRejected) -> None:
        """Tell both subaccounts of a transfer; a refused one that never was in a batch, nobody but its sender."""
        sender, receiver, digest = account_hex(event.account), account_hex(event.receiver), event.transfer_id.hex()
        sides = ((sender, "0x" + digest, "sent", receiver), (receiver, "r" + digest, "received", sender))
        for account, transfer_id, kind, other in sides:
            news = {"transfer_id": transfer_id, "kind": kind, "quote": str(event.quote), "other_account": other}
            place = (account, transfer_id, kind)
            if isinstance(event, TransferAccepted):
                self._view.living.setdefault(event.sequence, Living()).transfers.append(place)
                news["status"] = "accepted"
            else:
                was_carried = False
                for living in self._view.living.values():
                    if place in living.transfers:
                        living.transfers.remove(place)
                        was_carried = True
                if kind == "received" and not was_carried:
                    continue
                news |= {"status": "rejected", "code": event.reason}
            channel = self._account(account)
            if channel is not None:
                channel.note_money()
                channel.note("transfers", news)

    def _fold_transfer(
        self, event: DepositCredited | WithdrawalAccepted | WithdrawalRejected | CollateralExited
    ) -> None:
        account = account_hex(event.account)
        news: dict[str, Any] = {"kind": "withdrawal", "quote": str(event.quote)}
        match event:
            case DepositCredited():
                news |= {"transfer_id": f"d{event.direct_op}", "kind": "deposit", "status": "credited"}
                news |= {"transaction": to_hex(event.transaction), "block": event.block}
            case CollateralExited():
                news |= {"transfer_id": f"x{event.direct_op}", "kind": "exit", "status": "claimable"}
                news |= {"transaction": to_hex(event.transaction), "block": event.block}
            case WithdrawalAccepted():
                news |= {"transfer_id": "0x" + event.withdrawal_id.hex(), "status": "accepted"}
                living = self._view.living.setdefault(event.sequence, Living())
                living.transfers.append((account, news["transfer_id"], "withdrawal"))
            case WithdrawalRejected():
                news |= {"transfer_id": "0x" + event.withdrawal_id.hex(), "status": "rejected", "code": event.reason}
                for living in self._view.living.values():
                    if (account, news["transfer_id"], "withdrawal") in living.transfers:
                        living.transfers.remove((account, news["transfer_id"], "withdrawal"))
        channel = self._account(account)
        if channel is not None:
            channel.note_money()
            channel.note("transfers", news)

    def _note_key(self, account: str, key: bytes) -> None:
        channel = self._account(account)
        if channel is not None:
            channel.note("keys", self._view.show_key(self._view.keys[account][key]))

    def _fold_rejected_key(self, event: KeyOperationRejected) -> None:
        account = account_hex(event.account)
        undone = self._view.undo_key(account, event.key, event.operation_id)
        if undone is None:
            return  # It never was in a batch: whoever sent it was answered.
        if event.key in self._view.keys[account]:
            self._note_key(account, event.key)
            return
        channel = self._account(account)
        if channel is not None:
            channel.note("keys", self._view.show_key(undone) | {"status": "rejected", "reason": event.reason})

    def _fold_confirmed(self, event: BatchConfirmed) -> None:
        batch = self._view.batches.get(event.sequence)
        if batch is not None:
            self._move_batch(
                replace(
                    batch, status="mined", transaction=event.transaction, block=event.block, gas_used=event.gas_used
                )
            )

    def _move_batch(self, batch: BatchView) -> None:
        living = self._view.move_batch(batch)
        batches = self._find("batches", BatchesChannel)
        if batches is not None:
            batches.note(batch.sequence)
        place = {"sequence": batch.sequence, "transaction": to_hex(batch.transaction), "block": batch.block}
        if batch.status != "sealed":
            self._tell_life(living.fills, place | {"status": batch.status})
        for account, transfer_id, kind in living.transfers:
            channel = self._account(account)
            if channel is not None:
                status = "claimable" if batch.status == "final" and kind == "withdrawal" else batch.status
                channel.note("transfers", place | {"transfer_id": transfer_id, "status": status})
        for key in living.keys:
            if batch.status == "mined" and self._view.keys[key.account].get(key.key) == key:
                self._note_key(key.account, key.key)
        self._wake.set()

    def _tell_life(self, fills: Sequence[FillView], news: dict[str, Any]) -> None:
        by_account: dict[bytes, list[int]] = {}
        for fill in fills:
            for account in {fill.maker_account, fill.taker_account}:
                by_account.setdefault(account, []).append(fill.fill_id)
        for account, fill_ids in by_account.items():
            channel = self._account("0x" + account.hex())
            if channel is not None:
                channel.note("life", {"fill_ids": fill_ids} | news)

    def _note_prices(self) -> None:
        prices = self._find("prices", WholeChannel)
        if prices is not None:
            prices.note()

    def _find(self, name: str, kind: type[_Kind]) -> _Kind | None:
        """Return a channel somebody listens to, or may come back to, to note news in."""
        channel = self._channels.get(name)
        if not isinstance(channel, kind):
            return None
        self._changed[name] = None
        return channel

    def _account(self, account: str) -> AccountChannel | None:
        return self._find(f"account:{account}", AccountChannel)

    # ------------------------------------------------------------ clients

    def connect(self) -> StreamClient:
        """Take a new connection and greet it. Raises: StreamRefused when there are too many."""
        if len(self._clients) >= self._limits.max_clients:
            raise StreamRefused(
                RejectReason.OVERLOADED,
                "too many connections",
                required=f"at most {self._limits.max_clients} connections to the venue",
                found="as many as that",
                action="try again later",
            )
        client = StreamClient(self._limits.max_queued_messages)
        client.offer(encode_hello(self.stream_id, self.heartbeat_ms))
        self._clients.add(client)
        return client

    def disconnect(self, client: StreamClient) -> None:
        """Forget a connection."""
        if client in self._clients:
            self._n_dropped += client.is_dropped
        self._clients.discard(client)
        for channel in list(client.channels):
            self.unsubscribe(client, channel)

    def subscribe(self, client: StreamClient, channel: str, *, after: int | None = None) -> None:
        """Send a snapshot, or the deltas after the sequence `after` if all are here; then what comes.

        Raises: StreamRefused. Subscribing again is answered the same way: a client that doubts its copy gets a new one.
        """
        if channel not in client.channels and len(client.channels) >= self._limits.max_channels_per_client:
            raise StreamRefused(
                RejectReason.RATE_LIMITED,
                "too many channels",
                required=f"at most {self._limits.max_channels_per_client} channels per connection",
                found=f"{channel[:_MAX_FOUND_CHARACTERS]} would be one more",
                action="unsubscribe from some, or open another connection",
            )
        found = self._channels.get(channel) or self._build_channel(channel)
        self._view.must_state()
        # Those already here get what is pending first: what the client is sent then ends exactly where they are.
        self._flush_channel(found)
        self._channels[channel] = found
        client.channels.add(channel)
        found.subscribers.add(client)
        missed = None if after is None else () if after == found.sequence else found.history.read_after(after)
        if missed is None or after is None or 2 * len(missed) >= client.n_free:
            client.offer(found.encode_snapshot())
            return
        client.offer(encode_resumed(channel, after))
        for text in missed:
            client.offer(text)

    def unsubscribe(self, client: StreamClient, channel: str) -> None:
        """Stop a channel; nothing happens if it was not subscribed."""
        client.channels.discard(channel)
        found = self._channels.get(channel)
        if found is None or client not in found.subscribers:
            return
        found.subscribers.discard(client)
        if not found.subscribers:
            found.idle_since_ms = self._monotonic_ms()
            # Idle channels stand last in the order in which they fell silent: the first one goes first.
            self._channels[channel] = self._channels.pop(channel)

    def encode_heartbeat(self) -> str:
        """Return what a silent connection is sent every heartbeat_ms."""
        return encode_heartbeat(self._view.clock.now_ms())

    def _build_channel(self, name: str) -> Channel:
        kind, _, rest = name.partition(":")
        if kind == "book":
            market = self._must_market(rest)
            return BookChannel(name, self._view, self._history_limits, market)
        # A number above every one sent so far: whoever comes back with an old one is not taken for up to date.
        self._n_messages += 1
        terms = (name, self._view, self._history_limits, self._n_messages)
        if kind == "trades":
            return TradesChannel(*terms, self._must_market(rest))
        if kind in ("prices", "clock") and not rest:
            return WholeChannel(*terms)
        if kind == "batches" and not rest:
            return BatchesChannel(*terms)
        if kind == "account":
            _must_be_account(name, rest)
            return AccountChannel(*terms)
        raise StreamRefused(
            RejectReason.MALFORMED_REQUEST,
            "no such channel",
            required="book:SYMBOL, trades:SYMBOL, prices, account:0x…, batches or clock",
            found=name[:_MAX_FOUND_CHARACTERS],
            action="subscribe to one of these",
        )

    def _must_market(self, symbol: str) -> int:
        market = self._view.markets.get(symbol)
        if market is None:
            raise StreamRefused(
                RejectReason.UNKNOWN_MARKET,
                "no such market",
                required="a symbol of /v1/markets",
                found=symbol[:_MAX_FOUND_CHARACTERS],
                action="GET /v1/markets",
            )
        return market

    # ------------------------------------------------------------ tasks

    async def run(self) -> None:
        """Send until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            clock = tasks.create_task(self._tick())
            while not self._stopping:
                await self._wake.wait()
                self._wake.clear()
                self.flush()
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
            clock = self._find("clock", WholeChannel)
            if clock is not None:
                clock.note()
                self._wake.set()
            self.forget_idle()
            await sleep_ms(_CLOCK_INTERVAL_MS)

    def flush(self) -> None:
        """Send what changed since the last time."""
        changed, self._changed = self._changed, {}
        for name in changed:
            channel = self._channels.get(name)
            if channel is not None and channel.subscribers:
                self._flush_channel(channel)

    def _flush_channel(self, channel: Channel) -> None:
        if not channel.count_news():
            return
        previous, channel.sequence = channel.sequence, channel.next_sequence()
        text = channel.encode_delta(previous)
        self._n_messages += 1
        self._n_kept_bytes += channel.history.append(
            text, sequence=channel.sequence, previous_sequence=previous, now_ms=self._monotonic_ms()
        )
        for client in channel.subscribers:
            client.offer(text)
        if self._n_kept_bytes > self._history_limits.max_bytes:
            for other in self._channels.values():
                self._n_kept_bytes -= other.history.halve()

    def forget_idle(self) -> None:
        """Forget channels nobody listens to: those silent for too long, with too much gathered, too many."""
        limits, now_ms = self._history_limits, self._monotonic_ms()
        idle = [name for name, channel in self._channels.items() if not channel.subscribers]
        n_too_many = len(idle) - limits.n_idle_channels
        for index, name in enumerate(idle):
            channel = self._channels[name]
            is_old = channel.idle_since_ms + limits.age_ms <= now_ms
            if is_old or index < n_too_many or channel.count_news() > limits.n_gathered:
                self._n_kept_bytes -= channel.history.n_bytes
                del self._channels[name]


def _must_be_account(channel: str, account: str) -> None:
    try:
        parse_account_hex(account)
    except ValueError as error:
        raise StreamRefused(
            RejectReason.MALFORMED_REQUEST,
            f"account channel: {error}",
            required='"account:0x" and 60 lower-case hex digits: owner (20 bytes) and subaccount (10 bytes)',
            found=channel[:_MAX_FOUND_CHARACTERS],
            action="append 20 zeros to the owner's address for its first account",
        ) from error


def read_resume(resume: Mapping[str, Any], stream_id: str, channel: str) -> int | None:
    """Return after which sequence a client wants to go on, None when its numbers are of another process."""
    sequence = resume.get(channel) if resume.get("stream_id") == stream_id else None
    return sequence if isinstance(sequence, int) else None
