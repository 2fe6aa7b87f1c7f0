"""Shapes of what goes out, named here once. Twin: requests.py, what comes in.

Numbers carry their unit in the name. Lots, ticks and times are JSON integers (< 2^53); `*_quote` and nonces go out as
decimal strings. Must not: compute anything.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from afterbell.gateway import examples

TimeInForceName = Literal["GTC", "GTT", "IOC", "FOK"]
OrderStatusName = Literal["OPEN", "WAITING", "FILLED", "CANCELLED", "REJECTED"]
TransferStatusName = Literal[
    "accepted", "sealed", "submitted", "mined", "claimable", "paid", "final", "credited", "rejected"
]
TransferKindName = Literal["deposit", "withdrawal", "sent", "received", "exit"]
KeyStatusName = Literal["linking", "active", "expired", "revoked", "rejected"]
CandleKindName = Literal["mark", "trades"]
QuoteText = Annotated[str, Field(description="quote units (1e-6 USDC), exact decimal integer", examples=["1250000000"])]
NextBefore = Annotated[int | None, Field(description="`before` of the next page, null when this is the last")]


def shown_as(example: examples.Example) -> ConfigDict:
    """Print this body in /openapi.json; everything else is inherited."""
    return ConfigDict(json_schema_extra={"example": example})


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorBody(_Out):
    """`code` is stable; required and found say what broke, with units; action says what to do."""

    model_config = shown_as(examples.ERROR_BODY)

    code: str
    message: str
    required: str = ""
    found: str = ""
    action: str = ""
    details: dict[str, Any] = {}


class ErrorOut(_Out):
    model_config = shown_as(examples.ERROR)

    error: ErrorBody


class ClockOut(_Out):
    model_config = shown_as(examples.CLOCK)

    venue_time_ms: int
    step: int | None = Field(description="number of the replay step, from the start of the history, null when live")
    step_time_ms: int | None
    next_step_ms: int | None
    speed: str = Field(description='venue seconds that pass per wall second between steps, "1" when live')
    mode: Literal["live", "replay"]


class BoundsOut(_Out):
    model_config = shown_as(examples.BOUNDS)

    max_orders: int
    max_fills: int
    max_accounts: int
    max_operations: int
    max_open_markets: int
    max_subaccount: str
    max_order_lifetime_s: int
    max_key_lifetime_s: int
    max_batch_items: int
    settle_lag_s: int
    max_seq_ahead_ms: int


class DomainOut(_Out):
    model_config = shown_as(examples.DOMAIN)

    name: str
    version: str
    chain_id: int
    verifying_contract: str


class VenueOut(_Out):
    model_config = shown_as(examples.VENUE)

    name: str
    chain_id: int
    is_local_chain: bool
    genesis_s: int = Field(description="orders count their seq in milliseconds from here")
    confirmations_blocks: int
    addresses: dict[str, str]
    domain: DomainOut
    types: dict[str, str] = Field(description="EIP-712 type strings of everything an owner signs")
    bounds: BoundsOut
    labels: dict[str, str]
    quote_decimals: int = 6


class RulesOut(_Out):
    model_config = shown_as(examples.RULES)

    initial_margin_ppm: int
    maintenance_margin_ppm: int
    band_ppm: int
    max_age_s: int
    open_interest_cap_lots: int
    size_step_lots: int
    price_step_ticks: int
    min_notional_quote: QuoteText
    max_fee_ppm: int
    taker_fee_ppm: int
    maker_fee_ppm: int
    is_opening_allowed: bool


class MarketOut(_Out):
    model_config = shown_as(examples.MARKET)

    market: int
    symbol: str
    epoch: int
    lot_exponent: int = Field(description="one lot is 10^-lot_exponent shares")
    lots_per_share: int
    ticks_per_usd: int
    session: str
    mark_ticks: int
    index_ticks: int
    external_ticks: int
    external_time_s: int
    is_fresh: bool = Field(description="the price is young enough to take risk at")
    band_low_ticks: int | None
    band_high_ticks: int | None
    best_bid_ticks: int | None
    best_ask_ticks: int | None
    open_interest_lots: int
    change_ticks: int | None = Field(description="mark now less mark 24 h of venue time ago, null without history")
    change_ppm: int | None
    is_synthetic: bool
    label: str = Field(description="what must be said beside the price, empty if nothing")
    is_halted: bool
    halt_reason: str
    rules: RulesOut | None


class MarketsOut(_Out):
    model_config = shown_as(examples.MARKETS)

    markets: list[MarketOut]


class LevelOut(_Out):
    model_config = shown_as(examples.LEVEL)

    price_ticks: int
    size_lots: int
    n_orders: int


class BookOut(_Out):
    model_config = shown_as(examples.BOOK)

    symbol: str
    market: int
    sequence: int = Field(description="journal frame after which the book looked like this")
    bids: list[LevelOut]
    asks: list[LevelOut]


class TradeOut(_Out):
    model_config = shown_as(examples.TRADE)

    fill_id: int
    symbol: str
    price_ticks: int
    size_lots: int
    taker_is_buy: bool
    time_ms: int
    sequence: int = Field(description="batch")


class TradesOut(_Out):
    model_config = shown_as(examples.TRADES)

    symbol: str
    trades: list[TradeOut]


class CandleOut(_Out):
    """Prices are those of `kind`; the volume is that of the fills in either case."""

    model_config = shown_as(examples.CANDLE)

    time_s: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    volume_quote: QuoteText
    n_trades: int


class CandlesOut(_Out):
    model_config = shown_as(examples.CANDLES)

    symbol: str
    kind: CandleKindName
    interval_s: int
    candles: list[CandleOut]


FillStatus = Literal["matched", "submitted", "mined", "final", "rejected"]


class FillOut(_Out):
    model_config = shown_as(examples.FILL)

    fill_id: int
    order_id: str
    account: str
    market: int
    symbol: str
    role: Literal["maker", "taker"]
    is_buy: bool
    price_ticks: int
    size_lots: int
    notional_quote: QuoteText
    fee_quote: QuoteText
    funding_quote: QuoteText = Field(description="funding payment the fill settled; positive: the account paid")
    time_ms: int
    sequence: int = Field(description="batch that carries the fill")
    status: FillStatus
    code: str | None = Field(description="status code of the chain if it refused the fill")
    transaction: str | None
    block: int | None


class OrderOut(_Out):
    model_config = shown_as(examples.ORDER)

    order_id: str
    account: str
    market: int
    symbol: str
    is_buy: bool
    size_lots: int
    limit_ticks: int
    filled_lots: int
    remaining_lots: int = Field(description="lots that can still fill")
    status: OrderStatusName = Field(description="WAITING: its trigger is not met, it is in no book")
    reason: str | None = Field(description="why it was cancelled or rejected")
    nonce: str
    lane: int
    seq_ms: int
    time_in_force: TimeInForceName
    reduce_only: bool
    post_only: bool
    expiry_s: int
    max_fee_ppm: int
    trigger_ticks: int
    trigger_kind: int = Field(description="0 none, 1 mark >=, 2 mark <=, 3 index >=, 4 index <=")
    signer: str = Field(description="the owner, or the session key that signed")
    amends: str | None = Field(description="order this one replaced")
    oco_order_id: str | None = Field(description="the other order of its OCO: equal account, lane and seq")
    client_id: str
    placed_at_ms: int
    updated_at_ms: int
    is_repeat: bool = Field(description="this very order was here before; nothing was done again")
    fills: list[FillOut]


class OrdersOut(_Out):
    model_config = shown_as(examples.ORDERS)

    account: str
    orders: list[OrderOut]
    next_before: NextBefore


class FillsOut(_Out):
    model_config = shown_as(examples.FILLS)

    account: str
    fills: list[FillOut]
    next_before: NextBefore


class CancelOut(_Out):
    model_config = shown_as(examples.CANCELLED)

    account: str
    order_ids: list[str] = Field(description="orders that left the book")


class BatchResultOut(_Out):
    """`result` is what the item's own route answers, `error` what it refuses with."""

    model_config = shown_as(examples.BATCH_RESULT)

    status: int = Field(description="HTTP status of the item's own route")
    result: OrderOut | CancelOut | None
    error: ErrorBody | None


class OrderBatchOut(_Out):
    model_config = shown_as(examples.ORDER_BATCH_ANSWER)

    results: list[BatchResultOut] = Field(description="in the order of the items")


class PositionOut(_Out):
    model_config = shown_as(examples.POSITION)

    market: int
    symbol: str
    size_lots: int
    entry_quote: QuoteText
    entry_ticks: int = Field(description="average price paid, rounded against the holder")
    mark_ticks: int
    notional_quote: QuoteText
    unrealised_pnl_quote: QuoteText
    pending_funding_quote: QuoteText
    initial_margin_quote: QuoteText
    maintenance_margin_quote: QuoteText
    liquidation_price_ticks: int | None = Field(
        description="the last mark at which equity covers maintenance margin, other positions unchanged; null if none"
    )


class AccountOut(_Out):
    model_config = shown_as(examples.ACCOUNT)

    account: str
    owner: str
    subaccount: str
    is_known: bool
    collateral_quote: QuoteText
    equity_quote: QuoteText
    unrealised_pnl_quote: QuoteText
    initial_margin_quote: QuoteText
    maintenance_margin_quote: QuoteText
    order_margin_quote: QuoteText
    free_quote: QuoteText
    withdrawable_quote: QuoteText
    pending_funding_quote: QuoteText
    health_ppm: int | None = Field(description="equity / maintenance margin; liquidation below 1000000")
    is_stale: bool = Field(description="a price of an open position is too old to take more risk")
    n_open_orders: int
    sequence: int = Field(description="journal frame after which the account looked like this")
    positions: list[PositionOut]


class PositionsOut(_Out):
    model_config = shown_as(examples.POSITIONS)

    account: str
    positions: list[PositionOut]


class TransferStepOut(_Out):
    """One step of a transfer, already taken."""

    model_config = shown_as(examples.TRANSFER_STEP)

    status: TransferStatusName
    transaction: str | None
    block: int | None
    time_ms: int | None = Field(description="venue time, where the venue took the step itself")


class TransferOut(_Out):
    model_config = shown_as(examples.TRANSFER)

    transfer_id: str
    account: str
    kind: TransferKindName = Field(
        description="sent and received: between subaccounts of one owner; exit: a withdrawal by Exits, on chain"
    )
    quote: QuoteText
    status: TransferStatusName
    counterparty: str = Field(description="sender of a deposit, recipient of a withdrawal, else the owner")
    other_account: str | None = Field(default=None, description="the subaccount on the other side of a transfer")
    time_ms: int
    sequence: int | None
    transaction: str | None
    block: int | None
    paid_transaction: str | None
    code: str | None
    steps: list[TransferStepOut]


class TransfersOut(_Out):
    model_config = shown_as(examples.TRANSFERS)

    account: str
    transfers: list[TransferOut]
    next_before: NextBefore


class FundingPaymentOut(_Out):
    model_config = shown_as(examples.FUNDING_PAYMENT)

    market: int
    symbol: str
    quote: QuoteText = Field(description="positive: the account paid")
    fill_id: int | None = Field(description="the fill that settled it, null for a direct operation")
    time_ms: int
    sequence: int | None = Field(description="batch, null for a direct operation")
    direct_op: int | None = Field(
        default=None, description="the direct operation of a sibling contract that settled it (liquidation, exit)"
    )


class FundingOut(_Out):
    model_config = shown_as(examples.FUNDING)

    account: str
    payments: list[FundingPaymentOut]
    next_before: NextBefore


class KeyOut(_Out):
    """A session key with the limits it was last given."""

    model_config = shown_as(examples.KEY)

    account: str
    key: str
    status: KeyStatusName = Field(
        description="linking: not mined yet, its orders are taken already; rejected: the chain refused the link"
    )
    key_expiry_s: int
    max_notional_quote: QuoteText
    markets: list[int]
    trade_only: bool
    reduce_only: bool
    operation_id: str | None = Field(description="digest of the signed LinkKey; null: linked directly on chain")
    sequence: int | None = Field(description="batch that carries the link")
    transaction: str | None
    block: int | None
    linked_at_ms: int
    revoked_at_ms: int | None
    revocation_id: str | None = Field(description="digest of the signed RevokeKey")
    revocation_sequence: int | None
    revocation_transaction: str | None
    code: str | None = Field(description="status code of the chain if it refused the link")


class KeysOut(_Out):
    model_config = shown_as(examples.KEYS)

    account: str
    keys: list[KeyOut]


class RelayedOut(_Out):
    """The relayer's transaction is on its way; its receipt tells whether it was mined."""

    model_config = shown_as(examples.RELAYED)

    transaction: str


class FaucetOut(_Out):
    model_config = shown_as(examples.FAUCET_GRANT)

    address: str
    usdc_quote: QuoteText
    gas_wei: str
    transactions: list[str]


class BatchOut(_Out):
    model_config = shown_as(examples.BATCH)

    sequence: int
    status: Literal["sealed", "submitted", "mined", "final"]
    matched_at_s: int
    sealed_at_ms: int
    head: str
    n_operations: int
    n_orders: int
    n_fills: int
    n_failures: int
    codes: str
    payload_bytes: int
    transaction: str | None
    block: int | None
    gas_used: int | None


class BatchesOut(_Out):
    model_config = shown_as(examples.BATCHES)

    batches: list[BatchOut]


class BatchDetailOut(BatchOut):
    model_config = shown_as(examples.BATCH_DETAIL)

    fills: list[TradeOut]


class PartOut(_Out):
    model_config = shown_as(examples.PART)

    name: str
    ready: bool
    reason: str = Field(description="why it is not ready, empty if it is")


class ReadyOut(_Out):
    model_config = shown_as(examples.READY)

    is_ready: bool
    parts: list[PartOut]
