"""Settle one fill between two orders of a batch: check it line by line, then move both sides.

The maker is checked before the taker in each line and the first failure wins; a fill that fails moves nothing. Must
not: look at signatures or terms of an order (their code is in the TableOrder). Twin: contracts/README.md, "settle()"
step 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from afterbell.domain.codes import SIDED_CODES, TAKER_SIDE, StatusCode
from afterbell.domain.errors import Faulted
from afterbell.domain.fees import compute_fee_quote
from afterbell.domain.ids import owner_of
from afterbell.domain.margin import PositionHealth, compute_account_health, is_fill_covered
from afterbell.domain.outcomes import FillOutcome, TableOrder
from afterbell.domain.position import FillEffect, apply_fill, is_reducing
from afterbell.domain.units import compute_notional_quote
from afterbell.domain.words import MAX_OPEN_MARKETS, PositionWord, validate_collateral
from afterbell.domain.working import AccountInBatch, ChangeInBatch, MarketInBatch, Workbench


@dataclass(frozen=True, slots=True, kw_only=True)
class SidePlan:
    """One side of a fill that has passed every check, ready to be written."""

    order: TableOrder
    account: AccountInBatch
    size_change_lots: int
    filled_lots: int
    fee_quote: int
    effect: FillEffect
    health: PositionHealth


def plan_fill(
    bench: Workbench, maker: TableOrder, taker: TableOrder, size_lots: int
) -> tuple[FillOutcome, tuple[SidePlan, SidePlan] | None]:
    """Check a fill; return the outcome and, if good, both sides ready for `write_fill`. Changes nothing."""
    price_ticks, code = _check_terms(bench, maker, taker, size_lots)
    code = code or _check_lanes(bench, maker, taker, size_lots) or _check_sizes(bench, maker, taker, size_lots)
    if code:
        return FillOutcome(code=code), None
    notional_quote = compute_notional_quote(size_lots, price_ticks)
    plans: list[SidePlan] = []
    for is_taker, order in ((False, maker), (True, taker)):
        plan = _plan_side(bench, order, size_lots, price_ticks, is_taker=is_taker)
        market_id, account = order.record.market_id, plan.account
        after = compute_account_health(
            account.collateral_quote + plan.effect.realised_quote,
            [health for key, health in account.healths.items() if key != market_id] + [plan.health],
        )
        old_lots, new_lots = account.positions[market_id].size_lots, plan.effect.position.size_lots
        if not is_fill_covered(account.health(), after, reducing=is_reducing(old_lots, new_lots)):
            return FillOutcome(code=_with_side(StatusCode.MARGIN, is_taker)), None
        plans.append(plan)
    outcome = FillOutcome(
        code=StatusCode.OK,
        price_ticks=price_ticks,
        notional_quote=notional_quote,
        maker_fee_quote=plans[0].fee_quote,
        taker_fee_quote=plans[1].fee_quote,
        maker_funding_quote=plans[0].effect.pending_quote,
        taker_funding_quote=plans[1].effect.pending_quote,
    )
    return outcome, (plans[0], plans[1])


def write_fill(bench: Workbench, plans: tuple[SidePlan, SidePlan]) -> None:
    """Move both sides of a planned fill. Raises: FieldOutOfRange, after which the batch is lost."""
    for plan in plans:
        account, record = plan.account, plan.order.record
        market = bench.market(record.market_id)
        old_lots, new_lots = account.positions[record.market_id].size_lots, plan.effect.position.size_lots
        account.positions[record.market_id] = plan.effect.position
        account.healths[record.market_id] = plan.health
        account.collateral_quote += plan.effect.realised_quote
        validate_collateral(account.collateral_quote)
        account.lanes[record.lane] = (record.seq, plan.filled_lots)
        change = account.changes.setdefault(record.market_id, ChangeInBatch())
        change.size_change_lots += plan.size_change_lots
        change.realised_quote += plan.effect.realised_quote
        change.fees_quote += plan.fee_quote
        market.open_interest_lots += max(new_lots, 0) - max(old_lots, 0)
        market.net_entry_quote += plan.effect.entry_change_quote
        market.pot_quote += plan.effect.pending_quote


def _check_terms(bench: Workbench, maker: TableOrder, taker: TableOrder, size_lots: int) -> tuple[int, int]:
    """Return (price_ticks, code): the checks that look at the two orders and the market's band only."""
    if size_lots == 0:
        return 0, StatusCode.ZERO_FILL
    for is_taker, order in ((False, maker), (True, taker)):
        if order.code:
            return 0, _with_side(StatusCode.ORDER_INVALID, is_taker)
    if maker.record.market_id != taker.record.market_id:
        return 0, StatusCode.MARKETS_DIFFER
    if maker.record.is_buy == taker.record.is_buy:
        return 0, StatusCode.SIDES_EQUAL
    if owner_of(maker.account_id) == owner_of(taker.account_id):
        return 0, StatusCode.SELF_TRADE
    if taker.record.post_only:
        return 0, StatusCode.POST_ONLY_TAKER
    market = bench.market(maker.record.market_id)
    price_ticks = market.auction_ticks or maker.record.limit_ticks
    buyer, seller = (maker, taker) if maker.record.is_buy else (taker, maker)
    if not seller.record.limit_ticks <= price_ticks <= buyer.record.limit_ticks:
        return 0, StatusCode.LIMITS_DO_NOT_CROSS
    if market.band is None or not market.band[0] <= price_ticks <= market.band[1]:
        return 0, StatusCode.PRICE_OUTSIDE_BAND
    return price_ticks, StatusCode.OK


def _check_lanes(bench: Workbench, maker: TableOrder, taker: TableOrder, size_lots: int) -> int:
    """Return the code of the checks that look at lanes, or 0."""
    sides = ((False, maker), (True, taker))
    lanes = [bench.lane(order.account_id, order.record.lane) for _, order in sides]
    for is_taker, order in sides:
        if lanes[is_taker][0] > order.record.seq:
            return _with_side(StatusCode.DEAD_LANE, is_taker)
    for is_taker, order in sides:
        if _filled_lots(lanes[is_taker], order.record.seq) + size_lots > order.record.size_lots:
            return _with_side(StatusCode.OVERFILL, is_taker)
    return StatusCode.OK


def _check_sizes(bench: Workbench, maker: TableOrder, taker: TableOrder, size_lots: int) -> int:
    """Return the code of the checks that look at the positions after the fill, or 0."""
    market = bench.market(maker.record.market_id)
    growth_lots = 0
    for is_taker, order in ((False, maker), (True, taker)):
        old = bench.position(order.account_id, order.record.market_id)
        new_lots = old.size_lots + _signed_lots(order, size_lots)
        if not is_reducing(old.size_lots, new_lots):
            code = _check_opening(order, bench.account(order.account_id), market, old, new_lots)
            if code:
                return _with_side(code, is_taker)
        growth_lots += max(new_lots, 0) - max(old.size_lots, 0)
    assert market.rules is not None  # a market without rules failed as UNKNOWN_MARKET on the order
    if growth_lots > 0 and market.open_interest_lots + growth_lots > market.rules.open_interest_cap_lots:
        return StatusCode.OPEN_INTEREST_CAP
    return StatusCode.OK


def _check_opening(
    order: TableOrder, account: AccountInBatch, market: MarketInBatch, old: PositionWord, new_lots: int
) -> StatusCode:
    """Return the code of the checks a side that is not reducing must pass, or OK."""
    if order.record.reduce_only:
        return StatusCode.REDUCE_ONLY
    if market.rules is None or not market.are_openings_allowed:
        return StatusCode.OPENING_NOT_ALLOWED
    if not market.is_fresh or any(health.is_stale for health in account.healths.values()):
        return StatusCode.STALE_PRICE
    if old.size_lots == 0 and account.count_open() >= MAX_OPEN_MARKETS:
        return StatusCode.TOO_MANY_MARKETS
    if abs(new_lots) > abs(old.size_lots) and abs(new_lots) > market.rules.account_cap_lots:
        return StatusCode.ACCOUNT_CAP
    return StatusCode.OK


def _plan_side(bench: Workbench, order: TableOrder, size_lots: int, price_ticks: int, *, is_taker: bool) -> SidePlan:
    record = order.record
    market, account = bench.market(record.market_id), bench.account(order.account_id)
    fee_quote = compute_fee_quote(
        compute_notional_quote(size_lots, price_ticks), record.taker_fee_ppm if is_taker else record.maker_fee_ppm
    )
    size_change_lots = _signed_lots(order, size_lots)
    effect = apply_fill(
        bench.position(order.account_id, record.market_id),
        size_change_lots=size_change_lots,
        price_ticks=price_ticks,
        fee_quote=fee_quote,
        index=market.index,
    )
    return SidePlan(
        order=order,
        account=account,
        size_change_lots=size_change_lots,
        filled_lots=_filled_lots(bench.lane(order.account_id, record.lane), record.seq) + size_lots,
        fee_quote=fee_quote,
        effect=effect,
        health=bench.value(effect.position, record.market_id),
    )


def _signed_lots(order: TableOrder, size_lots: int) -> int:
    return size_lots if order.record.is_buy else -size_lots


def _filled_lots(lane: tuple[int, int], seq: int) -> int:
    """Return what an order has already used of its lane: nothing if the lane still holds an older order."""
    return lane[1] if lane[0] == seq else 0


def _with_side(code: StatusCode, is_taker: bool) -> int:
    if code not in SIDED_CODES:
        raise Faulted(f"{code.name} names no side")
    return code + TAKER_SIDE if is_taker else code
