"""Shapes of the API: what comes in is checked here once, what goes out is named here once.

Numbers carry their unit in the name. Lots, ticks and times are JSON integers (< 2^53); `*_quote` and nonces go out as
decimal strings and come in as strings or integers. Must not: hold rules of the exchange; ranges here are those of the
signed types (contracts/README.md, "Typed data").
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from afterbell.domain.order import UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT40_MAX, UINT48_MAX, UINT56_MAX, UINT64_MAX
from afterbell.gateway import examples


def _read_decimal(found: Any) -> Any:
    """Read a decimal string as the integer it spells; leave everything else to the field's own check."""
    if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 30:
        return int(found)
    return found


Account = Annotated[str, StringConstraints(strict=True, pattern=r"^0x[0-9a-f]{60}$")]
Address = Annotated[str, StringConstraints(strict=True, pattern=r"^0x[0-9a-fA-F]{40}$")]
Hash = Annotated[str, StringConstraints(strict=True, pattern=r"^0x[0-9a-f]{64}$")]
SignatureHex = Annotated[str, StringConstraints(strict=True, pattern=r"^0x([0-9a-fA-F]{128}|[0-9a-fA-F]{130})$")]
ClientId = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_.:\-]{0,36}$")]
Uint8 = Annotated[int, Field(strict=True, ge=0, le=UINT8_MAX)]
Uint16 = Annotated[int, Field(strict=True, ge=0, le=UINT16_MAX)]
Uint32 = Annotated[int, Field(strict=True, ge=0, le=UINT32_MAX)]
Uint40 = Annotated[int, Field(strict=True, ge=0, le=UINT40_MAX)]
Uint48 = Annotated[int, Field(strict=True, ge=0, le=UINT48_MAX)]
Uint56 = Annotated[int, BeforeValidator(_read_decimal), Field(strict=True, ge=0, le=UINT56_MAX)]
Uint64 = Annotated[int, BeforeValidator(_read_decimal), Field(strict=True, ge=0, le=UINT64_MAX)]
TimeInForceName = Literal["GTC", "GTT", "IOC", "FOK"]
QuoteText = Annotated[str, Field(description="quote units (1e-6 USDC), exact decimal integer", examples=["1250000000"])]


def _shown_as(example: examples.Example) -> ConfigDict:
    """Print this body in /openapi.json; everything else is inherited."""
    return ConfigDict(json_schema_extra={"example": example})


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


# What comes in.


class DomainIn(_In):
    """The EIP-712 domain the client signed under; optional, lets a wrong chain be told from a wrong key."""

    model_config = _shown_as(examples.SIGNED_DOMAIN)

    chain_id: Annotated[int, Field(strict=True, ge=0, le=UINT64_MAX)] | None = None
    verifying_contract: Address | None = None


class OrderIn(_In):
    """The signed fields of an order."""

    model_config = _shown_as(examples.ORDER_FIELDS)

    account: Account
    market: Uint8
    epoch: Uint32
    is_buy: Annotated[bool, Field(strict=True)]
    size_lots: Uint48
    limit_ticks: Uint40
    max_fee_ppm: Uint16
    expiry_s: Uint40
    nonce: Uint56
    reduce_only: Annotated[bool, Field(strict=True)] = False
    post_only: Annotated[bool, Field(strict=True)] = False
    time_in_force: TimeInForceName = "GTC"
    trigger_ticks: Uint40 = 0
    trigger_kind: Annotated[int, Field(strict=True, ge=0, le=4)] = 0


class PlaceOrderIn(_In):
    model_config = _shown_as(examples.PLACE_ORDER)

    order: OrderIn
    signature: SignatureHex | None = None
    client_id: ClientId = ""
    domain: DomainIn | None = None


class CancelIn(_In):
    model_config = _shown_as(examples.CANCEL_FIELDS)

    account: Account
    order_nonce: Uint56
    expiry_s: Uint40
    nonce: Uint56


class CancelOrderIn(_In):
    model_config = _shown_as(examples.CANCEL_ORDER)

    cancel: CancelIn
    signature: SignatureHex | None = None
    domain: DomainIn | None = None


class CancelEverythingIn(_In):
    model_config = _shown_as(examples.CANCEL_ALL_FIELDS)

    account: Account
    min_seq_ms: Uint40
    expiry_s: Uint40
    nonce: Uint56


class CancelAllIn(_In):
    model_config = _shown_as(examples.CANCEL_ALL)

    cancel_all: CancelEverythingIn
    signature: SignatureHex | None = None
    domain: DomainIn | None = None


class WithdrawFieldsIn(_In):
    model_config = _shown_as(examples.WITHDRAW_FIELDS)

    account: Account
    quote: Uint64
    recipient: Address
    expiry_s: Uint40
    nonce: Uint56


class WithdrawIn(_In):
    model_config = _shown_as(examples.WITHDRAW)

    withdrawal: WithdrawFieldsIn
    signature: SignatureHex | None = None
    domain: DomainIn | None = None


class FaucetIn(_In):
    model_config = _shown_as(examples.FAUCET)

    address: Address


class RpcIn(_In):
    """One JSON-RPC request to the local node; only a few methods pass."""

    model_config = _shown_as(examples.RPC)

    jsonrpc: Literal["2.0"] = "2.0"
    id: int | Annotated[str, StringConstraints(max_length=64)] | None = None
    method: Annotated[str, StringConstraints(strict=True, max_length=64)]
    params: Annotated[list[Any], Field(max_length=8)] = []


# What goes out.


class ErrorBody(_Out):
    """`code` is stable; required and found say what broke, with units; action says what to do."""

    model_config = _shown_as(examples.ERROR_BODY)

    code: str
    message: str
    required: str = ""
    found: str = ""
    action: str = ""
    details: dict[str, Any] = {}


class ErrorOut(_Out):
    model_config = _shown_as(examples.ERROR)

    error: ErrorBody


class ClockOut(_Out):
    model_config = _shown_as(examples.CLOCK)

    venue_time_ms: int
    step: int | None = Field(description="number of the replay step, from the start of the history, null when live")
    step_time_ms: int | None
    next_step_ms: int | None
    speed: str = Field(description='venue seconds that pass per wall second between steps, "1" when live')
    mode: Literal["live", "replay"]


class BoundsOut(_Out):
    model_config = _shown_as(examples.BOUNDS)

    max_orders: int
    max_fills: int
    max_accounts: int
    max_operations: int
    max_open_markets: int
    max_subaccount: str
    max_order_lifetime_s: int
    settle_lag_s: int
    max_seq_ahead_ms: int


class DomainOut(_Out):
    model_config = _shown_as(examples.DOMAIN)

    name: str
    version: str
    chain_id: int
    verifying_contract: str


class VenueOut(_Out):
    model_config = _shown_as(examples.VENUE)

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
    model_config = _shown_as(examples.RULES)

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
    model_config = _shown_as(examples.MARKET)

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
    model_config = _shown_as(examples.MARKETS)

    markets: list[MarketOut]


class LevelOut(_Out):
    model_config = _shown_as(examples.LEVEL)

    price_ticks: int
    size_lots: int
    n_orders: int


class BookOut(_Out):
    model_config = _shown_as(examples.BOOK)

    symbol: str
    market: int
    sequence: int = Field(description="journal frame after which the book looked like this")
    bids: list[LevelOut]
    asks: list[LevelOut]


class TradeOut(_Out):
    model_config = _shown_as(examples.TRADE)

    fill_id: int
    symbol: str
    price_ticks: int
    size_lots: int
    taker_is_buy: bool
    time_ms: int
    sequence: int = Field(description="batch")


class TradesOut(_Out):
    model_config = _shown_as(examples.TRADES)

    symbol: str
    trades: list[TradeOut]


class CandleOut(_Out):
    model_config = _shown_as(examples.CANDLE)

    time_s: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int


class CandlesOut(_Out):
    model_config = _shown_as(examples.CANDLES)

    symbol: str
    interval_s: int
    candles: list[CandleOut]


FillStatus = Literal["matched", "submitted", "mined", "final", "rejected"]


class FillOut(_Out):
    model_config = _shown_as(examples.FILL)

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
    time_ms: int
    sequence: int = Field(description="batch that carries the fill")
    status: FillStatus
    code: str | None = Field(description="status code of the chain if it refused the fill")
    transaction: str | None
    block: int | None


class OrderOut(_Out):
    model_config = _shown_as(examples.ORDER)

    order_id: str
    account: str
    market: int
    symbol: str
    is_buy: bool
    size_lots: int
    limit_ticks: int
    filled_lots: int
    remaining_lots: int = Field(description="lots still on the book")
    status: Literal["OPEN", "FILLED", "CANCELLED", "REJECTED"]
    reason: str | None = Field(description="why it was cancelled or rejected")
    nonce: str
    lane: int
    seq_ms: int
    time_in_force: TimeInForceName
    reduce_only: bool
    post_only: bool
    expiry_s: int
    max_fee_ppm: int
    client_id: str
    placed_at_ms: int
    updated_at_ms: int
    fills: list[FillOut]


class OrdersOut(_Out):
    model_config = _shown_as(examples.ORDERS)

    account: str
    orders: list[OrderOut]


class FillsOut(_Out):
    model_config = _shown_as(examples.FILLS)

    account: str
    fills: list[FillOut]


class CancelOut(_Out):
    model_config = _shown_as(examples.CANCELLED)

    account: str
    order_ids: list[str] = Field(description="orders that left the book")


class PositionOut(_Out):
    model_config = _shown_as(examples.POSITION)

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
    liquidation_ticks: int | None = Field(description="mark at which net equity meets maintenance margin; null if none")


class AccountOut(_Out):
    model_config = _shown_as(examples.ACCOUNT)

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
    model_config = _shown_as(examples.POSITIONS)

    account: str
    positions: list[PositionOut]


class TransferOut(_Out):
    model_config = _shown_as(examples.TRANSFER)

    transfer_id: str
    account: str
    kind: Literal["deposit", "withdrawal"]
    quote: QuoteText
    status: Literal["accepted", "sealed", "submitted", "mined", "claimable", "paid", "credited", "rejected"]
    counterparty: str = Field(description="sender of a deposit, recipient of a withdrawal")
    time_ms: int
    sequence: int | None
    transaction: str | None
    block: int | None
    paid_transaction: str | None
    code: str | None


class TransfersOut(_Out):
    model_config = _shown_as(examples.TRANSFERS)

    account: str
    transfers: list[TransferOut]


class FaucetOut(_Out):
    model_config = _shown_as(examples.FAUCET_GRANT)

    address: str
    usdc_quote: QuoteText
    gas_wei: str
    transactions: list[str]


class BatchOut(_Out):
    model_config = _shown_as(examples.BATCH)

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
    model_config = _shown_as(examples.BATCHES)

    batches: list[BatchOut]


class BatchDetailOut(BatchOut):
    model_config = _shown_as(examples.BATCH_DETAIL)

    fills: list[TradeOut]


class ReadyOut(_Out):
    model_config = _shown_as(examples.READY)

    is_ready: bool
    checks: dict[str, bool]
