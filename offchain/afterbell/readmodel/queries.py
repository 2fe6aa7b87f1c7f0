"""Read the read model: every SELECT of the project stands here, each a method that opens its own short transaction.

Answers are frozen values. All methods block for the time of a query: on the event loop call them through
`ReadModel.run`. Must not: write. NOTE: Quote columns are text in SQLite: SQL neither sums nor compares them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import Engine, Select, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import aliased

from afterbell.domain.errors import Unavailable
from afterbell.readmodel.projector import JOURNAL_CURSOR, read_cursor
from afterbell.readmodel.tables import (
    LIVE_ORDER_STATUSES,
    BatchRow,
    BatchStatus,
    CandleKind,
    CandleRow,
    FillRow,
    FundingRow,
    OrderRow,
    OrderStatus,
    PriceRow,
    SessionKeyRow,
    TransferKind,
    TransferRow,
)
from afterbell.readmodel.views import BatchView, Candle, FillView, FundingView, KeyView, OrderView, TransferView

__all__ = [
    "BatchView",
    "Candle",
    "FillView",
    "FundingView",
    "KeyView",
    "OrderView",
    "ReadModel",
    "ReadModelUnavailable",
    "TransferView",
]

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


class ReadModelUnavailable(Unavailable):
    """The database did not answer."""


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
        found = self._read_orders(_select_orders().where(OrderRow.order_id == order_id))
        return found[0] if found else None

    def get_order_of_client(self, account: bytes, client_id: str) -> OrderView | None:
        """Return the newest order of a client's id, a refused one only if there is no other."""
        is_refused = OrderRow.status == OrderStatus.REJECTED.value
        statement = _select_orders().where(OrderRow.account == account, OrderRow.client_id == client_id)
        found = self._read_orders(statement.order_by(is_refused, OrderRow.placed_sequence.desc()).limit(1))
        return found[0] if found else None

    def read_orders(
        self, account: bytes, *, is_open: bool | None, limit: int, before: int | None, market: int | None = None
    ) -> list[OrderView]:
        """Return orders of an account, newest first; `before` is a placed_sequence. Open ones may await a trigger."""
        statement = _select_orders().where(OrderRow.account == account)
        if is_open is not None:
            opened = OrderRow.status.in_(LIVE_ORDER_STATUSES)
            statement = statement.where(opened if is_open else ~opened)
        if market is not None:
            statement = statement.where(OrderRow.market == market)
        if before is not None:
            statement = statement.where(OrderRow.placed_sequence < before)
        return self._read_orders(statement.order_by(OrderRow.placed_sequence.desc()).limit(limit))

    def read_fills_of_order(self, order_id: bytes) -> list[FillView]:
        """Return the fills of one order, oldest first."""
        return self._read_fills(
            _select_fills()
            .where(or_(FillRow.maker_order_id == order_id, FillRow.taker_order_id == order_id))
            .order_by(FillRow.fill_id)
        )

    def read_fills_of_orders(self, order_ids: Sequence[bytes], limit: int) -> list[FillView]:
        """Return the newest fills of many orders, oldest first."""
        ids = list(order_ids)
        if not ids:
            return []
        newest = self._read_fills(
            _select_fills()
            .where(or_(FillRow.maker_order_id.in_(ids), FillRow.taker_order_id.in_(ids)))
            .order_by(FillRow.fill_id.desc())
            .limit(limit)
        )
        return newest[::-1]

    def read_fills(
        self, account: bytes, *, limit: int, before: int | None, market: int | None = None
    ) -> list[FillView]:
        """Return fills of an account, newest first; `before` is a fill_id."""
        # Two indexed reads merged here: an OR over two columns makes both databases scan.
        fills: dict[int, FillView] = {}
        for column in (FillRow.maker_account, FillRow.taker_account):
            statement = _select_fills().where(column == account)
            if market is not None:
                statement = statement.where(FillRow.market == market)
            if before is not None:
                statement = statement.where(FillRow.fill_id < before)
            statement = statement.order_by(FillRow.fill_id.desc()).limit(limit)
            fills |= {fill.fill_id: fill for fill in self._read_fills(statement)}
        return [fills[fill_id] for fill_id in sorted(fills, reverse=True)[:limit]]

    def read_fills_of_batch(self, sequence: int) -> list[FillView]:
        """Return the fills a batch carries, in the order they were matched."""
        return self._read_fills(_select_fills().where(FillRow.sequence == sequence).order_by(FillRow.fill_id))

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

    def read_funding(
        self, account: bytes, *, limit: int, before: int | None, market: int | None = None
    ) -> list[FundingView]:
        """Return funding payments of an account, newest first; `before` is a payment_id. Refused fills settle none."""
        statement = (
            select(*_FUNDING_COLUMNS)
            .outerjoin(FillRow, FillRow.fill_id == FundingRow.fill_id)
            .where(FundingRow.account == account, FillRow.code.is_(None))
        )
        if market is not None:
            statement = statement.where(FundingRow.market == market)
        if before is not None:
            statement = statement.where(FundingRow.payment_id < before)
        with self._engine.connect() as connection:
            rows = connection.execute(statement.order_by(FundingRow.payment_id.desc()).limit(limit))
            return [FundingView(**row._mapping) for row in rows]

    def read_keys(self, account: bytes) -> list[KeyView]:
        """Return the session keys of an account, newest link first."""
        statement = _select_keys().where(SessionKeyRow.account == account)
        with self._engine.connect() as connection:
            rows = connection.execute(statement.order_by(SessionKeyRow.linked_at_ms.desc(), SessionKeyRow.key))
            return [KeyView(**row._mapping) for row in rows]

    def get_key(self, account: bytes, key: bytes) -> KeyView | None:
        """Return one session key."""
        statement = _select_keys().where(SessionKeyRow.account == account, SessionKeyRow.key == key)
        with self._engine.connect() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else KeyView(**row._mapping)

    def count_batches(self) -> dict[str, int]:
        """Return how many batches stand where. Counted are those not final; what is left of all sequences is."""
        counts = {status.value: 0 for status in BatchStatus}
        # One equality each: the index on status answers it without the final ones, which are nearly all.
        with self._engine.connect() as connection:
            for status in (BatchStatus.SEALED, BatchStatus.SUBMITTED, BatchStatus.MINED):
                statement = select(func.count()).where(BatchRow.status == status.value)
                counts[status.value] = int(connection.execute(statement).scalar_one())
            last = connection.execute(select(func.max(BatchRow.sequence))).scalar()
        counts[BatchStatus.FINAL.value] = (last or 0) - sum(counts.values())
        return counts

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

    def read_candles(
        self, market: int, *, kind: CandleKind, interval_s: int, start_s: int, end_s: int, limit: int
    ) -> list[Candle]:
        """Return the newest `limit` candles that begin in [start_s, end_s), oldest first; quiet intervals have none.

        A candle of the mark opens where the one before closed. Volume is that of the fills, whatever the kind.
        """
        statement = _select_candles(market, kind, interval_s, start_s, end_s)
        statement = statement.order_by(CandleRow.time_s.desc()).limit(limit)
        with self._engine.connect() as connection:
            candles = [Candle(**row._mapping) for row in connection.execute(statement)][::-1]
            if kind is CandleKind.TRADES or not candles:
                return candles
            first_s, last_s = candles[0].time_s, candles[-1].time_s
            traded = {
                row.time_s: row
                for row in connection.execute(
                    _select_candles(market, CandleKind.TRADES, interval_s, first_s, last_s + 1)
                )
            }
        return [_add_volume(candle, traded.get(candle.time_s)) for candle in candles]

    def read_projected_sequence(self) -> int:
        """Return the last journal frame whose rows are here."""
        return read_cursor(self._engine, JOURNAL_CURSOR)

    def _read_orders(self, statement: Select[*tuple[object, ...]]) -> list[OrderView]:
        with self._engine.connect() as connection:
            return [OrderView(**row._mapping) for row in connection.execute(statement)]

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
            fields: dict[str, Any] = dict(row._mapping)
            batch_status, batch_transaction, batch_block = (
                fields.pop("batch_status"),
                fields.pop("batch_transaction"),
                fields.pop("batch_block"),
            )
            fields["status"] = _transfer_status(fields, batch_status)
            if fields["kind"] in _BY_BATCH:
                fields |= {"transaction": batch_transaction, "block": batch_block}
            transfers.append(TransferView(**fields))
        return transfers


_BY_BATCH: Final = (TransferKind.WITHDRAWAL.value, TransferKind.SENT.value, TransferKind.RECEIVED.value)
"""Kinds that a batch carries; their transaction and block are its."""
_PARTNER = aliased(OrderRow)
_PARTNER_ID = (
    select(_PARTNER.order_id)
    .where(
        _PARTNER.account == OrderRow.account,
        _PARTNER.nonce == OrderRow.nonce,
        _PARTNER.order_id != OrderRow.order_id,
        _PARTNER.status != OrderStatus.REJECTED.value,
        OrderRow.status != OrderStatus.REJECTED.value,
    )
    # No ORDER BY: it would lead the planner away from the index on (account, nonce).
    .limit(1)
    .scalar_subquery()
)
"""The other order of an OCO: same account, same nonce."""
_ORDER_COLUMNS = [
    _PARTNER_ID.label(name) if name == "oco_order_id" else getattr(OrderRow, name) for name in OrderView.__slots__
]
_FUNDING_COLUMNS = [getattr(FundingRow, name) for name in FundingView.__slots__]
_CANDLE_COLUMNS = [getattr(CandleRow, name) for name in Candle.__slots__]
_REVOKING = aliased(BatchRow)
_BATCH_COLUMNS = [getattr(BatchRow, name).label(name) for name in BatchView.__slots__]
_FILL_COLUMNS = [
    getattr(FillRow, name) for name in FillView.__slots__ if name not in ("status", "transaction", "block")
]
_TRANSFER_COLUMNS = [
    getattr(BatchRow if name in ("sealed_at_ms", "mined_at_ms") else TransferRow, name).label(name)
    for name in TransferView.__slots__
    if name != "status"
]
_KEY_COLUMNS: dict[str, Any] = {name: getattr(SessionKeyRow, name, None) for name in KeyView.__slots__} | {
    "link_transaction": func.coalesce(BatchRow.transaction, SessionKeyRow.link_transaction),
    "link_block": BatchRow.block,
    "link_batch_status": BatchRow.status,
    "revoke_transaction": func.coalesce(_REVOKING.transaction, SessionKeyRow.revoke_transaction),
}


def _select_orders() -> Select[*tuple[object, ...]]:
    return select(*_ORDER_COLUMNS)


def _select_candles(
    market: int, kind: CandleKind, interval_s: int, start_s: int, end_s: int
) -> Select[*tuple[object, ...]]:
    return select(*_CANDLE_COLUMNS).where(
        CandleRow.market == market,
        CandleRow.kind == kind.value,
        CandleRow.interval_s == interval_s,
        CandleRow.time_s >= start_s,
        CandleRow.time_s < end_s,
    )


def _add_volume(candle: Candle, traded: Any) -> Candle:
    if traded is None:
        return candle
    return replace(candle, volume_lots=traded.volume_lots, volume_quote=traded.volume_quote, n_trades=traded.n_trades)


def _select_keys() -> Select[*tuple[object, ...]]:
    return (
        select(*(column.label(name) for name, column in _KEY_COLUMNS.items()))
        .outerjoin(BatchRow, BatchRow.sequence == SessionKeyRow.link_sequence)
        .outerjoin(_REVOKING, _REVOKING.sequence == SessionKeyRow.revoke_sequence)
    )


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
    if fields["kind"] == TransferKind.EXIT.value:
        return "claimable" if fields["paid_transaction"] is None else "paid"
    if fields["code"] is not None:
        return "rejected"
    if fields["paid_transaction"] is not None:
        return "paid"
    if batch_status == BatchStatus.FINAL.value and fields["kind"] == TransferKind.WITHDRAWAL.value:
        return "claimable"
    return batch_status or "accepted"
