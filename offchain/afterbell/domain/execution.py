"""Run one batch in memory, fill by fill, and write once at the end.

settlement.apply_batch drives an Execution over an encoded payload exactly as `settle()` does. The engine drives one of
its own while a batch is open, so that each match is checked with the chain's rule before it is acknowledged.

This is the door; working.py holds what is loaded, operations.py and fills.py judge and move, write_back.py writes.
Check, then compute, then write: whatever raises leaves the state as it was. Must not: recover signatures itself (the
caller injects `recover`), decode payloads, or reach the token. Twin: contracts/Clearinghouse.vy; tests/parity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from afterbell.domain.authority import Recover, check_order_authority
from afterbell.domain.batch import OperationRow, OrderRecord, PriceRow
from afterbell.domain.chain_state import FIRST_EPOCH, ChainState
from afterbell.domain.codes import StatusCode
from afterbell.domain.fills import plan_fill, write_fill
from afterbell.domain.ids import MAX_MARKETS
from afterbell.domain.liquidations import check_order as check_liquidation_order
from afterbell.domain.margin import AccountHealth
from afterbell.domain.operations import apply_operation, consume_lane
from afterbell.domain.order import is_trigger_met
from afterbell.domain.order_checks import check_expiry, check_order_size, has_unknown_flags
from afterbell.domain.outcomes import FillOutcome, OperationEffect, PositionChange, TableOrder
from afterbell.domain.prices import MarketUpdate
from afterbell.domain.words import IndexWord, PositionWord, PriceWord
from afterbell.domain.working import BeforeFills, Workbench
from afterbell.domain.write_back import write_back


class Execution:
    """One batch in memory over a ChainState that stays untouched until `commit`.

    Order of calls: apply_prices once; apply_operation before any fill of the accounts it touches; check_order after the
    operations, apply_fill; consume_order for every valid order; commit. `state` must not change in between, except as
    `note_deposit` and `note_direct` say.
    """

    __slots__ = ("_bench", "_state", "fees_quote", "matched_at_s", "volume_quote")

    def __init__(self, state: ChainState, matched_at_s: int) -> None:
        """Begin a batch matched at this second."""
        self._state = state
        self._bench = Workbench(state, matched_at_s)
        self.matched_at_s = matched_at_s
        self.volume_quote = 0
        self.fees_quote = 0

    def fork(self) -> Execution:
        """Return an independent copy at this moment of the batch, to try what may not come to pass."""
        other = Execution(self._state, self.matched_at_s)
        other._bench = self._bench.fork()
        other.volume_quote = self.volume_quote
        other.fees_quote = self.fees_quote
        return other

    # Prices.

    def apply_prices(self, updates: Iterable[MarketUpdate], rows: Iterable[PriceRow]) -> None:
        """Adopt what PriceOracle.update returned (prices.update), and the auction prices of the rows."""
        self._bench.adopt_prices(updates, rows)

    def price(self, market_id: int) -> PriceWord:
        """Return a market's prices in this batch."""
        return self._bench.price(market_id)

    def index(self, market_id: int) -> IndexWord:
        """Return a market's funding indices in this batch."""
        return self._bench.index(market_id)

    def is_market_fresh(self, market_id: int) -> bool:
        """Tell whether openings may happen on this market's prices."""
        return self._bench.market(market_id).is_fresh

    def band(self, market_id: int) -> tuple[int, int] | None:
        """Return (lowest, highest) price a fill may have, or None when none may."""
        return self._bench.market(market_id).band

    def open_interest_lots(self, market_id: int) -> int:
        """Return open interest at this moment of the batch."""
        return self._bench.market(market_id).open_interest_lots

    # Accounts.

    def health(self, account_id: int) -> AccountHealth:
        """Return equity and requirements of an account at this moment of the batch."""
        return self._bench.account(account_id).health()

    def position(self, account_id: int, market_id: int) -> PositionWord:
        """Return a position at this moment of the batch."""
        return self._bench.position(account_id, market_id)

    def positions(self, account_id: int) -> dict[int, PositionWord]:
        """Return market -> open position at this moment of the batch."""
        account = self._bench.account(account_id)
        return {market_id: position for market_id, position in account.positions.items() if position.size_lots}

    def collateral_quote(self, account_id: int) -> int:
        """Return settled collateral at this moment of the batch."""
        return self._bench.account(account_id).collateral_quote

    def min_seq(self, account_id: int) -> int:
        """Return the lowest seq that still lives at this moment of the batch."""
        return self._bench.account(account_id).effective_min_seq()

    def session_key_word(self, account_id: int, key: bytes) -> int:
        """Return a session key word at this moment of the batch."""
        return self._bench.session_key_word(account_id, key)

    def lane(self, account_id: int, lane: int) -> tuple[int, int]:
        """Return (seq, filled_lots) of a lane at this moment of the batch."""
        return self._bench.lane(account_id, lane)

    def has_fills(self, account_id: int) -> bool:
        """Tell whether an account was filled in this batch: its next operation belongs to the next batch."""
        account = self._bench.accounts.get(account_id)
        return account is not None and bool(account.changes)

    def before_fills(self) -> BeforeFills:
        """Return the words a liquidation is judged on: after prices and operations, before the fills."""
        return BeforeFills(self._bench)

    def note_deposit(self, account_id: int, quote: int) -> None:
        """Add a deposit credited to the state while this batch is open (apply_deposit was called on the state)."""
        account = self._bench.accounts.get(account_id)
        if account is not None:
            account.collateral_quote += quote
            account.operated_quote += quote
            account.start = replace(account.start, collateral_quote=account.start.collateral_quote + quote)

    def note_direct(self, account_id: int) -> None:
        """Take over what apply_direct did to an account while this batch is open: that it has an overflow word.

        A cancel-all or a change of rules made now binds later matches; keys are read from the state each time.
        """
        account = self._bench.accounts.get(account_id)
        if account is not None:
            account.start = replace(account.start, flags=self._state.account(account_id).flags)

    # Operations.

    def apply_operation(
        self,
        row: OperationRow,
        *,
        domain_separator: bytes | None,
        recover: Recover | None,
        signer: bytes | None = None,
    ) -> StatusCode:
        """Apply one operation, or return its code. From NONCE_CONSUMED on its nonce is spent either way.

        Without domain_separator and recover neither signature nor approval is looked at, for a caller that has checked
        them: an operation signed by a session key then needs its `signer`. Raises: Faulted after a fill of its account.
        """
        return apply_operation(self._bench, row, domain_separator=domain_separator, recover=recover, signer=signer)

    @property
    def operations(self) -> tuple[OperationEffect, ...]:
        """Return what the operations did so far."""
        return tuple(self._bench.effects)

    # Orders.

    def check_order(
        self,
        account_id: int,
        record: OrderRecord,
        *,
        sequence: int = 0,
        domain_separator: bytes | None,
        recover: Recover | None,
        signer: bytes | None = None,
    ) -> StatusCode:
        """Return the order's code; the first failure in the order of the README wins.

        Without domain_separator and recover the signature is not looked at, for a caller that has checked it: an order
        signed by a session key then needs its `signer`. Looks at minimum seqs and session keys as the operations so far
        have left them. sequence: of this batch, for liquidation orders.
        """
        code = self._check_order_terms(record)
        if code:
            return code
        if record.is_liquidation:
            return check_liquidation_order(
                self.before_fills(), account_id, record, sequence=sequence, matched_at_s=self.matched_at_s
            )
        if record.seq < self._bench.account(account_id).effective_min_seq():
            return StatusCode.SEQ_BELOW_MINIMUM
        return check_order_authority(
            self._state,
            account_id,
            record,
            self.price(record.market_id),
            self.matched_at_s,
            get_key_word=self.session_key_word,
            domain_separator=domain_separator,
            recover=recover,
            signer=signer,
        )

    def _check_order_terms(self, record: OrderRecord) -> StatusCode:
        if not 1 <= record.market_id <= MAX_MARKETS:
            return StatusCode.UNKNOWN_MARKET
        market = self._bench.market(record.market_id)
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
        return StatusCode.OK

    def consume_order(self, account_id: int, record: OrderRecord) -> None:
        """Leave an IOC or FOK consumed, filled or not; other orders are left alone."""
        if record.time_in_force.is_immediate:
            consume_lane(self._bench, account_id, record.lane, record.seq)

    # Fills.

    def check_fill(self, maker: TableOrder, taker: TableOrder, size_lots: int) -> FillOutcome:
        """Return what `apply_fill` would, and change nothing."""
        return plan_fill(self._bench, maker, taker, size_lots)[0]

    def apply_fill(self, maker: TableOrder, taker: TableOrder, size_lots: int) -> FillOutcome:
        """Settle one fill in memory, or return the code of the first check it fails. Nothing is written on failure."""
        outcome, plans = plan_fill(self._bench, maker, taker, size_lots)
        if plans is not None:
            write_fill(self._bench, plans)
            self.fees_quote += plans[0].fee_quote + plans[1].fee_quote
            self.volume_quote += outcome.notional_quote
        return outcome

    # Writing.

    def commit(self, *, batch_sequence: int, head: bytes) -> tuple[PositionChange, ...]:
        """Write every changed word at once; return the position changes. Raises: FieldOutOfRange, nothing written."""
        return write_back(self._bench, batch_sequence=batch_sequence, fees_quote=self.fees_quote, head=head)

    def changed_prices(self) -> dict[int, int]:
        """Return market -> price word for every market whose price word this batch changes."""
        words = {market_id: price.pack() for market_id, price in self._bench.prices.items()}
        return {market_id: word for market_id, word in words.items() if word != self._state.prices.get(market_id, 0)}

    def changed_indices(self) -> dict[int, int]:
        """Return market -> index word for every market whose index word this batch changes."""
        words = {market_id: index.pack() for market_id, index in self._bench.indices.items()}
        return {market_id: word for market_id, word in words.items() if word != self._state.indices.get(market_id, 0)}
