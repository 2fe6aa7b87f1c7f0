"""Say what a liquidation may cost and how large it may be: worst price, size, shares of equity, bankruptcy, ranks.

Must not: look anything up; callers pass holdings. Twin: contracts/modules/liquidation_terms.vy, PROTOCOL.md §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from afterbell.domain.account_risk import (
    Basis,
    Holding,
    compute_holding_ticks,
    compute_maintenance_margin_quote,
    compute_risk,
    try_trade,
)
from afterbell.domain.market import compute_band
from afterbell.domain.session import Session
from afterbell.domain.units import PPM, QUOTE_PER_USDC, div_down, div_up, mul_div_down, mul_div_up
from afterbell.domain.words import RulesWord

DISCOUNT_START_PPM: Final = 10_000
DISCOUNT_PPM_PER_S: Final = 100
MAX_SCORE: Final = (1 << 64) - 1
MAX_BANKRUPTCY_TICKS: Final = (1 << 40) - 1

_CAP_REGULAR_QUOTE: Final = 6_000_000 * QUOTE_PER_USDC
_CAP_EXTENDED_QUOTE: Final = 3_000_000 * QUOTE_PER_USDC
_CAP_CLOSED_QUOTE: Final = 600_000 * QUOTE_PER_USDC
_EXTENDED_SESSIONS: Final = (Session.PRE, Session.POST, Session.OVERNIGHT)


def compute_cap_quote(session: int) -> int:
    """Return how much notional of a market may be liquidated in a minute: thin books take less."""
    if session == Session.REGULAR:
        return _CAP_REGULAR_QUOTE
    return _CAP_EXTENDED_QUOTE if session in _EXTENDED_SESSIONS else _CAP_CLOSED_QUOTE


def rules_in_use(holding: Holding) -> RulesWord:
    """Return the rules of a fresh holding, which has some."""
    if holding.rules is None:
        raise ValueError(f"market {holding.market_id} has no rules in session {holding.session}")
    return holding.rules


def allocate_quote(quote: int, holdings: Sequence[Holding]) -> tuple[int, ...]:
    """Allocate a sum to positions by their maintenance margin at the mark; the last market takes the remainder.

    Formula: floor(quote x margin_i / sum of margins), ascending by market. Order: as `holdings`.
    """
    margins = [compute_maintenance_margin_quote(holding, Basis.MARK) for holding in holdings]
    last = max(range(len(holdings)), key=lambda place: holdings[place].market_id)
    shares = [mul_div_down(quote, margin_quote, max(sum(margins), 1)) for margin_quote in margins]
    shares[last] += quote - sum(shares)
    return tuple(shares)


def compute_worst_ticks(holding: Holding, *, age_s: int, equity_quote: int, share_quote: int) -> int:
    """Return the worst price an account may be liquidated at, before the band. A long sells at least at it.

    Solvent at the mark: mark -/+ discount, at most its own share of equity a lot, so that insurance pays for no
    discount. Otherwise whichever of mark and external is better for it: who takes it over earns nothing at either.
    """
    is_long = holding.size_lots > 0
    if equity_quote <= 0:
        return (max if is_long else min)(holding.mark_ticks, holding.external_ticks)
    maintenance_ppm = rules_in_use(holding).maintenance_margin_ppm
    discount_ppm = min(DISCOUNT_START_PPM + DISCOUNT_PPM_PER_S * age_s, mul_div_down(maintenance_ppm, 3, 4))
    discount_ticks = mul_div_down(holding.mark_ticks, discount_ppm, PPM)
    room_ticks = div_down(max(share_quote, 0), abs(holding.size_lots))
    if is_long:
        return holding.mark_ticks - min(discount_ticks, room_ticks)
    return holding.mark_ticks + min(discount_ticks, holding.reserve_ticks + room_ticks)


def draw_into_band(holding: Holding, worst_ticks: int) -> tuple[int, bool]:
    """Return the worst price inside the band, and False when the band holds no price that is good enough."""
    low_ticks, high_ticks = compute_band(holding.external_ticks, rules_in_use(holding).band_ppm)
    if holding.size_lots > 0:
        ticks = max(worst_ticks, low_ticks)
        return ticks, ticks <= high_ticks
    ticks = min(worst_ticks, high_ticks)
    return ticks, ticks >= low_ticks


def compute_bankruptcy_ticks(holding: Holding, share_quote: int) -> int:
    """Return the price at which a bankrupt account's position takes its share of the loss with it.

    Formula: long mark - E_i / lots, short mark + reserve + E_i / lots. Rounding: against the counterparties, long up,
    short down; at least 1.
    """
    loss_ticks = div_up(-share_quote, abs(holding.size_lots))
    if holding.size_lots > 0:
        return min(max(holding.mark_ticks + loss_ticks, 1), MAX_BANKRUPTCY_TICKS)
    return max(holding.mark_ticks + holding.reserve_ticks - loss_ticks, 1)


def skip_dust(holding: Holding, lots: int) -> int:
    """Return `lots`, or the whole position when the rest would be below the minimum notional at the mark."""
    all_lots = abs(holding.size_lots)
    is_dust = (all_lots - lots) * holding.mark_ticks < rules_in_use(holding).min_notional_quote
    return all_lots if is_dust else lots


def compute_size_lots(
    collateral_quote: int, holdings: Sequence[Holding], holding: Holding, *, price_ticks: int, fee_ppm: int
) -> int:
    """Return how much of a position may be liquidated: the fewest whole steps after which settlement margin is met.

    Valued at the worse of mark and external, with a fee on what is closed. All when none suffices, or when what is left
    would be below the minimum notional.
    """
    all_lots, step_lots = abs(holding.size_lots), max(rules_in_use(holding).size_step_lots, 1)
    sign = -1 if holding.size_lots > 0 else 1

    def is_sufficient(lots: int) -> bool:
        fee_quote = mul_div_up(lots * price_ticks, fee_ppm, PPM)
        after = compute_risk(
            collateral_quote - fee_quote, try_trade(holdings, holding, sign * lots, price_ticks), Basis.WORSE
        )
        return after.equity_quote >= after.settlement_margin_quote

    low, high = 1, div_down(all_lots, step_lots)
    if high == 0 or not is_sufficient(high * step_lots):
        return all_lots
    while low < high:
        middle = div_down(low + high, 2)
        if is_sufficient(middle * step_lots):
            high = middle
        else:
            low = middle + 1
    return skip_dust(holding, high * step_lots)


def compute_score(holding: Holding, equity_quote: int) -> int:
    """Rank a counterparty at its holding's mark: the share of profit in what was paid, times leverage, in ppm.

    Formula: profit x notional x 1e6 / (max(equity, 1) x max(abs(entry), 1)), from 1 to 2^64 - 1; 0 = no profit.
    """
    ticks = compute_holding_ticks(holding, Basis.MARK)
    profit_quote = holding.size_lots * ticks + holding.cushion_quote
    if profit_quote <= 0:
        return 0
    divisor = max(equity_quote, 1) * max(abs(holding.cushion_quote), 1)
    return min(max(div_down(profit_quote * abs(holding.size_lots) * ticks * PPM, divisor), 1), MAX_SCORE)


def at_mark(holding: Holding, mark_ticks: int) -> Holding:
    """Return a holding as it would stand at another mark."""
    return replace(holding, mark_ticks=mark_ticks)
