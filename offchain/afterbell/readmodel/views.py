"""Name what queries answer: frozen values, one for each thing a client may ask about. Must not: hold anything else."""

from __future__ import annotations

from dataclasses import dataclass


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
    maker_funding_quote: int
    taker_funding_quote: int
    time_ms: int
    status: str
    code: int | None
    transaction: bytes | None
    block: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView:
    """One order as the read model has it. status: OPEN, WAITING, FILLED, CANCELLED, REJECTED.

    signer: the owner or a session key. oco_order_id: the other order of its OCO.
    """

    order_id: bytes
    account: bytes
    market: int
    is_buy: bool
    size_lots: int
    limit_ticks: int
    filled_lots: int
    remaining_lots: int
    status: str
    reason: str | None
    nonce: int
    time_in_force: int
    reduce_only: bool
    post_only: bool
    expiry_s: int
    max_fee_ppm: int
    trigger_ticks: int
    trigger_kind: int
    signer: bytes
    amends: bytes | None
    oco_order_id: bytes | None
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
    """Collateral that came or went.

    kind: deposit, withdrawal, sent or received (between subaccounts), exit (a withdrawal by Exits).
    status: credited; accepted, sealed, submitted, mined, then claimable, paid (between subaccounts: final); rejected.

    sealed_at_ms and mined_at_ms are those of the batch that carries a withdrawal.
    """

    transfer_id: str
    kind: str
    account: bytes
    quote: int
    counterparty: bytes
    other_account: bytes | None
    sequence: int | None
    code: str | None
    transaction: bytes | None
    block: int | None
    paid_transaction: bytes | None
    paid_block: int | None
    placed_sequence: int
    time_ms: int
    sealed_at_ms: int | None
    mined_at_ms: int | None
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingView:
    """One funding payment; positive: the account paid."""

    payment_id: int
    fill_id: int | None
    direct_op: int | None
    market: int
    quote: int
    sequence: int | None
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView:
    """One session key. The batches' own columns are None where something was done directly on chain."""

    account: bytes
    key: bytes
    expiry_s: int
    max_notional_quote: int
    markets: int
    trade_only: bool
    reduce_only: bool
    link_operation_id: bytes | None
    link_sequence: int | None
    link_transaction: bytes | None
    link_block: int | None
    link_batch_status: str | None
    link_code: str | None
    linked_at_ms: int
    revoke_operation_id: bytes | None
    revoke_sequence: int | None
    revoke_transaction: bytes | None
    revoked_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """Prices of one interval and the volume of its fills."""

    time_s: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    volume_quote: int = 0
    n_trades: int = 0
