"""Name the tables of the read model.

Times are venue milliseconds (`*_ms`) or UNIX seconds (`*_s`). An account is its 30 bytes, an order its 32-byte digest.
The life of a fill is not stored with the fill: it is the status of its batch, unless the chain refused it (`code`).
Changing a table needs a migration in migrations/versions; tests/readmodel compares both.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final

from sqlalchemy import Boolean, Index, LargeBinary, MetaData, SmallInteger, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from afterbell.readmodel.types import FixedBytes, Int64, Quote

N_ACCOUNT_BYTES: Final = 30
N_HASH_BYTES: Final = 32


@unique
class OrderStatus(StrEnum):
    """Where an order stands."""

    OPEN = "OPEN"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


@unique
class BatchStatus(StrEnum):
    """Where a batch stands, in this order."""

    SEALED = "sealed"
    SUBMITTED = "submitted"
    MINED = "mined"
    FINAL = "final"


@unique
class TransferKind(StrEnum):
    """Direction of a transfer."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class CursorRow(Base):
    """How far a source has been projected: `journal` counts frames, `chain` blocks."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    position: Mapped[int] = mapped_column(Int64)
    hash: Mapped[bytes | None] = mapped_column(LargeBinary)


class AccountRow(Base):
    """An account the venue has seen, and when first."""

    __tablename__ = "accounts"

    account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES), primary_key=True)
    first_seen_ms: Mapped[int] = mapped_column(Int64)


class OrderRow(Base):
    """An order and what became of it. Rejected orders are kept: a client may ask why."""

    __tablename__ = "orders"
    __table_args__ = (Index(None, "account", "placed_sequence"), Index(None, "account", "status", "placed_sequence"))

    order_id: Mapped[bytes] = mapped_column(FixedBytes(N_HASH_BYTES), primary_key=True)
    account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES))
    market: Mapped[int] = mapped_column(SmallInteger)
    is_buy: Mapped[bool] = mapped_column(Boolean)
    size_lots: Mapped[int] = mapped_column(Int64)
    limit_ticks: Mapped[int] = mapped_column(Int64)
    filled_lots: Mapped[int] = mapped_column(Int64)
    status: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(String(40))
    nonce: Mapped[int] = mapped_column(Int64)
    time_in_force: Mapped[int] = mapped_column(SmallInteger)
    reduce_only: Mapped[bool] = mapped_column(Boolean)
    post_only: Mapped[bool] = mapped_column(Boolean)
    expiry_s: Mapped[int] = mapped_column(Int64)
    max_fee_ppm: Mapped[int] = mapped_column(Int64)
    client_id: Mapped[str] = mapped_column(String(64))
    placed_sequence: Mapped[int] = mapped_column(Int64)
    placed_at_ms: Mapped[int] = mapped_column(Int64)
    updated_at_ms: Mapped[int] = mapped_column(Int64)


class FillRow(Base):
    """One match. `code` is set when the chain's rule refused it."""

    __tablename__ = "fills"
    __table_args__ = (
        Index(None, "maker_account", "fill_id"),
        Index(None, "taker_account", "fill_id"),
        Index(None, "maker_order_id"),
        Index(None, "taker_order_id"),
        Index(None, "market", "fill_id"),
        Index(None, "market", "time_ms"),
        Index(None, "sequence"),
    )

    fill_id: Mapped[int] = mapped_column(Int64, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(Int64)
    market: Mapped[int] = mapped_column(SmallInteger)
    price_ticks: Mapped[int] = mapped_column(Int64)
    size_lots: Mapped[int] = mapped_column(Int64)
    maker_order_id: Mapped[bytes] = mapped_column(FixedBytes(N_HASH_BYTES))
    taker_order_id: Mapped[bytes] = mapped_column(FixedBytes(N_HASH_BYTES))
    maker_account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES))
    taker_account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES))
    taker_is_buy: Mapped[bool] = mapped_column(Boolean)
    maker_fee_quote: Mapped[int] = mapped_column(Quote)
    taker_fee_quote: Mapped[int] = mapped_column(Quote)
    time_ms: Mapped[int] = mapped_column(Int64)
    code: Mapped[int | None] = mapped_column(SmallInteger)


class BatchRow(Base):
    """One sealed batch and its way to finality."""

    __tablename__ = "batches"
    __table_args__ = (Index(None, "status", "sequence"),)

    sequence: Mapped[int] = mapped_column(Int64, primary_key=True, autoincrement=False)
    status: Mapped[str] = mapped_column(String(10))
    matched_at_s: Mapped[int] = mapped_column(Int64)
    sealed_at_ms: Mapped[int] = mapped_column(Int64)
    head: Mapped[bytes] = mapped_column(FixedBytes(N_HASH_BYTES))
    codes: Mapped[bytes] = mapped_column(LargeBinary)
    n_operations: Mapped[int] = mapped_column(SmallInteger)
    n_orders: Mapped[int] = mapped_column(SmallInteger)
    n_fills: Mapped[int] = mapped_column(SmallInteger)
    payload_bytes: Mapped[int] = mapped_column(Int64)
    transaction: Mapped[bytes | None] = mapped_column("transaction_hash", FixedBytes(N_HASH_BYTES))
    block: Mapped[int | None] = mapped_column(Int64)
    gas_used: Mapped[int | None] = mapped_column(Int64)


class TransferRow(Base):
    """A deposit (id "d" and its number on chain) or a withdrawal (id: its digest in hex)."""

    __tablename__ = "transfers"
    __table_args__ = (Index(None, "account", "placed_sequence"), Index(None, "counterparty", "kind"))

    transfer_id: Mapped[str] = mapped_column(String(66), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES))
    quote: Mapped[int] = mapped_column(Quote)
    counterparty: Mapped[bytes] = mapped_column(FixedBytes(20))
    sequence: Mapped[int | None] = mapped_column(Int64)
    code: Mapped[str | None] = mapped_column(String(40))
    transaction: Mapped[bytes | None] = mapped_column("transaction_hash", FixedBytes(N_HASH_BYTES))
    block: Mapped[int | None] = mapped_column(Int64)
    paid_transaction: Mapped[bytes | None] = mapped_column("paid_transaction_hash", FixedBytes(N_HASH_BYTES))
    paid_block: Mapped[int | None] = mapped_column(Int64)
    placed_sequence: Mapped[int] = mapped_column(Int64)
    time_ms: Mapped[int] = mapped_column(Int64)


class PriceRow(Base):
    """Prices of one market as adopted by one journal frame."""

    __tablename__ = "prices"
    __table_args__ = (Index(None, "market", "time_ms"),)

    market: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    journal_sequence: Mapped[int] = mapped_column(Int64, primary_key=True, autoincrement=False)
    time_ms: Mapped[int] = mapped_column(Int64)
    mark_ticks: Mapped[int] = mapped_column(Int64)
    index_ticks: Mapped[int] = mapped_column(Int64)
    external_ticks: Mapped[int] = mapped_column(Int64)
    session: Mapped[int] = mapped_column(SmallInteger)
