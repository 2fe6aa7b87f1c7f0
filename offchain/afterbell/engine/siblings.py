"""Adopt what sibling contracts did past every batch: liquidations, exits, corporate actions (PROTOCOL.md §1).

    kind 5  deltas of positions and collateral     6  price and index of a market
    kind 7  a withdrawal by Exits                  8  the mode of the instance

The logs tell the resulting words, and the mirror's own rule must lead to them. On chain these bind at once, so an open
batch is run again over the new words; fills and operations that fail then are refused at its seal like any other. A
sealed batch is beyond that: one the chain settles after a direct operation that it does not commute with was predicted
from words the chain does not have any more. That is found here, before anything is journalled, or by the codes or the
head it mines with (settlement/settler.py); either way the venue stops. Sealing such a batch again is issue 6's.
Must not: judge whether it was right to do; the contracts have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from afterbell.domain.chain_state import Mode
from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import AdoptDirectOperation
from afterbell.domain.delta_records import apply_records, check_records, read_records
from afterbell.domain.deltas import move_market, set_mode, withdraw_to_claim
from afterbell.domain.direct import DirectKind
from afterbell.domain.errors import DirectRefused, FieldOutOfRange
from afterbell.domain.events import CollateralExited, Event, MarketMoved, ModeChanged, PositionAdjusted
from afterbell.domain.ids import N_ADDRESS_BYTES, AccountId
from afterbell.domain.position import compute_pending_quote
from afterbell.domain.words import PositionWord, read_signed
from afterbell.engine.batching import rebuild_open_batch
from afterbell.engine.book import OpenOrder
from afterbell.engine.removal import cancel_each
from afterbell.engine.risk import compute_account_risk
from afterbell.engine.state import EngineState

KINDS: Final = (DirectKind.APPLY_DELTAS, DirectKind.MOVE_MARKET, DirectKind.WITHDRAW_TO_CLAIM, DirectKind.SET_MODE)
SETTLED: Final = "SETTLED"
_N_WORD_BYTES: Final = 32


def find_sibling_misfit(state: EngineState, command: AdoptDirectOperation) -> str | None:
    """Return why a direct operation of a sibling does not fit the state, or None."""
    subject, word = _subject_of(command), int.from_bytes(command.word, "big")
    if command.kind in (DirectKind.APPLY_DELTAS, DirectKind.MOVE_MARKET):
        if subject not in state.markets:
            return f"direct operation {command.direct_op} of market {subject}"
        return _find_overtaken(state, command, subject) or _find_wrong_words(state, command, subject)
    if command.kind == DirectKind.WITHDRAW_TO_CLAIM:
        return None if subject < 1 << 160 and word < 1 << 72 else f"{word} quote to {subject:#x}"
    if word > Mode.SETTLED:
        return f"mode {word}"
    n_batches = len(state.sealed) + (state.batch is not None)
    if word == Mode.SETTLED and n_batches:
        return (
            f"final settlement has begun on chain (direct operation {command.direct_op}) while {n_batches} batches "
            "were not settled: they never will be, the chain takes no batch any more, and what they hold is void"
        )
    return None


def _find_wrong_words(state: EngineState, command: AdoptDirectOperation, market: int) -> str | None:
    """Try the words on: the mirror's own rule must lead to them."""
    where = f"direct operation {command.direct_op} (kind {command.kind}, market {market})"
    if command.kind == DirectKind.MOVE_MARKET:
        is_whole = all(len(word) in (0, _N_WORD_BYTES) for word in (command.price_word, command.index_word))
        return None if is_whole else f"{where} with words of another length"
    try:
        check_records(state.chain, market, read_records(command.records), _read_pot_change(command))
    except (ValueError, DirectRefused, FieldOutOfRange) as error:
        return f"{where} does not lead from the mirror's words to those on chain: {error}; they differed before"
    return None


def _find_overtaken(state: EngineState, command: AdoptDirectOperation, market: int) -> str | None:
    """Name a sealed batch, later on chain than this operation, that wrote what it writes."""
    held: set[tuple[int, int]] = set()
    if command.kind == DirectKind.APPLY_DELTAS and len(command.records) % (3 * _N_WORD_BYTES) == 0:
        held = {(record.account_id, market) for record in read_records(command.records)}
    for batch in state.recent:
        if batch.sequence <= command.after_batch:
            continue
        is_market_moved = command.kind == DirectKind.MOVE_MARKET and (
            market in batch.prices or any(one == market for _, one in batch.positions)
        )
        if is_market_moved or market in batch.indices or held & batch.positions:
            return (
                f"direct operation {command.direct_op} (kind {command.kind}, market {market}) was made after batch "
                f"{command.after_batch} and before batch {batch.sequence}, which was sealed without knowing it and "
                "touches the same positions or prices: this version cannot seal a batch again, so trading stops; what "
                "the chain has stands"
            )
    return None


def adopt_sibling(state: EngineState, command: AdoptDirectOperation, time_s: int) -> list[Event]:
    """Take one direct operation of a sibling into mirror, open batch and books. find_sibling_misfit has passed."""
    kinds: dict[int, Callable[[EngineState, AdoptDirectOperation], list[Event]]] = {
        DirectKind.APPLY_DELTAS: _adopt_deltas,
        DirectKind.MOVE_MARKET: _adopt_market,
        DirectKind.WITHDRAW_TO_CLAIM: _adopt_withdrawal,
        DirectKind.SET_MODE: _adopt_mode,
    }
    events = kinds[command.kind](state, command)
    state.drop_draft()
    rebuild_open_batch(state)
    return events + _cancel_doomed(state, events, time_s)


# ------------------------------------------------------------------------ positions


def _adopt_deltas(state: EngineState, command: AdoptDirectOperation) -> list[Event]:
    chain, market, records = state.chain, _subject_of(command), read_records(command.records)
    index = chain.index(market)
    pending = [compute_pending_quote(chain.position(record.account_id, market), index) for record in records]
    apply_records(chain, market, records, _read_pot_change(command))
    return [
        PositionAdjusted(
            direct_op=command.direct_op,
            account=record.account_id,
            market=market,
            size_change_lots=record.size_change_lots,
            size_lots=PositionWord.unpack(record.position_word).size_lots,
            realised_quote=record.realised_quote,
            funding_quote=funding_quote,
            block=command.block,
            transaction=command.transaction,
        )
        for record, funding_quote in zip(records, pending, strict=True)
    ]


def _subject_of(command: AdoptDirectOperation) -> int:
    return int.from_bytes(command.subject, "big")


def _read_pot_change(command: AdoptDirectOperation) -> int:
    return read_signed(int.from_bytes(command.word, "big"), 256, 0)


# ------------------------------------------------------------------------ prices, withdrawals, mode


def _adopt_market(state: EngineState, command: AdoptDirectOperation) -> list[Event]:
    chain, market = state.chain, _subject_of(command)
    price_word = int.from_bytes(command.price_word, "big") if command.price_word else chain.prices.get(market, 0)
    index_word = int.from_bytes(command.index_word, "big") if command.index_word else chain.indices.get(market, 0)
    move_market(chain, market, price_word, index_word)
    return [
        MarketMoved(
            direct_op=command.direct_op,
            market=market,
            price_word=price_word.to_bytes(_N_WORD_BYTES, "big"),
            index_word=index_word.to_bytes(_N_WORD_BYTES, "big"),
            block=command.block,
            transaction=command.transaction,
        )
    ]


def _adopt_withdrawal(state: EngineState, command: AdoptDirectOperation) -> list[Event]:
    """Turn collateral into a claim; sums commute with whatever batches do to the account."""
    quote, recipient = int.from_bytes(command.word, "big"), _subject_of(command).to_bytes(N_ADDRESS_BYTES, "big")
    withdraw_to_claim(state.chain, command.account, recipient, quote)
    return [
        CollateralExited(
            direct_op=command.direct_op,
            account=command.account,
            quote=quote,
            recipient=recipient,
            block=command.block,
            transaction=command.transaction,
        )
    ]


def _adopt_mode(state: EngineState, command: AdoptDirectOperation) -> list[Event]:
    mode = Mode(int.from_bytes(command.word, "big"))
    set_mode(state.chain, mode)
    return [ModeChanged(direct_op=command.direct_op, mode=mode)]


# ------------------------------------------------------------------------ orders


def _cancel_doomed(state: EngineState, causes: list[Event], time_s: int) -> list[Event]:
    """End live orders that what happened leaves without a position to reduce, without margin, or without a venue."""
    events: list[Event] = []
    for cause in causes:
        match cause:
            case PositionAdjusted() | CollateralExited():
                events += cancel_uncovered(state, AccountId(cause.account), time_s)
            case MarketMoved():
                holders = sorted({order.account for order in state.orders.values()})
                for account in holders:
                    if cause.market in state.read_execution(time_s).positions(account):
                        events += cancel_uncovered(state, account, time_s)
            case ModeChanged() if cause.mode == Mode.SETTLED:
                events += cancel_each(state, list(state.orders.values()), SETTLED)
            case ModeChanged() if cause.mode == Mode.EXIT:
                opening = [order for order in state.orders.values() if not order.record.reduce_only]
                events += cancel_each(state, opening, RejectReason.OPENING_NOT_ALLOWED.value)
            case _:
                pass
    return events


def cancel_uncovered(state: EngineState, account: AccountId, time_s: int) -> list[Event]:
    """Cancel reduce-only orders with nothing to reduce, then, if margin is missing, every order that could open."""
    execution = state.read_execution(time_s)
    own = list(state.account_orders.get(account, {}).values())
    idle = [order for order in own if order.record.reduce_only and not order.is_waiting and not _reduces(state, order)]
    events = cancel_each(state, idle, RejectReason.REDUCE_ONLY.value)
    left = list(state.account_orders.get(account, {}).values())
    risk = compute_account_risk(state, execution, account, left)
    if risk.equity_quote >= risk.required_quote:
        return events
    opening = [order for order in left if not order.record.reduce_only]
    return events + cancel_each(state, opening, RejectReason.INSUFFICIENT_MARGIN.value)


def _reduces(state: EngineState, order: OpenOrder) -> bool:
    size_lots = state.read_execution(0).position(order.account, order.record.market_id).size_lots
    return size_lots < 0 if order.record.is_buy else size_lots > 0
