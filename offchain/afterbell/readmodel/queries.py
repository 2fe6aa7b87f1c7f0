"""Read the read model: every SELECT of the project stands here, each a method that opens its own short transaction.

Answers are frozen values. All methods block for the time of a query: on the event loop call them through
`ReadModel.run`. Must not: write. NOTE: Quote columns are text in SQLite: SQL neither sums nor compares them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from sqlalchemy import Engine, Select, or_, select
from sqlalchemy.exc import SQLAlchemyError

from afterbell.domain.errors import Unavailable
from afterbell.readmodel.projector import JOURNAL_CURSOR, read_cursor
from afterbell.readmodel.tables import (
    AccountRow,
    BatchRow,
    BatchStatus,
    FillRow,
    OrderRow,
    OrderStatus,
    PriceRow,
    TransferKind,
    TransferRow,
)

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")

MAX_PRICE_ROWS = 200_000


class ReadModelUnavailable(Unavailable):
    """The database did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillView:
    """One fill with its life. status: matched, submitted, mined, final, rejected."""

    fill_id: int
    sequence: int
    market: int
    price_ticks: int
    size_lots: int
    maker_order_id: bytes
    taker_order_id: bytes
    maker_account: bytes
    taker_account: bytes
    taker_is_buy: bool
    maker_fee_quote: int
    taker_fee_quote: int
    time_ms: int
    status: str
    code: int | None
    transaction: bytes | None
    block: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView:
    """One order as the read model has it."""

    order_id: bytes
    account: bytes
    market: int
    is_buy: bool
    size_lots: int
    limit_ticks: int
    filled_lots: int
    status: str
    reason: str | None
    nonce: int
    time_in_force: int
    reduce_only: bool
    post_only: bool
    expiry_s: int
    max_fee_ppm: int
    client_id: str
    placed_sequence: int
    placed_at_ms: int
    updated_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """One batch and where it stands."""

    sequence: int
    status: str
    matched_at_s: int
    sealed_at_ms: int
    head: bytes
    codes: bytes
    n_operations: int
    n_orders: int
    n_fills: int
    payload_bytes: int
    transaction: bytes | None
    block: int | None
    gas_used: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferView:
    """One deposit or withdrawal. status: credited; accepted, sealed, submitted, mined, claimable, paid; rejected."""

    transfer_id: str
    kind: str
    account: bytes
    quote: int
    counterparty: bytes
    sequence: int | None
    code: str | None
    transaction: bytes | None
    block: int | None
    paid_transaction: bytes | None
    paid_block: int | None
    placed_sequence: int
    time_ms: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """Mark prices of one interval; `volume_lots` counts fills."""

    time_s: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int


class ReadModel:
    """The queries, and two threads to run them in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="readmodel")

    async def run(
        self, query: Callable[_Arguments, _Answer], *arguments: _Arguments.args, **keywords: _Arguments.kwargs
    ) -> _Answer:
        """Run one of the queries below off the event loop. Raises: ReadModelUnavailable."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, lambda: query(*arguments, **keywords)
            )
        except SQLAlchemyError as error:
            raise ReadModelUnavailable(f"read model: {type(error).__name__}") from error

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def get_order(self, order_id: bytes) -> OrderView | None:
        """Return one order."""
        with self._engine.connect() as connection:
            row = connection.execute(select(*_ORDER_COLUMNS).where(OrderRow.order_id == order_id)).one_or_none()
        return None if row is None else OrderView(**row._mapping)

    def read_orders(self, account: bytes, *, is_open: bool | None, limit: int, before: int | None) -> list[OrderView]:
        """Return orders of an account, newest first; `before` is a placed_sequence."""
        statement = select(*_ORDER_COLUMNS).where(OrderRow.account == account)
        if is_open is not None:
            opened = OrderRow.status == OrderStatus.OPEN.value
            statement = statement.where(opened if is_open else ~opened)
        if before is not None:
            statement = statement.where(OrderRow.placed_sequence < before)
        statement = statement.order_by(OrderRow.placed_sequence.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [OrderView(**row._mapping) for row in connection.execute(statement)]

    def read_fills_of_order(self, order_id: bytes) -> list[FillView]:
        """Return the fills of one order, oldest first."""
        return self._read_fills(
            _select_fills()
            .where(or_(FillRow.maker_order_id == order_id, FillRow.taker_order_id == order_id))
            .order_by(FillRow.fill_id)
        )

    def read_fills_of_orders(self, order_ids: Sequence[bytes], limit: int) -> list[FillView]:
        """Return the fills of many orders, oldest first."""
        ids = list(order_ids)
        if not ids:
            return []
        return self._read_fills(
            _select_fills()
            .where(or_(FillRow.maker_order_id.in_(ids), FillRow.taker_order_id.in_(ids)))
            .order_by(FillRow.fill_id)
            .limit(limit)
        )

    def read_fills(self, account: bytes, *, limit: int, before: int | None) -> list[FillView]:
        """Return fills of an account, newest first; `before` is a fill_id."""
        # Two indexed reads merged here: an OR over two columns makes both databases scan.
        fills: dict[int, FillView] = {}
        for column in (FillRow.maker_account, FillRow.taker_account):
            statement = _select_fills().where(column == account)
            if before is not None:
                statement = statement.where(FillRow.fill_id < before)
            statement = statement.order_by(FillRow.fill_id.desc()).limit(limit)
            fills |= {fill.fill_id: fill for fill in self._read_fills(statement)}
        return [fills[fill_id] for fill_id in sorted(fills, reverse=True)[:limit]]

    def read_fills_of_batch(self, sequence: int) -> list[FillView]:
        """Return the fills a batch carries, in the order they were matched."""
        return self._read_fills(_select_fills().where(FillRow.sequence == sequence).order_by(FillRow.fill_id))

    def read_unfinal_fills(self) -> list[FillView]:
        """Return every fill that is not yet final: what a restarted stream must know of."""
        final = select(BatchRow.sequence).where(BatchRow.status == BatchStatus.FINAL.value)
        return self._read_fills(
            _select_fills()
            .where(FillRow.code.is_(None), FillRow.sequence.not_in(final))
            .order_by(FillRow.fill_id.desc())
            .limit(10_000)
        )

    def read_trades(self, market: int, limit: int) -> list[FillView]:
        """Return the last fills of a market, newest first, refused ones left out."""
        return self._read_fills(
            _select_fills()
            .where(FillRow.market == market, FillRow.code.is_(None))
            .order_by(FillRow.fill_id.desc())
            .limit(limit)
        )

    def read_batches(self, *, limit: int, before: int | None) -> list[BatchView]:
        """Return batches, newest first."""
        statement = select(*_BATCH_COLUMNS)
        if before is not None:
            statement = statement.where(BatchRow.sequence < before)
        statement = statement.order_by(BatchRow.sequence.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [BatchView(**row._mapping) for row in connection.execute(statement)]

    def get_batch(self, sequence: int) -> BatchView | None:
        """Return one batch."""
        with self._engine.connect() as connection:
            row = connection.execute(select(*_BATCH_COLUMNS).where(BatchRow.sequence == sequence)).one_or_none()
        return None if row is None else BatchView(**row._mapping)

    def read_transfers(self, account: bytes, *, limit: int, before: int | None) -> list[TransferView]:
        """Return deposits and withdrawals of an account, newest first; `before` is a placed_sequence."""
        statement = _select_transfers().where(TransferRow.account == account)
        if before is not None:
            statement = statement.where(TransferRow.placed_sequence < before)
        return self._read_transfers(statement.order_by(TransferRow.placed_sequence.desc()).limit(limit))

    def get_transfer(self, transfer_id: str) -> TransferView | None:
        """Return one deposit or withdrawal."""
        found = self._read_transfers(_select_transfers().where(TransferRow.transfer_id == transfer_id))
        return found[0] if found else None

    def is_known_account(self, account: bytes) -> bool:
        """Tell whether the venue has seen the account."""
        with self._engine.connect() as connection:
            statement = select(AccountRow.account).where(AccountRow.account == account)
            return connection.execute(statement).first() is not None

    def get_mark_at(self, market: int, time_ms: int) -> int | None:
        """Return the mark in force at a time, None before the first price."""
        statement = (
            select(PriceRow.mark_ticks)
            .where(PriceRow.market == market, PriceRow.time_ms <= time_ms, PriceRow.mark_ticks > 0)
            .order_by(PriceRow.time_ms.desc(), PriceRow.journal_sequence.desc())
            .limit(1)
        )
        with self._engine.connect() as connection:
            found = connection.execute(statement).scalar()
        return None if found is None else int(found)

    def read_candles(self, market: int, *, interval_s: int, from_s: int, to_s: int) -> list[Candle]:
        """Return candles of mark with the volume of fills, oldest first, intervals without a price left out.

        Units: from_s inclusive, to_s exclusive, multiples of interval_s. A candle opens where the one before closed.
        """
        between = (PriceRow.market == market, PriceRow.time_ms >= from_s * 1000, PriceRow.time_ms < to_s * 1000)
        prices = (
            select(PriceRow.time_ms, PriceRow.mark_ticks)
            .where(*between, PriceRow.mark_ticks > 0)
            .order_by(PriceRow.time_ms, PriceRow.journal_sequence)
            .limit(MAX_PRICE_ROWS)
        )
        fills = (
            select(FillRow.time_ms, FillRow.size_lots)
            .where(FillRow.market == market, FillRow.time_ms >= from_s * 1000, FillRow.time_ms < to_s * 1000)
            .where(FillRow.code.is_(None))
            .limit(MAX_PRICE_ROWS)
        )
        previous_ticks = self.get_mark_at(market, from_s * 1000 - 1)
        with self._engine.connect() as connection:
            price_rows = connection.execute(prices).all()
            fill_rows = connection.execute(fills).all()
        return _build_candles(
            [(row[0], row[1]) for row in price_rows],
            [(row[0], row[1]) for row in fill_rows],
            interval_s=interval_s,
            previous_ticks=previous_ticks,
        )

    def read_last_price_ms(self, market: int) -> int | None:
        """Return the time of the newest price of a market."""
        statement = select(PriceRow.time_ms).where(PriceRow.market == market).order_by(PriceRow.time_ms.desc()).limit(1)
        with self._engine.connect() as connection:
            found = connection.execute(statement).scalar()
        return None if found is None else int(found)

    def read_projected_sequence(self) -> int:
        """Return the last journal frame whose rows are here."""
        return read_cursor(self._engine, JOURNAL_CURSOR)

    def _read_fills(self, statement: Select[*tuple[object, ...]]) -> list[FillView]:
        with self._engine.connect() as connection:
            rows = connection.execute(statement).all()
        fills = []
        for row in rows:
            fields = dict(row._mapping)
            batch_status = fields.pop("batch_status")
            fields["status"] = _fill_status(fields["code"], batch_status)
            fills.append(FillView(**fields))
        return fills

    def _read_transfers(self, statement: Select[*tuple[object, ...]]) -> list[TransferView]:
        with self._engine.connect() as connection:
            rows = connection.execute(statement).all()
        transfers = []
        for row in rows:
            fields = dict(row._mapping)
            batch_status, batch_transaction, batch_block = (
                fields.pop("batch_status"),
                fields.pop("batch_transaction"),
                fields.pop("batch_block"),
            )
            fields["status"] = _transfer_status(fields, batch_status)
            if fields["kind"] == TransferKind.WITHDRAWAL.value:
                fields |= {"transaction": batch_transaction, "block": batch_block}
            transfers.append(TransferView(**fields))
        return transfers


_ORDER_COLUMNS = [getattr(OrderRow, name) for name in OrderView.__slots__]
_BATCH_COLUMNS = [getattr(BatchRow, name).label(name) for name in BatchView.__slots__]
_FILL_COLUMNS = [
    getattr(FillRow, name) for name in FillView.__slots__ if name not in ("status", "transaction", "block")
]
_TRANSFER_COLUMNS = [getattr(TransferRow, name).label(name) for name in TransferView.__slots__ if name != "status"]


def _select_fills() -> Select[*tuple[object, ...]]:
    return select(
        *_FILL_COLUMNS,
        BatchRow.status.label("batch_status"),
        BatchRow.transaction.label("transaction"),
        BatchRow.block.label("block"),
    ).outerjoin(BatchRow, BatchRow.sequence == FillRow.sequence)


def _select_transfers() -> Select[*tuple[object, ...]]:
    return select(
        *_TRANSFER_COLUMNS,
        BatchRow.status.label("batch_status"),
        BatchRow.transaction.label("batch_transaction"),
        BatchRow.block.label("batch_block"),
    ).outerjoin(BatchRow, BatchRow.sequence == TransferRow.sequence)


def _fill_status(code: int | None, batch_status: str | None) -> str:
    if code:
        return "rejected"
    if batch_status is None or batch_status == BatchStatus.SEALED.value:
        return "matched"
    return batch_status


def _transfer_status(fields: dict[str, object], batch_status: str | None) -> str:
    if fields["kind"] == TransferKind.DEPOSIT.value:
        return "credited"
    if fields["code"] is not None:
        return "rejected"
    if fields["paid_transaction"] is not None:
        return "paid"
    if batch_status == BatchStatus.FINAL.value:
        return "claimable"
    return batch_status or "accepted"


def _build_candles(
    prices: Sequence[tuple[int, int]],
    fills: Sequence[tuple[int, int]],
    *,
    interval_s: int,
    previous_ticks: int | None,
) -> list[Candle]:
    interval_ms = interval_s * 1000
    volumes: dict[int, int] = {}
    for time_ms, size_lots in fills:
        bucket = time_ms // interval_ms
        volumes[bucket] = volumes.get(bucket, 0) + size_lots
    candles: dict[int, Candle] = {}
    close_ticks = previous_ticks
    for time_ms, ticks in prices:
        bucket = time_ms // interval_ms
        candle = candles.get(bucket)
        opened = ticks if close_ticks is None else close_ticks
        candles[bucket] = Candle(
            time_s=bucket * interval_s,
            open_ticks=candle.open_ticks if candle else opened,
            high_ticks=max(candle.high_ticks, ticks) if candle else max(opened, ticks),
            low_ticks=min(candle.low_ticks, ticks) if candle else min(opened, ticks),
            close_ticks=ticks,
            volume_lots=volumes.get(bucket, 0),
        )
        close_ticks = ticks
    return [candles[bucket] for bucket in sorted(candles)]
