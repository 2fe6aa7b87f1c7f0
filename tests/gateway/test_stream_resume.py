"""The stream is gap-free: clients that disconnect anywhere and come back hold the engine's book at every sequence.

Random trading drives the real engine and hub; followers fold what they are sent with code of their own and compare it,
message by message, with books read from the engine. Errors planted in the hub show that the comparison can fail.
"""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterbell.domain.commands import Command, SealBatch
from afterbell.domain.events import BatchConfirmed, BatchSealed, Event, KeyLinked, KeyRevoked
from afterbell.domain.ids import account_hex
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.domain.words import SessionKeyWord
from afterbell.engine import queries
from afterbell.gateway.services import ClockStatus, GatewayLimits
from afterbell.gateway.stream import StreamHub
from afterbell.gateway.stream_channels import BookChannel
from afterbell.gateway.stream_client import StreamClient
from afterbell.gateway.stream_history import HistoryLimits, MessageHistory
from tests.engine.support import USDC, Venue, account

N_PARTICIPANTS = 5
MARKETS = (1, 2)
LIMITS = GatewayLimits(max_queued_messages=16)
HISTORY = HistoryLimits(n_messages=6, age_ms=40, max_bytes=200_000, n_gathered=60)
WHOLE_BOOK = 1 << 20
TRIGGERS = (TriggerKind.MARK_AT_OR_ABOVE, TriggerKind.MARK_AT_OR_BELOW, TriggerKind.INDEX_AT_OR_ABOVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainFrame:
    """ports.Frame."""

    sequence: int
    time_ms: int
    command: Command
    hash: bytes = b""


class StreamedVenue(Venue):
    """A venue whose frames a hub sees; it remembers the engine's book of every sequence."""

    def open(self) -> None:
        self.published: list[tuple[PlainFrame, list[Event]]] = []
        self.books: dict[tuple[str, int], tuple[dict[int, int], dict[int, int]]] = {}
        self.passed_ms = 0
        self.hub = self.build_hub()
        for market in MARKETS:
            self.list_market(market)
        for number in range(1, N_PARTICIPANTS + 1):
            self.deposit(number, 50_000 * USDC)
        self.prices_of([(market, 10_000, 10_000) for market in MARKETS])

    def now_ms(self) -> int:
        return self.time_ms

    def build_hub(self) -> StreamHub:
        hub = StreamHub(
            clock=self,
            clock_status=lambda: ClockStatus(mode="replay"),
            limits=LIMITS,
            history_limits=HISTORY,
            monotonic_ms=lambda: self.passed_ms,
        )
        hub.attach_state(lambda: self.state)
        for frame, events in self.published:
            hub.publish(frame, events)
        return hub

    def tell(self, event: Event) -> None:
        """Have the hub see an event the engine did not make."""
        self.hub.publish(PlainFrame(sequence=1, time_ms=self.time_ms, command=SealBatch(journal_hash=b"")), [event])

    def mine(self) -> None:
        """Seal the open batch and tell the hub that it was mined."""
        self.deposit(2, USDC)
        self.place(3, "buy", 100, 9_990)
        self.place(4, "sell", 100, 9_990)
        sealed = [event for event in self.seal() if isinstance(event, BatchSealed)][-1]
        self.tell(BatchConfirmed(sequence=sealed.sequence, block=9, transaction=b"\xab" * 32, gas_used=1))

    def restart(self) -> None:
        self.hub = self.build_hub()

    def send(self, command: Command) -> list[Event]:
        events = super().send(command)
        frame = PlainFrame(sequence=len(self.published) + 1, time_ms=self.time_ms, command=command)
        self.published.append((frame, events))
        self.hub.publish(frame, events)
        for market in self.state.books:
            book = queries.read_book(self.state, market, WHOLE_BOOK)
            self.books[f"book:S{market}", self.hub.books.sequence(market)] = (
                {level.price_ticks: level.size_lots for level in book.bids},
                {level.price_ticks: level.size_lots for level in book.asks},
            )
        return events


def build_key_event(
    kind: type[KeyLinked | KeyRevoked], key: bytes, word: SessionKeyWord, *, sequence: int
) -> KeyLinked | KeyRevoked:
    return kind(
        operation_id=b"\x01" * 32,
        sequence=sequence,
        account=account(1),
        key=key,
        word=word.pack().to_bytes(32, "big"),
    )


@dataclass
class Copy:
    """What a follower holds of one channel."""

    sequence: int = -1
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    orders: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    money: Any = None


def checksum_of(bids: dict[int, int], asks: dict[int, int]) -> int:
    best = [(ticks, bids[ticks]) for ticks in sorted(bids, reverse=True)[:10]]
    best += [(ticks, asks[ticks]) for ticks in sorted(asks)[:10]]
    return zlib.crc32(",".join(f"{ticks}:{lots}" for ticks, lots in best).encode())


class Follower:
    """One client program: connects, reads, breaks off, resumes, and checks everything it is told."""

    def __init__(self, venue: StreamedVenue, channels: tuple[str, ...], pace: int = 30) -> None:
        self.venue = venue
        self.pace = pace  # messages it reads at a time, at most
        self.channels = channels
        self.copies: dict[str, Copy] = {}
        self.stream_id = ""
        self.connection: StreamClient | None = None
        self.hub: StreamHub | None = None
        self.seen: Counter[str] = Counter()

    def connect(self) -> None:
        self.hub = self.venue.hub
        self.connection = self.hub.connect()
        is_same_life = self.stream_id == self.hub.stream_id
        for channel in self.channels:
            after = self.copies[channel].sequence if channel in self.copies and is_same_life else None
            self.hub.subscribe(self.connection, channel, after=after)
        if not is_same_life and self.stream_id:
            self.seen["restart"] += 1

    async def read(self, n: int = 1 << 20) -> None:
        """Read up to n messages that wait."""
        while self.connection is not None and n > 0 and self.connection.n_free < LIMITS.max_queued_messages:
            text = await self.connection.take()
            if text is None:
                self.disconnect()
                return
            self.fold(json.loads(text))
            n -= 1

    def disconnect(self) -> None:
        """Break off; what was not read is lost."""
        if self.connection is not None and self.hub is not None:
            self.hub.disconnect(self.connection)
        self.connection = None

    def fold(self, message: dict[str, Any]) -> None:
        if "error" in message:
            assert message["error"]["code"] == "OVERLOADED"
            self.seen["dropped"] += 1
            return
        kind = message["kind"]
        if kind == "hello":
            if message["stream_id"] != self.stream_id:
                self.stream_id, self.copies = message["stream_id"], {}  # numbers of another life mean nothing here
            return
        self.seen[kind] += 1
        channel = message["channel"]
        if kind == "resumed":
            assert message["sequence"] == self.copies[channel].sequence, "resumed elsewhere than asked"
            return
        if kind == "snapshot":
            assert message["previous_sequence"] is None
            self.copies[channel] = Copy()
        else:
            assert message["previous_sequence"] == self.copies[channel].sequence, "a message is missing"
        copy = self.copies[channel]
        copy.sequence = message["sequence"]
        if channel.startswith("book:"):
            self.fold_book(channel, copy, message)
        else:
            self.fold_account(copy, message["data"])

    def fold_book(self, channel: str, copy: Copy, message: dict[str, Any]) -> None:
        for side, name in ((copy.bids, "bids"), (copy.asks, "asks")):
            for price_ticks, size_lots, _ in message["data"][name]:
                if size_lots:
                    side[price_ticks] = size_lots
                else:
                    side.pop(price_ticks, None)  # unknown if it came and went between two messages
        assert checksum_of(copy.bids, copy.asks) == message["checksum"], "checksum"
        assert (copy.bids, copy.asks) == self.venue.books[channel, copy.sequence], "the book differs"

    def fold_account(self, copy: Copy, content: dict[str, Any]) -> None:
        copy.money = content["account"]
        for order in content.get("orders", ()):
            self.seen[order["status"]] += 1
            self.seen[str(order.get("reason"))] += 1
            if order["status"] in ("OPEN", "WAITING"):
                copy.orders[order["order_id"]] = order
            else:
                copy.orders.pop(order["order_id"], None)
        for key in content.get("keys", ()):
            copy.keys[key["key"]] = key


class Scenario:
    """Random trading and followers that come and go."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.venue = StreamedVenue()
        self.venue.open()
        everything = ("book:S1", "book:S2", "account:" + account_hex(account(1)), "account:" + account_hex(account(2)))
        self.followers = [
            Follower(self.venue, everything),
            Follower(self.venue, ("book:S1",)),
            Follower(self.venue, everything, pace=1),
        ]

    async def run(self, n_steps: int) -> Counter[str]:
        for _ in range(n_steps):
            self.trade()
            self.venue.passed_ms += self.random.choice((0, 1, 5, 30))
            if self.random.random() < 0.4:
                self.venue.hub.flush()
            if self.random.random() < 0.05:
                self.venue.hub.forget_idle()
            if self.random.random() < 0.004:
                for follower in self.followers:
                    follower.disconnect()
                self.venue.restart()
            for follower in self.followers:
                await self.move(follower)
            if self.random.random() < 0.05:
                await self.compare_accounts()
        for follower in self.followers:
            if follower.connection is None:
                follower.connect()
        await self.compare_accounts()
        return sum((follower.seen for follower in self.followers), Counter())

    async def move(self, follower: Follower) -> None:
        draw = self.random.random()
        if follower.connection is None:
            if draw < 0.2:
                follower.connect()
        elif draw < 0.1:
            await follower.read(self.random.randint(0, 5))
            follower.disconnect()
        elif draw < 0.6:
            await follower.read(self.random.randint(1, follower.pace))

    def trade(self) -> None:
        draw, number = self.random.random(), self.random.randint(1, N_PARTICIPANTS)
        if draw < 0.7:
            lane, market, side = (
                self.random.randint(0, 9),
                self.random.choice(MARKETS),
                self.random.choice(("buy", "sell")),
            )
            for _ in range(2 if self.random.random() < 0.15 else 1):  # two of equal lane and seq are an OCO
                is_triggered = self.random.random() < 0.2
                self.venue.place(
                    number,
                    side,
                    self.random.choice((100, 500, 1_000, 4_000)),
                    10_000 + self.random.randint(-12, 12),
                    market=market,
                    lane=lane,
                    seq=self.venue.now_seq() // 8 * 8,
                    time_in_force=self.random.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC)),
                    trigger_kind=self.random.choice(TRIGGERS) if is_triggered else TriggerKind.NONE,
                    trigger_ticks=10_000 + self.random.randint(-20, 20) if is_triggered else 0,
                )
        elif draw < 0.8:
            own = queries.read_open_orders(self.venue.state, account(number))
            if own:
                self.venue.cancel(number, self.random.choice(own).nonce)
        elif draw < 0.83:
            self.venue.cancel_all(number)
        elif draw < 0.88:
            self.venue.time_ms += 3_000
            ticks = 10_000 + self.random.randint(-30, 30)
            self.venue.prices_of([(market, ticks, ticks) for market in MARKETS])
        elif draw < 0.92:
            self.venue.deposit(number, 100 * USDC)
        elif draw < 0.95:
            self.venue.withdraw(number, 10 * USDC)
        else:
            self.venue.seal()

    async def compare_accounts(self) -> None:
        """Have all that are connected read all there is, and compare their accounts with the engine's."""
        self.venue.hub.flush()
        for follower in self.followers:
            await follower.read()
            if follower.connection is None:
                continue
            for channel, copy in follower.copies.items():
                if not channel.startswith("account:"):
                    continue
                live = queries.read_open_orders(self.venue.state, int(channel[10:], 16))
                assert {
                    order_id: (order["remaining_lots"], order["filled_lots"]) for order_id, order in copy.orders.items()
                } == {"0x" + order.order_id.hex(): (order.remaining_lots, order.filled_lots) for order in live}
                money = queries.read_account(self.venue.state, int(channel[10:], 16), self.venue.time_s)
                assert copy.money["collateral_quote"] == str(money.collateral_quote)
                assert copy.money["free_quote"] == str(money.free_collateral_quote)
                assert copy.money["n_open_orders"] == money.n_open_orders


def play(seed: int, n_steps: int = 400) -> Counter[str]:
    return asyncio.run(Scenario(seed).run(n_steps))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_followers__random_trading_and_disconnects__hold_the_engines_book_at_every_sequence(seed: int) -> None:
    play(seed)


def test_followers__one_long_run__meets_every_case() -> None:
    """A run without resumptions, drops or restarts would prove nothing about them."""
    seen = play(20_261, n_steps=2_000)

    assert seen["delta"] > 1_000 and seen["resumed"] > 300 and seen["snapshot"] > 30
    assert seen["dropped"] > 1 and seen["restart"] > 1
    assert min(seen[word] for word in ("OPEN", "FILLED", "CANCELLED", "OCO", "REPLACED", "USER")) > 3


def _skip_one(read_after: Callable[..., Any]) -> Callable[..., Any]:
    def planted(self: MessageHistory, sequence: int) -> Any:
        missed = read_after(self, sequence)
        return missed[1:] if missed else missed

    return planted


def _forget_one(read_after: Callable[..., Any]) -> Callable[..., Any]:
    def planted(self: MessageHistory, sequence: int) -> Any:
        missed = read_after(self, sequence)
        return missed[:-1] if missed else missed

    return planted


@pytest.mark.parametrize("plant", [_skip_one, _forget_one])
def test_followers__off_by_one_planted_in_resume__is_caught(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[..., Any]
) -> None:
    monkeypatch.setattr(MessageHistory, "read_after", plant(MessageHistory.read_after))

    with pytest.raises(AssertionError, match="a message is missing"):
        play(20_261, n_steps=2_000)


def test_followers__level_lost_in_a_delta__is_caught_by_the_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    take_news, draws = BookChannel.take_news, random.Random(1)

    def planted(self: BookChannel) -> dict[str, Any]:
        content = take_news(self)
        if content["bids"] and draws.random() < 0.02:
            content["bids"].pop()
        return content

    monkeypatch.setattr(BookChannel, "take_news", planted)

    with pytest.raises(AssertionError, match="checksum"):
        play(20_261, n_steps=2_000)


def test_followers__sequence_of_a_forgotten_channel__is_not_taken_for_a_new_one() -> None:
    """An account's channel is forgotten and begins again; the old number must not resume into the new life."""

    async def scenario() -> list[str]:
        venue = StreamedVenue()
        venue.open()
        follower = Follower(venue, ("account:" + account_hex(account(1)),))
        follower.connect()
        await follower.read()
        follower.disconnect()
        venue.passed_ms += HISTORY.age_ms
        venue.hub.forget_idle()
        venue.place(1, "buy", 100, 9_990)
        other = Follower(venue, follower.channels)
        other.connect()
        follower.connect()
        await follower.read()
        return list(follower.seen.elements())

    assert asyncio.run(scenario()) == ["snapshot", "snapshot"]


def test_keys__linked_mined_revoked__each_step_told_and_the_same_in_a_snapshot() -> None:
    """The engine's events by hand; the batch of the link is sealed and mined by the real hub's own means."""

    async def scenario() -> tuple[list[Any], list[Any]]:
        venue = StreamedVenue()
        venue.open()
        follower = Follower(venue, ("account:" + account_hex(account(1)),))
        follower.connect()
        await follower.read()
        told = []
        copy = follower.copies[follower.channels[0]]
        key = b"\x77" * 20
        limits = SessionKeyWord(
            expiry_s=venue.time_s + 60, max_notional_quote=5 * USDC, markets=0b10, trade_only=True, is_linked=True
        )
        steps: list[Callable[[], object]] = [
            lambda: venue.tell(build_key_event(KeyLinked, key, limits, sequence=venue.state.next_batch_sequence)),
            venue.mine,
            lambda: venue.tell(
                build_key_event(
                    KeyRevoked, key, SessionKeyWord(is_linked=True), sequence=venue.state.next_batch_sequence
                )
            ),
        ]
        for step in steps:
            step()
            venue.hub.flush()
            await follower.read()
            told.append(copy.keys["0x" + key.hex()])
        late = Follower(venue, follower.channels)
        late.connect()
        await late.read()
        return told, list(late.copies[follower.channels[0]].keys.values())

    told, shown_late = asyncio.run(scenario())

    assert [key["status"] for key in told] == ["linking", "active", "revoked"]
    assert (told[0]["markets"], told[0]["max_notional_quote"], told[0]["trade_only"]) == ([2], "5000000", True)
    assert told[1]["transaction"] == "0x" + "ab" * 32
    assert told[2]["markets"] == [2] and shown_late == [told[2]]


def test_withdrawal__sealed_mined_final__every_step_told() -> None:
    async def scenario() -> list[Any]:
        venue = StreamedVenue()
        venue.open()
        name = "account:" + account_hex(account(1))
        client = venue.hub.connect()
        venue.hub.subscribe(client, name)
        venue.withdraw(1, 10 * USDC)
        venue.hub.flush()
        venue.mine()
        venue.hub.note_final(9)
        venue.hub.flush()
        texts = [await client.take() for _ in range(LIMITS.max_queued_messages - client.n_free)]
        return [json.loads(text or "") for text in texts]

    messages = asyncio.run(scenario())

    steps = [step for message in messages for step in message.get("data", {}).get("transfers", [])]
    assert [step["status"] for step in steps] == ["accepted", "sealed", "mined", "claimable"]
    assert len({step["transfer_id"] for step in steps}) == 1 and steps[2]["transaction"] == "0x" + "ab" * 32


def test_history__bytes_above_the_bound__older_halves_go_and_snapshots_answer() -> None:
    async def scenario() -> tuple[int, Counter[str]]:
        venue = StreamedVenue()
        venue.open()
        follower = Follower(venue, ("account:" + account_hex(account(1)),))
        lasting = Follower(venue, follower.channels)
        lasting.connect()
        follower.connect()
        await follower.read()
        follower.disconnect()
        for _ in range(1_000):
            venue.deposit(1, USDC)
            venue.hub.flush()
            await lasting.read()
        kept_bytes = venue.hub.n_kept_bytes
        follower.connect()
        await follower.read()
        return kept_bytes, follower.seen

    kept_bytes, seen = asyncio.run(scenario())

    assert 0 < kept_bytes <= HISTORY.max_bytes
    assert seen["snapshot"] == 2 and seen["resumed"] == 0
