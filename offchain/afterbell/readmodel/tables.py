"""Name the tables of the read model.

Times are venue milliseconds (`*_ms`) or UNIX seconds (`*_s`). An account is its 30 bytes, an order its 32-byte digest.
The life of a fill is not stored with the fill: it is the status of its batch, unless the chain refused it (`code`).
Changing a table needs a migration in migrations/versions; tests/readmodel compares both.
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final

from sqlalchemy import Boolean, Index, Integer, LargeBinary, MetaData, SmallInteger, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from afterbell.readmodel.types import FixedBytes, Int64, Quote

N_ACCOUNT_BYTES: Final = 30
N_HASH_BYTES: Final = 32
N_ADDRESS_BYTES: Final = 20


@unique
class OrderStatus(StrEnum):
    """Where an order stands."""

    OPEN = "OPEN"
    WAITING = "WAITING"
    """Its trigger is not met; it is in no book."""
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


LIVE_ORDER_STATUSES: Final = (OrderStatus.OPEN.value, OrderStatus.WAITING.value)
CANDLE_INTERVALS_S: Final = (60, 300, 900, 3_600, 14_400, 86_400)
"""Each divides the next, so that a candle can be added up from those one interval finer."""


@unique
class CandleKind(StrEnum):
    """Whose prices a candle has."""

    MARK = "mark"
    TRADES = "trades"


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
    SENT = "sent"
    RECEIVED = "received"
    EXIT = "exit"


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
    """An order and what became of it. Rejected orders are kept: a client may ask why.

    Two live orders of one account and nonce are an OCO. `signer` is the owner or a session key.
    """

    __tablename__ = "orders"
    __table_args__ = (
        Index(None, "account", "placed_sequence"),
        Index(None, "account", "status", "placed_sequence"),
        Index(None, "account", "client_id", "placed_sequence"),
        Index(None, "account", "nonce"),
    )

    order_id: Mapped[bytes] = mapped_column(FixedBytes(N_HASH_BYTES), primary_key=True)
    account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES))
    market: Mapped[int] = mapped_column(SmallInteger)
    is_buy: Mapped[bool] = mapped_column(Boolean)
    size_lots: Mapped[int] = mapped_column(Int64)
    limit_ticks: Mapped[int] = mapped_column(Int64)
    filled_lots: Mapped[int] = mapped_column(Int64)
    remaining_lots: Mapped[int] = mapped_column(Int64)
    status: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str | None] = mapped_column(String(40))
    nonce: Mapped[int] = mapped_column(Int64)
    time_in_force: Mapped[int] = mapped_column(SmallInteger)
    reduce_only: Mapped[bool] = mapped_column(Boolean)
    post_only: Mapped[bool] = mapped_column(Boolean)
    expiry_s: Mapped[int] = mapped_column(Int64)
    max_fee_ppm: Mapped[int] = mapped_column(Int64)
    trigger_ticks: Mapped[int] = mapped_column(Int64)
    trigger_kind: Mapped[int] = mapped_column(SmallInteger)
    signer: Mapped[bytes] = mapped_column(FixedBytes(N_ADDRESS_BYTES))
    amends: Mapped[bytes | None] = mapped_column(FixedBytes(N_HASH_BYTES))
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
    maker_funding_quote: Mapped[int] = mapped_column(Quote)
    taker_funding_quote: Mapped[int] = mapped_column(Quote)
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
    mined_at_ms: Mapped[int | None] = mapped_column(Int64)
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
    """Collateral that came or went.

    Ids: a deposit "d" and its number on chain, a withdrawal its digest in hex; a transfer between subaccounts its
    digest for who sent it and "r" with the digest for who received it; a withdrawal by Exits "x" and its number.
    """

    __tablename__ = "transfers"
    __table_args__ = (Index(None, "account", "placed_sequence"), Index(None, "counterparty", "kind"))

    transfer_id: Mapped[str] = mapped_column(String(66), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES))
    quote: Mapped[int] = mapped_column(Quote)
    counterparty: Mapped[bytes] = mapped_column(FixedBytes(N_ADDRESS_BYTES))
    other_account: Mapped[bytes | None] = mapped_column(FixedBytes(N_ACCOUNT_BYTES))
    """The subaccount on the other side of a transfer."""
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


class CandleRow(Base):
    """Prices and volume of one interval; the projector keeps every interval, so that nothing is added up to answer.

    A candle of the mark opens where the one before closed and has no volume of its own.
    """

    __tablename__ = "candles"

    market: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(6), primary_key=True)
    interval_s: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    time_s: Mapped[int] = mapped_column(Int64, primary_key=True, autoincrement=False)
    open_ticks: Mapped[int] = mapped_column(Int64)
    high_ticks: Mapped[int] = mapped_column(Int64)
    low_ticks: Mapped[int] = mapped_column(Int64)
    close_ticks: Mapped[int] = mapped_column(Int64)
    volume_lots: Mapped[int] = mapped_column(Int64)
    volume_quote: Mapped[int] = mapped_column(Quote)
    n_trades: Mapped[int] = mapped_column(Int64)


class FundingRow(Base):
    """A funding payment that a fill, or a sibling's direct operation, settled; positive: the account paid.

    payment_id: journal frame << 12 | number within it. A fill has fill_id and sequence, a direct operation direct_op.
    """

    __tablename__ = "funding"

    account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES), primary_key=True)
    payment_id: Mapped[int] = mapped_column(Int64, primary_key=True, autoincrement=False)
    fill_id: Mapped[int | None] = mapped_column(Int64)
    direct_op: Mapped[int | None] = mapped_column(Int64)
    market: Mapped[int] = mapped_column(SmallInteger)
    quote: Mapped[int] = mapped_column(Quote)
    sequence: Mapped[int | None] = mapped_column(Int64)
    time_ms: Mapped[int] = mapped_column(Int64)


class SessionKeyRow(Base):
    """A session key with the limits it was last given, and how they were taken again.

    An operation id is NULL where it was done directly on chain; then the transaction stands here, else with the batch.
    `link_code`: the chain refused the link.
    """

    __tablename__ = "session_keys"

    account: Mapped[bytes] = mapped_column(FixedBytes(N_ACCOUNT_BYTES), primary_key=True)
    key: Mapped[bytes] = mapped_column(FixedBytes(N_ADDRESS_BYTES), primary_key=True)
    expiry_s: Mapped[int] = mapped_column(Int64)
    max_notional_quote: Mapped[int] = mapped_column(Quote)
    markets: Mapped[int] = mapped_column(Int64)
    trade_only: Mapped[bool] = mapped_column(Boolean)
    reduce_only: Mapped[bool] = mapped_column(Boolean)
    link_operation_id: Mapped[bytes | None] = mapped_column(FixedBytes(N_HASH_BYTES))
    link_sequence: Mapped[int | None] = mapped_column(Int64)
    link_transaction: Mapped[bytes | None] = mapped_column("link_transaction_hash", FixedBytes(N_HASH_BYTES))
    link_code: Mapped[str | None] = mapped_column(String(40))
    linked_at_ms: Mapped[int] = mapped_column(Int64)
    revoke_operation_id: Mapped[bytes | None] = mapped_column(FixedBytes(N_HASH_BYTES))
    revoke_sequence: Mapped[int | None] = mapped_column(Int64)
    revoke_transaction: Mapped[bytes | None] = mapped_column("revoke_transaction_hash", FixedBytes(N_HASH_BYTES))
    revoked_at_ms: Mapped[int | None] = mapped_column(Int64)
