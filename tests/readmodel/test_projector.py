"""The read model: events become rows once, in the order of the journal, and the life of a fill is told right."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, select

from afterbell.domain.commands import Command, ConfirmBatch, CreditDeposit, PlaceOrder, RequestWithdrawal, SealBatch
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    DepositCredited,
    Event,
    FillMatched,
    FillRejected,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    PricesAdopted,
    WithdrawalAccepted,
    WithdrawalRejected,
)
from afterbell.domain.ids import account_bytes, build_account_id
from afterbell.readmodel.database import open_database, sqlite_dsn
from afterbell.readmodel.projector import Projector
from afterbell.readmodel.queries import Candle, ReadModel
from afterbell.readmodel.tables import Base, CandleKind, OrderRow

MAKER = build_account_id(b"\x11" * 20, 0)
TAKER = build_account_id(b"\x22" * 20, 7)
MAKER_ORDER = b"\xaa" * 32
TAKER_ORDER = b"\xbb" * 32
TRANSACTION = b"\x77" * 32
RECIPIENT = b"\x33" * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFrame:
    sequence: int
    time_ms: int
    command: Command
    hash: bytes = b"\x01" * 32


def frame(sequence: int, command: Command | None = None, time_ms: int = 0) -> WrittenFrame:
    return WrittenFrame(
        sequence=sequence, time_ms=time_ms or sequence * 1000, command=command or SealBatch(journal_hash=b"")
    )


def place(order_id: bytes, account: int, **changes: Any) -> PlaceOrder:
    fields: dict[str, Any] = {
        "order_id": order_id,
        "owner": account_bytes(account)[:20],
        "subaccount": 0,
        "market": 1,
        "epoch": 1,
        "is_buy": False,
        "size_lots": 100,
        "limit_ticks": 5000,
        "max_fee_ppm": 500,
        "expiry_s": 9,
        "nonce": 5,
        "reduce_only": False,
        "post_only": False,
        "time_in_force": 0,
        "trigger_ticks": 0,
        "trigger_kind": 0,
        "r": b"",
        "vs": b"",
    }
    return PlaceOrder(**(fields | changes))


def accepted(order_id: bytes, account: int, *, is_buy: bool, filled_lots: int, resting_lots: int) -> OrderAccepted:
    return OrderAccepted(
        order_id=order_id,
        account=account,
        market=1,
        is_buy=is_buy,
        size_lots=100,
        limit_ticks=5000,
        nonce=5,
        time_in_force=0,
        reduce_only=False,
        post_only=False,
        expiry_s=9,
        max_fee_ppm=500,
        client_id="c1",
        filled_lots=filled_lots,
        resting_lots=resting_lots,
    )


def fill(fill_id: int, size_lots: int, sequence: int = 1) -> FillMatched:
    return FillMatched(
        fill_id=fill_id,
        sequence=sequence,
        market=1,
        price_ticks=5000,
        size_lots=size_lots,
        maker_order_id=MAKER_ORDER,
        taker_order_id=TAKER_ORDER,
        maker_account=MAKER,
        taker_account=TAKER,
        taker_is_buy=True,
        maker_fee_quote=50,
        taker_fee_quote=200,
    )


def sealed(*, fill_ids: tuple[int, ...], codes: bytes, operation_ids: tuple[bytes, ...] = ()) -> BatchSealed:
    return BatchSealed(
        sequence=1,
        matched_at_s=3,
        previous_head=bytes(32),
        head=b"\x55" * 32,
        payload=b"1234",
        codes=codes,
        n_operations=len(operation_ids),
        n_orders=2,
        fill_ids=fill_ids,
        operation_ids=operation_ids,
    )


def trade_frames() -> list[tuple[WrittenFrame, list[Event]]]:
    """A maker rests 100 lots, a taker buys 40 of them with an IOC of 100, the batch is sealed and mined in block 12."""
    return [
        (
            frame(1, place(MAKER_ORDER, MAKER)),
            [accepted(MAKER_ORDER, MAKER, is_buy=False, filled_lots=0, resting_lots=100)],
        ),
        (
            frame(2, place(TAKER_ORDER, TAKER, is_buy=True)),
            [
                fill(1, 40),
                accepted(TAKER_ORDER, TAKER, is_buy=True, filled_lots=40, resting_lots=0),
                OrderCancelled(order_id=TAKER_ORDER, account=TAKER, market=1, remaining_lots=60, reason="IOC"),
            ],
        ),
        (frame(3), [sealed(fill_ids=(1,), codes=bytes(3))]),
        (
            frame(4, ConfirmBatch(sequence=1, head=b"", codes=b"", block=12, transaction=TRANSACTION, gas_used=90_000)),
            [BatchConfirmed(sequence=1, block=12, transaction=TRANSACTION, gas_used=90_000)],
        ),
    ]


def dump(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for name, table in Base.metadata.tables.items()
        }


def test_migrations__newest_revision__equals_the_tables(database: Engine) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        differences = compare_metadata(context, Base.metadata)

    assert differences == []


def test_orders__maker_partly_filled_and_taker_cut_by_ioc__each_has_its_own_end(database: Engine) -> None:
    Projector(database).catch_up(trade_frames())
    reads = ReadModel(database)

    maker, taker = reads.get_order(MAKER_ORDER), reads.get_order(TAKER_ORDER)

    assert maker is not None and (maker.status, maker.filled_lots, maker.size_lots) == ("OPEN", 40, 100)
    assert taker is not None and (taker.status, taker.filled_lots, taker.reason) == ("CANCELLED", 40, "IOC")


def test_orders__filled_up_by_later_takers__filled(database: Engine) -> None:
    later = WrittenFrame(sequence=5, time_ms=9000, command=SealBatch(journal_hash=b""))

    Projector(database).catch_up([*trade_frames(), (later, [fill(2, 25, 2), fill(3, 35, 2)])])

    maker = ReadModel(database).get_order(MAKER_ORDER)
    assert maker is not None and (maker.status, maker.filled_lots, maker.updated_at_ms) == ("FILLED", 100, 9000)


def test_fill__life__matched_submitted_mined_final(database: Engine) -> None:
    async def live() -> list[str]:
        projector = Projector(database)
        reads = ReadModel(database)
        frames = trade_frames()
        seen = []

        def status() -> str:
            (found,) = reads.read_fills_of_order(TAKER_ORDER)
            return found.status

        projector.catch_up(frames[:2])
        seen.append(status())
        projector.catch_up(frames[:3])
        seen.append(status())
        await projector.record_batch_submitted(1, TRANSACTION)
        seen.append(status())
        projector.catch_up(frames)
        seen.append(status())
        await projector.record_final_block(11)
        seen.append(status())
        await projector.record_final_block(12)
        seen.append(status())
        await projector.record_batch_submitted(1, b"\x99" * 32)
        seen.append(status())
        return seen

    seen = asyncio.run(live())

    assert seen == ["matched", "matched", "submitted", "mined", "mined", "final", "final"]


def test_fill__refused_by_the_chain__rejected_with_its_code(database: Engine) -> None:
    frames = trade_frames()
    refusal = FillRejected(
        fill_id=1, sequence=1, market=1, code=112, maker_order_id=MAKER_ORDER, taker_order_id=TAKER_ORDER
    )
    frames[2][1].insert(0, refusal)

    Projector(database).catch_up(frames)

    (found,) = ReadModel(database).read_fills(account_bytes(TAKER), limit=10, before=None)
    assert (found.status, found.code) == ("rejected", 112)
    assert ReadModel(database).read_trades(1, 10) == []


def test_projector__same_frames_again__changes_nothing(database: Engine) -> None:
    Projector(database).catch_up(trade_frames())
    before = dump(database)

    n_new = Projector(database).catch_up(trade_frames())

    assert (n_new, dump(database)) == (0, before)


def test_projector__many_of_everything_in_one_group__each_row_changed(database: Engine) -> None:
    """As in a rebuild: two batches sealed and confirmed, two fills refused, two orders filled and two ended at once."""
    first, second = trade_frames(), []
    for published, events in trade_frames():
        moved = WrittenFrame(sequence=published.sequence + 10, time_ms=published.time_ms, command=published.command)
        second.append((moved, [shift(event) for event in events]))
    frames = [*first, *second]
    frames[2][1].append(refuse(1, 1))
    frames[6][1].append(refuse(2, 2))
    Projector(database).catch_up(frames)
    reads = ReadModel(database)

    batches = reads.read_batches(limit=10, before=None)

    assert [(batch.sequence, batch.status, batch.block) for batch in batches] == [(2, "mined", 13), (1, "mined", 12)]
    fills = reads.read_fills(account_bytes(TAKER), limit=10, before=None)
    assert [(fill.fill_id, fill.status) for fill in fills] == [(2, "rejected"), (1, "rejected")]
    orders = reads.read_orders(account_bytes(TAKER), is_open=False, limit=10, before=None)
    assert [(order.status, order.filled_lots) for order in orders] == [("CANCELLED", 40)] * 2


def refuse(fill_id: int, sequence: int) -> FillRejected:
    return FillRejected(
        fill_id=fill_id, sequence=sequence, market=1, code=48, maker_order_id=MAKER_ORDER, taker_order_id=TAKER_ORDER
    )


def shift(event: Event) -> Event:
    """Return the same event one batch, one fill and one pair of orders later."""
    changes: dict[str, Any] = {}
    for name in ("sequence", "fill_id", "block"):
        if hasattr(event, name):
            changes[name] = getattr(event, name) + 1
    for name in ("order_id", "maker_order_id", "taker_order_id"):
        if hasattr(event, name):
            changes[name] = bytes(byte + 1 for byte in getattr(event, name))
    return msgspec.structs.replace(event, **changes)


def test_projector__one_group_or_one_by_one__same_rows(database: Engine, tmp_path: Path) -> None:
    other = open_database(sqlite_dsn(tmp_path / "other.sqlite"))
    Projector(database).catch_up(trade_frames())
    projector = Projector(other)

    for published in trade_frames():
        projector.catch_up([published])

    assert dump(other) == dump(database)
    other.dispose()


def test_projector__run__writes_what_is_published_and_wakes_who_waits(database: Engine) -> None:
    async def live() -> int:
        projector = Projector(database)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(projector.run())
            for published, events in trade_frames():
                projector.publish(published, events)
            await asyncio.wait_for(projector.wait_for(4), 5)
            projector.stop()
        return projector.projected_sequence

    assert asyncio.run(live()) == 4
    assert ReadModel(database).read_projected_sequence() == 4


def test_rejected_order__then_accepted__row_is_the_accepted_one(database: Engine) -> None:
    rejection = OrderRejected(
        order_id=MAKER_ORDER,
        account=MAKER,
        market=1,
        reason="INSUFFICIENT_MARGIN",
        required="",
        found="",
        action="",
        client_id="",
    )
    projector = Projector(database)
    projector.catch_up([(frame(1, place(MAKER_ORDER, MAKER)), [rejection])])
    first = ReadModel(database).get_order(MAKER_ORDER)
    resting = accepted(MAKER_ORDER, MAKER, is_buy=False, filled_lots=0, resting_lots=100)

    projector.catch_up([(frame(2, place(MAKER_ORDER, MAKER)), [resting])])
    projector.catch_up([(frame(3, place(MAKER_ORDER, MAKER)), [rejection])])

    second = ReadModel(database).get_order(MAKER_ORDER)
    assert first is not None and (first.status, first.reason) == ("REJECTED", "INSUFFICIENT_MARGIN")
    assert second is not None and (second.status, second.reason) == ("OPEN", None)


def test_transfers__deposit_and_withdrawal__amounts_above_64_bits_exact_and_life_told(database: Engine) -> None:
    quote = 2**63 + 12_345
    withdrawal_id, refused_id = b"\x0a" * 32, b"\x0b" * 32
    request = RequestWithdrawal(
        withdrawal_id=withdrawal_id, account=MAKER, quote=7, recipient=RECIPIENT, expiry_s=1, nonce=1, r=b"", vs=b""
    )
    frames: list[tuple[WrittenFrame, list[Event]]] = [
        (
            frame(
                1,
                CreditDeposit(
                    direct_op=1, account=MAKER, quote=quote, sender=RECIPIENT, block=3, transaction=TRANSACTION
                ),
            ),
            [
                DepositCredited(
                    direct_op=1, account=MAKER, quote=quote, collateral_quote=quote, block=3, transaction=TRANSACTION
                )
            ],
        ),
        (
            frame(2, request),
            [WithdrawalAccepted(withdrawal_id=withdrawal_id, sequence=1, account=MAKER, quote=7, recipient=RECIPIENT)],
        ),
        (
            frame(3, request),
            [
                WithdrawalRejected(
                    withdrawal_id=refused_id,
                    account=MAKER,
                    quote=8,
                    reason="INSUFFICIENT_MARGIN",
                    required="",
                    found="",
                    action="",
                )
            ],
        ),
        (frame(4), [sealed(fill_ids=(), codes=bytes(1), operation_ids=(withdrawal_id,))]),
        (
            frame(5, ConfirmBatch(sequence=1, head=b"", codes=b"", block=12, transaction=TRANSACTION, gas_used=1)),
            [BatchConfirmed(sequence=1, block=12, transaction=TRANSACTION, gas_used=1)],
        ),
    ]

    async def live() -> list[str]:
        projector, reads, seen = Projector(database), ReadModel(database), []
        for published in frames[1:]:
            projector.catch_up([frames[0], published])
            found = reads.get_transfer("0x" + withdrawal_id.hex())
            assert found is not None
            seen.append(found.status)
        await projector.record_final_block(12)
        for step in (None, 11, 12):
            if step is not None:
                await projector.record_claim_paid(RECIPIENT, TRANSACTION, step)
            found = reads.get_transfer("0x" + withdrawal_id.hex())
            assert found is not None
            seen.append(found.status)
        return seen

    projector = Projector(database)
    projector.catch_up(frames[:1])
    seen = asyncio.run(live())

    transfers = ReadModel(database).read_transfers(account_bytes(MAKER), limit=10, before=None)
    assert seen == ["accepted", "accepted", "sealed", "mined", "claimable", "claimable", "paid"]
    assert [(transfer.kind, transfer.quote, transfer.status) for transfer in transfers] == [
        ("withdrawal", 8, "rejected"),
        ("withdrawal", 7, "paid"),
        ("deposit", quote, "credited"),
    ]


def adopted(mark_ticks: int) -> PricesAdopted:
    return PricesAdopted(prices=((1, mark_ticks, mark_ticks, mark_ticks, 2),))


def trade_at(
    time_ms: int, sequence: int, fill_id: int, price_ticks: int, size_lots: int
) -> tuple[WrittenFrame, list[Event]]:
    return frame(sequence, time_ms=time_ms), [
        msgspec.structs.replace(fill(fill_id, size_lots), price_ticks=price_ticks)
    ]


def read_all(reads: ReadModel, kind: CandleKind, interval_s: int) -> list[Candle]:
    return reads.read_candles(1, kind=kind, interval_s=interval_s, start_s=0, end_s=10**9, limit=100)


def test_candles_of_mark__prices_and_fills__open_at_previous_close_with_volume(database: Engine) -> None:
    """Marks 100 | 90, 120 | 110 in 15-minute intervals; one fill of 40 lots at 5,000 in the second."""
    frames: list[tuple[WrittenFrame, list[Event]]] = [
        (frame(1, time_ms=600_000), [adopted(100)]),
        (frame(2, time_ms=1_200_000), [adopted(90)]),
        (frame(3, time_ms=1_799_000), [adopted(120), fill(1, 40)]),
        (frame(4, time_ms=2_700_000), [adopted(110), adopted(0)]),
    ]
    Projector(database).catch_up(frames)

    candles = read_all(ReadModel(database), CandleKind.MARK, 900)

    assert candles == [
        Candle(time_s=0, open_ticks=100, high_ticks=100, low_ticks=100, close_ticks=100, volume_lots=0),
        Candle(
            time_s=900,
            open_ticks=100,
            high_ticks=120,
            low_ticks=90,
            close_ticks=120,
            volume_lots=40,
            volume_quote=200_000,
            n_trades=1,
        ),
        Candle(time_s=2_700, open_ticks=120, high_ticks=120, low_ticks=110, close_ticks=110, volume_lots=0),
    ]


TRADES = [
    # time_ms, price, lots: two minutes of the first five, then the next hour, then the next day
    (60_000, 100, 10),
    (119_999, 130, 5),
    (120_000, 90, 1),
    (3_600_000, 95, 7),
    (86_400_000, 200, 2),
]


def test_candles_of_trades__five_fills__every_interval_by_hand(database: Engine) -> None:
    """First five minutes: open 100, high 130, low 90, close 90, 16 lots, 1,000 + 650 + 90 = 1,740 quote."""
    frames = [trade_at(time_ms, n, n, ticks, lots) for n, (time_ms, ticks, lots) in enumerate(TRADES, 1)]
    Projector(database).catch_up(frames)
    reads = ReadModel(database)

    minutes, fives, hours, days = (read_all(reads, CandleKind.TRADES, s) for s in (60, 300, 3_600, 86_400))

    assert [(c.time_s, c.open_ticks, c.close_ticks, c.volume_lots) for c in minutes] == [
        (60, 100, 130, 15),
        (120, 90, 90, 1),
        (3_600, 95, 95, 7),
        (86_400, 200, 200, 2),
    ]
    assert fives[0] == Candle(
        time_s=0,
        open_ticks=100,
        high_ticks=130,
        low_ticks=90,
        close_ticks=90,
        volume_lots=16,
        volume_quote=1_740,
        n_trades=3,
    )
    assert [(c.time_s, c.n_trades) for c in hours] == [(0, 3), (3_600, 1), (86_400, 1)]
    assert [(c.time_s, c.open_ticks, c.high_ticks, c.low_ticks, c.close_ticks, c.volume_quote) for c in days] == [
        (0, 100, 130, 90, 95, 2_405),
        (86_400, 200, 200, 200, 200, 400),
    ]
    newest = reads.read_candles(1, kind=CandleKind.TRADES, interval_s=60, start_s=60, end_s=3_600, limit=1)
    assert [c.time_s for c in newest] == [120]


def test_candles__a_restart_between_fills__goes_on_where_it_stopped(database: Engine, tmp_path: Path) -> None:
    frames = [trade_at(time_ms, n, n, ticks, lots) for n, (time_ms, ticks, lots) in enumerate(TRADES, 1)]
    frames += [(frame(n, time_ms=86_400_000 + n), [adopted(n)]) for n in (6, 7)]
    other = open_database(sqlite_dsn(tmp_path / "other.sqlite"))
    Projector(other).catch_up(frames)

    for published in frames:
        Projector(database).catch_up([published])

    assert dump(database) == dump(other)
    other.dispose()


def test_candles__a_fill_the_chain_refused__taken_out_of_every_interval(database: Engine) -> None:
    """Without the 130 x 5 of minute 60: high 100, 11 lots, 1,090 quote; the lone trade of an hour leaves no candle."""
    frames = [trade_at(time_ms, n, n, ticks, lots) for n, (time_ms, ticks, lots) in enumerate(TRADES, 1)]
    projector, reads = Projector(database), ReadModel(database)
    projector.catch_up(frames)

    projector.catch_up([(frame(6, time_ms=86_400_001), [refuse(2, 1), refuse(4, 1)])])
    projector.catch_up([trade_at(86_400_002, 7, 7, 210, 3)])

    minutes, fives, hours, days = (read_all(reads, CandleKind.TRADES, s) for s in (60, 300, 3_600, 86_400))
    assert [(c.time_s, c.volume_lots, c.high_ticks) for c in minutes] == [(60, 10, 100), (120, 1, 90), (86_400, 5, 210)]
    assert (fives[0].high_ticks, fives[0].volume_lots, fives[0].volume_quote, fives[0].n_trades) == (100, 11, 1_090, 2)
    assert [c.time_s for c in hours] == [0, 86_400]
    assert [(c.close_ticks, c.n_trades) for c in days] == [(90, 2), (210, 2)]


def test_orders__open_and_newest_first__paged(database: Engine) -> None:
    frames: list[tuple[WrittenFrame, list[Event]]] = []
    for n in range(1, 6):
        order_id = bytes([n]) * 32
        frames.append(
            (
                frame(n, place(order_id, MAKER)),
                [accepted(order_id, MAKER, is_buy=True, filled_lots=0, resting_lots=100)],
            )
        )
    cancel = OrderCancelled(order_id=b"\x03" * 32, account=MAKER, market=1, remaining_lots=100, reason="USER")
    frames.append((frame(6), [cancel]))
    Projector(database).catch_up(frames)
    reads = ReadModel(database)

    page = reads.read_orders(account_bytes(MAKER), is_open=True, limit=3, before=None)
    rest = reads.read_orders(account_bytes(MAKER), is_open=True, limit=3, before=page[-1].placed_sequence)

    assert [order.placed_sequence for order in (*page, *rest)] == [5, 4, 2, 1]
    with database.connect() as connection:
        assert connection.execute(select(OrderRow.reason).where(OrderRow.status == "CANCELLED")).scalars().all() == [
            "USER"
        ]
