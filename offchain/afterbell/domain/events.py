"""Events: what happened when a command was applied, in order. Facts for read model, streams and settler.

Derived from the journal by replay, never journalled (offchain/README.md D-102). Identifiers: `order_id` is the
EIP-712 digest, `account` the 240-bit account id, `fill_id` counts fills of the instance from 1, `sequence` is
the batch number. Twin: commands.py.
"""

import msgspec


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of all events; the tag is the class name."""


class MarketListed(_Event, frozen=True, kw_only=True, tag=True):
    market: int
    symbol: str


class MarketHalted(_Event, frozen=True, kw_only=True, tag=True):
    market: int
    reason: str


class PricesAdopted(_Event, frozen=True, kw_only=True, tag=True):
    """prices: (market, mark_ticks, index_ticks, external_ticks, session) of every market with a row or report."""

    prices: tuple[tuple[int, int, int, int, int], ...]


class OrderAccepted(_Event, frozen=True, kw_only=True, tag=True):
    """The order passed pre-trade risk; emitted after its fills. `resting_lots` is what went on the book."""

    order_id: bytes
    account: int
    market: int
    is_buy: bool
    size_lots: int
    limit_ticks: int
    nonce: int
    time_in_force: int
    reduce_only: bool
    post_only: bool
    expiry_s: int
    max_fee_ppm: int
    client_id: str
    filled_lots: int
    resting_lots: int
    trigger_ticks: int = 0
    trigger_kind: int = 0
    is_waiting: bool = False
    """Its trigger is not met: it is in no book."""
    signer: bytes = b""
    amends: bytes = b""
    keeps_priority: bool = False


class OrderTriggered(_Event, frozen=True, kw_only=True, tag=True):
    """A waiting order's trigger was met; its fills, `resting_lots` on the book or an OrderCancelled follow from it."""

    order_id: bytes
    account: int
    market: int
    trigger_ticks: int
    resting_lots: int


class OrderWaiting(_Event, frozen=True, kw_only=True, tag=True):
    """A triggered order that rested left the book because its trigger is not met any more; it waits again."""

    order_id: bytes
    account: int
    market: int
    remaining_lots: int


class OrderReduced(_Event, frozen=True, kw_only=True, tag=True):
    """A fill of the other order of its OCO left `remaining_lots` of this one."""

    order_id: bytes
    account: int
    market: int
    remaining_lots: int


class OrderRejected(_Event, frozen=True, kw_only=True, tag=True):
    """Refused with a stable reason (RejectReason); required/found/action say it in words and units."""

    order_id: bytes
    account: int
    market: int
    reason: str
    required: str
    found: str
    action: str
    client_id: str


class OrderCancelled(_Event, frozen=True, kw_only=True, tag=True):
    """`remaining_lots` left the book.

    reason: USER, IOC, REPLACED, AMENDED, OCO (the other order filled), EXPIRED, BATCH_FULL, MARKET_HALTED, KEY_REVOKED,
    CANNOT_FILL (a FOK) or the name of the status code that stopped it.
    """

    order_id: bytes
    account: int
    market: int
    remaining_lots: int
    reason: str


class CancelRejected(_Event, frozen=True, kw_only=True, tag=True):
    account: int
    nonce: int
    reason: str
    required: str
    found: str
    action: str


class FillMatched(_Event, frozen=True, kw_only=True, tag=True):
    fill_id: int
    sequence: int
    market: int
    price_ticks: int
    size_lots: int
    maker_order_id: bytes
    taker_order_id: bytes
    maker_account: int
    taker_account: int
    taker_is_buy: bool
    maker_fee_quote: int
    taker_fee_quote: int
    maker_funding_quote: int = 0
    """Funding payment the fill settled (the index moved since the position was last touched); positive: it pays."""
    taker_funding_quote: int = 0


class FillRejected(_Event, frozen=True, kw_only=True, tag=True):
    """The chain's rule refused a matched fill; both accounts were compensated. `code` is a StatusCode (+64 taker)."""

    fill_id: int
    sequence: int
    market: int
    code: int
    maker_order_id: bytes
    taker_order_id: bytes


class DepositCredited(_Event, frozen=True, kw_only=True, tag=True):
    direct_op: int
    account: int
    quote: int
    collateral_quote: int
    block: int
    transaction: bytes


class WithdrawalAccepted(_Event, frozen=True, kw_only=True, tag=True):
    withdrawal_id: bytes
    sequence: int
    account: int
    quote: int
    recipient: bytes


class WithdrawalRejected(_Event, frozen=True, kw_only=True, tag=True):
    withdrawal_id: bytes
    account: int
    quote: int
    reason: str
    required: str
    found: str
    action: str


class TransferAccepted(_Event, frozen=True, kw_only=True, tag=True):
    """Collateral goes from one subaccount of an owner to another with the open batch."""

    transfer_id: bytes
    sequence: int
    account: int
    receiver: int
    quote: int


class TransferRejected(_Event, frozen=True, kw_only=True, tag=True):
    transfer_id: bytes
    account: int
    receiver: int
    quote: int
    reason: str
    required: str
    found: str
    action: str


class KeyLinked(_Event, frozen=True, kw_only=True, tag=True):
    """A session key word as the engine now holds it. operation_id is empty when linked directly on chain."""

    operation_id: bytes
    sequence: int
    account: int
    key: bytes
    word: bytes
    transaction: bytes = b""


class KeyRevoked(_Event, frozen=True, kw_only=True, tag=True):
    operation_id: bytes
    sequence: int
    account: int
    key: bytes
    word: bytes
    transaction: bytes = b""


class KeyOperationRejected(_Event, frozen=True, kw_only=True, tag=True):
    operation_id: bytes
    account: int
    key: bytes
    reason: str
    required: str
    found: str
    action: str


class CancelAllAdopted(_Event, frozen=True, kw_only=True, tag=True):
    """A cancel-all made on chain; what it cancels follows as OrderCancelled."""

    direct_op: int
    account: int
    min_seq_ms: int
    since_s: int
    block: int
    transaction: bytes


class RulesAdopted(_Event, frozen=True, kw_only=True, tag=True):
    """Rules of a market and session changed on chain; batches matched after binds_after_s use them."""

    direct_op: int
    market: int
    session: int
    rules_word: bytes
    binds_after_s: int


class PositionAdjusted(_Event, frozen=True, kw_only=True, tag=True):
    """A sibling contract moved a position past every batch: liquidation, exit, corporate action (kind 5)."""

    direct_op: int
    account: int
    market: int
    size_change_lots: int
    size_lots: int
    realised_quote: int
    """Added to collateral."""
    funding_quote: int
    """Funding payment it settled; positive: the account paid."""
    block: int
    transaction: bytes


class MarketMoved(_Event, frozen=True, kw_only=True, tag=True):
    """Price or index of a market moved past every batch: corporate action, spread of a loss (kind 6)."""

    direct_op: int
    market: int
    price_word: bytes
    index_word: bytes
    block: int
    transaction: bytes


class CollateralExited(_Event, frozen=True, kw_only=True, tag=True):
    """Exits turned collateral into a claim without the venue (kind 7)."""

    direct_op: int
    account: int
    quote: int
    recipient: bytes
    block: int
    transaction: bytes


class ModeChanged(_Event, frozen=True, kw_only=True, tag=True):
    """The instance's mode by Exits (kind 8): 0 normal, 1 exit mode, 2 settled."""

    direct_op: int
    mode: int


class IndexAccrued(_Event, frozen=True, kw_only=True, tag=True):
    """Funding moved the indices of a market; premium_ppb is what the engine sampled for it."""

    market: int
    premium_ppb: int
    long_index_e12: int
    short_index_e12: int
    funding_time_s: int


class BatchSealed(_Event, frozen=True, kw_only=True, tag=True):
    """A batch ready for the chain. fill_ids in payload order; codes and head as the mirror predicts them."""

    sequence: int
    matched_at_s: int
    previous_head: bytes
    head: bytes
    payload: bytes
    codes: bytes
    n_operations: int
    n_orders: int
    fill_ids: tuple[int, ...]
    operation_ids: tuple[bytes, ...]
    """Digest of every operation, in payload order: its code is codes[i]."""


class BatchConfirmed(_Event, frozen=True, kw_only=True, tag=True):
    sequence: int
    block: int
    transaction: bytes
    gas_used: int


Event = (
    MarketListed
    | MarketHalted
    | PricesAdopted
    | OrderAccepted
    | OrderTriggered
    | OrderWaiting
    | OrderReduced
    | OrderRejected
    | OrderCancelled
    | CancelRejected
    | FillMatched
    | FillRejected
    | DepositCredited
    | WithdrawalAccepted
    | WithdrawalRejected
    | TransferAccepted
    | TransferRejected
    | KeyLinked
    | KeyRevoked
    | KeyOperationRejected
    | CancelAllAdopted
    | RulesAdopted
    | PositionAdjusted
    | MarketMoved
    | CollateralExited
    | ModeChanged
    | IndexAccrued
    | BatchSealed
    | BatchConfirmed
)
