"""The read model of triggers, OCO, amendments, funding and session keys; and that no question reads a whole table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, event

from afterbell.domain.commands import AdoptDirectOperation, Command, LinkKey, RevokeKey, SealBatch
from afterbell.domain.events import (
    BatchSealed,
    CollateralExited,
    Event,
    KeyLinked,
    KeyRevoked,
    OrderAccepted,
    OrderCancelled,
    OrderReduced,
    OrderTriggered,
    OrderWaiting,
    PositionAdjusted,
    TransferAccepted,
)
from afterbell.domain.ids import account_bytes
from afterbell.domain.words import SessionKeyWord
from afterbell.readmodel.database import open_database, sqlite_dsn
from afterbell.readmodel.projector import Projector
from afterbell.readmodel.queries import KeyView, OrderView, ReadModel
from afterbell.readmodel.tables import CANDLE_INTERVALS_S, CandleKind
from tests.readmodel.test_projector import (
    MAKER,
    MAKER_ORDER,
    TAKER,
    TAKER_ORDER,
    TRANSACTION,
    WrittenFrame,
    accepted,
    adopted,
    fill,
    frame,
    place,
    refuse,
    sealed,
    trade_frames,
)

KEY = b"\x4e" * 20
OTHER = b"\xcc" * 32
LINK, REVOCATION = b"\x01" * 32, b"\x02" * 32
WORD = SessionKeyWord(expiry_s=900, max_notional_quote=2**63 + 5, markets=0b101, trade_only=True, is_linked=True)


def order_of(database: Engine, order_id: bytes) -> OrderView:
    found = ReadModel(database).get_order(order_id)
    assert found is not None
    return found


def accept(order_id: bytes, **changes: Any) -> OrderAccepted:
    resting = accepted(order_id, MAKER, is_buy=False, filled_lots=0, resting_lots=100)
    return msgspec.structs.replace(resting, **changes)


# ------------------------------------------------------------------------ orders


def test_order__waits_acts_and_waits_again__status_and_signer_kept(database: Engine) -> None:
    projector = Projector(database)
    waiting = accept(MAKER_ORDER, resting_lots=0, is_waiting=True, trigger_ticks=4_900, trigger_kind=2, signer=KEY)
    steps: list[Event] = [
        waiting,
        OrderTriggered(order_id=MAKER_ORDER, account=MAKER, market=1, trigger_ticks=4_900, resting_lots=100),
        fill(1, 30),
        OrderWaiting(order_id=MAKER_ORDER, account=MAKER, market=1, remaining_lots=70),
        OrderTriggered(order_id=MAKER_ORDER, account=MAKER, market=1, trigger_ticks=4_900, resting_lots=70),
        fill(2, 70),
    ]
    seen = []
    for number, step in enumerate(steps, 1):
        projector.catch_up([(frame(number, place(MAKER_ORDER, MAKER)), [step])])
        order = order_of(database, MAKER_ORDER)
        seen.append((order.status, order.filled_lots, order.remaining_lots))

    assert seen == [
        ("WAITING", 0, 100),
        ("OPEN", 0, 100),
        ("OPEN", 30, 70),
        ("WAITING", 30, 70),
        ("OPEN", 30, 70),
        ("FILLED", 100, 0),
    ]
    assert (order.trigger_ticks, order.trigger_kind, order.signer) == (4_900, 2, KEY)


def test_oco__one_fills__other_shrinks_and_is_named(database: Engine) -> None:
    """40 of 100 lots filled by one leave 60 to both; its last 60 end the other."""
    reduced = OrderReduced(order_id=OTHER, account=MAKER, market=1, remaining_lots=60)
    ended = OrderCancelled(order_id=OTHER, account=MAKER, market=1, remaining_lots=60, reason="OCO")
    projector = Projector(database)
    projector.catch_up([(frame(1), [accept(MAKER_ORDER)]), (frame(2), [accept(OTHER)])])

    projector.catch_up([(frame(3), [fill(1, 40), reduced])])
    halfway = [order_of(database, order_id) for order_id in (MAKER_ORDER, OTHER)]
    projector.catch_up([(frame(4), [fill(2, 60), ended])])
    done = [order_of(database, order_id) for order_id in (MAKER_ORDER, OTHER)]

    assert [(order.filled_lots, order.remaining_lots, order.oco_order_id) for order in halfway] == [
        (40, 60, OTHER),
        (0, 60, MAKER_ORDER),
    ]
    assert [(order.status, order.reason) for order in done] == [("FILLED", None), ("CANCELLED", "OCO")]


def test_oco__last_lots_fill_after_the_other_took_some__filled(database: Engine) -> None:
    """Of a size of 100, 30 went to the other order: the 70 left are all there is."""
    reduced = OrderReduced(order_id=MAKER_ORDER, account=MAKER, market=1, remaining_lots=70)
    Projector(database).catch_up([(frame(1), [accept(MAKER_ORDER)]), (frame(2), [reduced]), (frame(3), [fill(1, 70)])])

    order = order_of(database, MAKER_ORDER)

    assert (order.status, order.filled_lots, order.remaining_lots) == ("FILLED", 70, 0)


def test_amendment__names_what_it_replaced__and_the_old_order_ends(database: Engine) -> None:
    events: list[Event] = [
        OrderCancelled(order_id=MAKER_ORDER, account=MAKER, market=1, remaining_lots=100, reason="AMENDED"),
        accept(OTHER, amends=MAKER_ORDER, nonce=6),
    ]
    Projector(database).catch_up([(frame(1), [accept(MAKER_ORDER)]), (frame(2), events)])

    old, new = order_of(database, MAKER_ORDER), order_of(database, OTHER)

    assert (old.status, old.reason, new.status, new.amends) == ("CANCELLED", "AMENDED", "OPEN", MAKER_ORDER)
    assert (new.signer, new.oco_order_id) == (account_bytes(MAKER)[:20], None)


def test_client_id__used_again__newest_that_was_taken(database: Engine) -> None:
    frames: list[tuple[WrittenFrame, list[Event]]] = [
        (frame(1), [accept(MAKER_ORDER, client_id="x", nonce=1)]),
        (frame(2), [accept(OTHER, client_id="x", nonce=2)]),
        (frame(3), [accept(TAKER_ORDER, client_id="y", nonce=3)]),
    ]
    Projector(database).catch_up(frames)
    reads = ReadModel(database)

    found = reads.get_order_of_client(account_bytes(MAKER), "x")

    assert found is not None and found.order_id == OTHER
    assert reads.get_order_of_client(account_bytes(TAKER), "x") is None


# ----------------------------------------------------------------------- funding


def test_funding__fills_settle_payments__listed_newest_first_and_refused_ones_are_none(database: Engine) -> None:
    """Maker pays 12 and 7, taker receives 12; the third fill is refused, the fourth settles nothing."""
    fills = [
        msgspec.structs.replace(fill(1, 10), maker_funding_quote=12, taker_funding_quote=-12),
        msgspec.structs.replace(fill(2, 10), maker_funding_quote=7),
        msgspec.structs.replace(fill(3, 10), maker_funding_quote=99),
        fill(4, 10),
    ]
    frames: list[tuple[WrittenFrame, list[Event]]] = [(frame(n), [found]) for n, found in enumerate(fills, 1)]
    Projector(database).catch_up([*frames, (frame(5), [refuse(3, 1)])])
    reads = ReadModel(database)

    paid = reads.read_funding(account_bytes(MAKER), limit=10, before=None)
    received = reads.read_funding(account_bytes(TAKER), limit=10, before=None)
    older = reads.read_funding(account_bytes(MAKER), limit=1, before=paid[0].payment_id)

    assert [(payment.fill_id, payment.quote, payment.time_ms) for payment in paid] == [(2, 7, 2_000), (1, 12, 1_000)]
    assert [payment.quote for payment in received] == [-12]
    assert [payment.fill_id for payment in older] == [1]
    assert reads.read_funding(account_bytes(MAKER), limit=10, before=None, market=2) == []
    shown = reads.read_fills(account_bytes(TAKER), limit=10, before=2)
    assert [(found.maker_funding_quote, found.taker_funding_quote) for found in shown] == [(12, -12)]


# ------------------------------------------------------------------ session keys


def linked(operation_id: bytes = LINK, *, word: SessionKeyWord = WORD, sequence: int = 1) -> KeyLinked:
    return KeyLinked(
        operation_id=operation_id,
        sequence=sequence,
        account=MAKER,
        key=KEY,
        word=word.pack().to_bytes(32, "big"),
        transaction=b"" if operation_id else TRANSACTION,
    )


def revoked(operation_id: bytes = REVOCATION, *, revoked_at_s: int = 0) -> KeyRevoked:
    word = SessionKeyWord(revoked_at_s=revoked_at_s, is_linked=True)
    return KeyRevoked(
        operation_id=operation_id,
        sequence=2,
        account=MAKER,
        key=KEY,
        word=word.pack().to_bytes(32, "big"),
        transaction=b"" if operation_id else TRANSACTION,
    )


def key_of(database: Engine) -> KeyView:
    (found,) = ReadModel(database).read_keys(account_bytes(MAKER))
    assert ReadModel(database).get_key(account_bytes(MAKER), KEY) == found
    return found


def test_key__linked_by_a_batch__transaction_is_the_batchs(database: Engine) -> None:
    projector = Projector(database)
    projector.catch_up([(frame(1), [linked()]), (frame(2), [sealed(fill_ids=(), codes=b"\0", operation_ids=(LINK,))])])
    sealed_key = key_of(database)
    projector.catch_up([(published, events) for published, events in trade_frames() if published.sequence == 4])

    key = key_of(database)

    assert (key.expiry_s, key.max_notional_quote, key.markets) == (900, 2**63 + 5, 0b101)
    assert (key.trade_only, key.reduce_only, key.linked_at_ms) == (True, False, 1_000)
    assert (sealed_key.link_batch_status, sealed_key.link_transaction) == ("sealed", None)
    assert (key.link_batch_status, key.link_transaction, key.link_block) == ("mined", TRANSACTION, 12)
    assert (key.link_operation_id, key.link_code, key.revoked_at_ms) == (LINK, None, None)


def test_key__refused_by_the_chain__has_its_code(database: Engine) -> None:
    frames: list[tuple[WrittenFrame, list[Event]]] = [
        (frame(1), [linked()]),
        (frame(2), [sealed(fill_ids=(), codes=bytes([21]), operation_ids=(LINK,))]),
    ]

    Projector(database).catch_up(frames)

    assert key_of(database).link_code == "BAD_KEY"


def test_key__linked_directly_on_chain__transaction_is_its_own(database: Engine) -> None:
    Projector(database).catch_up([(frame(1), [linked(b"")])])

    key = key_of(database)

    assert (key.link_operation_id, key.link_sequence, key.link_transaction) == (None, None, TRANSACTION)


def test_key__revoked_by_a_batch_then_linked_anew__alive_with_the_new_limits(database: Engine) -> None:
    projector = Projector(database)
    projector.catch_up([(frame(1), [linked()]), (frame(2), [revoked()])])
    gone = key_of(database)
    again = SessionKeyWord(expiry_s=999, max_notional_quote=1, markets=1, is_linked=True)

    projector.catch_up([(frame(3), [linked(b"\x03" * 32, word=again, sequence=3)])])

    key = key_of(database)
    assert (gone.revoke_operation_id, gone.revoke_sequence, gone.revoked_at_ms) == (REVOCATION, 2, 2_000)
    assert gone.max_notional_quote == 2**63 + 5
    assert (key.expiry_s, key.max_notional_quote, key.revoked_at_ms) == (999, 1, None)


def test_key__revoked_on_chain__no_link_brings_it_back(database: Engine) -> None:
    dead = SessionKeyWord(expiry_s=999, max_notional_quote=1, markets=1, revoked_at_s=5, is_linked=True)
    frames: list[tuple[WrittenFrame, list[Event]]] = [
        (frame(1), [linked()]),
        (frame(2), [revoked(b"", revoked_at_s=5)]),
        (frame(3), [linked(b"\x03" * 32, word=dead, sequence=3)]),
    ]

    Projector(database).catch_up(frames)

    key = key_of(database)
    assert (key.expiry_s, key.revoked_at_ms, key.revoke_transaction) == (999, 2_000, TRANSACTION)


def test_key__refused_revocation__did_not_happen(database: Engine) -> None:
    frames: list[tuple[WrittenFrame, list[Event]]] = [
        (frame(1), [linked()]),
        (frame(2), [revoked()]),
        (frame(3), [sealed(fill_ids=(), codes=bytes([0, 17]), operation_ids=(LINK, REVOCATION))]),
    ]

    Projector(database).catch_up(frames)

    key = key_of(database)
    assert (key.revoked_at_ms, key.revoke_operation_id, key.link_code) == (None, None, None)


def test_commands_of_keys__of_any_kind__leave_orders_alone(database: Engine) -> None:
    """A frame of a key has no order: nothing is looked up or written there."""
    commands: list[Command] = [
        LinkKey(
            operation_id=LINK,
            account=MAKER,
            key=KEY,
            key_expiry_s=1,
            max_notional_quote=1,
            markets=1,
            trade_only=False,
            reduce_only=False,
            expiry_s=1,
            nonce=1,
            r=b"",
            vs=b"",
        ),
        RevokeKey(operation_id=REVOCATION, account=MAKER, key=KEY, expiry_s=1, nonce=1, r=b"", vs=b""),
        AdoptDirectOperation(
            direct_op=1, kind=2, account=MAKER, subject=KEY, word=b"", time_s=1, block=1, transaction=TRANSACTION
        ),
        SealBatch(journal_hash=b""),
    ]
    Projector(database).catch_up([(frame(n, command), []) for n, command in enumerate(commands, 1)])

    assert ReadModel(database).read_orders(account_bytes(MAKER), is_open=None, limit=10, before=None) == []


# --------------------------------------------------------------------- counting


def test_batches__where_they_stand__counted(database: Engine) -> None:
    assert ReadModel(database).count_batches() == {"sealed": 0, "submitted": 0, "mined": 0, "final": 0}
    Projector(database).catch_up(trade_frames())

    assert ReadModel(database).count_batches() == {"sealed": 0, "submitted": 0, "mined": 1, "final": 0}


# ------------------------------------------------------------------- query plans

QUESTIONS: dict[str, Callable[[ReadModel], Any]] = {
    "order": lambda reads: reads.get_order(MAKER_ORDER),
    "client order": lambda reads: reads.get_order_of_client(account_bytes(MAKER), "x"),
    "open orders": lambda reads: reads.read_orders(account_bytes(MAKER), is_open=True, limit=500, before=None),
    "order history": lambda reads: reads.read_orders(account_bytes(MAKER), is_open=None, limit=500, before=9, market=1),
    "fills of an order": lambda reads: reads.read_fills_of_order(MAKER_ORDER),
    "fills of orders": lambda reads: reads.read_fills_of_orders([MAKER_ORDER, OTHER], 2_000),
    "fills": lambda reads: reads.read_fills(account_bytes(MAKER), limit=500, before=9, market=1),
    "fills of a batch": lambda reads: reads.read_fills_of_batch(1),
    "trades": lambda reads: reads.read_trades(1, 500),
    "batches": lambda reads: reads.read_batches(limit=500, before=9),
    "counts": lambda reads: reads.count_batches(),
    "transfers": lambda reads: reads.read_transfers(account_bytes(MAKER), limit=500, before=9),
    "transfer": lambda reads: reads.get_transfer("d1"),
    "funding": lambda reads: reads.read_funding(account_bytes(MAKER), limit=500, before=9, market=1),
    "keys": lambda reads: reads.read_keys(account_bytes(MAKER)),
    "key": lambda reads: reads.get_key(account_bytes(MAKER), KEY),
    "mark a day ago": lambda reads: reads.get_mark_at(1, 5_000),
    "candles": lambda reads: reads.read_candles(
        1, kind=CandleKind.MARK, interval_s=CANDLE_INTERVALS_S[0], start_s=0, end_s=10**9, limit=1_500
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_queries__whatever_is_asked__answered_from_an_index(tmp_path: Path, question: str) -> None:
    """SQLite says SCAN where it reads a whole table; ten million fills must not be read for one page."""
    database = open_database(sqlite_dsn(tmp_path / "plans.sqlite"))
    Projector(database).catch_up([*trade_frames(), (frame(5), [adopted(100)]), (frame(6), [linked()])])
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        asked.append((statement, parameters))

    event.listen(database, "before_cursor_execute", note)

    QUESTIONS[question](ReadModel(database))

    statements = list(asked)
    assert statements
    with database.connect() as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters).all()
            steps = [row[3] for row in plan]
            assert not [step for step in steps if step.startswith("SCAN")], (statement, steps)
            if "client_id" in statement:
                # The other order of an OCO, once for each row: by its nonce, not among all orders of the account.
                assert [step for step in steps if "account=? AND nonce=?" in step], (statement, steps)
    database.dispose()


# ----------------------------------------------------------------------- what siblings do, transfers


def test_funding__settled_by_a_direct_operation__is_listed_among_the_fills(database: Engine) -> None:
    """A fill paid 12, then a liquidation touched the position: 5 received; newest first, page by page."""
    adjusted = PositionAdjusted(
        direct_op=9, account=MAKER, market=1, size_change_lots=-10, size_lots=0, realised_quote=-7, funding_quote=-5,
        block=4, transaction=bytes(32),
    )  # fmt: skip
    paid = msgspec.structs.replace(fill(1, 10), maker_funding_quote=12)
    Projector(database).catch_up([(frame(1), [paid]), (frame(2), [adjusted])])
    reads = ReadModel(database)

    found = reads.read_funding(account_bytes(MAKER), limit=10, before=None)
    older = reads.read_funding(account_bytes(MAKER), limit=10, before=found[0].payment_id)

    told = [(one.fill_id, one.direct_op, one.sequence, one.quote) for one in found]
    assert told == [(None, 9, None, -5), (1, None, 1, 12)]
    assert older == found[1:]


def test_exit__a_withdrawal_by_exits__is_claimable_until_it_is_paid(database: Engine) -> None:
    exited = CollateralExited(
        direct_op=4, account=MAKER, quote=70, recipient=b"\x0e" * 20, block=7, transaction=b"\x0f" * 32
    )
    projector = Projector(database)
    projector.catch_up([(frame(1), [exited])])
    reads = ReadModel(database)

    (before,) = reads.read_transfers(account_bytes(MAKER), limit=10, before=None)
    projector._set_paid(b"\x0e" * 20, b"\x11" * 32, 6)
    (early,) = reads.read_transfers(account_bytes(MAKER), limit=10, before=None)
    projector._set_paid(b"\x0e" * 20, b"\x11" * 32, 8)
    (after,) = reads.read_transfers(account_bytes(MAKER), limit=10, before=None)

    assert (before.transfer_id, before.kind, before.status, before.block) == ("x4", "exit", "claimable", 7)
    assert (early.status, after.status, after.paid_transaction) == ("claimable", "paid", b"\x11" * 32)


def test_transfer__refused_by_the_chain__is_rejected_on_both_sides(database: Engine) -> None:
    accepted = TransferAccepted(transfer_id=b"\x05" * 32, sequence=1, account=MAKER, receiver=MAKER + 1, quote=9)
    sealed = BatchSealed(
        sequence=1, matched_at_s=1, previous_head=bytes(32), head=bytes(32), payload=b"", codes=b"\x30", n_operations=1,
        n_orders=0, fill_ids=(), operation_ids=(b"\x05" * 32,),
    )  # fmt: skip
    Projector(database).catch_up([(frame(1), [accepted]), (frame(2), [sealed])])
    reads = ReadModel(database)

    (sent,) = reads.read_transfers(account_bytes(MAKER), limit=10, before=None)
    (received,) = reads.read_transfers(account_bytes(MAKER + 1), limit=10, before=None)

    assert (sent.kind, sent.status, sent.code) == ("sent", "rejected", "MARGIN")
    assert (received.kind, received.status, received.code) == ("received", "rejected", "MARGIN")
    assert (sent.other_account, received.other_account) == (account_bytes(MAKER + 1), account_bytes(MAKER))
