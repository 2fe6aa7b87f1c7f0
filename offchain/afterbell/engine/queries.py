"""Answer questions about an engine state: accounts, positions, open orders, books, markets.

Pure reads; answers are frozen values, never references into the state. Must not: change anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from afterbell.domain.ids import AccountId, account_key, lane_of, seq_of
from afterbell.domain.liquidation import compute_liquidation_ticks
from afterbell.domain.margin import compute_position_health
from afterbell.domain.market import compute_valuation_ticks
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.settlement import Execution
from afterbell.domain.units import PPM, div_down, div_up, mul_div_down
from afterbell.domain.words import PositionWord, SessionKeyWord
from afterbell.engine.book import BookSide, OpenOrder
from afterbell.engine.risk import compute_account_risk
from afterbell.engine.state import EngineState, MarketInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLevel:
    """All resting orders at one price."""

    price_ticks: int
    size_lots: int
    n_orders: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookSnapshot:
    """Aggregated book, best price first. Streams number their changes: book_view.BookView.sequence."""

    market: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """One open position, valued at the worse of mark and external.

    entry_price_ticks: average price, entry / size, rounded against the account (long up, short down).
    liquidation_price_ticks: the last healthy mark, other positions unchanged at theirs (domain/liquidation.py).
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
    """One live order: resting in its book, or waiting for its trigger.

    filled_lots: its own fills. remaining_lots: its size less all fills of its lane, its OCO partner's among them.
    partner_id: order id of the other order of its OCO, empty without one.
    """

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
    trigger_ticks: int = 0
    trigger_kind: int = 0
    is_waiting: bool = False
    signer: bytes = b""
    partner_id: bytes = b""


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
    account_id = AccountId(account)
    execution = state.read_execution(now_s)
    health = execution.health(account_id)
    orders = list(state.account_orders.get(account_id, {}).values())
    risk = compute_account_risk(state, execution, account_id, orders)
    held = sorted(execution.positions(account_id).items())
    excess = {market: _compute_excess_quote(state, execution, market, position) for market, position in held}
    total_quote = execution.collateral_quote(account_id) + sum(excess.values())
    positions = tuple(
        _view_position(state, execution, market, position, rest_quote=total_quote - excess[market])
        for market, position in held
    )
    maintenance_quote = health.maintenance_margin_quote
    return AccountSummary(
        account=account,
        is_known=account_key(account_id) in state.chain.accounts or bool(positions),
        collateral_quote=execution.collateral_quote(account_id),
        equity_quote=health.equity_quote,
        unrealised_pnl_quote=sum(position.unrealised_pnl_quote for position in positions),
        pending_funding_quote=sum(position.pending_funding_quote for position in positions),
        initial_margin_quote=health.initial_margin_quote,
        maintenance_margin_quote=maintenance_quote,
        order_margin_quote=max(risk.required_quote - health.initial_margin_quote, 0),
        free_collateral_quote=risk.free_collateral_quote,
        withdrawable_quote=0 if health.is_stale else health.withdrawable_quote,
        is_stale=health.is_stale,
        health_ppm=mul_div_down(health.equity_quote, PPM, maintenance_quote) if maintenance_quote else None,
        positions=positions,
        n_open_orders=len(orders),
    )


def read_open_orders(state: EngineState, account: int) -> tuple[OpenOrderView, ...]:
    """Return the live orders of an account, oldest first."""
    return tuple(_view_order(order) for order in state.account_orders.get(AccountId(account), {}).values())


def find_order(state: EngineState, order_id: bytes) -> OpenOrderView | None:
    """Return one live order, or None: never accepted, or over (the read model knows which)."""
    order = state.orders.get(order_id)
    return None if order is None else _view_order(order)


def is_lane_used(state: EngineState, account: int, nonce: int) -> bool:
    """Tell whether an order with this nonce, or a later one of its lane, was accepted or cancelled before."""
    return state.lane_seqs.get(account << 16 | lane_of(nonce), -1) >= seq_of(nonce)


def is_session_key(state: EngineState, account: int, signer: bytes, now_s: int) -> bool:
    """Tell whether an address was ever linked as a session key, the open batch included; its limits are not asked."""
    return SessionKeyWord.unpack(state.read_execution(now_s).session_key_word(account, signer)).is_linked


def read_book(state: EngineState, market: int, depth: int) -> BookSnapshot:
    """Return the best `depth` levels of each side. Raises: KeyError for a market that is not listed."""
    book = state.books[market]
    return BookSnapshot(market=market, bids=_view_levels(book.bids, depth), asks=_view_levels(book.asks, depth))


def read_markets(state: EngineState, now_s: int) -> tuple[MarketView, ...]:
    """Return every listed market, ids ascending."""
    execution = state.read_execution(now_s)
    return tuple(_view_market(state, execution, info) for _, info in sorted(state.markets.items()))


def _view_levels(side: BookSide, depth: int) -> tuple[BookLevel, ...]:
    return tuple(
        BookLevel(price_ticks=price_ticks, size_lots=level.size_lots, n_orders=len(level.orders))
        for price_ticks, level in islice(side.iterate_levels(), max(depth, 0))
    )


def _view_order(order: OpenOrder) -> OpenOrderView:
    record = order.record
    return OpenOrderView(
        order_id=order.order_id,
        account=order.account,
        market=record.market_id,
        is_buy=record.is_buy,
        size_lots=record.size_lots,
        filled_lots=order.filled_lots,
        remaining_lots=order.remaining_lots,
        limit_ticks=record.limit_ticks,
        max_fee_ppm=record.max_fee_ppm,
        expiry_s=record.expiry_s,
        nonce=order.nonce,
        reduce_only=record.reduce_only,
        post_only=record.post_only,
        time_in_force=int(record.time_in_force),
        client_id=order.client_id,
        accepted_ms=order.accepted_ms,
        trigger_ticks=record.trigger_ticks,
        trigger_kind=record.trigger_kind,
        is_waiting=order.is_waiting,
        signer=order.signer,
        partner_id=order.partner_id,
    )


def _view_position(
    state: EngineState, execution: Execution, market: int, position: PositionWord, *, rest_quote: int
) -> PositionView:
    price = execution.price(market)
    rules = state.rules_of(market, price.session, execution.matched_at_s)
    index = execution.index(market)
    health = compute_position_health(position, price, rules, index, execution.matched_at_s)
    pending_quote = compute_pending_quote(position, index)
    size_lots = position.size_lots
    # A long's entry is paid (positive), a short's received (negative): rounded so that the price looks no better.
    entry_ticks = (
        div_up(position.entry_quote, size_lots) if size_lots > 0 else div_down(-position.entry_quote, -size_lots)
    )
    return PositionView(
        market=market,
        size_lots=size_lots,
        entry_quote=position.entry_quote,
        entry_price_ticks=entry_ticks,
        mark_ticks=price.mark_ticks,
        valuation_ticks=compute_valuation_ticks(size_lots, price.mark_ticks, price.external_ticks, index.reserve_ticks),
        unrealised_pnl_quote=health.equity_quote + pending_quote,
        pending_funding_quote=pending_quote,
        initial_margin_quote=health.initial_margin_quote,
        maintenance_margin_quote=health.maintenance_margin_quote,
        liquidation_price_ticks=compute_liquidation_ticks(
            position,
            pending_quote=pending_quote,
            maintenance_margin_ppm=rules.maintenance_margin_ppm if rules is not None else 0,
            rest_quote=rest_quote,
        ),
    )


def _compute_excess_quote(state: EngineState, execution: Execution, market: int, position: PositionWord) -> int:
    """Return equity less maintenance margin of one position at its mark."""
    price = execution.price(market)
    rules = state.rules_of(market, price.session, execution.matched_at_s)
    at_mark = replace(price, external_ticks=price.mark_ticks)
    health = compute_position_health(position, at_mark, rules, execution.index(market), execution.matched_at_s)
    return health.equity_quote - health.maintenance_margin_quote


def _view_market(state: EngineState, execution: Execution, info: MarketInfo) -> MarketView:
    market = info.market
    price = execution.price(market)
    rules = state.rules_of(market, price.session, execution.matched_at_s)
    book = state.books[market]
    return MarketView(
        market=market,
        symbol=info.symbol,
        epoch=price.epoch,
        lot_exponent=info.lot_exponent,
        ticks_per_usd=info.ticks_per_usd,
        synthetic=info.synthetic,
        session=price.session,
        mark_ticks=price.mark_ticks,
        index_ticks=price.index_ticks,
        external_ticks=price.external_ticks,
        external_time_s=price.external_time_s,
        is_fresh=execution.is_market_fresh(market),
        is_halted=info.halt_reason is not None,
        halt_reason=info.halt_reason or "",
        is_opening_allowed=rules is not None and rules.is_opening_allowed,
        open_interest_lots=execution.open_interest_lots(market),
        best_bid_ticks=book.bids.best_ticks,
        best_ask_ticks=book.asks.best_ticks,
        initial_margin_ppm=rules.initial_margin_ppm if rules is not None else 0,
        settlement_margin_ppm=rules.settlement_margin_ppm if rules is not None else 0,
        maintenance_margin_ppm=rules.maintenance_margin_ppm if rules is not None else 0,
        band_ppm=rules.band_ppm if rules is not None else 0,
        mark_step_ppm=rules.mark_step_ppm if rules is not None else 0,
        max_age_s=rules.max_age_s if rules is not None else 0,
        open_interest_cap_lots=rules.open_interest_cap_lots if rules is not None else 0,
        size_step_lots=rules.size_step_lots if rules is not None else 0,
        price_step_ticks=rules.price_step_ticks if rules is not None else 0,
        min_notional_quote=rules.min_notional_quote if rules is not None else 0,
        max_fee_ppm=rules.max_fee_ppm if rules is not None else 0,
        maker_fee_ppm=state.config.maker_fee_ppm,
        taker_fee_ppm=state.config.taker_fee_ppm,
    )
