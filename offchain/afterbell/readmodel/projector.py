"""Turn journal frames and what the chain did with batches into rows; one transaction per group of frames.

    publish (event loop, never blocks) → queue → run(): group → thread → fold → one transaction, cursor included

Idempotent: a frame at or below the journal cursor is skipped, a batch never goes back in its life. Rebuild: delete the
database and publish every frame again (`catch_up`), then tell it the chain again (`record_*`). Must not: be waited for
by the sequencer. Raises in run(): SQLAlchemy's errors; the process stops, the next start replays what is missing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from afterbell import failpoints
from afterbell.domain.codes import describe_code
from afterbell.domain.commands import PlaceOrder
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    DepositCredited,
    Event,
    FillMatched,
    FillRejected,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    PricesAdopted,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import account_bytes
from afterbell.ports import Frame
from afterbell.readmodel.tables import (
    AccountRow,
    Base,
    BatchRow,
    BatchStatus,
    CursorRow,
    FillRow,
    OrderRow,
    OrderStatus,
    PriceRow,
    TransferKind,
    TransferRow,
)

JOURNAL_CURSOR: Final = "journal"
CHAIN_CURSOR: Final = "chain"
_MAX_GROUP: Final = 512
_LIFE: Final = tuple(status.value for status in BatchStatus)

_Row = dict[str, Any]
_Published = tuple[Frame, Sequence[Event]]


class _Changes:
    """Rows of one group, folded in memory so that each table is written once."""

    def __init__(self) -> None:
        self.accounts: dict[bytes, _Row] = {}
        self.orders: dict[bytes, _Row] = {}
        self.rejected_orders: dict[bytes, _Row] = {}
        self.order_fills: dict[bytes, int] = {}
        self.order_ends: dict[bytes, tuple[str, int]] = {}
        self.touched_ms: dict[bytes, int] = {}
        self.fills: list[_Row] = []
        self.fill_codes: list[_Row] = []
        self.batches: list[_Row] = []
        self.confirmed: list[_Row] = []
        self.prices: list[_Row] = []
        self.transfers: dict[str, _Row] = {}
        self.transfer_codes: list[_Row] = []

    def fold(self, frame: Frame, events: Sequence[Event]) -> None:
        """Adopt one frame. Units: times of the frame, venue milliseconds."""
        # A taker's own OrderAccepted comes after its fills and already counts them.
        accepted_ids = {event.order_id for event in events if isinstance(event, OrderAccepted)}
        for event in events:
            match event:
                case OrderAccepted():
                    self._accept_order(frame, event)
                case OrderRejected():
                    self._reject_order(frame, event)
                case OrderCancelled():
                    self.order_ends[event.order_id] = (event.reason, frame.time_ms)
                case FillMatched():
                    self._match_fill(frame, event, accepted_ids)
                case FillRejected():
                    self.fill_codes.append({"b_fill_id": event.fill_id, "b_code": event.code})
                case PricesAdopted():
                    self._adopt_prices(frame, event)
                case DepositCredited() | WithdrawalAccepted() | WithdrawalRejected():
                    self._move_collateral(frame, event)
                case BatchSealed():
                    self._seal_batch(frame, event)
                case BatchConfirmed():
                    self.confirmed.append(
                        {
                            "b_sequence": event.sequence,
                            "b_transaction": event.transaction,
                            "b_block": event.block,
                            "b_gas_used": event.gas_used,
                        }
                    )
                case _:
                    pass

    def _see(self, account: int, time_ms: int) -> bytes:
        key = account_bytes(account)
        self.accounts.setdefault(key, {"account": key, "first_seen_ms": time_ms})
        return key

    def _accept_order(self, frame: Frame, event: OrderAccepted) -> None:
        is_filled = event.filled_lots >= event.size_lots
        self.orders[event.order_id] = {
            "order_id": event.order_id,
            "account": self._see(event.account, frame.time_ms),
            "market": event.market,
            "is_buy": event.is_buy,
            "size_lots": event.size_lots,
            "limit_ticks": event.limit_ticks,
            "filled_lots": event.filled_lots,
            "status": (OrderStatus.FILLED if is_filled else OrderStatus.OPEN).value,
            "reason": None,
            "nonce": event.nonce,
            "time_in_force": event.time_in_force,
            "reduce_only": event.reduce_only,
            "post_only": event.post_only,
            "expiry_s": event.expiry_s,
            "max_fee_ppm": event.max_fee_ppm,
            "client_id": event.client_id,
            "placed_sequence": frame.sequence,
            "placed_at_ms": frame.time_ms,
            "updated_at_ms": frame.time_ms,
        }
        self.rejected_orders.pop(event.order_id, None)

    def _reject_order(self, frame: Frame, event: OrderRejected) -> None:
        command = frame.command
        if not isinstance(command, PlaceOrder) or event.order_id in self.orders:
            return
        self.rejected_orders[event.order_id] = {
            "order_id": event.order_id,
            # Not `_see`: a refused order does not make an account known.
            "account": account_bytes(event.account),
            "market": event.market,
            "is_buy": command.is_buy,
            "size_lots": command.size_lots,
            "limit_ticks": command.limit_ticks,
            "filled_lots": 0,
            "status": OrderStatus.REJECTED.value,
            "reason": event.reason,
            "nonce": command.nonce,
            "time_in_force": command.time_in_force,
            "reduce_only": command.reduce_only,
            "post_only": command.post_only,
            "expiry_s": command.expiry_s,
            "max_fee_ppm": command.max_fee_ppm,
            "client_id": command.client_id,
            "placed_sequence": frame.sequence,
            "placed_at_ms": frame.time_ms,
            "updated_at_ms": frame.time_ms,
        }

    def _match_fill(self, frame: Frame, event: FillMatched, accepted_ids: set[bytes]) -> None:
        for order_id in (event.maker_order_id, event.taker_order_id):
            if order_id not in accepted_ids:
                self.order_fills[order_id] = self.order_fills.get(order_id, 0) + event.size_lots
                self.touched_ms[order_id] = frame.time_ms
        self.fills.append(
            {
                "fill_id": event.fill_id,
                "sequence": event.sequence,
                "market": event.market,
                "price_ticks": event.price_ticks,
                "size_lots": event.size_lots,
                "maker_order_id": event.maker_order_id,
                "taker_order_id": event.taker_order_id,
                "maker_account": self._see(event.maker_account, frame.time_ms),
                "taker_account": self._see(event.taker_account, frame.time_ms),
                "taker_is_buy": event.taker_is_buy,
                "maker_fee_quote": event.maker_fee_quote,
                "taker_fee_quote": event.taker_fee_quote,
                "time_ms": frame.time_ms,
                "code": None,
            }
        )

    def _adopt_prices(self, frame: Frame, event: PricesAdopted) -> None:
        for market, mark_ticks, index_ticks, external_ticks, session in event.prices:
            self.prices.append(
                {
                    "market": market,
                    "journal_sequence": frame.sequence,
                    "time_ms": frame.time_ms,
                    "mark_ticks": mark_ticks,
                    "index_ticks": index_ticks,
                    "external_ticks": external_ticks,
                    "session": session,
                }
            )

    def _move_collateral(self, frame: Frame, event: DepositCredited | WithdrawalAccepted | WithdrawalRejected) -> None:
        row: _Row = {
            "account": self._see(event.account, frame.time_ms),
            "quote": event.quote,
            "counterparty": bytes(20),
            "sequence": None,
            "code": None,
            "transaction_hash": None,
            "block": None,
            "placed_sequence": frame.sequence,
            "time_ms": frame.time_ms,
        }
        match event:
            case DepositCredited():
                sender = getattr(frame.command, "sender", bytes(20))
                row |= {"transfer_id": f"d{event.direct_op}", "kind": TransferKind.DEPOSIT.value}
                row |= {"counterparty": sender, "transaction_hash": event.transaction, "block": event.block}
            case WithdrawalAccepted():
                row |= {"transfer_id": "0x" + event.withdrawal_id.hex(), "kind": TransferKind.WITHDRAWAL.value}
                row |= {"counterparty": event.recipient, "sequence": event.sequence}
            case WithdrawalRejected():
                recipient = getattr(frame.command, "recipient", bytes(20))
                row |= {"transfer_id": "0x" + event.withdrawal_id.hex(), "kind": TransferKind.WITHDRAWAL.value}
                row |= {"counterparty": recipient, "code": event.reason}
        previous = self.transfers.get(row["transfer_id"])
        if previous is None or previous["code"] is not None:
            self.transfers[row["transfer_id"]] = row

    def _seal_batch(self, frame: Frame, event: BatchSealed) -> None:
        self.batches.append(
            {
                "sequence": event.sequence,
                "status": BatchStatus.SEALED.value,
                "matched_at_s": event.matched_at_s,
                "sealed_at_ms": frame.time_ms,
                "head": event.head,
                "codes": event.codes,
                "n_operations": event.n_operations,
                "n_orders": event.n_orders,
                "n_fills": len(event.fill_ids),
                "payload_bytes": len(event.payload),
            }
        )
        # Codes start with the operations, in payload order; the only operations a batch carries so far are withdrawals.
        for withdrawal_id, code in zip(event.operation_ids, event.codes, strict=False):
            if code:
                self.transfer_codes.append({"b_transfer_id": "0x" + withdrawal_id.hex(), "b_code": describe_code(code)})

    def write(self, connection: Connection) -> None:
        """Write everything; the order keeps a row's insert before its updates."""
        _insert_missing(connection, AccountRow, list(self.accounts.values()))
        _insert_missing(connection, OrderRow, list(self.rejected_orders.values()))
        _upsert(connection, OrderRow, list(self.orders.values()))
        self._update_orders(connection)
        _insert_missing(connection, FillRow, self.fills)
        _execute_many(
            connection,
            update(FillRow).where(FillRow.fill_id == bindparam("b_fill_id")).values(code=bindparam("b_code")),
            self.fill_codes,
        )
        _insert_missing(connection, BatchRow, self.batches)
        _execute_many(
            connection,
            update(BatchRow)
            .where(
                BatchRow.sequence == bindparam("b_sequence"),
                # Not IN: many rows at once cannot expand it.
                BatchRow.status != BatchStatus.MINED.value,
                BatchRow.status != BatchStatus.FINAL.value,
            )
            .values(
                status=BatchStatus.MINED.value,
                transaction=bindparam("b_transaction"),
                block=bindparam("b_block"),
                gas_used=bindparam("b_gas_used"),
            ),
            self.confirmed,
        )
        _insert_missing(connection, PriceRow, self.prices)
        rejected = [row for row in self.transfers.values() if row["code"] is not None]
        accepted = [row for row in self.transfers.values() if row["code"] is None]
        _insert_missing(connection, TransferRow, rejected)
        _upsert(connection, TransferRow, accepted)
        _execute_many(
            connection,
            update(TransferRow)
            .where(TransferRow.transfer_id == bindparam("b_transfer_id"))
            .values(code=bindparam("b_code")),
            self.transfer_codes,
        )

    def _update_orders(self, connection: Connection) -> None:
        filled = OrderRow.filled_lots + bindparam("b_lots")
        open_id = (OrderRow.order_id == bindparam("b_order_id")) & (OrderRow.status == OrderStatus.OPEN.value)
        _execute_many(
            connection,
            update(OrderRow).where(open_id).values(filled_lots=filled, updated_at_ms=bindparam("b_time_ms")),
            [
                {"b_order_id": order_id, "b_lots": lots, "b_time_ms": self.touched_ms[order_id]}
                for order_id, lots in self.order_fills.items()
            ],
        )
        _execute_many(
            connection,
            update(OrderRow)
            .where(open_id, OrderRow.filled_lots >= OrderRow.size_lots)
            .values(status=OrderStatus.FILLED.value),
            [{"b_order_id": order_id} for order_id in self.order_fills],
        )
        _execute_many(
            connection,
            update(OrderRow)
            .where(open_id)
            .values(
                status=OrderStatus.CANCELLED.value, reason=bindparam("b_reason"), updated_at_ms=bindparam("b_time_ms")
            ),
            [
                {"b_order_id": order_id, "b_reason": reason, "b_time_ms": time_ms}
                for order_id, (reason, time_ms) in self.order_ends.items()
            ],
        )


class Projector:
    """Keep the read model a little behind the journal. Implements ports.EventSink."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="projector")
        self._waiting: deque[_Published] = deque()
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._stopping = False
        self._projected = read_cursor(engine, JOURNAL_CURSOR)

    @property
    def projected_sequence(self) -> int:
        """Sequence of the last frame whose rows are committed."""
        return self._projected

    @property
    def n_waiting(self) -> int:
        """Frames published but not yet written."""
        return len(self._waiting)

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        """Take a frame for later; called on the event loop, never blocks."""
        if frame.sequence > self._projected:
            self._waiting.append((frame, events))
            self._wake.set()

    def catch_up(self, frames: Iterable[_Published]) -> int:
        """Project frames of a replay, before `run`; return how many were new. Blocks."""
        n_new = 0
        group: list[_Published] = []
        for frame, events in frames:
            if frame.sequence <= self._projected:
                continue
            group.append((frame, events))
            n_new += 1
            if len(group) >= _MAX_GROUP:
                self._write(group)
                group = []
        if group:
            self._write(group)
        return n_new

    async def run(self) -> None:
        """Write what was published until `stop`."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))]
            await loop.run_in_executor(self._thread, self._write, group)
            async with self._settled:
                self._settled.notify_all()

    def stop(self) -> None:
        """Let `run` return after what was published is written."""
        self._stopping = True
        self._wake.set()

    async def wait_for(self, sequence: int) -> None:
        """Return when the frame `sequence` is written. Callers bring their own timeout."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._projected >= sequence)

    async def record_batch_submitted(self, sequence: int, transaction: bytes) -> None:
        """Note that a sealed batch is on its way, under this transaction (again, when it was replaced)."""
        await self._in_thread(self._set_submitted, sequence, transaction)

    async def record_final_block(self, block: int) -> None:
        """Note that everything up to `block` is final: mined batches become final, their withdrawals claimable."""
        await self._in_thread(self._set_final, block)

    async def record_claim_paid(self, recipient: bytes, transaction: bytes, block: int) -> None:
        """Note that the vault paid all claims of a recipient: withdrawals mined before `block` are paid by it."""
        await self._in_thread(self._set_paid, recipient, transaction, block)

    async def read_chain_cursor(self) -> int:
        """Return the last block whose logs were recorded, 0 if none: where the indexer goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, read_cursor, self._engine, CHAIN_CURSOR)

    async def record_chain_cursor(self, block: int, block_hash: bytes) -> None:
        """Note that the logs up to `block` are recorded."""
        await self._in_thread(self._set_chain_cursor, block, block_hash)

    async def _in_thread(self, function: Any, *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _write(self, group: Sequence[_Published]) -> None:
        changes = _Changes()
        last: Frame | None = None
        for frame, events in group:
            if frame.sequence <= self._projected:
                continue
            changes.fold(frame, events)
            last = frame
        if last is None:
            return
        with self._engine.begin() as connection:
            changes.write(connection)
            _set_cursor(connection, JOURNAL_CURSOR, last.sequence, last.hash)
        self._projected = last.sequence
        failpoints.reach("readmodel.projected")

    def _set_submitted(self, sequence: int, transaction: bytes) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                update(BatchRow)
                .where(
                    BatchRow.sequence == sequence,
                    BatchRow.status.in_((BatchStatus.SEALED.value, BatchStatus.SUBMITTED.value)),
                )
                .values(status=BatchStatus.SUBMITTED.value, transaction=transaction)
            )

    def _set_final(self, block: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                update(BatchRow)
                .where(BatchRow.status == BatchStatus.MINED.value, BatchRow.block <= block)
                .values(status=BatchStatus.FINAL.value)
            )

    def _set_paid(self, recipient: bytes, transaction: bytes, block: int) -> None:
        mined = select(BatchRow.sequence).where(BatchRow.block <= block)
        with self._engine.begin() as connection:
            connection.execute(
                update(TransferRow)
                .where(
                    TransferRow.kind == TransferKind.WITHDRAWAL.value,
                    TransferRow.counterparty == recipient,
                    TransferRow.code.is_(None),
                    TransferRow.paid_transaction.is_(None),
                    TransferRow.sequence.in_(mined),
                )
                .values(paid_transaction=transaction, paid_block=block)
            )

    def _set_chain_cursor(self, block: int, block_hash: bytes) -> None:
        with self._engine.begin() as connection:
            _set_cursor(connection, CHAIN_CURSOR, block, block_hash)


def read_cursor(engine: Engine, name: str) -> int:
    """Return a cursor's position, 0 if it was never set."""
    with engine.connect() as connection:
        position = connection.execute(select(CursorRow.position).where(CursorRow.name == name)).scalar()
    return 0 if position is None else int(position)


def is_at_least(status: str, wanted: BatchStatus) -> bool:
    """Tell whether a batch has come as far as `wanted`."""
    return _LIFE.index(status) >= _LIFE.index(wanted.value)


def _set_cursor(connection: Connection, name: str, position: int, digest: bytes) -> None:
    _upsert(connection, CursorRow, [{"name": name, "position": position, "hash": digest}])


def _dialect_insert(connection: Connection, table: type[Base]) -> Any:
    """Return INSERT with ON CONFLICT: the same words in both dialects, from two modules."""
    module = postgresql if connection.dialect.name == "postgresql" else sqlite
    return module.insert(table)


def _insert_missing(connection: Connection, table: type[Base], rows: Sequence[_Row]) -> None:
    if rows:
        connection.execute(_dialect_insert(connection, table).on_conflict_do_nothing(), rows)


def _upsert(connection: Connection, table: type[Base], rows: Sequence[_Row]) -> None:
    if not rows:
        return
    statement = _dialect_insert(connection, table)
    keys = [column.name for column in table.__table__.primary_key]
    # Rows are keyed by column, not by attribute: TransferRow.transaction is the column transaction_hash.
    updates = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=updates), rows)


def _execute_many(connection: Connection, statement: Any, rows: Sequence[_Row]) -> None:
    if rows:
        connection.execute(statement, rows)
