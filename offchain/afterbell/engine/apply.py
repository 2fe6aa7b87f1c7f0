"""Apply one command to the engine state: the only way it changes.

    apply(state, command, time_ms, previous_hash) -> events

Same state, same command, same time: same events and same state, on every machine. Rejections are events. A Faulted
means that the journal holds what no correct sequencer writes, or that an invariant broke; `validate_command` finds
the former before it is journalled. Must not: read a clock, draw a random number, iterate over a set, do I/O.
"""

from __future__ import annotations

from dataclasses import replace

from afterbell.domain.chain_state import FIRST_EPOCH, Mode
from afterbell.domain.commands import (
    AdoptDirectOperation,
    AdoptPrices,
    CancelAll,
    CancelOrder,
    Command,
    ConfirmBatch,
    CreditDeposit,
    HaltMarket,
    LinkKey,
    ListMarket,
    PlaceOrder,
    RequestTransfer,
    RequestWithdrawal,
    RevokeKey,
    SealBatch,
    SetMarketRules,
)
from afterbell.domain.errors import BatchReverted, Faulted, FieldOutOfRange
from afterbell.domain.events import (
    BatchConfirmed,
    DepositCredited,
    Event,
    IndexAccrued,
    MarketHalted,
    MarketListed,
    PricesAdopted,
)
from afterbell.domain.ids import MAX_ACCOUNT_ID, MAX_MARKETS
from afterbell.domain.session import MAX_SESSION
from afterbell.domain.settlement import apply_deposit, list_market, set_rules
from afterbell.domain.units import milliseconds_to_seconds
from afterbell.engine.batching import seal_batch
from afterbell.engine.book import Book
from afterbell.engine.cancels import cancel_all, cancel_order
from afterbell.engine.direct import adopt_direct_operation, find_misfit
from afterbell.engine.funding import sample_premiums
from afterbell.engine.operations import request_operation
from afterbell.engine.orders import place_order
from afterbell.engine.prices import build_execution, read_prices
from afterbell.engine.removal import cancel_each, purge_expired, purge_left_behind
from afterbell.engine.state import EngineState, MarketInfo, OpenBatch
from afterbell.engine.triggers import act_on_pending, act_on_triggers, disarm


class CommandRefused(Faulted):
    """A venue command (prices, deposit, confirmation, listing) that does not fit the state: a bug of who sent it."""


def apply(state: EngineState, command: Command, *, time_ms: int, previous_hash: bytes) -> list[Event]:
    """Change `state` by one journalled command and return what happened, in order.

    time_ms and previous_hash come from the journal frame (previous_hash: hash of the frame before it).
    Raises: Faulted: the journal holds what no correct sequencer writes; stop.
    """
    if time_ms < state.last_time_ms:
        raise CommandRefused(f"time must not decrease: last {state.last_time_ms} ms, found {time_ms} ms")
    validate_command(state, command, time_ms=time_ms)
    state.last_time_ms = time_ms
    sample_premiums(state, milliseconds_to_seconds(time_ms))
    events = purge_expired(state, milliseconds_to_seconds(time_ms))
    if isinstance(command, PlaceOrder):
        events += place_order(state, command, time_ms)
    elif isinstance(command, CancelOrder):
        events += cancel_order(state, command, time_ms)
    elif isinstance(command, CancelAll):
        events += cancel_all(state, command, time_ms)
    elif isinstance(command, RequestWithdrawal | RequestTransfer | LinkKey | RevokeKey):
        events += request_operation(state, command, time_ms)
    elif isinstance(command, SealBatch):
        if command.journal_hash != previous_hash:
            raise CommandRefused(f"SealBatch must carry 0x{previous_hash.hex()}, found 0x{command.journal_hash.hex()}")
        events += seal_batch(state, command.journal_hash)
        events += act_on_pending(state, milliseconds_to_seconds(time_ms))
    else:
        events += _apply_venue_command(state, command, milliseconds_to_seconds(time_ms))
    return events


def _apply_venue_command(
    state: EngineState,
    command: ListMarket
    | SetMarketRules
    | AdoptPrices
    | CreditDeposit
    | AdoptDirectOperation
    | ConfirmBatch
    | HaltMarket,
    time_s: int,
) -> list[Event]:
    if isinstance(command, AdoptPrices):
        return _adopt_prices(state, command, time_s)
    if isinstance(command, CreditDeposit):
        return _credit_deposit(state, command)
    if isinstance(command, AdoptDirectOperation):
        return adopt_direct_operation(state, command, time_s)
    if isinstance(command, ConfirmBatch):
        return _confirm_batch(state, command)
    if isinstance(command, HaltMarket):
        return _halt_market(state, command)
    if isinstance(command, ListMarket):
        return _list_market(state, command)
    set_rules(state.chain, command.market, command.session, int.from_bytes(command.rules_word, "big"))
    state.drop_draft()
    return []


def validate_command(state: EngineState, command: Command, *, time_ms: int) -> None:
    """Check that a venue command fits the state; client commands always do. The sequencer asks before it journals.

    Raises: CommandRefused; a frame that raised here can never be replayed, so it must not be written.
    """
    if isinstance(command, AdoptPrices):
        _must_have_no_batch(state, command)
        _build_priced_batch(state, command, milliseconds_to_seconds(time_ms))
    elif isinstance(command, CreditDeposit):
        if command.direct_op != state.chain.direct_op + 1:
            raise CommandRefused(f"deposit {state.chain.direct_op + 1} must come next, found {command.direct_op}")
        if not 0 <= command.account <= MAX_ACCOUNT_ID or command.quote < 0:
            raise CommandRefused(f"deposit of {command.quote} quote to account {command.account:#x}")
    elif isinstance(command, AdoptDirectOperation):
        misfit = find_misfit(state, command)
        if misfit is not None:
            raise CommandRefused(misfit)
    elif isinstance(command, ConfirmBatch):
        _must_be_predicted(state, command)
    elif isinstance(command, HaltMarket):
        _must_be_listed(state, command.market)
    elif isinstance(command, ListMarket):
        _must_have_no_batch(state, command)
        if not 1 <= command.market <= MAX_MARKETS or command.market in state.markets:
            raise CommandRefused(f"market id must be free and in [1, {MAX_MARKETS}], found {command.market}")
    elif isinstance(command, SetMarketRules):
        _must_have_no_batch(state, command)
        _must_be_listed(state, command.market)
        if not 0 <= command.session <= MAX_SESSION or len(command.rules_word) != 32:
            raise CommandRefused(f"rules of session {command.session}, {len(command.rules_word)} bytes")


def _must_have_no_batch(state: EngineState, command: Command) -> None:
    if state.batch is not None:
        raise CommandRefused(f"{type(command).__name__} needs the open batch sealed first")


def _must_be_listed(state: EngineState, market: int) -> None:
    if market not in state.markets:
        raise CommandRefused(f"market {market} is not listed")


def _must_be_predicted(state: EngineState, command: ConfirmBatch) -> None:
    if not state.sealed:
        raise CommandRefused(f"no sealed batch waits for confirmation, found {command.sequence}")
    expected = state.sealed[0]
    if (command.sequence, command.head, command.codes) != (expected.sequence, expected.head, expected.codes):
        raise CommandRefused(
            f"batch {expected.sequence} must have head 0x{expected.head.hex()} and codes 0x{expected.codes.hex()}; "
            f"the chain has batch {command.sequence}, 0x{command.head.hex()}, 0x{command.codes.hex()}: stop trading"
        )


def _build_priced_batch(state: EngineState, command: AdoptPrices, time_s: int) -> OpenBatch:
    prices = read_prices(state, command, time_s)
    if isinstance(prices, str):
        raise CommandRefused(prices)
    if state.chain.mode == Mode.SETTLED:
        raise CommandRefused("final settlement has begun on chain: it takes no batch any more; stop the exchange")
    try:
        return OpenBatch(execution=build_execution(state, prices, time_s), prices=prices)
    except (BatchReverted, FieldOutOfRange) as error:
        raise CommandRefused(f"the contract would refuse these prices: {error}") from error


def _adopt_prices(state: EngineState, command: AdoptPrices, time_s: int) -> list[Event]:
    batch = _build_priced_batch(state, command, time_s)
    execution = batch.execution
    state.drop_draft()
    state.batch = batch
    markets = sorted({row[0] for row in command.rows} | {one[0] for one in command.stated})
    prices = []
    for market in markets:
        price = execution.price(market)
        prices.append((market, price.mark_ticks, price.index_ticks, price.external_ticks, price.session))
    events: list[Event] = [PricesAdopted(prices=tuple(prices))]
    events += _list_accruals(state, batch)
    events += disarm(state, markets, time_s)
    for market in markets:
        events += purge_left_behind(state, market, execution.band(market))
    return events + act_on_triggers(state, markets, time_s)


def _list_accruals(state: EngineState, batch: OpenBatch) -> list[Event]:
    """Say which indices these prices move, and begin their next samples."""
    events: list[Event] = []
    for row in batch.prices.rows:
        if not row.funding:
            continue
        state.premiums.pop(row.market_id, None)
        index, before = batch.execution.index(row.market_id), state.chain.index(row.market_id)
        if (index.long_index_e12, index.short_index_e12) != (before.long_index_e12, before.short_index_e12):
            events.append(
                IndexAccrued(
                    market=row.market_id,
                    premium_ppb=row.premium_ppb,
                    long_index_e12=index.long_index_e12,
                    short_index_e12=index.short_index_e12,
                    funding_time_s=index.funding_time_s,
                )
            )
    return events


def _credit_deposit(state: EngineState, command: CreditDeposit) -> list[Event]:
    apply_deposit(state.chain, command.account, command.quote)
    state.drop_draft()
    if state.batch is not None:
        state.batch.execution.note_deposit(command.account, command.quote)
    return [
        DepositCredited(
            direct_op=command.direct_op,
            account=command.account,
            quote=command.quote,
            collateral_quote=state.read_execution(0).collateral_quote(command.account),
            block=command.block,
            transaction=command.transaction,
        )
    ]


def _confirm_batch(state: EngineState, command: ConfirmBatch) -> list[Event]:
    state.sealed.popleft()
    return [
        BatchConfirmed(
            sequence=command.sequence,
            block=command.block,
            transaction=command.transaction,
            gas_used=command.gas_used,
        )
    ]


def _halt_market(state: EngineState, command: HaltMarket) -> list[Event]:
    state.markets[command.market].halt_reason = command.reason
    events: list[Event] = [MarketHalted(market=command.market, reason=command.reason)]
    book = state.books[command.market]
    doomed = [order for side in (book.bids, book.asks) for order in side.iterate_orders()]
    return events + cancel_each(state, [*doomed, *state.triggers.list_waiting(command.market)], "MARKET_HALTED")


def _list_market(state: EngineState, command: ListMarket) -> list[Event]:
    list_market(state.chain, command.market)
    if command.epoch != FIRST_EPOCH:
        price = replace(state.chain.price(command.market), epoch=command.epoch)
        state.chain.prices[command.market] = price.pack()
    state.markets[command.market] = MarketInfo(
        market=command.market,
        symbol=command.symbol,
        lot_exponent=command.lot_exponent,
        ticks_per_usd=command.ticks_per_usd,
        synthetic=command.synthetic,
    )
    state.books[command.market] = Book(command.market)
    state.drop_draft()
    return [MarketListed(market=command.market, symbol=command.symbol)]
