"""What the venue answers, as values. Units are in the names: lots, ticks, quote (1e-6 USDC), seconds, milliseconds.

Text quantities of the API arrive here as exact integers. Fields the SDK does not know yet are ignored, so an older
client keeps working with a newer venue. Must not: talk to anything.
"""

from __future__ import annotations

from decimal import Decimal, Inexact, InvalidOperation, localcontext
from typing import Any, Final, Literal

import msgspec

from afterbell.domain.units import QUOTE_PER_USDC


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class Domain(_Value, frozen=True, kw_only=True):
    """EIP-712 domain of everything an owner signs."""

    name: str
    version: str
    chain_id: int
    verifying_contract: str


class Bounds(_Value, frozen=True, kw_only=True):
    """What one batch and one account may hold."""

    max_orders: int
    max_fills: int
    max_accounts: int
    max_operations: int
    max_open_markets: int
    max_order_lifetime_s: int
    settle_lag_s: int
    max_seq_ahead_ms: int
    max_batch_items: int = 20
    max_key_lifetime_s: int = 180 * 86_400


class Venue(_Value, frozen=True, kw_only=True):
    """The instance a client talks to. `genesis_s`: the second from which seqs count milliseconds."""

    name: str
    chain_id: int
    is_local_chain: bool
    genesis_s: int
    confirmations_blocks: int
    addresses: dict[str, str]
    domain: Domain
    bounds: Bounds
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class ClockReading(_Value, frozen=True, kw_only=True):
    """Venue time when the venue answered. mode: live or replay; speed: as the venue describes it."""

    venue_time_ms: int
    mode: str
    speed: str
    step_time_ms: int | None = None
    next_step_ms: int | None = None


class MarketRules(_Value, frozen=True, kw_only=True):
    """Rules of the session now."""

    initial_margin_ppm: int
    maintenance_margin_ppm: int
    band_ppm: int
    max_age_s: int
    open_interest_cap_lots: int
    size_step_lots: int
    price_step_ticks: int
    min_notional_quote: int
    max_fee_ppm: int
    taker_fee_ppm: int
    maker_fee_ppm: int
    is_opening_allowed: bool


class Market(_Value, frozen=True, kw_only=True):
    """One market now. One lot x one tick is one quote unit; prices of 0 ticks are not set yet."""

    market: int
    symbol: str
    epoch: int
    lot_exponent: int
    ticks_per_usd: int
    session: str
    mark_ticks: int
    index_ticks: int
    external_ticks: int
    external_time_s: int
    band_low_ticks: int | None
    band_high_ticks: int | None
    best_bid_ticks: int | None
    best_ask_ticks: int | None
    open_interest_lots: int
    is_synthetic: bool
    is_halted: bool
    halt_reason: str
    label: str = ""
    is_fresh: bool = True
    change_ticks: int | None = None
    change_ppm: int | None = None
    rules: MarketRules | None = None

    def to_lots(self, size: Decimal | int | str) -> int:
        """Return a size in lots: an int is lots already, a Decimal or text is shares.

        Raises: TypeError for a float; ValueError when the shares are no whole number of lots.
        """
        return read_atoms(size, 10**self.lot_exponent, f"one lot of {self.symbol} is 1e-{self.lot_exponent} shares")

    def to_ticks(self, price: Decimal | int | str) -> int:
        """Return a price in ticks: an int is ticks already, a Decimal or text is USD.

        Raises: TypeError for a float; ValueError when the price is no whole number of ticks.
        """
        return read_atoms(price, self.ticks_per_usd, f"{self.symbol} has {self.ticks_per_usd} ticks to a USD")

    def to_shares(self, size_lots: int) -> Decimal:
        """Return lots as shares, exactly."""
        return Decimal(size_lots).scaleb(-self.lot_exponent)

    def to_usd(self, price_ticks: int) -> Decimal:
        """Return ticks as USD, exactly: ticks_per_usd is a power of ten."""
        return Decimal(price_ticks) / self.ticks_per_usd


class Level(_Value, frozen=True, kw_only=True):
    """All resting orders at one price."""

    price_ticks: int
    size_lots: int
    n_orders: int


class Book(_Value, frozen=True, kw_only=True):
    """Aggregated book, best level first on both sides."""

    symbol: str
    market: int
    sequence: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Trade(_Value, frozen=True, kw_only=True):
    """One public trade."""

    fill_id: int
    symbol: str
    price_ticks: int
    size_lots: int
    taker_is_buy: bool
    time_ms: int
    sequence: int


class Candle(_Value, frozen=True, kw_only=True):
    """Mark price, or price of the fills, over an interval of venue time; the volume is that of the fills."""

    time_s: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    volume_quote: int = 0
    n_trades: int = 0


class Fill(_Value, frozen=True, kw_only=True):
    """One fill from one account's side. status: matched, submitted, mined, final or rejected (then `code` says why)."""

    fill_id: int
    order_id: str
    account: str
    market: int
    symbol: str
    role: str
    is_buy: bool
    price_ticks: int
    size_lots: int
    notional_quote: int
    fee_quote: int
    time_ms: int
    sequence: int
    status: str
    code: str | None = None
    transaction: str | None = None
    block: int | None = None
    funding_quote: int = 0
    """Funding the fill settled; positive: the account paid."""


class PlacedOrder(_Value, frozen=True, kw_only=True):
    """One order and the life of each of its fills.

    status: OPEN (on the book), WAITING (for its trigger, in no book), FILLED, CANCELLED or REJECTED, with `reason`.
    """

    order_id: str
    account: str
    market: int
    symbol: str
    is_buy: bool
    size_lots: int
    limit_ticks: int
    filled_lots: int
    remaining_lots: int
    status: str
    nonce: int
    time_in_force: Literal["GTC", "GTT", "IOC", "FOK"]
    reduce_only: bool
    post_only: bool
    expiry_s: int
    max_fee_ppm: int
    reason: str | None = None
    client_id: str = ""
    trigger_ticks: int = 0
    trigger_kind: int = 0
    """0 none, 1 mark at or above, 2 mark at or below, 3 index at or above, 4 index at or below."""
    signer: str = ""
    """The owner, or the session key that signed."""
    amends: str | None = None
    placed_at_ms: int = 0
    updated_at_ms: int = 0
    is_repeat: bool = False
    """This very order was there before: the venue has recognised a copy."""
    fills: tuple[Fill, ...] = ()

    @property
    def is_open(self) -> bool:
        """Tell whether lots of it still rest on the book."""
        return self.status == "OPEN"

    @property
    def is_live(self) -> bool:
        """Tell whether it can still fill: it rests, or waits for its trigger."""
        return self.status in ("OPEN", "WAITING")


class Position(_Value, frozen=True, kw_only=True):
    """One open position: size_lots > 0 is long.

    liquidation_price_ticks: the last mark at which equity covers maintenance margin, other positions unchanged; None:
    there is none.
    """

    market: int
    symbol: str
    size_lots: int
    entry_quote: int
    entry_ticks: int
    mark_ticks: int
    notional_quote: int
    unrealised_pnl_quote: int
    pending_funding_quote: int
    initial_margin_quote: int
    maintenance_margin_quote: int
    liquidation_price_ticks: int | None = None

    @property
    def liquidation_ticks(self) -> int | None:
        """Return liquidation_price_ticks under its first name."""
        return self.liquidation_price_ticks


class AccountSnapshot(_Value, frozen=True, kw_only=True):
    """Money of one account now, the batch still open included.

    free_quote is what a new order may use; health_ppm equity over maintenance margin, None without positions; is_stale:
    a price of an open position is too old to take more risk.
    """

    account: str
    owner: str
    collateral_quote: int
    equity_quote: int
    unrealised_pnl_quote: int
    initial_margin_quote: int
    maintenance_margin_quote: int
    order_margin_quote: int
    free_quote: int
    withdrawable_quote: int
    n_open_orders: int
    pending_funding_quote: int = 0
    health_ppm: int | None = None
    is_stale: bool = False
    is_known: bool = True
    positions: tuple[Position, ...] = ()

    @property
    def collateral_usdc(self) -> Decimal:
        """Return the collateral in USDC, exactly."""
        return Decimal(self.collateral_quote) / QUOTE_PER_USDC


class TransferStep(_Value, frozen=True, kw_only=True):
    """One step a transfer has taken, with its transaction where there is one."""

    status: str
    transaction: str | None = None
    block: int | None = None
    time_ms: int | None = None


class Transfer(_Value, frozen=True, kw_only=True):
    """Collateral that came or went, and where it stands.

    kind: deposit, withdrawal, sent or received (between subaccounts; other_account: the other one), exit (by the Exits
    contract). status of a deposit: credited; of a withdrawal: accepted, sealed, submitted, mined,
    claimable, paid, or rejected; between subaccounts final instead of claimable.
    """

    transfer_id: str
    account: str
    kind: str
    quote: int
    status: str
    counterparty: str
    time_ms: int
    sequence: int | None = None
    transaction: str | None = None
    block: int | None = None
    paid_transaction: str | None = None
    code: str | None = None
    steps: tuple[TransferStep, ...] = ()
    other_account: str | None = None


class FundingPayment(_Value, frozen=True, kw_only=True):
    """A funding payment, settled by a fill or a direct operation (liquidation, exit). quote > 0: the account paid."""

    market: int
    symbol: str
    quote: int
    fill_id: int | None
    time_ms: int
    sequence: int | None
    direct_op: int | None = None


class SessionKey(_Value, frozen=True, kw_only=True):
    """A key that may sign for the account.

    status: linking, active, expired, revoked or rejected (then `code` says why). A key being linked signs orders at
    once; the batch that links it is sealed before the first of them.
    """

    key: str
    status: str
    key_expiry_s: int
    max_notional_quote: int
    markets: tuple[int, ...]
    trade_only: bool
    reduce_only: bool
    account: str = ""
    operation_id: str | None = None
    sequence: int | None = None
    transaction: str | None = None
    block: int | None = None
    linked_at_ms: int | None = None
    revoked_at_ms: int | None = None
    revocation_id: str | None = None
    revocation_transaction: str | None = None
    code: str | None = None


class RateLimit(_Value, frozen=True, kw_only=True):
    """The bucket the last request counted in. reset_s: seconds until it is full again."""

    limit: int
    remaining: int
    reset_s: int


class BatchSummary(_Value, frozen=True, kw_only=True):
    """One batch and its way to finality. status: sealed, submitted, mined, final."""

    sequence: int
    status: str
    matched_at_s: int
    sealed_at_ms: int
    head: str
    n_operations: int
    n_orders: int
    n_fills: int
    n_failures: int
    payload_bytes: int
    transaction: str | None = None
    block: int | None = None
    gas_used: int | None = None


class StreamMessage(_Value, frozen=True, kw_only=True):
    """One message of a channel, or with `events=True` one event of the connection.

    kind: snapshot or delta; a delta follows the message numbered `previous_sequence`, a snapshot follows nothing.
    Events carry no data: connected, lost (the connection; `reason`), restarted (the venue's process is another one),
    resumed (exactly the missed deltas follow), gap and checksum (this copy is wrong; a snapshot follows).
    """

    channel: str
    kind: str
    sequence: int = 0
    previous_sequence: int | None = None
    data: Any = None
    checksum: int | None = None
    reason: str = ""

    @property
    def is_event(self) -> bool:
        """Tell whether it is about the connection."""
        return self.kind in STREAM_EVENTS


STREAM_EVENTS: Final = frozenset({"connected", "lost", "restarted", "resumed", "gap", "checksum"})


class LiveBook(_Value, frozen=True, kw_only=True):
    """A book kept from the stream, its checksum verified at every message. Best level first on both sides.

    event: "" after an ordinary change, else what happened to the stream (StreamMessage.kind); the book is then the last
    one known.
    """

    symbol: str
    sequence: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    event: str = ""
    n_resyncs: int = 0


class LiveAccount(_Value, frozen=True, kw_only=True):
    """An account kept from the stream. `fills`, `life` and `transfers` are the news of this message alone.

    orders: live ones. ended: orders this message ended, {order_id, status, reason, …}. event: as in LiveBook.
    """

    account: AccountSnapshot
    sequence: int
    orders: tuple[PlacedOrder, ...]
    keys: tuple[SessionKey, ...]
    fills: tuple[Fill, ...] = ()
    ended: tuple[dict[str, Any], ...] = ()
    life: tuple[dict[str, Any], ...] = ()
    transfers: tuple[dict[str, Any], ...] = ()
    event: str = ""
    n_resyncs: int = 0


_MAX_DIGITS: Final = 200


def to_quote(usdc: Decimal | str | None, quote: int | None) -> int:
    """Return an amount in quote units (1e-6 USDC), given either as USDC or as quote units.

    An int is never taken for USDC: whoever writes 1000 may mean either. Raises: TypeError unless exactly one is given,
    in its type; ValueError below one quote unit.
    """
    if isinstance(usdc, int):
        raise TypeError(
            f'the int {usdc} could mean USDC or quote units (1e-6 USDC): write "{usdc}" or Decimal({usdc}) for USDC, '
            f"quote={usdc} for quote units"
        )
    if (usdc is None) == (quote is None):
        found = "neither" if usdc is None else "both"
        raise TypeError(
            f'give either USDC as text or Decimal ("1000") or quote units (quote=1000000000), found {found}'
        )
    if usdc is not None:
        if not isinstance(usdc, Decimal | str):
            raise TypeError(f"give USDC as Decimal or text, found {type(usdc).__name__}")
        return read_atoms(usdc, QUOTE_PER_USDC, "one quote unit is 1e-6 USDC")
    if isinstance(quote, bool) or not isinstance(quote, int):
        raise TypeError(f"quote must be an int, in units of 1e-6 USDC, found {type(quote).__name__}")
    return quote


def read_atoms(number: Decimal | int | str, atoms: int, rule: str) -> int:
    """Return an int as it is, a Decimal or text times `atoms`. Raises: TypeError, ValueError when it is not whole."""
    if isinstance(number, bool) or not isinstance(number, Decimal | int | str):
        raise TypeError(f"give an int (atoms), a Decimal or text, found {type(number).__name__}: {rule}")
    if isinstance(number, int):
        return number
    with localcontext() as context:
        # The ordinary context rounds silently after 28 digits; here a number that cannot be exact is an error.
        context.prec = _MAX_DIGITS
        context.traps[Inexact] = True
        try:
            exact = Decimal(number) * atoms
        except (InvalidOperation, Inexact):
            raise ValueError(f"{number!r} is no number: {rule}") from None
    if not exact.is_finite() or exact.adjusted() >= _MAX_DIGITS or exact != exact.to_integral_value():
        raise ValueError(f"{number} is not a whole number of atoms: {rule}")
    return int(exact)
