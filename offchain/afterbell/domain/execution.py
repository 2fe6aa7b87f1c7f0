"""Run one batch in memory, fill by fill, and write once at the end.

settlement.apply_batch drives an Execution over an encoded payload exactly as `settle()` does. The engine drives one of
its own while a batch is open, so that each match is checked with the chain's rule before it is acknowledged.

Check, then compute, then write: whatever raises leaves the state as it was. Must not: recover signatures itself (the
caller injects `recover`), decode payloads, or reach the token. Longer than a page because the checks of a fill read
best beside each other. Twin: contracts/Clearinghouse.vy; tests/parity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from afterbell.domain.authority import Recover, check_operation_authority, check_order_authority
from afterbell.domain.batch import OperationRow, OrderRecord, PriceRow
from afterbell.domain.chain_state import FIRST_EPOCH, ChainState, store_word
from afterbell.domain.codes import SIDED_CODES, TAKER_SIDE, StatusCode
from afterbell.domain.errors import BatchReverted, Faulted
from afterbell.domain.fees import compute_fee_quote
from afterbell.domain.ids import (
    MAX_MARKETS,
    OPERATION_LANE,
    ZERO_ADDRESS,
    AccountId,
    account_key,
    lane_key,
    lane_of,
    owner_of,
    position_key,
    seq_of,
    session_key_id,
)
from afterbell.domain.margin import (
    AccountHealth,
    PositionHealth,
    compute_account_health,
    compute_position_health,
    is_fill_covered,
    is_withdrawal_covered,
)
from afterbell.domain.market import compute_band, is_fresh
from afterbell.domain.order import CancelOrder, LinkKey, RevokeKey, Withdraw, is_trigger_met
from afterbell.domain.order_checks import check_expiry, check_order_size, has_unknown_flags
from afterbell.domain.outcomes import (
    AllKilled,
    FillOutcome,
    KeyChanged,
    OperationEffect,
    OrderKilled,
    PositionChange,
    TableOrder,
    Withdrawn,
)
from afterbell.domain.position import FillEffect, apply_fill, is_reducing
from afterbell.domain.prices import AcceptedReport, apply_price_row, apply_report
from afterbell.domain.session_keys import has_bad_limits
from afterbell.domain.units import compute_notional_quote
from afterbell.domain.words import (
    CONSUMED_LOTS,
    MAX_OPEN_MARKETS,
    AccountWord,
    BatchWord,
    IndexWord,
    LaneWord,
    PositionWord,
    PriceWord,
    RulesWord,
    TotalsWord,
    replace_key_limits,
    validate_collateral,
    validate_entry,
)


@dataclass(slots=True, kw_only=True)
class _Market:
    """A market during a batch; prices and rules do not move once the fills begin."""

    price: PriceWord
    rules: RulesWord | None
    index: IndexWord
    is_fresh: bool
    band: tuple[int, int] | None
    auction_ticks: int
    open_interest_lots: int
    net_entry_quote: int
    pot_quote: int


@dataclass(slots=True, kw_only=True)
class _Change:
    size_change_lots: int = 0
    realised_quote: int = 0
    fees_quote: int = 0


@dataclass(slots=True, kw_only=True)
class _Account:
    """An account during a batch."""

    start: AccountWord
    collateral_quote: int
    start_min_seq: int
    """The effective minimum before the batch: order codes look at it."""
    min_seq: int
    """The minimum of the account word at this moment; direct cancel-alls stay in the overflow word."""
    positions: dict[int, PositionWord]
    healths: dict[int, PositionHealth]
    lanes: dict[int, tuple[int, int]]
    changes: dict[int, _Change]

    def health(self) -> AccountHealth:
        return compute_account_health(self.collateral_quote, self.healths.values())

    def effective_min_seq(self) -> int:
        return max(self.start_min_seq, self.min_seq)

    def n_open(self) -> int:
        return sum(position.size_lots != 0 for position in self.positions.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _SidePlan:
    """One side of a fill that has passed its own checks, ready to be written."""

    account: _Account
    lane: int
    seq: int
    filled_lots: int
    fee_quote: int
    effect: FillEffect
    health: PositionHealth


class Execution:
    """One batch in memory over a ChainState that stays untouched until `commit`.

    Order of calls: apply_prices once, then check_order / apply_fill / apply_operation in any order, consume_order for
    every IOC and FOK, commit. `state` must not change in between, except as `note_deposit` and `note_direct` say.
    """

    __slots__ = ("_accounts", "_key_limits", "_markets", "_operations", "_prices", "_state", "fees_quote",
                 "matched_at_s", "volume_quote")  # fmt: skip

    def __init__(self, state: ChainState, matched_at_s: int) -> None:
        """Begin a batch matched at this second."""
        self._state = state
        self.matched_at_s = matched_at_s
        self.volume_quote = 0
        self.fees_quote = 0
        self._markets: dict[int, _Market] = {}
        self._accounts: dict[int, _Account] = {}
        self._prices: dict[int, PriceWord] = {}
        self._key_limits: dict[int, int] = {}
        """Session key id -> limits set by this batch; when a key was revoked on chain stays the state's to say."""
        self._operations: list[OperationEffect] = []

    def fork(self) -> Execution:
        """Return an independent copy at this moment of the batch, to try what may not come to pass."""
        other = Execution(self._state, self.matched_at_s)
        other.volume_quote = self.volume_quote
        other.fees_quote = self.fees_quote
        other._markets = {market_id: replace(market) for market_id, market in self._markets.items()}
        other._accounts = {
            account_id: replace(
                account,
                positions=dict(account.positions),
                healths=dict(account.healths),
                lanes=dict(account.lanes),
                changes={market_id: replace(change) for market_id, change in account.changes.items()},
            )
            for account_id, account in self._accounts.items()
        }
        other._prices = dict(self._prices)
        other._key_limits = dict(self._key_limits)
        other._operations = list(self._operations)
        return other

    # Prices.

    def apply_prices(self, reports: Iterable[AcceptedReport], rows: Iterable[PriceRow]) -> None:
        """Adopt reports, then rows. Raises: BatchReverted `prices: unknown market`, `prices: no external`."""
        if self._accounts or self._markets:
            raise Faulted("prices apply before the first fill: call apply_prices first")
        for report in reports:
            self._prices[report.market_id] = apply_report(self._must_be_listed(report.market_id), report)
        auctions: dict[int, int] = {}
        for row in rows:
            price = self._must_be_listed(row.market_id)
            rules = self._state.rules_of(row.market_id, price.session, self.matched_at_s)
            self._prices[row.market_id] = apply_price_row(price, rules, row, self.matched_at_s)
            auctions[row.market_id] = row.auction_ticks
        for market_id, auction_ticks in auctions.items():
            self._market(market_id).auction_ticks = auction_ticks

    def _must_be_listed(self, market_id: int) -> PriceWord:
        price = self._prices.get(market_id) or self._state.price(market_id)
        if not 1 <= market_id <= MAX_MARKETS or price.epoch == 0:
            raise BatchReverted("prices: unknown market")
        return price

    def price(self, market_id: int) -> PriceWord:
        """Return a market's prices in this batch."""
        return self._prices.get(market_id) or self._state.price(market_id)

    def _market(self, market_id: int) -> _Market:
        market = self._markets.get(market_id)
        if market is None:
            price = self.price(market_id)
            rules = self._state.rules_of(market_id, price.session, self.matched_at_s)
            totals = self._state.totals_of(market_id)
            market = self._markets[market_id] = _Market(
                price=price,
                rules=rules,
                index=self._state.index(market_id),
                is_fresh=is_fresh(price, rules, self.matched_at_s),
                band=compute_band(price.external_ticks, rules.band_ppm) if rules and price.external_ticks else None,
                auction_ticks=0,
                open_interest_lots=totals.open_interest_lots,
                net_entry_quote=totals.net_entry_quote,
                pot_quote=totals.pot_quote,
            )
        return market

    # Accounts.

    def _account(self, account_id: int) -> _Account:
        account = self._accounts.get(account_id)
        if account is None:
            start = self._state.account(account_id)
            account = self._accounts[account_id] = _Account(
                start=start,
                collateral_quote=start.collateral_quote,
                start_min_seq=self._state.effective_min_seq(account_id, self.matched_at_s),
                min_seq=start.min_seq,
                positions={},
                healths={},
                lanes={},
                changes={},
            )
            for market_id in start.open_markets:
                if market_id:
                    position = self._state.position(account_id, market_id)
                    account.positions[market_id] = position
                    account.healths[market_id] = self._position_health(position, market_id)
        return account

    def _position_health(self, position: PositionWord, market_id: int) -> PositionHealth:
        market = self._market(market_id)
        return compute_position_health(position, market.price, market.rules, market.index, self.matched_at_s)

    def _position(self, account: _Account, account_id: int, market_id: int) -> PositionWord:
        position = account.positions.get(market_id)
        if position is None:
            # A closed position keeps its snapshot in storage; it is loaded only when the market is traded.
            position = account.positions[market_id] = self._state.position(account_id, market_id)
        return position

    def _lane(self, account: _Account, account_id: int, lane: int) -> tuple[int, int]:
        if lane not in account.lanes:
            account.lanes[lane] = self._state.lane(account_id, lane)
        return account.lanes[lane]

    def health(self, account_id: int) -> AccountHealth:
        """Return equity and requirements of an account at this moment of the batch."""
        return self._account(account_id).health()

    def position(self, account_id: int, market_id: int) -> PositionWord:
        """Return a position at this moment of the batch."""
        return self._position(self._account(account_id), account_id, market_id)

    def positions(self, account_id: int) -> dict[int, PositionWord]:
        """Return market -> open position at this moment of the batch."""
        account = self._account(account_id)
        return {market_id: position for market_id, position in account.positions.items() if position.size_lots}

    def collateral_quote(self, account_id: int) -> int:
        """Return settled collateral at this moment of the batch."""
        return self._account(account_id).collateral_quote

    def min_seq(self, account_id: int) -> int:
        """Return the lowest seq that still lives at this moment of the batch."""
        return self._account(account_id).effective_min_seq()

    def session_key_word(self, account_id: int, key: bytes) -> int:
        """Return a session key word at this moment of the batch: operations look at it, orders at the state's."""
        word = self._state.session_key_word(account_id, key)
        limits = self._key_limits.get(session_key_id(account_id, key))
        return word if limits is None else replace_key_limits(word, limits)

    def lane(self, account_id: int, lane: int) -> tuple[int, int]:
        """Return (seq, filled_lots) of a lane at this moment of the batch."""
        return self._lane(self._account(account_id), account_id, lane)

    def open_interest_lots(self, market_id: int) -> int:
        """Return open interest at this moment of the batch."""
        return self._market(market_id).open_interest_lots

    def is_market_fresh(self, market_id: int) -> bool:
        """Tell whether openings may happen on this market's prices."""
        return self._market(market_id).is_fresh

    def band(self, market_id: int) -> tuple[int, int] | None:
        """Return (lowest, highest) price a fill may have, or None when none may."""
        return self._market(market_id).band

    def note_deposit(self, account_id: int, quote: int) -> None:
        """Add a deposit credited to the state while this batch is open (apply_deposit was called on the state)."""
        account = self._accounts.get(account_id)
        if account is not None:
            account.collateral_quote += quote
            account.start = replace(account.start, collateral_quote=account.start.collateral_quote + quote)

    def note_direct(self, account_id: int) -> None:
        """Take over what apply_direct did to an account while this batch is open: that it has an overflow word.

        A cancel-all or a change of rules made now binds later matches; keys are read from the state each time.
        """
        account = self._accounts.get(account_id)
        if account is not None:
            account.start = replace(account.start, flags=self._state.account(account_id).flags)

    # Orders.

    def check_order(
        self,
        account_id: int,
        record: OrderRecord,
        *,
        domain_separator: bytes | None,
        recover: Recover | None,
        signer: bytes | None = None,
    ) -> StatusCode:
        """Return the order's code; the first failure in the order of the README wins.

        Without domain_separator and recover the signature is not looked at, for a caller that has checked it: an order
        signed by a session key then needs its `signer`. Looks at min_seq and session keys as they were before the
        batch; later cancellations are the fills' matter.
        """
        code = self._check_order_terms(account_id, record)
        if code:
            return code
        return check_order_authority(
            self._state,
            account_id,
            record,
            self.price(record.market_id),
            self.matched_at_s,
            domain_separator=domain_separator,
            recover=recover,
            signer=signer,
        )

    def _check_order_terms(self, account_id: int, record: OrderRecord) -> StatusCode:
        if not 1 <= record.market_id <= MAX_MARKETS:
            return StatusCode.UNKNOWN_MARKET
        market = self._market(record.market_id)
        rules = market.rules
        if market.price.epoch == 0 or rules is None:
            return StatusCode.UNKNOWN_MARKET
        if has_unknown_flags(record):
            return StatusCode.UNKNOWN_FLAGS
        if record.is_previous_epoch and (not record.reduce_only or market.price.epoch == FIRST_EPOCH):
            return StatusCode.WRONG_EPOCH
        code = check_order_size(record, rules)
        if code:
            return code
        if max(record.maker_fee_ppm, record.taker_fee_ppm) > min(record.max_fee_ppm, rules.max_fee_ppm):
            return StatusCode.FEE_ABOVE_MAXIMUM
        code = check_expiry(record.expiry_s, self.matched_at_s)
        if code:
            return code
        if not is_trigger_met(
            record.trigger_kind,
            record.trigger_ticks,
            mark_ticks=market.price.mark_ticks,
            index_ticks=market.price.index_ticks,
        ):
            return StatusCode.TRIGGER_NOT_MET
        if record.seq < self._account(account_id).start_min_seq:
            return StatusCode.SEQ_BELOW_MINIMUM
        return StatusCode.OK

    # Fills.

    def check_fill(self, maker: TableOrder, taker: TableOrder, size_lots: int) -> FillOutcome:
        """Return what `apply_fill` would, and change nothing."""
        return self._plan_fill(maker, taker, size_lots)[0]

    def apply_fill(self, maker: TableOrder, taker: TableOrder, size_lots: int) -> FillOutcome:
        """Settle one fill in memory, or return the code of the first check it fails. Nothing is written on failure."""
        outcome, plans = self._plan_fill(maker, taker, size_lots)
        if plans is None:
            return outcome
        market_id = maker.record.market_id
        market = self._markets[market_id]
        for order, plan, sign in ((maker, plans[0], 1), (taker, plans[1], -1)):
            account = plan.account
            buys = sign if maker.record.is_buy else -sign
            old_lots = account.positions[market_id].size_lots
            new_lots = plan.effect.position.size_lots
            account.positions[market_id] = plan.effect.position
            account.healths[market_id] = plan.health
            account.collateral_quote += plan.effect.realised_quote
            validate_collateral(account.collateral_quote)
            account.lanes[order.record.lane] = (order.record.seq, plan.filled_lots)
            change = account.changes.setdefault(market_id, _Change())
            change.size_change_lots += buys * size_lots
            change.realised_quote += plan.effect.realised_quote
            change.fees_quote += plan.fee_quote
            market.open_interest_lots += max(new_lots, 0) - max(old_lots, 0)
            market.net_entry_quote += plan.effect.entry_change_quote
            market.pot_quote += plan.effect.pending_quote
            self.fees_quote += plan.fee_quote
        self.volume_quote += outcome.notional_quote
        return outcome

    def _plan_fill(
        self, maker: TableOrder, taker: TableOrder, size_lots: int
    ) -> tuple[FillOutcome, tuple[_SidePlan, _SidePlan] | None]:
        """Check a fill line by line, the maker before the taker in each; return the outcome and, if good, both."""
        price_ticks, code = self._check_terms(maker, taker, size_lots)
        if code:
            return FillOutcome(code=code), None
        code = self._check_liveness(maker, taker, size_lots)
        if code:
            return FillOutcome(code=code), None
        market_id = maker.record.market_id
        market = self._market(market_id)
        sides = (maker, taker)
        accounts = [self._account(order.account_id) for order in sides]
        old = [
            self._position(account, order.account_id, market_id) for account, order in zip(accounts, sides, strict=True)
        ]
        changes = [size_lots if order.record.is_buy else -size_lots for order in sides]
        new_lots = [position.size_lots + change for position, change in zip(old, changes, strict=True)]
        reducing = [is_reducing(position.size_lots, lots) for position, lots in zip(old, new_lots, strict=True)]
        for is_taker in (False, True):
            if not reducing[is_taker]:
                code = self._check_opening(sides[is_taker], accounts[is_taker], market, old[is_taker])
                if code:
                    return FillOutcome(code=_with_side(code, is_taker)), None
        growth_lots = sum(
            max(lots, 0) - max(position.size_lots, 0) for lots, position in zip(new_lots, old, strict=True)
        )
        assert market.rules is not None  # a market without rules failed as UNKNOWN_MARKET on the order
        if growth_lots > 0 and market.open_interest_lots + growth_lots > market.rules.open_interest_cap_lots:
            return FillOutcome(code=StatusCode.OPEN_INTEREST_CAP), None
        notional_quote = compute_notional_quote(size_lots, price_ticks)
        plans: list[_SidePlan] = []
        for is_taker in (False, True):
            order, account = sides[is_taker], accounts[is_taker]
            rate_ppm = order.record.taker_fee_ppm if is_taker else order.record.maker_fee_ppm
            plan = self._plan_side(
                order, account, old[is_taker], changes[is_taker], price_ticks,
                compute_fee_quote(notional_quote, rate_ppm), market,
            )  # fmt: skip
            before = account.health()
            after = compute_account_health(
                account.collateral_quote + plan.effect.realised_quote,
                [health for key, health in account.healths.items() if key != market_id] + [plan.health],
            )
            if not is_fill_covered(before, after, reducing=reducing[is_taker]):
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

    def _check_terms(self, maker: TableOrder, taker: TableOrder, size_lots: int) -> tuple[int, int]:
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
        market = self._market(maker.record.market_id)
        price_ticks = market.auction_ticks or maker.record.limit_ticks
        buyer, seller = (maker, taker) if maker.record.is_buy else (taker, maker)
        if not seller.record.limit_ticks <= price_ticks <= buyer.record.limit_ticks:
            return 0, StatusCode.LIMITS_DO_NOT_CROSS
        if market.band is None or not market.band[0] <= price_ticks <= market.band[1]:
            return 0, StatusCode.PRICE_OUTSIDE_BAND
        return price_ticks, StatusCode.OK

    def _check_liveness(self, maker: TableOrder, taker: TableOrder, size_lots: int) -> int:
        """Return the code of the checks that look at min_seq and lanes, or 0."""
        sides = ((False, maker), (True, taker))
        for is_taker, order in sides:
            if order.record.seq < self._account(order.account_id).effective_min_seq():
                return _with_side(StatusCode.SEQ_BELOW_MINIMUM, is_taker)
        lanes = [self.lane(order.account_id, order.record.lane) for _, order in sides]
        for is_taker, order in sides:
            if lanes[is_taker][0] > order.record.seq:
                return _with_side(StatusCode.DEAD_LANE, is_taker)
        for is_taker, order in sides:
            if _filled_lots(lanes[is_taker], order.record.seq) + size_lots > order.record.size_lots:
                return _with_side(StatusCode.OVERFILL, is_taker)
        return StatusCode.OK

    @staticmethod
    def _check_opening(order: TableOrder, account: _Account, market: _Market, old: PositionWord) -> StatusCode:
        """Return the code of the checks a side that is not reducing must pass, or OK."""
        if order.record.reduce_only:
            return StatusCode.REDUCE_ONLY
        if market.rules is None or not market.rules.is_opening_allowed:
            return StatusCode.OPENING_NOT_ALLOWED
        if not market.is_fresh or any(health.is_stale for health in account.healths.values()):
            return StatusCode.STALE_PRICE
        if old.size_lots == 0 and account.n_open() >= MAX_OPEN_MARKETS:
            return StatusCode.TOO_MANY_MARKETS
        return StatusCode.OK

    def _plan_side(
        self,
        order: TableOrder,
        account: _Account,
        old: PositionWord,
        size_change_lots: int,
        price_ticks: int,
        fee_quote: int,
        market: _Market,
    ) -> _SidePlan:
        effect = apply_fill(
            old, size_change_lots=size_change_lots, price_ticks=price_ticks, fee_quote=fee_quote, index=market.index
        )
        lane = self._lane(account, order.account_id, order.record.lane)
        return _SidePlan(
            account=account,
            lane=order.record.lane,
            seq=order.record.seq,
            filled_lots=_filled_lots(lane, order.record.seq) + abs(size_change_lots),
            fee_quote=fee_quote,
            effect=effect,
            health=compute_position_health(
                effect.position, market.price, market.rules, market.index, self.matched_at_s
            ),
        )

    # Operations and consumption.

    def apply_operation(
        self,
        account_id: AccountId,
        row: OperationRow,
        *,
        domain_separator: bytes | None,
        recover: Recover | None,
        signer: bytes | None = None,
    ) -> StatusCode:
        """Apply one operation, or return its code. From NONCE_CONSUMED on its nonce is spent either way.

        Without domain_separator and recover neither signature nor approval is looked at, for a caller that has checked
        them: an operation signed by a session key then needs its `signer`.
        """
        message = row.to_message(account_id)
        if message is None:
            return StatusCode.UNKNOWN_OPERATION
        code = check_expiry(row.expiry_s, self.matched_at_s)
        if code:
            return code
        code = check_operation_authority(
            self._state,
            row,
            message,
            self.matched_at_s,
            get_key_word=self.session_key_word,
            domain_separator=domain_separator,
            recover=recover,
            signer=signer,
        )
        if code:
            return code
        account = self._account(account_id)
        if row.seq <= self._lane(account, account_id, OPERATION_LANE)[0]:
            return StatusCode.NONCE_CONSUMED
        account.lanes[OPERATION_LANE] = (row.seq, CONSUMED_LOTS)
        if isinstance(message, Withdraw):
            return self._withdraw(account_id, account, message)
        if isinstance(message, CancelOrder):
            return self._cancel_order(account_id, account, message)
        if isinstance(message, LinkKey):
            if has_bad_limits(message.owner, message.key, message.limits_word, self.matched_at_s):
                return StatusCode.BAD_KEY
            return self._change_key(account_id, message, message.limits_word)
        if isinstance(message, RevokeKey):
            return self._change_key(account_id, message, 0)
        account.min_seq = max(account.min_seq, message.min_seq)
        self._operations.append(AllKilled(account_id=account_id, min_seq=account.min_seq))
        return StatusCode.OK

    def _change_key(self, account_id: AccountId, message: LinkKey | RevokeKey, limits: int) -> StatusCode:
        self._key_limits[session_key_id(account_id, message.key)] = limits
        word = self.session_key_word(account_id, message.key)
        self._operations.append(KeyChanged(account_id=account_id, key=message.key, word=word))
        return StatusCode.OK

    def _withdraw(self, account_id: AccountId, account: _Account, message: Withdraw) -> StatusCode:
        if message.quote == 0:
            return StatusCode.ZERO_WITHDRAWAL
        if message.recipient == ZERO_ADDRESS or message.recipient in self._state.forbidden_recipients:
            return StatusCode.BAD_RECIPIENT
        health = account.health()
        if health.is_stale:
            return StatusCode.STALE_PRICE
        if not is_withdrawal_covered(health, message.quote):
            return StatusCode.MARGIN
        account.collateral_quote -= message.quote
        validate_collateral(account.collateral_quote)
        self._operations.append(Withdrawn(account_id=account_id, recipient=message.recipient, quote=message.quote))
        return StatusCode.OK

    def _cancel_order(self, account_id: AccountId, account: _Account, message: CancelOrder) -> StatusCode:
        lane, seq = lane_of(message.order_nonce), seq_of(message.order_nonce)
        if lane == OPERATION_LANE:
            return StatusCode.BAD_CANCEL
        self._consume(account, account_id, lane, seq)
        self._operations.append(OrderKilled(account_id=account_id, nonce=message.order_nonce))
        return StatusCode.OK

    def consume_order(self, account_id: int, record: OrderRecord) -> None:
        """Leave an IOC or FOK consumed, filled or not; other orders are left alone."""
        if record.time_in_force.is_immediate:
            self._consume(self._account(account_id), account_id, record.lane, record.seq)

    def _consume(self, account: _Account, account_id: int, lane: int, seq: int) -> None:
        if seq >= self._lane(account, account_id, lane)[0]:
            account.lanes[lane] = (seq, CONSUMED_LOTS)

    # Writing.

    def commit(self, *, batch_sequence: int, head: bytes) -> tuple[PositionChange, ...]:
        """Write every changed word at once; return the position changes. Raises: FieldOutOfRange, nothing written."""
        state = self._state
        accounts: dict[int, int] = {}
        positions: dict[int, int] = {}
        lanes: dict[int, int] = {}
        changes: list[PositionChange] = []
        collateral_change_quote = 0
        for account_id, account in self._accounts.items():
            collateral_change_quote += account.collateral_quote - account.start.collateral_quote
            accounts[account_key(account_id)] = self._pack_account(account)
            lanes.update(self._pack_lanes(account_id, account))
            for market_id, change in account.changes.items():
                validate_entry(account.positions[market_id].entry_quote)
                word = account.positions[market_id].pack()
                positions[position_key(account_id, market_id)] = word
                changes.append(
                    PositionChange(
                        account_id=AccountId(account_id),
                        market_id=market_id,
                        size_change_lots=change.size_change_lots,
                        realised_quote=change.realised_quote,
                        fees_quote=change.fees_quote,
                        position_word=word,
                    )
                )
                _ = changes[-1].change_word  # range-checked here, before anything is written
        totals = {
            market_id: TotalsWord(
                open_interest_lots=market.open_interest_lots,
                net_entry_quote=market.net_entry_quote,
                pot_quote=market.pot_quote,
            ).pack()
            for market_id, market in self._markets.items()
        }
        prices = {market_id: price.pack() for market_id, price in self._prices.items()}
        batch = state.batch
        batch_word = BatchWord(
            sequence=batch_sequence,
            matched_at_s=self.matched_at_s,
            fees_quote=batch.fees_quote + self.fees_quote,
            collateral_quote=batch.collateral_quote + collateral_change_quote,
        ).pack()
        for words, written in (
            (state.accounts, accounts),
            (state.positions, positions),
            (state.lanes, lanes),
            (state.totals, totals),
            (state.prices, prices),
        ):
            for key, word in written.items():
                store_word(words, key, word)
        for key, limits in self._key_limits.items():
            state.session_keys[key] = replace_key_limits(state.session_keys.get(key, 0), limits)
        for operation in self._operations:
            if isinstance(operation, Withdrawn):
                state.claims[operation.recipient] = state.claims.get(operation.recipient, 0) + operation.quote
        state.batch_word = batch_word
        state.head = head
        return tuple(changes)

    @staticmethod
    def _pack_account(account: _Account) -> int:
        """Return the account word; a closed market frees its slot, a new one takes the first free slot."""
        slots = [
            market_id if market_id and account.positions[market_id].size_lots else 0
            for market_id in account.start.open_markets
        ]
        for market_id, position in account.positions.items():
            if position.size_lots and market_id not in slots:
                slots[slots.index(0)] = market_id
        seq, filled_lots = account.lanes.get(0, (account.start.lane0_seq, account.start.lane0_filled_lots))
        return replace(
            account.start,
            collateral_quote=account.collateral_quote,
            min_seq=account.min_seq,
            lane0_seq=seq,
            lane0_filled_lots=filled_lots,
            open_markets=tuple(slots),
        ).pack()

    def _pack_lanes(self, account_id: int, account: _Account) -> dict[int, int]:
        words: dict[int, LaneWord] = {}
        for lane, (seq, filled_lots) in account.lanes.items():
            if lane == 0:
                continue
            key = lane_key(account_id, lane)
            word = words.get(key) or LaneWord.unpack(self._state.lanes.get(key, 0))
            if lane & 1:
                words[key] = replace(word, odd_seq=seq, odd_filled_lots=filled_lots)
            else:
                words[key] = replace(word, even_seq=seq, even_filled_lots=filled_lots)
        return {key: word.pack() for key, word in words.items()}

    @property
    def operations(self) -> tuple[OperationEffect, ...]:
        """Return what the operations did so far."""
        return tuple(self._operations)

    def changed_prices(self) -> dict[int, int]:
        """Return market -> price word for every market whose word this batch changes."""
        words = {market_id: price.pack() for market_id, price in self._prices.items()}
        return {market_id: word for market_id, word in words.items() if word != self._state.prices.get(market_id, 0)}


def _filled_lots(lane: tuple[int, int], seq: int) -> int:
    """Return what an order has already used of its lane: nothing if the lane still holds an older order."""
    return lane[1] if lane[0] == seq else 0


def _with_side(code: StatusCode, is_taker: bool) -> int:
    if code not in SIDED_CODES:
        raise Faulted(f"{code.name} names no side")
    return code + TAKER_SIDE if is_taker else code
