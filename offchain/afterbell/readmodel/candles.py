"""Keep the candles of every interval while prices and fills come in, so that answering reads rows and adds up nothing.

One object lives as long as its projector and remembers the newest candle of each kind, since time only goes forward; an
older one is read back. A fill that the chain's rule refused is taken out by adding up its minute again, and from there
every coarser interval from the next finer one. Must not: be used by two writers.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from sqlalchemy import Connection, delete, select

from afterbell.domain.units import compute_notional_quote, milliseconds_to_seconds, seconds_to_milliseconds
from afterbell.readmodel.sql import Row, upsert
from afterbell.readmodel.tables import CANDLE_INTERVALS_S, CandleKind, CandleRow, FillRow, PriceRow

_Key: TypeAlias = tuple[int, str, int, int]
"""market, kind, interval_s, time_s."""
_COLUMNS: Final = tuple(column.name for column in CandleRow.__table__.columns)


class CandleKeeper:
    """Candles that changed, and the newest ones."""

    def __init__(self) -> None:
        self._rows: dict[_Key, Row] = {}
        self._changed: dict[_Key, None] = {}
        self._marks: dict[int, int] = {}

    def add_mark(self, connection: Connection, market: int, time_ms: int, mark_ticks: int) -> None:
        """Adopt a mark; zero is none. Call before the price's own row is written."""
        if not mark_ticks:
            return
        previous = self._previous_mark(connection, market) or mark_ticks
        for interval_s in CANDLE_INTERVALS_S:
            row = self._candle(connection, (market, CandleKind.MARK.value, *_bucket(time_ms, interval_s)), previous)
            _extend(row, mark_ticks)
        self._marks[market] = mark_ticks

    def add_fill(self, connection: Connection, market: int, time_ms: int, price_ticks: int, size_lots: int) -> None:
        """Adopt a fill."""
        for interval_s in CANDLE_INTERVALS_S:
            key = (market, CandleKind.TRADES.value, *_bucket(time_ms, interval_s))
            row = self._candle(connection, key, price_ticks)
            _extend(row, price_ticks)
            _add_volume(row, size_lots, compute_notional_quote(size_lots, price_ticks), 1)

    def write(self, connection: Connection) -> None:
        """Write what changed; of the rest keep only the newest of each kind."""
        upsert(connection, CandleRow, [self._rows[key] for key in self._changed])
        self._changed = {}
        newest: dict[tuple[int, str, int], _Key] = {}
        for key in self._rows:
            if key[3] >= newest.get(key[:3], key)[3]:
                newest[key[:3]] = key
        self._rows = {key: self._rows[key] for key in newest.values()}

    def take_out(self, connection: Connection, fill_id: int) -> None:
        """Add the candles of a refused fill up again; fills and their codes are written."""
        found = connection.execute(select(FillRow.market, FillRow.time_ms).where(FillRow.fill_id == fill_id)).first()
        if found is None:
            return
        market, time_ms = int(found[0]), int(found[1])
        finer_s: int | None = None
        for interval_s in CANDLE_INTERVALS_S:
            key: _Key = (market, CandleKind.TRADES.value, *_bucket(time_ms, interval_s))
            row = self._add_up_fills(connection, key) if finer_s is None else _add_up(connection, key, finer_s)
            self._rows.pop(key, None)
            if row is None:
                market_, kind, interval, time_s = key
                connection.execute(
                    delete(CandleRow).where(
                        CandleRow.market == market_,
                        CandleRow.kind == kind,
                        CandleRow.interval_s == interval,
                        CandleRow.time_s == time_s,
                    )
                )
            else:
                upsert(connection, CandleRow, [row])
            finer_s = interval_s

    def _add_up_fills(self, connection: Connection, key: _Key) -> Row | None:
        market, _, interval_s, time_s = key
        fills = connection.execute(
            select(FillRow.price_ticks, FillRow.size_lots)
            .where(FillRow.market == market, FillRow.code.is_(None))
            .where(FillRow.time_ms >= seconds_to_milliseconds(time_s))
            .where(FillRow.time_ms < seconds_to_milliseconds(time_s + interval_s))
            .order_by(FillRow.fill_id)
        )
        row: Row | None = None
        for price_ticks, size_lots in fills:
            row = row or _build_row(key, price_ticks)
            _extend(row, price_ticks)
            _add_volume(row, size_lots, compute_notional_quote(size_lots, price_ticks), 1)
        return row

    def _candle(self, connection: Connection, key: _Key, open_ticks: int) -> Row:
        """Return the candle to change, from memory, from the table, or new."""
        self._changed[key] = None
        row = self._rows.get(key)
        if row is None:
            row = _read(connection, key) or _build_row(key, open_ticks)
            self._rows[key] = row
        return row

    def _previous_mark(self, connection: Connection, market: int) -> int | None:
        if market not in self._marks:
            found = connection.execute(
                select(PriceRow.mark_ticks)
                .where(PriceRow.market == market, PriceRow.mark_ticks > 0)
                .order_by(PriceRow.time_ms.desc(), PriceRow.journal_sequence.desc())
                .limit(1)
            ).scalar()
            if found is None:
                return None
            self._marks[market] = int(found)
        return self._marks[market]


def _bucket(time_ms: int, interval_s: int) -> tuple[int, int]:
    """Return (interval_s, the second its candle begins)."""
    time_s = milliseconds_to_seconds(time_ms)
    return interval_s, time_s - time_s % interval_s


def _build_row(key: _Key, open_ticks: int) -> Row:
    prices = (open_ticks, open_ticks, open_ticks, open_ticks)
    return dict(zip(_COLUMNS, (*key, *prices, 0, 0, 0), strict=True))


def _extend(row: Row, ticks: int) -> None:
    row["high_ticks"] = max(row["high_ticks"], ticks)
    row["low_ticks"] = min(row["low_ticks"], ticks)
    row["close_ticks"] = ticks


def _add_volume(row: Row, size_lots: int, notional_quote: int, n_trades: int) -> None:
    row["volume_lots"] += size_lots
    row["volume_quote"] += notional_quote
    row["n_trades"] += n_trades


def _read(connection: Connection, key: _Key) -> Row | None:
    market, kind, interval_s, time_s = key
    found = connection.execute(
        select(CandleRow.__table__).where(
            CandleRow.market == market,
            CandleRow.kind == kind,
            CandleRow.interval_s == interval_s,
            CandleRow.time_s == time_s,
        )
    ).one_or_none()
    return None if found is None else dict(found._mapping)


def _add_up(connection: Connection, key: _Key, finer_s: int) -> Row | None:
    """Return a candle from those one interval finer."""
    market, kind, interval_s, time_s = key
    parts = connection.execute(
        select(CandleRow.__table__)
        .where(CandleRow.market == market, CandleRow.kind == kind, CandleRow.interval_s == finer_s)
        .where(CandleRow.time_s >= time_s, CandleRow.time_s < time_s + interval_s)
        .order_by(CandleRow.time_s)
    )
    row: Row | None = None
    for part in parts:
        row = row or _build_row(key, part.open_ticks)
        _extend(row, part.high_ticks)
        _extend(row, part.low_ticks)
        _extend(row, part.close_ticks)
        _add_volume(row, part.volume_lots, part.volume_quote, part.n_trades)
    return row
