"""Read an account's positions from the words of the chain and sum equity and margins, at mark, external or the worse.

margin.py judges what a batch does; this module is for what happens around batches (liquidations, exits), which also
asks at one price alone and tries a trade before it is made. Must not: change anything. Twin: modules/account_risk.vy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, unique
from typing import Final, Protocol

from afterbell.domain.margin import WITHDRAWAL_MARGIN_DIVISOR, compute_margins_quote
from afterbell.domain.market import is_fresh
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.session import Session
from afterbell.domain.units import div_up
from afterbell.domain.words import AccountWord, IndexWord, PositionWord, PriceWord, RulesWord

UNLIQUIDATED_SESSIONS: Final = (Session.HALTED, Session.CORPORATE_ACTION)
"""While an open market is in one of them, nobody who holds it is liquidated."""


class Words(Protocol):
    """What is read: a ChainState, or a batch between its operations and its fills."""

    def account(self, account_id: int) -> AccountWord:
        """Return an account's word."""
        ...

    def position(self, account_id: int, market_id: int) -> PositionWord:
        """Return a position's word."""
        ...

    def price(self, market_id: int) -> PriceWord:
        """Return a market's price word."""
        ...

    def index(self, market_id: int) -> IndexWord:
        """Return a market's index word."""
        ...

    def rules_of(self, market_id: int, session: int, matched_at_s: int, /) -> RulesWord | None:
        """Return the rules that bind at this second."""
        ...

    def flagged_at_s(self, account_id: int) -> int:
        """Return when Liquidations flagged an account; 0 = not."""
        ...


@unique
class Basis(IntEnum):
    """At which price positions are valued."""

    MARK = 0
    EXTERNAL = 1
    WORSE = 2
    """Of the two: long lower, short higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One open market of an account; zero lots: the market as an account without a position sees it."""

    market_id: int
    size_lots: int = 0
    cushion_quote: int = 0
    """What the position adds to equity beside size x price: less entry, less pending funding."""
    mark_ticks: int
    external_ticks: int
    external_time_s: int
    reserve_ticks: int
    """Announced dividend, by which shorts are valued higher."""
    session: int
    rules: RulesWord | None
    is_fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """Sums over an account."""

    equity_quote: int
    initial_margin_quote: int
    settlement_margin_quote: int
    maintenance_margin_quote: int
    withdrawal_margin_quote: int
    """max(initial margin, a tenth of notional), position by position: what cannot be withdrawn."""


def read_market(words: Words, market_id: int, at_s: int) -> Holding:
    """Return a holding of zero lots; rules and freshness as they stand at `at_s`."""
    price = words.price(market_id)
    rules = words.rules_of(market_id, price.session, at_s)
    return Holding(
        market_id=market_id,
        mark_ticks=price.mark_ticks,
        external_ticks=price.external_ticks,
        external_time_s=price.external_time_s,
        reserve_ticks=words.index(market_id).reserve_ticks,
        session=price.session,
        rules=rules,
        is_fresh=is_fresh(price, rules, at_s),
    )


def read_holding(words: Words, account_id: int, market_id: int, at_s: int) -> Holding:
    """Return one position with its market."""
    market, position = read_market(words, market_id, at_s), words.position(account_id, market_id)
    if position.size_lots == 0:
        return market
    pending_quote = compute_pending_quote(position, words.index(market_id))
    return replace(market, size_lots=position.size_lots, cushion_quote=-position.entry_quote - pending_quote)


def read_holdings(words: Words, account_id: int, at_s: int) -> tuple[Holding, ...]:
    """Return all open positions of an account."""
    return tuple(
        read_holding(words, account_id, market_id, at_s)
        for market_id in words.account(account_id).open_markets
        if market_id
    )


def compute_holding_ticks(holding: Holding, basis: Basis) -> int:
    """Return what one lot is valued at; a short's with the announced dividend on top."""
    if basis is Basis.WORSE:
        worse = min if holding.size_lots >= 0 else max
        ticks = worse(holding.mark_ticks, holding.external_ticks)
    else:
        ticks = holding.mark_ticks if basis is Basis.MARK else holding.external_ticks
    return ticks if holding.size_lots >= 0 else ticks + holding.reserve_ticks


def compute_risk(collateral_quote: int, holdings: Sequence[Holding], basis: Basis) -> Risk:
    """Sum an account, equity and requirements at the same price."""
    equity = collateral_quote
    initial = settlement = maintenance = withdrawal = 0
    for holding in holdings:
        ticks = compute_holding_ticks(holding, basis)
        notional_quote = abs(holding.size_lots) * ticks
        margins = compute_margins_quote(notional_quote, holding.rules)
        equity += holding.size_lots * ticks + holding.cushion_quote
        initial += margins[0]
        settlement += margins[1]
        maintenance += margins[2]
        withdrawal += max(margins[0], div_up(notional_quote, WITHDRAWAL_MARGIN_DIVISOR))
    return Risk(
        equity_quote=equity,
        initial_margin_quote=initial,
        settlement_margin_quote=settlement,
        maintenance_margin_quote=maintenance,
        withdrawal_margin_quote=withdrawal,
    )


def compute_maintenance_margin_quote(holding: Holding, basis: Basis) -> int:
    """Return what one position needs to stay open."""
    return compute_margins_quote(abs(holding.size_lots) * compute_holding_ticks(holding, basis), holding.rules)[2]


def is_all_fresh(holdings: Sequence[Holding]) -> bool:
    """Tell whether every open market has a price that may carry risk."""
    return all(holding.is_fresh for holding in holdings)


def is_below_maintenance(collateral_quote: int, holdings: Sequence[Holding], basis: Basis) -> bool:
    """Tell whether equity is below maintenance margin at one kind of price."""
    risk = compute_risk(collateral_quote, holdings, basis)
    return risk.equity_quote < risk.maintenance_margin_quote


def is_open_to_liquidation(holdings: Sequence[Holding]) -> bool:
    """Tell whether an account with these positions may be liquidated: some, none stale, halted, or in an action."""
    return bool(holdings) and all(
        holding.is_fresh and holding.session not in UNLIQUIDATED_SESSIONS for holding in holdings
    )


def try_trade(
    holdings: Sequence[Holding], market: Holding, size_change_lots: int, price_ticks: int
) -> tuple[Holding, ...]:
    """Return the holdings as a trade would leave them; a closed one keeps what it realised as its cushion."""
    paid_quote = size_change_lots * price_ticks
    if all(holding.market_id != market.market_id for holding in holdings):
        holdings = (*holdings, replace(market, size_lots=0, cushion_quote=0))
    return tuple(
        replace(
            holding, size_lots=holding.size_lots + size_change_lots, cushion_quote=holding.cushion_quote - paid_quote
        )
        if holding.market_id == market.market_id
        else holding
        for holding in holdings
    )
