"""Fill the open batch and seal it: payload, the mirror's verdict, comparison with what the engine did.

The mirror runs domain.settlement.apply_batch on the payload itself, so encoding and rules are proven before a
transaction is paid for. The engine's own numbers must equal the mirror's; where the mirror refused a fill its words
win and the refusal is an event. Must not: match, or send anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from afterbell.domain.batch import (
    OPERATION_SESSION_KEY,
    AccountRecord,
    BatchHeader,
    FillRow,
    OperationKind,
    Payload,
    encode,
)
from afterbell.domain.chain_state import Mode
from afterbell.domain.codes import RejectReason, StatusCode, describe_code
from afterbell.domain.commands import (
    AdoptPrices,
    Command,
    LinkKey,
    ListMarket,
    PlaceOrder,
    RequestTransfer,
    RequestWithdrawal,
    RevokeKey,
    SetMarketRules,
)
from afterbell.domain.errors import BatchReverted, Faulted, InvariantBroken
from afterbell.domain.events import (
    BatchSealed,
    Event,
    FillMatched,
    FillRejected,
    KeyOperationRejected,
    TransferRejected,
    WithdrawalRejected,
)
from afterbell.domain.ids import N_ADDRESS_BYTES, N_SUBACCOUNT_BITS, AccountId, owner_of
from afterbell.domain.settlement import BatchResult, Execution, FillOutcome, KeyChanged, TableOrder, apply_batch
from afterbell.engine.book import OpenOrder
from afterbell.engine.prices import build_execution
from afterbell.engine.refusals import Refusal
from afterbell.engine.state import BatchFill, BatchOperation, EngineState, OpenBatch, RecentBatch, SealedBatch

MAX_SEALED_AHEAD: Final = 16
"""So many unconfirmed batches, and no seal is forced for one order any more; far below what SETTLE_LAG allows."""
_NEEDS_NO_OPEN_BATCH = (AdoptPrices, SetMarketRules, ListMarket)
_NEEDS_ROOM = (PlaceOrder, RequestWithdrawal, RequestTransfer, LinkKey, RevokeKey)


def needs_seal_before(state: EngineState, command: Command) -> bool:
    """Tell whether a SealBatch frame must stand before this command; asked again after each.

    Prices, listings and first rules need no open batch. Whatever adds to a batch needs room in it, and must not join it
    while find_obstacle says why; with MAX_SEALED_AHEAD batches on their way it is refused instead (refuse_obstacle).
    """
    if isinstance(command, _NEEDS_NO_OPEN_BATCH):
        return state.has_open_batch
    if not isinstance(command, _NEEDS_ROOM):
        return False
    if find_obstacle(state, command) is not None:
        return len(state.sealed) < MAX_SEALED_AHEAD
    return state.is_open_batch_half_full


def find_obstacle(state: EngineState, command: Command) -> str | None:
    """Return why a command must not join the open batch, or None.

    Triggers that are met and had no room go first. Operations run before every fill of their batch on chain, so one of
    an account that the open batch has filled belongs into the next; among accounts without fills they commute (D-016).
    """
    if state.triggers.is_pending:
        return "stop orders met by these prices wait for room in a batch"
    if state.batch is None or isinstance(command, PlaceOrder):
        return None
    if any(account in state.batch.accounts for account in _list_written(command)):
        return "the open batch has filled an order of this account, and operations run before fills"
    return None


def _list_written(command: Command) -> tuple[AccountId, ...]:
    """Return the accounts an operation writes."""
    if isinstance(command, RequestTransfer):
        sender = AccountId(command.account)
        return sender, AccountId((sender >> N_SUBACCOUNT_BITS << N_SUBACCOUNT_BITS) + command.to_subaccount)
    if isinstance(command, RequestWithdrawal | LinkKey | RevokeKey):
        return (AccountId(command.account),)
    return ()


def refuse_obstacle(state: EngineState, command: Command) -> Refusal | None:
    """Refuse for now what the sequencer could not seal for: so no flood of stops or operations outruns the chain.

    For good once final settlement has begun: the chain takes no batch any more.
    """
    if state.chain.mode == Mode.SETTLED:
        return Refusal(
            reason=RejectReason.SETTLED,
            required="an instance that still settles batches",
            found="final settlement has begun on chain",
            action="claim what the account is worth from Exits, on chain",
        )
    found = find_obstacle(state, command)
    if found is None:
        return None
    return Refusal(
        reason=RejectReason.NOT_READY,
        required=f"an open batch it may join, or fewer than {MAX_SEALED_AHEAD} batches on their way to the chain",
        found=f"{found}; {len(state.sealed)} batches on their way",
        action="send the same message again in a moment: it was not used up",
    )


def add_fill(
    state: EngineState,
    time_s: int,
    *,
    maker: OpenOrder,
    taker: OpenOrder,
    table: tuple[TableOrder, TableOrder],
    size_lots: int,
    outcome: FillOutcome,
) -> FillMatched:
    """Put a fill that the Execution has settled into the open batch (opened if need be) and return its event."""
    batch = state.must_open_batch(time_s)
    for order, entry in zip((maker, taker), table, strict=True):
        if order.order_id not in batch.orders:
            batch.orders[order.order_id] = entry
            batch.signers[order.order_id] = order.signer or owner_of(order.account)
            batch.n_triggers += order.record.has_trigger
        batch.accounts.setdefault(order.account)
    fill_id = state.next_fill_id
    state.next_fill_id += 1
    batch.fills.append(
        BatchFill(fill_id=fill_id, maker_order_id=maker.order_id, taker_order_id=taker.order_id, size_lots=size_lots)
    )
    return FillMatched(
        fill_id=fill_id,
        sequence=state.next_batch_sequence,
        market=maker.record.market_id,
        price_ticks=outcome.price_ticks,
        size_lots=size_lots,
        maker_order_id=maker.order_id,
        taker_order_id=taker.order_id,
        maker_account=maker.account,
        taker_account=taker.account,
        taker_is_buy=taker.record.is_buy,
        maker_fee_quote=outcome.maker_fee_quote,
        taker_fee_quote=outcome.taker_fee_quote,
        maker_funding_quote=outcome.maker_funding_quote,
        taker_funding_quote=outcome.taker_funding_quote,
    )


def rebuild_open_batch(state: EngineState) -> None:
    """Run the open batch again over a mirror that changed under it; what fails now is refused at the seal."""
    batch = state.batch
    if batch is None:
        return
    execution = build_execution(state, batch.prices, batch.execution.matched_at_s)
    for operation in batch.operations:
        signer = operation.signer if operation.row.flags & OPERATION_SESSION_KEY else None
        execution.apply_operation(operation.row, domain_separator=None, recover=None, signer=signer)
    for order_id, entry in batch.orders.items():
        signer = batch.signers[order_id] if entry.record.is_key_signed else None
        code = execution.check_order(entry.account_id, entry.record, domain_separator=None, recover=None, signer=signer)
        batch.orders[order_id] = replace(entry, code=code)
    for fill in batch.fills:
        execution.apply_fill(batch.orders[fill.maker_order_id], batch.orders[fill.taker_order_id], fill.size_lots)
    batch.execution = execution


def seal_batch(state: EngineState, journal_hash: bytes) -> list[Event]:
    """Close the open batch and move the mirror; no open batch: nothing. Raises: Faulted."""
    batch = state.batch
    if batch is None:
        return []
    previous_head = state.chain.head
    payload, order_ids = build_payload(state, batch, journal_hash)
    encoded = encode(payload)
    try:
        result = apply_batch(
            state.chain,
            encoded,
            previous_head=previous_head,
            block_time_s=batch.execution.matched_at_s,
            update_prices=lambda chain, _, __, matched_at_s: batch.prices.compute_updates(chain, matched_at_s),
            domain_separator=state.domain_separator,
            recover=_build_recover(batch),
        )
    except BatchReverted as error:
        raise Faulted(f"the contract would revert batch {payload.header.sequence}: {error.reason}") from error
    events = _list_failures(batch, result)
    if not any(result.codes):
        _must_agree(state, batch)
    state.batch = None
    state.drop_draft()
    state.sealed.append(SealedBatch(sequence=result.sequence, head=result.head, codes=result.codes))
    state.recent.append(
        RecentBatch(
            sequence=result.sequence,
            positions=frozenset((entry.account_id, entry.record.market_id) for entry in batch.orders.values()),
            prices=frozenset(result.prices),
            indices=frozenset(result.indices),
        )
    )
    events.append(
        BatchSealed(
            sequence=result.sequence,
            matched_at_s=result.matched_at_s,
            previous_head=previous_head,
            head=result.head,
            payload=encoded,
            codes=result.codes,
            n_operations=result.n_operations,
            n_orders=len(order_ids),
            fill_ids=tuple(fill.fill_id for fill in batch.fills),
            operation_ids=tuple(operation.digest for operation in batch.operations),
        )
    )
    return events


def build_payload(state: EngineState, batch: OpenBatch, journal_hash: bytes) -> tuple[Payload, list[bytes]]:
    """Return the payload and the order ids in table order.

    Accounts ascend; an account's orders are sorted by lane, equal lanes by seq, then by id. Fills name orders by their
    number over all accounts; `encode` makes places of them.
    """
    by_account: dict[AccountId, list[tuple[int, int, bytes, TableOrder]]] = {account: [] for account in batch.accounts}
    for order_id, entry in batch.orders.items():
        by_account[entry.account_id].append((entry.record.lane, entry.record.seq, order_id, entry))
    accounts: list[AccountRecord] = []
    order_ids: list[bytes] = []
    for account in sorted(by_account):
        entries = sorted(by_account[account], key=lambda entry: entry[:3])
        accounts.append(AccountRecord(account_id=account, orders=tuple(entry[3].record for entry in entries)))
        order_ids += [order_id for _, _, order_id, _ in entries]
    order_indices = {order_id: index for index, order_id in enumerate(order_ids)}
    payload = Payload(
        header=BatchHeader(
            sequence=state.next_batch_sequence,
            matched_at_s=batch.execution.matched_at_s,
            direct_op=state.chain.direct_op,
            journal_hash=journal_hash,
        ),
        fills=tuple(
            FillRow(
                maker_order=order_indices[fill.maker_order_id],
                taker_order=order_indices[fill.taker_order_id],
                size_lots=fill.size_lots,
            )
            for fill in batch.fills
        ),
        rows=batch.prices.rows,
        evidence=batch.prices.evidence,
        operations=tuple(operation.row for operation in batch.operations),
        accounts=tuple(accounts),
    )
    return payload, order_ids


def _build_recover(batch: OpenBatch) -> Callable[[bytes, bytes, bytes], bytes | None]:
    """Answer for digests whose signature was checked when they came in; the mirror recomputes each digest itself."""
    signers = batch.signers | {operation.digest: operation.signer for operation in batch.operations}

    def recover(digest: bytes, r: bytes, vs: bytes) -> bytes | None:
        return signers.get(digest)

    return recover


def _list_failures(batch: OpenBatch, result: BatchResult) -> list[Event]:
    """Return an event for each fill and each operation the mirror refused. Empty, unless engine and rules differ."""
    events: list[Event] = []
    for fill, code in zip(batch.fills, result.fill_codes, strict=True):
        if code != StatusCode.OK:
            events.append(
                FillRejected(
                    fill_id=fill.fill_id,
                    sequence=result.sequence,
                    market=batch.orders[fill.maker_order_id].record.market_id,
                    code=code,
                    maker_order_id=fill.maker_order_id,
                    taker_order_id=fill.taker_order_id,
                )
            )
    for operation, code in zip(batch.operations, result.operation_codes, strict=True):
        if code != StatusCode.OK:
            events.append(_build_operation_failure(operation, code))
    return events


def _build_operation_failure(operation: BatchOperation, code: int) -> Event:
    reason = (RejectReason.of_code(code) or RejectReason.UNKNOWN_OPERATION).value
    if operation.row.kind == OperationKind.WITHDRAW:
        return WithdrawalRejected(
            withdrawal_id=operation.digest,
            account=operation.account,
            quote=operation.row.value,
            reason=reason,
            required="a withdrawal the chain's rule accepts",
            found=describe_code(code),
            action="check the account and sign a new withdrawal",
        )
    if operation.receiver is not None:
        return TransferRejected(
            transfer_id=operation.digest,
            account=operation.account,
            receiver=operation.receiver,
            quote=operation.row.value,
            reason=reason,
            required="a transfer the chain's rule accepts",
            found=describe_code(code),
            action="check the account and sign a new transfer",
        )
    return KeyOperationRejected(
        operation_id=operation.digest,
        account=operation.account,
        key=operation.row.operand.to_bytes(N_ADDRESS_BYTES, "big"),
        reason=reason,
        required="a change of a key that the chain's rule accepts",
        found=describe_code(code),
        action="look at the account's keys and sign anew",
    )


def _must_agree(state: EngineState, batch: OpenBatch) -> None:
    """Compare the engine's accounts with the mirror's words after a batch without failures. Raises: InvariantBroken."""
    execution = batch.execution
    for entry in batch.orders.values():
        execution.consume_order(entry.account_id, entry.record)
    for account in {**batch.accounts, **dict.fromkeys(one for each in batch.operations for one in each.accounts)}:
        _must_agree_on_account(state, execution, account)
    for entry in batch.orders.values():
        lane = entry.record.lane
        if execution.lane(entry.account_id, lane) != state.chain.lane(entry.account_id, lane):
            raise InvariantBroken(f"lane {lane} of account {entry.account_id:#x} differs from the mirror")
    for effect in execution.operations:
        if isinstance(effect, KeyChanged):
            word = state.chain.session_key_word(effect.account_id, effect.key)
            if execution.session_key_word(effect.account_id, effect.key) != word:
                raise InvariantBroken(f"key 0x{effect.key.hex()} of account {effect.account_id:#x} differs")


def _must_agree_on_account(state: EngineState, execution: Execution, account: AccountId) -> None:
    word = state.chain.account(account)
    if execution.collateral_quote(account) != word.collateral_quote:
        raise InvariantBroken(
            f"collateral of account {account:#x}: engine {execution.collateral_quote(account)} quote, "
            f"mirror {word.collateral_quote} quote"
        )
    if execution.positions(account) != state.chain.open_positions(account):
        raise InvariantBroken(f"positions of account {account:#x} differ between engine and mirror")
