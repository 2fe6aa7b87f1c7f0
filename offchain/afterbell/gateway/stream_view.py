"""Know what the stream shows: books, trades, batches and keys folded from events, the rest read from the engine.

It sees every frame, those of the replay at start too. Must not: know clients or channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from afterbell.domain.codes import RejectReason
from afterbell.domain.events import BatchSealed, FillMatched, KeyLinked, KeyRevoked
from afterbell.domain.ids import account_hex, address_hex, parse_account_hex
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.domain.words import SessionKeyWord
from afterbell.engine import queries
from afterbell.engine.book_view import BookView
from afterbell.engine.state import EngineState
from afterbell.gateway.services import ClockStatus, VenueClock
from afterbell.gateway.stream_client import StreamRefused
from afterbell.gateway.views import build_account, build_matched_fill, build_open_order, session_name, to_hex
from afterbell.readmodel.queries import BatchView, FillView

N_TRADES: Final = 100
N_BATCHES: Final = 50
_N_LIVING_BATCHES: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView:
    """A session key of an account. `sequence`: the batch of the link or revocation, None if made directly on chain."""

    account: str
    key: bytes
    word: SessionKeyWord
    operation_id: bytes
    sequence: int | None
    is_revoked: bool
    transaction: bytes | None
    before: KeyView | None = None
    """What it was until a batch not yet sealed changed it."""


@dataclass(slots=True)
class Living:
    """What of a batch changes its state with it, until the batch is final."""

    fills: list[FillView] = field(default_factory=list)
    transfers: list[tuple[str, str, str]] = field(default_factory=list)
    """(account, transfer_id, kind) of withdrawals and transfers between subaccounts."""
    keys: list[KeyView] = field(default_factory=list)


class StreamView:
    """Everything a snapshot is made of."""

    def __init__(self, *, clock: VenueClock, clock_status: Callable[[], ClockStatus]) -> None:
        self.clock = clock
        self._clock_status = clock_status
        self.read_state: Callable[[], EngineState] | None = None
        self.books = BookView()
        self.symbols: dict[int, str] = {}
        self.markets: dict[str, int] = {}
        self.last_sequence = 0
        self.trades: dict[int, deque[FillView]] = {}
        self.batches: dict[int, BatchView] = {}
        self.living: dict[int, Living] = {}
        self.keys: dict[str, dict[bytes, KeyView]] = {}

    def must_state(self) -> EngineState:
        """Return the live engine state. Raises: StreamRefused before there is one."""
        if self.read_state is None:
            raise StreamRefused(
                RejectReason.NOT_READY, "the engine is not up yet", action="try again in a moment; /readyz tells when"
            )
        return self.read_state()

    # ------------------------------------------------------------ folding

    def list_market(self, market: int, symbol: str) -> None:
        """Learn a market."""
        self.symbols[market] = symbol
        self.markets[symbol] = market

    def add_fill(self, event: FillMatched, time_ms: int) -> FillView:
        """Learn a fill and return it as it is shown."""
        fill = build_matched_fill(event, time_ms)
        self.trades.setdefault(event.market, deque(maxlen=N_TRADES)).appendleft(fill)
        self.living.setdefault(event.sequence, Living()).fills.append(fill)
        return fill

    def add_batch(self, event: BatchSealed, sealed_at_ms: int) -> BatchView:
        """Learn a sealed batch and return it as it is shown."""
        return BatchView(
            sequence=event.sequence,
            status="sealed",
            matched_at_s=event.matched_at_s,
            sealed_at_ms=sealed_at_ms,
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

    def move_batch(self, batch: BatchView) -> Living:
        """Learn a batch's new state and return what moved with it."""
        self.batches[batch.sequence] = batch
        while len(self.batches) > _N_LIVING_BATCHES:
            oldest = next(iter(self.batches))
            del self.batches[oldest]
            self.living.pop(oldest, None)
        living = self.living.get(batch.sequence)
        if living is None:
            return Living()
        if batch.status == "final":
            del self.living[batch.sequence]
        for index, key in enumerate(living.keys):
            moved = replace(key, transaction=batch.transaction, before=None)
            living.keys[index] = moved
            if self.keys[key.account].get(key.key) == key:
                self.keys[key.account][key.key] = moved
        return living

    def change_key(self, event: KeyLinked | KeyRevoked) -> KeyView:
        """Learn a link or a revocation and return the key as it is shown."""
        account, is_batched = account_hex(event.account), bool(event.operation_id)
        keys = self.keys.setdefault(account, {})
        word, before = SessionKeyWord.unpack(int.from_bytes(event.word, "big")), keys.get(event.key)
        if isinstance(event, KeyRevoked) and before is not None:
            word = before.word  # A revoked key is shown with the limits it was last given, as GET …/keys does.
        view = KeyView(
            account=account,
            key=event.key,
            word=word,
            operation_id=event.operation_id,
            sequence=event.sequence if is_batched else None,
            is_revoked=isinstance(event, KeyRevoked),
            transaction=event.transaction or None,
            before=before if is_batched else None,
        )
        keys[event.key] = view
        if is_batched:
            self.living.setdefault(event.sequence, Living()).keys.append(view)
        return view

    def undo_key(self, account: str, key: bytes, operation_id: bytes) -> KeyView | None:
        """Take back what its batch refused; return the key as it is then, or as it was if it is gone; None: unknown."""
        view = self.keys.get(account, {}).get(key)
        if view is None or view.operation_id != operation_id:
            return None
        living = self.living.get(view.sequence or 0)
        if living is not None and view in living.keys:
            living.keys.remove(view)
        if view.before is None:
            del self.keys[account][key]
            return view
        self.keys[account][key] = view.before
        return view.before

    # ------------------------------------------------------------ showing

    def show_prices(self) -> dict[str, Any]:
        """Return the content of the channel of prices."""
        now_s = milliseconds_to_seconds(self.clock.now_ms())
        return {
            "time_ms": self.clock.now_ms(),
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
                for view in queries.read_markets(self.must_state(), now_s)
            ],
        }

    def show_account(self, account: str) -> dict[str, Any]:
        """Return the snapshot of an account: money, live orders, keys."""
        orders = queries.read_open_orders(self.must_state(), parse_account_hex(account))
        return {
            "account": self.show_money(account),
            "orders": [build_open_order(order, self.symbols).model_dump() for order in orders],
            "keys": [self.show_key(key) for key in self.keys.get(account, {}).values()],
        }

    def show_money(self, account: str) -> dict[str, Any]:
        """Return collateral, equity, margins and positions of an account."""
        now_s = milliseconds_to_seconds(self.clock.now_ms())
        summary = queries.read_account(self.must_state(), parse_account_hex(account), now_s)
        return build_account(summary, self.symbols, sequence=self.last_sequence).model_dump()

    def show_order(self, order_id: str, changed: dict[str, Any]) -> dict[str, Any]:
        """Return an order as it lives, or what is known of one that is gone."""
        live = queries.find_order(self.must_state(), bytes.fromhex(order_id[2:]))
        if live is not None:
            return build_open_order(live, self.symbols).model_dump()
        return {"order_id": order_id, "status": "FILLED", "reason": None, "remaining_lots": 0} | changed

    def show_key(self, view: KeyView) -> dict[str, Any]:
        """Return a session key; when it expires stands in key_expiry_s, no message tells it."""
        batch = None if view.sequence is None else self.batches.get(view.sequence)
        is_on_chain = view.sequence is None or (batch is not None and batch.status in ("mined", "final"))
        status = "revoked" if view.is_revoked else "active" if is_on_chain else "linking"
        return {
            "key": address_hex(view.key),
            "status": status,
            "key_expiry_s": view.word.expiry_s,
            "max_notional_quote": str(view.word.max_notional_quote),
            "markets": [market for market in range(1, 33) if view.word.allows_market(market)],
            "trade_only": view.word.trade_only,
            "reduce_only": view.word.reduce_only,
            "sequence": view.sequence,
            "transaction": to_hex(view.transaction),
        }

    def show_clock(self) -> dict[str, Any]:
        """Return the content of the channel of the clock."""
        status = self._clock_status()
        return {
            "venue_time_ms": self.clock.now_ms(),
            "step": status.step,
            "step_time_ms": status.step_time_ms,
            "next_step_ms": status.next_step_ms,
            "speed": status.speed,
            "mode": status.mode,
        }

    def find_living_fills(self, sequence: int) -> Sequence[FillView]:
        """Return the fills of a batch that may still change."""
        living = self.living.get(sequence)
        return () if living is None else living.fills
