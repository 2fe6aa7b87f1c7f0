"""Settle one encoded batch: the executable form of `settle()` in contracts/README.md.

Re-exports the state it moves (chain_state.py) and the machine that moves it (execution.py), so that callers import from
one place. Must not: recover signatures itself (the caller injects `recover`), read a clock, or reach the token.
Twin: contracts/Clearinghouse.vy; tests/parity holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from afterbell.domain.authority import Recover
from afterbell.domain.batch import SETTLE_LAG_S, Payload, PriceRow, compute_head, decode, hash_payload
from afterbell.domain.chain_state import ChainState, Mode, apply_deposit, list_market, pay_claim, set_rules
from afterbell.domain.codes import StatusCode
from afterbell.domain.errors import BatchReverted, Faulted, FieldOutOfRange
from afterbell.domain.execution import Execution
from afterbell.domain.outcomes import (
    AllKilled,
    FillOutcome,
    KeyChanged,
    OperationEffect,
    OrderKilled,
    PositionChange,
    TableOrder,
    Transferred,
    Withdrawn,
)
from afterbell.domain.prices import MarketUpdate

__all__ = [
    "AllKilled",
    "BatchResult",
    "ChainState",
    "Execution",
    "FillOutcome",
    "KeyChanged",
    "MarketUpdate",
    "Mode",
    "OperationEffect",
    "OrderKilled",
    "PositionChange",
    "Recover",
    "TableOrder",
    "Transferred",
    "UpdatePrices",
    "Withdrawn",
    "apply_batch",
    "apply_deposit",
    "list_market",
    "pay_claim",
    "set_rules",
    "validate_header",
]

OUT_OF_LANE: Final = "batch: out of range"
"""Reason given when a number leaves its lane; the contract reverts in packing."""


UpdatePrices: TypeAlias = Callable[[ChainState, tuple[PriceRow, ...], bytes, int], Sequence[MarketUpdate]]
"""(state, rows, evidence, matched_at_s) -> the markets that changed: prices.update over an oracle's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What a settled batch leaves behind beside the state."""

    sequence: int
    matched_at_s: int
    direct_op: int
    journal_hash: bytes
    payload_hash: bytes
    codes: bytes
    head: bytes
    volume_quote: int
    fees_quote: int
    changes: tuple[PositionChange, ...]
    operations: tuple[OperationEffect, ...]
    prices: dict[int, int]
    """Market -> price word, where it changed."""
    indices: dict[int, int]
    """Market -> index word, where it changed."""
    n_operations: int
    n_orders: int

    @property
    def n_failures(self) -> int:
        """Count the codes that are not zero."""
        return sum(code != 0 for code in self.codes)

    @property
    def operation_codes(self) -> bytes:
        """Return the codes of the operations, in table order."""
        return self.codes[: self.n_operations]

    @property
    def order_codes(self) -> bytes:
        """Return the codes of the orders, in table order."""
        return self.codes[self.n_operations : self.n_operations + self.n_orders]

    @property
    def fill_codes(self) -> bytes:
        """Return the codes of the fills, in order."""
        return self.codes[self.n_operations + self.n_orders :]


def validate_header(state: ChainState, payload: Payload, previous_head: bytes, block_time_s: int) -> None:
    """Check a batch against the state it claims to follow. Raises: BatchReverted with the contract's string."""
    batch, header = state.batch, payload.header
    if state.mode == Mode.SETTLED:
        raise BatchReverted("clearinghouse: settled")
    if previous_head != state.head:
        raise BatchReverted("batch: head")
    if header.sequence != batch.sequence + 1:
        raise BatchReverted("batch: sequence")
    if not max(batch.matched_at_s, block_time_s - SETTLE_LAG_S) <= header.matched_at_s <= block_time_s:
        raise BatchReverted("batch: matched at")
    if header.direct_op > state.direct_op:
        raise BatchReverted("batch: direct op")


def apply_batch(
    state: ChainState,
    payload: bytes,
    *,
    previous_head: bytes,
    block_time_s: int,
    update_prices: UpdatePrices | None = None,
    domain_separator: bytes,
    recover: Recover,
) -> BatchResult:
    """Settle a batch exactly as the contract does; `state` moves only if this returns.

    `update_prices` stands for PriceOracle and is asked only when the batch carries rows or evidence. `recover` may
    answer from a cache; approved digests are the state's.

    Raises: BatchReverted (MalformedBatch among them) with the contract's revert string.
    """
    batch = decode(payload)
    validate_header(state, batch, previous_head, block_time_s)
    execution = Execution(state, batch.header.matched_at_s)
    try:
        if batch.rows or batch.evidence:
            if update_prices is None:
                raise Faulted("a batch with rows or evidence needs the oracle: pass update_prices")
            updates = update_prices(state, batch.rows, batch.evidence, batch.header.matched_at_s)
            execution.apply_prices(updates, batch.rows)
        codes = _run_tables(execution, batch, domain_separator, recover)
        prices, indices = execution.changed_prices(), execution.changed_indices()
        payload_hash = hash_payload(payload)
        head = compute_head(previous_head, payload_hash, codes)
        changes = execution.commit(batch_sequence=batch.header.sequence, head=head)
    except FieldOutOfRange as error:
        raise BatchReverted(OUT_OF_LANE) from error
    return BatchResult(
        sequence=batch.header.sequence,
        matched_at_s=batch.header.matched_at_s,
        direct_op=batch.header.direct_op,
        journal_hash=batch.header.journal_hash,
        payload_hash=payload_hash,
        codes=codes,
        head=head,
        volume_quote=execution.volume_quote,
        fees_quote=execution.fees_quote,
        changes=changes,
        operations=execution.operations,
        prices=prices,
        indices=indices,
        n_operations=len(batch.operations),
        n_orders=batch.n_orders,
    )


def _run_tables(execution: Execution, batch: Payload, domain_separator: bytes, recover: Recover) -> bytes:
    """Run operations, judge orders, run fills, consume; return one code per operation, order, fill."""
    operation_codes = [
        execution.apply_operation(row, domain_separator=domain_separator, recover=recover) for row in batch.operations
    ]
    orders = [
        TableOrder(
            account_id=account.account_id,
            record=record,
            code=execution.check_order(
                account.account_id,
                record,
                sequence=batch.header.sequence,
                domain_separator=domain_separator,
                recover=recover,
            ),
        )
        for account in batch.accounts
        for record in account.orders
    ]
    fill_codes = [
        execution.apply_fill(orders[fill.maker_order], orders[fill.taker_order], fill.size_lots).code
        for fill in batch.fills
    ]
    for order in orders:
        if order.code == StatusCode.OK:
            execution.consume_order(order.account_id, order.record)
    return bytes(operation_codes) + bytes(order.code for order in orders) + bytes(fill_codes)
