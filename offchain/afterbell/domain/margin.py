"""Compute equity and requirements of an account, and whether it may do what it wants.

Each position is valued, and its requirement computed, at whichever of mark and external is worse for it. Requirements
round up position by position. Must not: look anything up; callers pass values. Twin: contracts/README.md, "settle()"
steps 2 to 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from afterbell.domain.market import compute_valuation_ticks, is_fresh
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.units import PPM, QUOTE_PER_USDC, Quote, compute_notional_quote, div_up
from afterbell.domain.words import IndexWord, PositionWord, PriceWord, RulesWord

WITHDRAWAL_MARGIN_DIVISOR: Final = 10
"""A withdrawal leaves at least a tenth of the notional, whatever the session's initial margin."""
MAINTENANCE_TIER_WEIGHT: Final = 1
OPENING_TIER_WEIGHT: Final = 2
"""How often a tier counts: once in maintenance margin, twice in settlement and initial margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionHealth:
    """What one position adds to its account."""

    equity_quote: int = 0
    """Unrealised PnL minus pending funding, at the worse price."""
    notional_quote: int = 0
    initial_margin_quote: int = 0
    settlement_margin_quote: int = 0
    maintenance_margin_quote: int = 0
    withdrawal_margin_quote: int = 0
    is_stale: bool = False


NO_POSITION: Final = PositionHealth()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountHealth:
    """Equity and requirements of an account; sums over its positions."""

    equity_quote: int
    initial_margin_quote: int
    settlement_margin_quote: int
    maintenance_margin_quote: int
    withdrawal_margin_quote: int
    is_stale: bool

    @property
    def free_collateral_quote(self) -> Quote:
        """Return equity - initial margin; negative when new risk is out of reach."""
        return Quote(self.equity_quote - self.initial_margin_quote)

    @property
    def withdrawable_quote(self) -> Quote:
        """Return the largest withdrawal the margin rule lets pass."""
        return Quote(max(self.equity_quote - self.withdrawal_margin_quote, 0))


def compute_margin_quote(
    notional_quote: int, margin_ppm: int, tiers: Sequence[tuple[int, int]] = (), weight: int = 1
) -> Quote:
    """Return what a notional requires.

    Formula: ceil((notional x margin + weight x sum add_i x max(0, notional - edge_i x 1e6)) / 1e6), tiers (edge_usdc,
    add_ppm): continuous, each quote above an edge costs add_ppm more. Rounding: up, once.
    """
    scaled = notional_quote * margin_ppm
    for edge_usdc, add_ppm in tiers:
        scaled += weight * add_ppm * max(notional_quote - edge_usdc * QUOTE_PER_USDC, 0)
    return Quote(div_up(scaled, PPM))


def compute_margins_quote(notional_quote: int, rules: RulesWord | None) -> tuple[Quote, Quote, Quote]:
    """Return (initial, settlement, maintenance) margin of a notional; zero without rules."""
    if rules is None:
        return Quote(0), Quote(0), Quote(0)
    return (
        compute_margin_quote(notional_quote, rules.initial_margin_ppm, rules.tiers, OPENING_TIER_WEIGHT),
        compute_margin_quote(notional_quote, rules.settlement_margin_ppm, rules.tiers, OPENING_TIER_WEIGHT),
        compute_margin_quote(notional_quote, rules.maintenance_margin_ppm, rules.tiers, MAINTENANCE_TIER_WEIGHT),
    )


def compute_position_health(
    position: PositionWord, price: PriceWord, rules: RulesWord | None, index: IndexWord, matched_at_s: int
) -> PositionHealth:
    """Return what a position adds to its account at these prices.

    A session without rules asks no margin, but its positions are stale, so that nothing but reducing passes.
    """
    if position.size_lots == 0:
        return NO_POSITION
    valuation_ticks = compute_valuation_ticks(
        position.size_lots, price.mark_ticks, price.external_ticks, index.reserve_ticks
    )
    notional_quote = compute_notional_quote(position.size_lots, valuation_ticks)
    pending_quote = compute_pending_quote(position, index)
    initial_margin_quote, settlement_margin_quote, maintenance_margin_quote = compute_margins_quote(
        notional_quote, rules
    )
    return PositionHealth(
        equity_quote=position.size_lots * valuation_ticks - position.entry_quote - pending_quote,
        notional_quote=notional_quote,
        initial_margin_quote=initial_margin_quote,
        settlement_margin_quote=settlement_margin_quote,
        maintenance_margin_quote=maintenance_margin_quote,
        withdrawal_margin_quote=max(initial_margin_quote, div_up(notional_quote, WITHDRAWAL_MARGIN_DIVISOR)),
        is_stale=not is_fresh(price, rules, matched_at_s),
    )


def compute_account_health(collateral_quote: int, positions: Iterable[PositionHealth]) -> AccountHealth:
    """Sum collateral and the healths of all open positions."""
    equity = collateral_quote
    initial = settlement = maintenance = withdrawal = 0
    is_stale = False
    for health in positions:
        equity += health.equity_quote
        initial += health.initial_margin_quote
        settlement += health.settlement_margin_quote
        maintenance += health.maintenance_margin_quote
        withdrawal += health.withdrawal_margin_quote
        is_stale = is_stale or health.is_stale
    return AccountHealth(
        equity_quote=equity,
        initial_margin_quote=initial,
        settlement_margin_quote=settlement,
        maintenance_margin_quote=maintenance,
        withdrawal_margin_quote=withdrawal,
        is_stale=is_stale,
    )


def is_fill_covered(before: AccountHealth, after: AccountHealth, *, reducing: bool) -> bool:
    """Tell whether a fill leaves its account good enough.

    Passes with equity' >= settlement margin', or, reducing, when equity' >= 0 and the ratio to maintenance does not
    fall: equity' x maintenance >= equity x maintenance'. Ratios by cross-multiplication: maintenance' may be zero.
    """
    if after.equity_quote >= after.settlement_margin_quote:
        return True
    return (
        reducing
        and after.equity_quote >= 0
        and after.equity_quote * before.maintenance_margin_quote >= before.equity_quote * after.maintenance_margin_quote
    )


def is_withdrawal_covered(health: AccountHealth, quote: int) -> bool:
    """Tell whether an account may withdraw: equity - quote >= sum of max(initial margin, ceil(notional / 10))."""
    return health.equity_quote - quote >= health.withdrawal_margin_quote
