"""Answer questions about an engine state: accounts, positions, open orders, books, markets.

Pure reads; answers are frozen values, never references into the state. Must not: change anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from afterbell.engine.state import EngineState


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLevel:
    """All resting orders at one price."""

    price_ticks: int
    size_lots: int
    n_orders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSnapshot:
    """Aggregated book, best price first. `sequence` counts level changes of this book (book_view.BookView.sequence)."""

    market: int
    sequence: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """One open position, valued at the worse of mark and external.

    entry_price_ticks: average price, entry / size, rounded against the account (long up, short down).
    liquidation_price_ticks: estimate, other positions unchanged; None when no price of this market alone liquidates.
    """

    market: int
    size_lots: int
    entry_quote: int
    entry_price_ticks: int
    mark_ticks: int
    valuation_ticks: int
    unrealised_pnl_quote: int
    pending_funding_quote: int
    initial_margin_quote: int
    maintenance_margin_quote: int
    liquidation_price_ticks: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrderView:
    """One resting order."""

    order_id: bytes
    account: int
    market: int
    is_buy: bool
    size_lots: int
    filled_lots: int
    remaining_lots: int
    limit_ticks: int
    max_fee_ppm: int
    expiry_s: int
    nonce: int
    reduce_only: bool
    post_only: bool
    time_in_force: int
    client_id: str
    accepted_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSummary:
    """Money of one account now, open batch included.

    order_margin_quote: what the open orders reserve beyond the initial margin of the positions.
    free_collateral_quote: equity − initial margin − order margin; a new order or withdrawal must fit it.
    health_ppm: equity / maintenance margin, None without positions.
    """

    account: int
    is_known: bool
    collateral_quote: int
    equity_quote: int
    unrealised_pnl_quote: int
    pending_funding_quote: int
    initial_margin_quote: int
    maintenance_margin_quote: int
    order_margin_quote: int
    free_collateral_quote: int
    withdrawable_quote: int
    is_stale: bool
    health_ppm: int | None
    positions: tuple[PositionView, ...]
    n_open_orders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """One market now. Rule fields are those of the session now, 0 when it has none."""

    market: int
    symbol: str
    epoch: int
    lot_exponent: int
    ticks_per_usd: int
    synthetic: bool
    session: int
    mark_ticks: int
    index_ticks: int
    external_ticks: int
    external_time_s: int
    is_fresh: bool
    is_halted: bool
    halt_reason: str
    is_opening_allowed: bool
    open_interest_lots: int
    best_bid_ticks: int | None
    best_ask_ticks: int | None
    initial_margin_ppm: int
    settlement_margin_ppm: int
    maintenance_margin_ppm: int
    band_ppm: int
    mark_step_ppm: int
    max_age_s: int
    open_interest_cap_lots: int
    size_step_lots: int
    price_step_ticks: int
    min_notional_quote: int
    max_fee_ppm: int
    maker_fee_ppm: int
    taker_fee_ppm: int


def read_account(state: EngineState, account: int, now_s: int) -> AccountSummary:
    """Return the money and positions of an account; an unknown one is all zeros with is_known False."""
    raise NotImplementedError


def read_open_orders(state: EngineState, account: int) -> tuple[OpenOrderView, ...]:
    """Return the resting orders of an account, oldest first."""
    raise NotImplementedError


def get_open_order(state: EngineState, order_id: bytes) -> OpenOrderView | None:
    """Return one resting order."""
    raise NotImplementedError


def read_book(state: EngineState, market: int, depth: int) -> BookSnapshot:
    """Return the best `depth` levels of each side. Raises: KeyError for a market that is not listed."""
    raise NotImplementedError


def read_markets(state: EngineState, now_s: int) -> tuple[MarketView, ...]:
    """Return every listed market, ids ascending."""
    raise NotImplementedError
