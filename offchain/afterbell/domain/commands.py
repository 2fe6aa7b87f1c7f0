"""Commands: what the single writer journals and the engine applies, in this order and nothing else.

Every input that can change state is one of these; time comes from the journal frame, never from a clock.
Messages are msgspec structs (frozen, tagged, unknown fields refused) because their encoding is the journal
format: fields are only ever added at the end with a default. Twin: events.py.
"""

import msgspec


class _Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=False, tag=True):
    """Base of all commands; the tag is the class name."""


class ListMarket(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """List a market as the chain has it (read from the manifest and checked on chain at start)."""

    market: int
    symbol: str
    epoch: int
    lot_exponent: int
    ticks_per_usd: int
    synthetic: bool


class SetMarketRules(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Adopt one rules word (contracts/README.md) of a market and session."""

    market: int
    session: int
    rules_word: bytes


class AdoptPrices(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Open a batch with new price rows and the evidence that carries the signed reports.

    rows: (market, mark_ticks, index_ticks, auction_ticks), markets ascending; the engine adds premium and funding.
    stated: what the oracle will find for every market of a row or of a report that counts (domain/prices.StatedMarket):
    (market, external_ticks, external_time_s, session, session_minutes, window_start_s), markets ascending.
    """

    rows: tuple[tuple[int, int, int, int], ...]
    stated: tuple[tuple[int, int, int, int, int, int], ...]
    evidence: bytes


class PlaceOrder(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Enter a signed order; the gateway has checked the signature against `order_id` (the digest) and the owner."""

    order_id: bytes
    owner: bytes
    subaccount: int
    market: int
    epoch: int
    is_buy: bool
    size_lots: int
    limit_ticks: int
    max_fee_ppm: int
    expiry_s: int
    nonce: int
    reduce_only: bool
    post_only: bool
    time_in_force: int
    trigger_ticks: int
    trigger_kind: int
    r: bytes
    vs: bytes
    client_id: str = ""
    signer: bytes = b""
    """Session key that signed, 20 bytes; empty: the owner."""
    amends: bytes = b""
    """Order id this one replaces in its lane; refused unless that one is live with `amends_filled_lots` filled."""
    amends_filled_lots: int = 0


class CancelOrder(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Cancel the live orders of one nonce (two if they are an OCO); signed by owner or session key, off chain only."""

    account: int
    order_nonce: int
    expiry_s: int
    nonce: int
    r: bytes
    vs: bytes
    signer: bytes = b""


class CancelAll(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Cancel every resting order of an account with seq below `min_seq_ms`; signed, binding off chain only."""

    account: int
    min_seq_ms: int
    expiry_s: int
    nonce: int
    r: bytes
    vs: bytes
    signer: bytes = b""


class RequestWithdrawal(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Carry a signed Withdraw in the open batch. `withdrawal_id` is its digest."""

    withdrawal_id: bytes
    account: int
    quote: int
    recipient: bytes
    expiry_s: int
    nonce: int
    r: bytes
    vs: bytes
    signer: bytes = b""
    is_approved: bool = False
    """The owner approved the digest on chain; r and vs are 32 zero bytes each."""


class RequestTransfer(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Carry a signed Transfer to another subaccount of the owner in the open batch. `transfer_id` is its digest."""

    transfer_id: bytes
    account: int
    to_subaccount: int
    quote: int
    expiry_s: int
    nonce: int
    r: bytes
    vs: bytes
    is_approved: bool = False
    """The owner approved the digest on chain; r and vs are 32 zero bytes each."""


class LinkKey(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Carry a signed LinkKey in the open batch; the key signs orders of the same batch."""

    operation_id: bytes
    account: int
    key: bytes
    key_expiry_s: int
    max_notional_quote: int
    markets: int
    trade_only: bool
    reduce_only: bool
    expiry_s: int
    nonce: int
    r: bytes
    vs: bytes
    is_approved: bool = False


class RevokeKey(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Carry a signed RevokeKey in the open batch; live orders of the key are cancelled at once."""

    operation_id: bytes
    account: int
    key: bytes
    expiry_s: int
    nonce: int
    r: bytes
    vs: bytes
    is_approved: bool = False


class AdoptDirectOperation(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Adopt what an owner, the registry or a sibling contract did past every batch (contracts/PROTOCOL.md §1).

    kind 1 cancel-all, 2 key link, 3 key revocation, 4 change of rules, 5 deltas of accounts, 6 move of a market,
    7 withdrawal by Exits, 8 mode. `subject` is the event's key field (0, key address, key address, market << 8 |
    session, market, market, recipient, 0), `word` its value. direct_op has no gaps, deposits included.
    """

    direct_op: int
    kind: int
    account: int
    subject: bytes
    word: bytes
    time_s: int
    block: int
    transaction: bytes
    after_batch: int = 0
    """Kinds 5 to 8: the last batch the chain had settled before."""
    records: bytes = b""
    """Kind 5: the three words of each position, as PositionsChanged of the same call has them."""
    price_word: bytes = b""
    """Kind 6: the price word it left; empty: unchanged."""
    index_word: bytes = b""
    """Kind 6: the index word it left; empty: unchanged."""


class CreditDeposit(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Credit a deposit seen final on chain; direct operations arrive in their on-chain order, without gaps."""

    direct_op: int
    account: int
    quote: int
    sender: bytes
    block: int
    transaction: bytes


class SealBatch(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Close the open batch. `journal_hash` is the hash of the frame before this one; no open batch: no effect."""

    journal_hash: bytes


class ConfirmBatch(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Record what the chain did with a sealed batch; `head` and `codes` must equal the prediction."""

    sequence: int
    head: bytes
    codes: bytes
    block: int
    transaction: bytes
    gas_used: int


class HaltMarket(_Command, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """Stop matching in a market and cancel its resting orders, e.g. a split in a supplied price file."""

    market: int
    reason: str


Command = (
    ListMarket
    | SetMarketRules
    | AdoptPrices
    | PlaceOrder
    | CancelOrder
    | CancelAll
    | RequestWithdrawal
    | RequestTransfer
    | LinkKey
    | RevokeKey
    | AdoptDirectOperation
    | CreditDeposit
    | SealBatch
    | ConfirmBatch
    | HaltMarket
)
