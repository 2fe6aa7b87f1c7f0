"""Hold what a batch has loaded and moved so far: markets, accounts, lanes, session keys, over a still state.

Words are read from the ChainState when first needed and kept here until write_back.py writes them. Prices and
operations come before every fill, so each account remembers what it was worth between the two: liquidation orders are
judged there. Must not: judge anything. Twin: the tables of `settle()` in contracts/Clearinghouse.vy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from afterbell.domain.batch import PriceRow
from afterbell.domain.chain_state import ChainState, Mode
from afterbell.domain.errors import Faulted
from afterbell.domain.ids import session_key_id
from afterbell.domain.margin import AccountHealth, PositionHealth, compute_account_health, compute_position_health
from afterbell.domain.market import compute_band, is_fresh
from afterbell.domain.outcomes import OperationEffect
from afterbell.domain.prices import MarketUpdate
from afterbell.domain.words import (
    AccountWord,
    IndexWord,
    PositionWord,
    PriceWord,
    RulesWord,
    replace_key_limits,
    validate_collateral,
)


@dataclass(slots=True, kw_only=True)
class MarketInBatch:
    """A market during a batch; prices and rules do not move once the fills begin."""

    price: PriceWord
    rules: RulesWord | None
    index: IndexWord
    is_fresh: bool
    are_openings_allowed: bool
    """By its rules and by the mode of the venue."""
    band: tuple[int, int] | None
    auction_ticks: int
    open_interest_lots: int
    net_entry_quote: int
    pot_quote: int


@dataclass(slots=True, kw_only=True)
class ChangeInBatch:
    """What the fills of a batch did to one position: the sums of its PositionsChanged record."""

    size_change_lots: int = 0
    realised_quote: int = 0
    fees_quote: int = 0


@dataclass(slots=True, kw_only=True)
class AccountInBatch:
    """An account during a batch."""

    start: AccountWord
    collateral_quote: int
    operated_quote: int
    """Collateral after the operations, before the fills."""
    overflow_min_seq: int
    """The minimum that cancel-alls made on chain add to that of the account word."""
    min_seq: int
    """The minimum of the account word at this moment."""
    positions: dict[int, PositionWord]
    healths: dict[int, PositionHealth]
    lanes: dict[int, tuple[int, int]]
    changes: dict[int, ChangeInBatch]

    def health(self) -> AccountHealth:
        """Return equity and requirements at this moment of the batch."""
        return compute_account_health(self.collateral_quote, self.healths.values())

    def effective_min_seq(self) -> int:
        """Return the lowest seq that lives at this moment of the batch."""
        return max(self.overflow_min_seq, self.min_seq)

    def count_open(self) -> int:
        """Count the positions that are not zero."""
        return sum(position.size_lots != 0 for position in self.positions.values())

    def move_collateral(self, quote: int) -> None:
        """Add to collateral by an operation. Raises: FieldOutOfRange."""
        self.collateral_quote += quote
        self.operated_quote += quote
        validate_collateral(self.collateral_quote)


class Workbench:
    """Everything one batch has loaded. `state` must not change meanwhile, except as Execution says."""

    __slots__ = ("accounts", "effects", "indices", "key_limits", "markets", "matched_at_s", "prices", "state")

    def __init__(self, state: ChainState, matched_at_s: int) -> None:
        """Begin with nothing loaded."""
        self.state = state
        self.matched_at_s = matched_at_s
        self.markets: dict[int, MarketInBatch] = {}
        self.accounts: dict[int, AccountInBatch] = {}
        self.prices: dict[int, PriceWord] = {}
        self.indices: dict[int, IndexWord] = {}
        self.key_limits: dict[int, int] = {}
        """Session key id -> limits set by this batch; when a key was revoked on chain stays the state's to say."""
        self.effects: list[OperationEffect] = []

    def fork(self) -> Workbench:
        """Return an independent copy at this moment of the batch."""
        other = Workbench(self.state, self.matched_at_s)
        other.markets = {market_id: replace(market) for market_id, market in self.markets.items()}
        other.accounts = {
            account_id: replace(
                account,
                positions=dict(account.positions),
                healths=dict(account.healths),
                lanes=dict(account.lanes),
                changes={market_id: replace(change) for market_id, change in account.changes.items()},
            )
            for account_id, account in self.accounts.items()
        }
        other.prices = dict(self.prices)
        other.indices = dict(self.indices)
        other.key_limits = dict(self.key_limits)
        other.effects = list(self.effects)
        return other

    def adopt_prices(self, updates: Iterable[MarketUpdate], rows: Iterable[PriceRow]) -> None:
        """Take over what the oracle returned, and the auction prices of the rows."""
        if self.accounts or self.markets:
            raise Faulted("prices come before everything else of a batch: adopt them first")
        for update in updates:
            self.prices[update.market_id] = update.price
            self.indices[update.market_id] = update.index
        for row in rows:
            self.market(row.market_id).auction_ticks = row.auction_ticks

    def price(self, market_id: int) -> PriceWord:
        """Return a market's prices in this batch."""
        return self.prices.get(market_id) or self.state.price(market_id)

    def index(self, market_id: int) -> IndexWord:
        """Return a market's funding indices in this batch."""
        return self.indices.get(market_id) or self.state.index(market_id)

    def market(self, market_id: int) -> MarketInBatch:
        """Return a market as this batch sees it."""
        market = self.markets.get(market_id)
        if market is None:
            price = self.price(market_id)
            rules = self.state.rules_of(market_id, price.session, self.matched_at_s)
            totals = self.state.totals_of(market_id)
            market = self.markets[market_id] = MarketInBatch(
                price=price,
                rules=rules,
                index=self.index(market_id),
                is_fresh=is_fresh(price, rules, self.matched_at_s),
                are_openings_allowed=bool(rules and rules.is_opening_allowed) and self.state.mode == Mode.NORMAL,
                band=compute_band(price.external_ticks, rules.band_ppm) if rules and price.external_ticks else None,
                auction_ticks=0,
                open_interest_lots=totals.open_interest_lots,
                net_entry_quote=totals.net_entry_quote,
                pot_quote=totals.pot_quote,
            )
        return market

    def account(self, account_id: int) -> AccountInBatch:
        """Return an account with every open position loaded."""
        account = self.accounts.get(account_id)
        if account is None:
            start = self.state.account(account_id)
            account = self.accounts[account_id] = AccountInBatch(
                start=start,
                collateral_quote=start.collateral_quote,
                operated_quote=start.collateral_quote,
                overflow_min_seq=self.state.effective_min_seq(account_id, self.matched_at_s),
                min_seq=start.min_seq,
                positions={},
                healths={},
                lanes={},
                changes={},
            )
            for market_id in start.open_markets:
                if market_id:
                    position = self.state.position(account_id, market_id)
                    account.positions[market_id] = position
                    account.healths[market_id] = self.value(position, market_id)
        return account

    def value(self, position: PositionWord, market_id: int) -> PositionHealth:
        """Return what a position adds to its account at the prices of this batch."""
        market = self.market(market_id)
        return compute_position_health(position, market.price, market.rules, market.index, self.matched_at_s)

    def position(self, account_id: int, market_id: int) -> PositionWord:
        """Return a position at this moment of the batch."""
        account = self.account(account_id)
        position = account.positions.get(market_id)
        if position is None:
            # A closed position keeps its snapshot in storage; it is loaded only when the market is traded.
            position = account.positions[market_id] = self.state.position(account_id, market_id)
        return position

    def lane(self, account_id: int, lane: int) -> tuple[int, int]:
        """Return (seq, filled_lots) of a lane at this moment of the batch."""
        lanes = self.account(account_id).lanes
        if lane not in lanes:
            lanes[lane] = self.state.lane(account_id, lane)
        return lanes[lane]

    def session_key_word(self, account_id: int, key: bytes) -> int:
        """Return a session key word at this moment of the batch."""
        word = self.state.session_key_word(account_id, key)
        limits = self.key_limits.get(session_key_id(account_id, key))
        return word if limits is None else replace_key_limits(word, limits)


@dataclass(frozen=True, slots=True)
class BeforeFills:
    """The words of a batch after prices and operations, before the fills: what siblings read while `settle` runs."""

    bench: Workbench

    def account(self, account_id: int) -> AccountWord:
        """Return an account's word; its lanes and minimum are those of the start, which nobody asks for here."""
        return replace(
            self.bench.account(account_id).start, collateral_quote=self.bench.account(account_id).operated_quote
        )

    def position(self, account_id: int, market_id: int) -> PositionWord:
        """Return a position's word."""
        return self.bench.state.position(account_id, market_id)

    def price(self, market_id: int) -> PriceWord:
        """Return a market's price word."""
        return self.bench.price(market_id)

    def index(self, market_id: int) -> IndexWord:
        """Return a market's index word."""
        return self.bench.index(market_id)

    def rules_of(self, market_id: int, session: int, matched_at_s: int) -> RulesWord | None:
        """Return the rules that bind a batch matched at this second, or None if they were never set."""
        return self.bench.state.rules_of(market_id, session, matched_at_s)

    def flagged_at_s(self, account_id: int) -> int:
        """Return when Liquidations flagged an account; 0 = not."""
        return self.bench.state.flagged_at_s(account_id)
