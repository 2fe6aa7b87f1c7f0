"""Judge an order before it meets the book: initial margin in the worst case, freshness, session, markets.

The chain asks settlement margin at each fill; here every order must fit initial margin as if all open orders of its
account had filled, so that an honest fill survives a moving mark. Per market with position q, bids B, asks A:

    required = max( IM(q), IM(q + B) + loss(B) + fees(B), IM(q - A) + loss(A) + fees(A) )
    loss(B)  = sum of lots x max(limit - min(mark, external), 0);  loss(A) mirrored with max(mark, external)

IM values each size at the worse of mark and external for its sign. Losses count even where lots only close: cautious
by design. An order that can only reduce passes without margin; the chain's rule judges its fills. Reduce-only orders
add no exposure, and neither do orders that wait for a trigger: they are judged when it is met. Two resting orders of
an OCO count both. Rounding: requirements and fees up. Must not: change anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from afterbell.domain.batch import SETTLE_LAG_S
from afterbell.domain.chain_state import Mode
from afterbell.domain.codes import RejectReason, StatusCode
from afterbell.domain.fees import compute_fee_quote
from afterbell.domain.ids import AccountId
from afterbell.domain.margin import compute_margins_quote
from afterbell.domain.market import compute_valuation_ticks
from afterbell.domain.settlement import Execution
from afterbell.domain.units import compute_notional_quote
from afterbell.domain.words import MAX_OPEN_MARKETS, RulesWord
from afterbell.engine.book import OpenOrder
from afterbell.engine.refusals import Refusal, refuse_opening
from afterbell.engine.state import EngineState


@dataclass(slots=True)
class _Exposure:
    """Open orders of one account in one market."""

    bid_lots: int = 0
    ask_lots: int = 0
    bid_cost_quote: int = 0
    """Losses and fees if every bid filled."""
    ask_cost_quote: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRisk:
    """Equity against the worst case of all open orders."""

    equity_quote: int
    initial_margin_quote: int
    required_quote: int
    """At least initial_margin_quote; the difference is what open orders reserve."""

    @property
    def free_collateral_quote(self) -> int:
        """What new risk may use; negative when nothing."""
        return self.equity_quote - self.required_quote


def compute_account_risk(
    state: EngineState, execution: Execution, account: AccountId, orders: Iterable[OpenOrder]
) -> AccountRisk:
    """Return equity and requirement of an account if it had these open orders."""
    exposures = _sum_exposures(state, execution, orders)
    positions = execution.positions(account)
    health = execution.health(account)
    required_quote = 0
    for market in sorted({*positions, *exposures}):
        price = execution.price(market)
        rules = state.rules_of(market, price.session, execution.matched_at_s)
        position = positions.get(market)
        required_quote += _require_market(
            execution,
            market,
            position.size_lots if position is not None else 0,
            exposures.get(market, _Exposure()),
            rules,
        )
    return AccountRisk(
        equity_quote=health.equity_quote,
        initial_margin_quote=health.initial_margin_quote,
        required_quote=required_quote,
    )


def check_order_risk(
    state: EngineState, execution: Execution, order: OpenOrder, leaving: Collection[OpenOrder], now_s: int
) -> Refusal | None:
    """Return why the order may not act, or None. `leaving` are orders that its acting ends."""
    account, record = order.account, order.record
    size_lots = execution.position(account, record.market_id).size_lots
    is_closing_side = size_lots < 0 if record.is_buy else size_lots > 0
    if record.reduce_only:
        return None if is_closing_side else _refuse_reduce_only(size_lots, record.is_buy)
    others = [
        other
        for other in state.account_orders.get(account, {}).values()
        if other is not order and other not in leaving and not other.is_waiting
    ]
    if is_closing_side:
        same_side_lots = sum(
            other.remaining_lots
            for other in others
            if other.record.market_id == record.market_id and other.record.is_buy == record.is_buy
        )
        if same_side_lots + order.remaining_lots <= abs(size_lots):
            return None
    refusal = _check_opening(state, execution, order, size_lots, now_s)
    if refusal is not None:
        return refusal
    risk = compute_account_risk(state, execution, account, [*others, order])
    if risk.equity_quote < risk.required_quote:
        return Refusal(
            reason=RejectReason.INSUFFICIENT_MARGIN,
            required=f"equity of at least {risk.required_quote} quote (margin, fees and losses of all open orders)",
            found=f"{risk.equity_quote} quote",
            action="deposit, sign a smaller size, or cancel other orders",
        )
    return None


def _check_opening(
    state: EngineState, execution: Execution, order: OpenOrder, size_lots: int, now_s: int
) -> Refusal | None:
    market = order.record.market_id
    price = execution.price(market)
    rules = state.rules_of(market, price.session, execution.matched_at_s)
    if state.chain.mode != Mode.NORMAL:
        return refuse_opening(StatusCode.OPENING_NOT_ALLOWED, market, price.session, "the instance in exit mode")
    if rules is None or not rules.is_opening_allowed:
        return refuse_opening(StatusCode.OPENING_NOT_ALLOWED, market, price.session, "")
    stale = _find_stale_market(execution, order.account, market)
    if stale is not None:
        stale_price = execution.price(stale)
        found = (
            f"market {stale} last reported at {stale_price.external_time_s} s, now {execution.matched_at_s} s"
            if stale_price.external_ticks
            else f"market {stale} without any report"
        )
        return refuse_opening(StatusCode.STALE_PRICE, market, price.session, found)
    ends_s = _find_end_of_statement(execution, order.account, market, now_s)
    if ends_s is not None:
        found = f"a session stated until {ends_s} s, now {now_s} s"
        return refuse_opening(StatusCode.STALE_PRICE, market, price.session, found)
    n_open = len(execution.positions(order.account))
    if size_lots == 0 and n_open >= MAX_OPEN_MARKETS:
        return refuse_opening(StatusCode.TOO_MANY_MARKETS, market, price.session, f"{n_open} open markets")
    lots = size_lots + (order.remaining_lots if order.record.is_buy else -order.remaining_lots)
    if abs(lots) > abs(size_lots) and abs(lots) > rules.account_cap_lots:
        return Refusal(
            reason=RejectReason.ACCOUNT_CAP,
            required=f"at most {rules.account_cap_lots} lots of market {market} in one account",
            found=f"{abs(lots)} lots if the order fills",
            action="sign a smaller size, or reduce the position",
        )
    return None


def _find_end_of_statement(execution: Execution, account: AccountId, market: int, now_s: int) -> int | None:
    """Return when the first statement ends that ends within SETTLE_LAG: what follows it is stricter or unknown.

    Openings stop that much earlier than on chain (DESIGN.md §3): the stricter session of now and now + SETTLE_LAG.
    """
    for candidate in (market, *sorted(execution.positions(account))):
        price = execution.price(candidate)
        ends_s = price.external_time_s + 60 * price.session_minutes
        if now_s + SETTLE_LAG_S >= ends_s:
            return ends_s
    return None


def _find_stale_market(execution: Execution, account: AccountId, market: int) -> int | None:
    for candidate in (market, *sorted(execution.positions(account))):
        if not execution.is_market_fresh(candidate):
            return candidate
    return None


def _refuse_reduce_only(size_lots: int, is_buy: bool) -> Refusal:
    return Refusal(
        reason=RejectReason.REDUCE_ONLY,
        required=f"a {'short' if is_buy else 'long'} position to reduce",
        found=f"a position of {size_lots} lots",
        action="sign without reduce_only, or check the side",
    )


def _sum_exposures(state: EngineState, execution: Execution, orders: Iterable[OpenOrder]) -> dict[int, _Exposure]:
    exposures: dict[int, _Exposure] = {}
    valuations: dict[int, tuple[int, int]] = {}  # market -> (for a long, for a short)
    rate_ppm = max(state.config.maker_fee_ppm, state.config.taker_fee_ppm)
    for order in orders:
        record, lots = order.record, order.remaining_lots
        if record.reduce_only or order.is_waiting:
            continue
        market = record.market_id
        if market not in exposures:
            exposures[market] = _Exposure()
            valuations[market] = (
                _value_ticks(execution, market, 1),
                _value_ticks(execution, market, -1),
            )
        exposure, (long_ticks, short_ticks) = exposures[market], valuations[market]
        fee_quote = compute_fee_quote(compute_notional_quote(lots, record.limit_ticks), rate_ppm)
        if record.is_buy:
            exposure.bid_lots += lots
            exposure.bid_cost_quote += lots * max(record.limit_ticks - long_ticks, 0) + fee_quote
        else:
            exposure.ask_lots += lots
            exposure.ask_cost_quote += lots * max(short_ticks - record.limit_ticks, 0) + fee_quote
    return exposures


def _value_ticks(execution: Execution, market: int, size_lots: int) -> int:
    """Return the price at which lots of this sign are valued: the worse one, shorts with an announced dividend."""
    price, reserve_ticks = execution.price(market), execution.index(market).reserve_ticks
    return compute_valuation_ticks(size_lots, price.mark_ticks, price.external_ticks, reserve_ticks)


def _require_market(
    execution: Execution, market: int, size_lots: int, exposure: _Exposure, rules: RulesWord | None
) -> int:
    if rules is None:
        return 0  # no session rules: positions are stale and nothing may open

    def margin_of(lots: int) -> int:
        return compute_margins_quote(compute_notional_quote(lots, _value_ticks(execution, market, lots)), rules)[0]

    return max(
        margin_of(size_lots),
        margin_of(size_lots + exposure.bid_lots) + exposure.bid_cost_quote,
        margin_of(size_lots - exposure.ask_lots) + exposure.ask_cost_quote,
    )
