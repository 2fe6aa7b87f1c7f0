"""Batches: what opens and closes them, what the payload says, and what happens when mirror and engine differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from afterbell.domain.batch import compute_head, decode, encode, hash_payload
from afterbell.domain.chain_state import store_word
from afterbell.domain.commands import (
    AdoptPrices,
    Command,
    ConfirmBatch,
    CreditDeposit,
    HaltMarket,
    ListMarket,
    SealBatch,
    SetMarketRules,
)
from afterbell.domain.errors import InvariantBroken
from afterbell.domain.events import BatchConfirmed, BatchSealed, Event, FillMatched, FillRejected, PricesAdopted
from afterbell.domain.ids import account_key
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.engine.apply import CommandRefused, apply
from afterbell.engine.batching import build_payload
from afterbell.engine.queries import read_account
from afterbell.engine.state import EngineState, compute_state_hash
from tests.engine.support import CONFIG, RULES, START_MS, USDC, Venue, account, open_venue, owner


def sealed_of(events: list[Event]) -> BatchSealed:
    (sealed,) = [event for event in events if isinstance(event, BatchSealed)]
    return sealed


def trade(venue: Venue, size_lots: int = 300) -> FillMatched:
    venue.place(1, "sell", size_lots, 10_000)
    fill = venue.place(2, "buy", size_lots, 10_000, time_in_force=TimeInForce.IOC)[0]
    assert isinstance(fill, FillMatched)
    return fill


def test_seal__no_open_batch__does_nothing() -> None:
    venue = open_venue()
    venue.seal()

    assert venue.seal() == []
    assert not venue.state.has_open_batch


def test_seal__only_prices__is_a_heartbeat() -> None:
    venue = open_venue()

    sealed = sealed_of(venue.seal())

    assert (sealed.sequence, sealed.n_orders, sealed.n_operations, sealed.fill_ids) == (1, 0, 0, ())
    assert sealed.matched_at_s == START_MS // 1_000


def test_seal__batch_opened_by_a_fill__is_matched_at_that_second() -> None:
    """The resting order came 10 s earlier and opens nothing."""
    venue = open_venue()
    venue.seal()
    venue.time_ms += 20_000
    venue.place(1, "sell", 300, 10_000)
    assert not venue.state.has_open_batch
    venue.time_ms += 10_500
    venue.place(2, "buy", 100, 10_000)
    venue.time_ms += 5_000
    venue.place(2, "buy", 200, 10_000)

    sealed = sealed_of(venue.seal())

    assert sealed.matched_at_s == START_MS // 1_000 + 30
    assert len(sealed.fill_ids) == 2


def test_seal__payload__decodes_to_what_happened_and_chains_heads() -> None:
    """Accounts ascend by id, whoever made: the maker's order has the index of its account."""
    venue = open_venue()
    fill = trade(venue)
    journal_hash = venue.head_hash

    sealed = sealed_of(venue.seal())
    payload = decode(sealed.payload)

    assert (payload.header.sequence, payload.header.matched_at_s, payload.header.direct_op) == (1, venue.time_s, 4)
    assert payload.header.journal_hash == journal_hash
    by_account = sorted([account(1), account(2)])
    assert [record.account_id for record in payload.accounts] == by_account
    maker, taker = by_account.index(account(1)), by_account.index(account(2))
    assert [(row.maker_order, row.taker_order, row.size_lots) for row in payload.fills] == [(maker, taker, 300)]
    assert payload.evidence == b"evidence"
    assert [(row.market_id, row.mark_ticks) for row in payload.rows] == [(1, 10_000)]
    assert sealed.fill_ids == (fill.fill_id,) == (1,)
    assert sealed.codes == b"\0\0\0"
    assert sealed.previous_head == bytes(32)
    assert sealed.head == compute_head(bytes(32), hash_payload(sealed.payload), sealed.codes)
    second = sealed_of([*trade_again(venue)])
    assert (second.sequence, second.previous_head) == (2, sealed.head)


def trade_again(venue: Venue) -> list[Event]:
    trade(venue)
    return venue.seal()


def test_seal__two_orders_of_one_lane__both_are_in_the_table() -> None:
    """The lane is recycled inside the batch: first seq fills, then its replacement fills."""
    venue = open_venue()
    venue.place(1, "sell", 500, 10_000, lane=3)
    venue.place(2, "buy", 200, 10_000)
    venue.place(1, "sell", 500, 10_001, lane=3)
    venue.place(2, "buy", 500, 10_001)

    sealed = sealed_of(venue.seal())

    assert sealed.n_orders == 4
    assert not any(sealed.codes)
    assert venue.state.chain.lane(account(1), 3)[1] == 500


def test_seal__order_fills_across_batches__filled_adds_up_on_its_lane() -> None:
    venue = open_venue()
    venue.place(1, "sell", 500, 10_000, lane=3)
    for size_lots in (100, 150, 250):
        venue.place(2, "buy", size_lots, 10_000)
        assert not any(sealed_of(venue.seal()).codes)

    assert venue.state.chain.lane(account(1), 3)[1] == 500
    assert not venue.state.orders


def test_seal__journal_hash_of_another_frame__faults() -> None:
    venue = open_venue()

    with pytest.raises(CommandRefused, match="SealBatch must carry"):
        venue.send(SealBatch(journal_hash=b"\x07" * 32))


def test_seal__mirror_refuses_a_fill__both_sides_are_compensated() -> None:
    """The taker's collateral is taken from the mirror behind the engine's back, as no rule allows.

    The fill fails with MARGIN on the taker's side; then the engine holds the mirror's words: nobody has a position.
    """
    venue = open_venue()
    fill = trade(venue)
    chain = venue.state.chain
    word = chain.account(account(2))
    store_word(chain.accounts, account_key(account(2)), replace(word, collateral_quote=1).pack())

    events = venue.seal()

    rejected = [event for event in events if isinstance(event, FillRejected)]
    assert [(event.fill_id, event.code) for event in rejected] == [(fill.fill_id, 48 + 64)]
    assert sealed_of(events).codes == bytes([0, 0, 48 + 64])
    assert read_account(venue.state, account(1), venue.time_s).positions == ()
    assert read_account(venue.state, account(2), venue.time_s).collateral_quote == 1


def test_seal__engine_and_mirror_disagree_without_a_refusal__faults() -> None:
    """One quote unit more in the mirror than in the engine, and every fill passes: an invariant is broken."""
    venue = open_venue()
    trade(venue)
    chain = venue.state.chain
    word = chain.account(account(2))
    store_word(
        chain.accounts, account_key(account(2)), replace(word, collateral_quote=word.collateral_quote + 1).pack()
    )

    with pytest.raises(InvariantBroken, match="collateral of account"):
        venue.seal()


def test_confirm__as_predicted__is_an_event_and_in_order() -> None:
    venue = open_venue()
    sealed = sealed_of(venue.seal())
    confirm = ConfirmBatch(
        sequence=1, head=sealed.head, codes=sealed.codes, block=9, transaction=b"\x0a" * 32, gas_used=123_456
    )

    assert venue.send(confirm) == [BatchConfirmed(sequence=1, block=9, transaction=b"\x0a" * 32, gas_used=123_456)]
    with pytest.raises(CommandRefused, match="no sealed batch waits"):
        venue.send(confirm)


@pytest.mark.parametrize("fields", [{"sequence": 2}, {"head": b"\x01" * 32}, {"codes": b"\x30"}])
def test_confirm__differs_from_the_prediction__faults(fields: dict[str, object]) -> None:
    venue = open_venue()
    sealed = sealed_of(venue.seal())
    confirm = ConfirmBatch(sequence=1, head=sealed.head, codes=sealed.codes, block=9, transaction=bytes(32), gas_used=1)

    with pytest.raises(CommandRefused, match="stop trading"):
        venue.send(msgspec.structs.replace(confirm, **fields))


def test_prices__adopted__are_what_the_contract_will_hold() -> None:
    """The mark may move 5,000 ppm per 3 s: 10,000 -> 10,050 after 3 s, though the row asks for 10,200."""
    venue = open_venue()
    venue.time_ms += 3_000

    (event,) = [event for event in venue.prices(10_100, mark_ticks=10_200) if isinstance(event, PricesAdopted)]

    assert event.prices == ((1, 10_050, 10_100, 10_100, 2),)
    venue.seal()
    assert venue.state.chain.price(1).mark_ticks == 10_050


PRICES = AdoptPrices(rows=((1, 10_000, 10_000, 0),), stated=((1, 10_000, START_MS // 1_000, 2, 60, 0),), evidence=b"")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (PRICES, "needs the open batch sealed first"),
        (ListMarket(market=2, symbol="X", epoch=1, lot_exponent=4, ticks_per_usd=100, synthetic=True), "sealed first"),
        (SetMarketRules(market=1, session=2, rules_word=bytes(32)), "sealed first"),
        (HaltMarket(market=9, reason="?"), "market 9 is not listed"),
        (
            CreditDeposit(direct_op=4, account=1, quote=1, sender=owner(1), block=1, transaction=b""),
            "deposit 5 must come next, found 4",
        ),
        (
            CreditDeposit(direct_op=5, account=1 << 240, quote=1, sender=owner(1), block=1, transaction=b""),
            "to account",
        ),
    ],
)
def test_venue_command__does_not_fit_the_open_batch__is_refused(command: Command, message: str) -> None:
    venue = open_venue()

    with pytest.raises(CommandRefused, match=message):
        apply(venue.state, command, time_ms=venue.time_ms, previous_hash=venue.head_hash)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (msgspec.structs.replace(PRICES, rows=((2, 1, 1, 0),)), "missing .2."),
        (msgspec.structs.replace(PRICES, rows=(), stated=((3, 1, 1, 2, 60, 0),)), "prices: unknown market"),
        (msgspec.structs.replace(PRICES, stated=((1, 1, 1, 9, 60, 0),)), "sessions must lie in"),
        (msgspec.structs.replace(PRICES, stated=((1, 1, 1, 2, 1 << 16, 0),)), "session_minutes"),
        (msgspec.structs.replace(PRICES, rows=((1, 1, 1, 0), (1, 1, 1, 0))), "must ascend"),
        (msgspec.structs.replace(PRICES, stated=((1, 1 << 40, 1, 2, 60, 0),)), "external_ticks"),
        (msgspec.structs.replace(PRICES, evidence=bytes(4_097)), "evidence must be at most 4096"),
        (ListMarket(market=1, symbol="X", epoch=1, lot_exponent=4, ticks_per_usd=100, synthetic=True), "must be free"),
        (ListMarket(market=33, symbol="X", epoch=1, lot_exponent=4, ticks_per_usd=100, synthetic=True), "must be free"),
        (SetMarketRules(market=1, session=9, rules_word=bytes(32)), "rules of session 9"),
    ],
)
def test_venue_command__does_not_fit_the_state__is_refused_and_changes_nothing(command: Command, message: str) -> None:
    venue = open_venue()
    venue.seal()
    before = compute_state_hash(venue.state)

    with pytest.raises(CommandRefused, match=message):
        apply(venue.state, command, time_ms=venue.time_ms, previous_hash=venue.head_hash)

    assert compute_state_hash(venue.state) == before


def test_prices__market_without_external_price__are_refused() -> None:
    venue = Venue()
    venue.list_market()

    with pytest.raises(CommandRefused, match="prices: no external"):
        venue.send(msgspec.structs.replace(PRICES, stated=((1, 0, 0, 2, 60, 0),)))


def test_apply__time_goes_back__faults() -> None:
    venue = open_venue()
    venue.time_ms -= 1

    with pytest.raises(CommandRefused, match="time must not decrease"):
        venue.deposit(1, USDC)


def test_state_hash__one_lot_or_one_unit_differs__differs() -> None:
    first, second = open_venue(), open_venue()
    assert compute_state_hash(first.state) == compute_state_hash(second.state)

    first.place(1, "buy", 500, 9_990)
    second.place(1, "buy", 510, 9_990)
    assert compute_state_hash(first.state) != compute_state_hash(second.state)


def _change_open_order(state: EngineState, **changes: object) -> None:
    (order,) = state.orders.values()
    for name, value in changes.items():
        setattr(order, name, value)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.chain.overflows.update({1: 1}),
        lambda state: state.chain.session_keys.update({1: 1}),
        lambda state: state.chain.approvals.add((owner(1), bytes(32))),
        lambda state: state.client_ids.update({account(1): {"a": bytes(32)}}),
        lambda state: setattr(state.triggers, "is_pending", True),
        lambda state: setattr(state, "next_order_number", 9),
        lambda state: _change_open_order(state, signer=owner(9)),
        lambda state: _change_open_order(state, partner_id=bytes(32)),
        lambda state: _change_open_order(state, order_number=9),
        lambda state: state.triggers.wait(*state.orders.values()),
        lambda state: state.batch.signers.update({bytes(32): owner(9)}),
    ],
    ids=[
        "overflow",
        "key",
        "approval",
        "client id",
        "pending",
        "number",
        "signer",
        "partner",
        "turn",
        "waits",
        "batch",
    ],
)
def test_state_hash__one_part_differs__differs(change: Callable[[EngineState], None]) -> None:
    """Each part by hand on one of two equal states, so that no part can be forgotten in the hash."""
    first, second = open_venue(), open_venue()
    for venue in (first, second):
        venue.place(1, "buy", 500, 9_990)
    assert compute_state_hash(first.state) == compute_state_hash(second.state)

    change(second.state)

    assert compute_state_hash(first.state) != compute_state_hash(second.state)


def test_state_hash__questions_asked__leave_no_trace() -> None:
    asked, silent = open_venue(), open_venue()
    for venue in (asked, silent):
        trade(venue)
    read_account(asked.state, account(3), asked.time_s)
    read_account(asked.state, account(2), asked.time_s + 50)
    for venue in (asked, silent):
        venue.deposit(3, 7)
        venue.place(3, "buy", 300, 9_990)
        venue.seal()

    assert compute_state_hash(asked.state) == compute_state_hash(silent.state)


def test_state__empty__has_a_hash_of_its_configuration() -> None:
    other = replace(CONFIG, chain_id=1)

    assert compute_state_hash(EngineState(CONFIG)) == compute_state_hash(EngineState(CONFIG))
    assert compute_state_hash(EngineState(CONFIG)) != compute_state_hash(EngineState(other))
    assert RULES.pack()


def test_batch__room_it_counts__is_never_less_than_its_payload() -> None:
    """Orders with triggers are a word longer; padding of fills, rows and evidence is counted whole: 3 words at most."""
    venue = open_venue()
    venue.place(1, "sell", 1_000, 10_000)
    met = {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": 10_000}
    for number, fields in ((2, met), (3, {}), (4, met)):
        venue.place(number, "buy", 100, 10_000, **fields)
        venue.withdraw(number, USDC)
        assert venue.state.batch is not None
        n_bytes = venue.state.batch.n_bytes
        payload, _ = build_payload(venue.state, venue.state.batch, bytes(32))
        assert len(encode(payload)) <= n_bytes <= len(encode(payload)) + 96
