"""The single writer: durable before acknowledged, one order for all, loud stops, the same state after a restart."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from afterbell.adapters.clock import SystemClock
from afterbell.adapters.file_journal import FileJournal, JournalWriteFailed
from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import (
    AdoptDirectOperation,
    AdoptPrices,
    CancelAll,
    Command,
    ConfirmBatch,
    CreditDeposit,
    HaltMarket,
    SealBatch,
)
from afterbell.domain.errors import Rejected
from afterbell.domain.events import (
    BatchConfirmed,
    BatchSealed,
    CancelRejected,
    Event,
    FillMatched,
    OrderAccepted,
    OrderRejected,
    PricesAdopted,
)
from afterbell.domain.order import TimeInForce, TriggerKind
from afterbell.domain.words import OverflowWord
from afterbell.engine.apply import CommandRefused
from afterbell.engine.state import EngineState, compute_state_hash
from afterbell.ports import Frame
from afterbell.sequencer.genesis import GenesisMarket, build_genesis_commands
from afterbell.sequencer.recovery import recover, replay
from afterbell.sequencer.sequencer import Overloaded, Sequencer, SequencerStopped
from tests.engine.support import CONFIG, RULES, START_MS, USDC, Venue, account, owner


class Hand:
    """A wall clock the test sets. Units: milliseconds."""

    def __init__(self, time_ms: int) -> None:
        self.time_ms = time_ms

    def __call__(self) -> int:
        return self.time_ms * 1_000_000


class Recorder:
    """Keeps what was published."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.events: list[Event] = []

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        self.frames.append(frame)
        self.events += events


class Bench:
    """A sequencer over a real journal file. `commands` builds signed orders."""

    def __init__(self, path: Path, **options: int) -> None:
        self.path = path
        self.journal = FileJournal(path, chain_id=CONFIG.chain_id, clearinghouse=CONFIG.clearinghouse)
        state, last_time_ms = recover(self.journal, CONFIG)
        self.wall = Hand(max(START_MS, last_time_ms))
        self.recorder = Recorder()
        self.sequencer = Sequencer(
            state=state,
            journal=self.journal,
            clock=SystemClock(wall_ns=self.wall),
            sinks=[self.recorder],
            last_time_ms=last_time_ms,
            **options,
        )
        self.commands = Venue(time_ms=self.wall.time_ms)

    def order(self, number: int, side: str, size_lots: int, limit_ticks: int, **fields: object) -> Command:
        self.commands.time_ms += 1
        return self.commands.build_order(
            number,
            is_buy=side == "buy",
            size_lots=size_lots,
            limit_ticks=limit_ticks,
            **fields,  # type: ignore[arg-type]
        )

    def prices(self, ticks: int) -> AdoptPrices:
        time_s = self.wall.time_ms // 1_000
        return AdoptPrices(rows=((1, ticks, ticks, 0),), stated=((1, ticks, time_s, 2, 1_440, time_s),), evidence=b"")

    async def run(self, scenario: Callable[[Bench], Awaitable[None]]) -> None:
        """Run the writer beside a scenario, then stop and close."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.sequencer.run())
                await asyncio.wait_for(scenario(self), timeout=20)
                self.sequencer.stop()
        finally:
            self.journal.close()


async def open_market(bench: Bench) -> None:
    market = GenesisMarket(
        market=1,
        symbol="AAPL",
        epoch=1,
        lot_exponent=4,
        ticks_per_usd=100,
        synthetic=False,
        rules_words={2: RULES.pack().to_bytes(32, "big")},
    )
    for command in build_genesis_commands((market,)):
        await bench.sequencer.submit(command)
    for number in range(1, 5):
        await bench.sequencer.submit(deposit(number))
    await bench.sequencer.submit(bench.prices(10_000))


def deposit(number: int, direct_op: int | None = None) -> Command:
    return CreditDeposit(
        direct_op=number if direct_op is None else direct_op,
        account=account(number),
        quote=100_000 * USDC,
        sender=owner(number),
        block=1,
        transaction=bytes(32),
    )


def test_sequencer__order_submitted__answers_with_durable_frame_and_events(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        await bench.sequencer.submit(bench.order(1, "sell", 100, 10_010))
        frame, events = await bench.sequencer.submit(bench.order(2, "buy", 100, 10_010))

        assert [type(event) for event in events] == [FillMatched, OrderAccepted]
        assert frame.hash == bench.journal.head_hash
        assert frame.sequence == bench.journal.next_sequence - 1
        assert bench.recorder.frames[-1] is frame
        assert bench.recorder.events[-2:] == events

    asyncio.run(bench.run(scenario))


def test_sequencer__many_submitted_at_once__share_syncs_and_keep_their_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")
    n_syncs = 0
    sync = bench.journal.sync

    def count() -> None:
        nonlocal n_syncs
        n_syncs += 1
        sync()

    bench.journal.sync = count  # type: ignore[method-assign]  # counts, then syncs for real

    async def scenario(bench: Bench) -> None:
        nonlocal n_syncs
        await open_market(bench)
        n_syncs = 0
        orders = [bench.order(1, "buy", 200, 9_900 + number, lane=number) for number in range(50)]
        answers = await asyncio.gather(*(bench.sequencer.submit(order) for order in orders))

        assert n_syncs <= 2
        sequences = [frame.sequence for frame, _ in answers]
        assert sequences == list(range(sequences[0], sequences[0] + 50))
        assert all(isinstance(events[-1], OrderAccepted) for _, events in answers)

    asyncio.run(bench.run(scenario))


def test_sequencer__prices_arrive_with_a_batch_open__seals_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        bench.wall.time_ms += 3_000

        await bench.sequencer.submit(bench.prices(10_020))

        seal, prices = bench.recorder.frames[-2:]
        assert isinstance(seal.command, SealBatch)
        assert seal.command.journal_hash == bench.recorder.frames[-3].hash
        assert isinstance(prices.command, AdoptPrices)
        assert sum(isinstance(event, BatchSealed) for event in bench.recorder.events) == 1

    asyncio.run(bench.run(scenario))


def test_sequencer__batch_more_than_half_full__seals_before_the_next_order(tmp_path: Path) -> None:
    """57 accounts with a fill are more than half of 112, so the next order must not join them."""
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        for number in range(5, 62):
            await bench.sequencer.submit(deposit(number))
        for number in range(5, 61):
            await bench.sequencer.submit(bench.order(number, "sell", 100, 10_000))
            await bench.sequencer.submit(bench.order(1, "buy", 100, 10_000, lane=1, time_in_force=TimeInForce.GTC))
        sealed = [event for event in bench.recorder.events if isinstance(event, BatchSealed)]
        # Every pair adds two orders; 57 orders are reached with the 29th pair, the 30th begins the next batch.
        assert [event.n_orders for event in sealed] == [58]
        assert len(sealed[0].fill_ids) == 29

    asyncio.run(bench.run(scenario))


def test_sequencer__key_linked_and_used_in_one_breath__shares_a_batch(tmp_path: Path) -> None:
    """Both are submitted before the writer runs: the client never waits for the batch."""
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        bench.commands.link_key(1, 81)
        link = bench.commands.frames[-1][2]
        order = bench.order(1, "buy", 200, 9_900, key=81)

        _, (_, answers) = await asyncio.gather(bench.sequencer.submit(link), bench.sequencer.submit(order))

        assert isinstance(answers[0], OrderAccepted)
        assert [type(frame.command).__name__ for frame in bench.recorder.frames[-2:]] == ["LinkKey", "PlaceOrder"]

    asyncio.run(bench.run(scenario))


def test_sequencer__operation_of_an_account_just_filled__seals_in_between(tmp_path: Path) -> None:
    """Operations run before fills on chain: one that follows a fill of its account begins the next batch."""
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        bench.commands.link_key(1, 81)
        link = bench.commands.frames[-1][2]
        ask, bid = bench.order(2, "sell", 200, 10_000), bench.order(1, "buy", 200, 10_000)

        await asyncio.gather(*(bench.sequencer.submit(command) for command in (ask, bid, link)))

        assert [type(frame.command).__name__ for frame in bench.recorder.frames[-4:]] == [
            "PlaceOrder",
            "PlaceOrder",
            "SealBatch",
            "LinkKey",
        ]

    asyncio.run(bench.run(scenario))


def test_sequencer__triggers_wait_for_room__seals_as_often_as_they_need_before_an_order_and_before_prices(
    tmp_path: Path,
) -> None:
    """120 stops meet 120 asks of one price: 29 pairs make a batch more than half full (57 of 112 orders)."""
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        for number in range(5, 125):
            await bench.sequencer.submit(deposit(number))
            await bench.sequencer.submit(bench.order(1, "sell", 100, 10_020, lane=number))
            stop = {"trigger_kind": TriggerKind.MARK_AT_OR_ABOVE, "trigger_ticks": 10_010}
            await bench.sequencer.submit(bench.order(number, "buy", 100, 10_020, **stop))
        bench.wall.time_ms += 6_000

        _, events = await bench.sequencer.submit(bench.prices(10_010))
        n_first = sum(isinstance(event, FillMatched) for event in events)
        assert 0 < n_first < 60
        await bench.sequencer.submit(bench.order(2, "buy", 100, 10_020))

        n_fills = sum(isinstance(event, FillMatched) for event in bench.recorder.events)
        assert n_fills == 120
        assert not bench.sequencer.state.triggers.is_pending
        bench.wall.time_ms += 6_000
        _, events = await bench.sequencer.submit(bench.prices(10_010))
        assert isinstance(events[0], PricesAdopted)
        sealed = [event for event in bench.recorder.events if isinstance(event, BatchSealed)]
        assert len(sealed) >= 4
        assert not any(any(event.codes) for event in sealed)

    asyncio.run(bench.run(scenario))


def test_sequencer__direct_operation_out_of_order__stops_before_writing_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        with pytest.raises(SequencerStopped) as caught:
            await bench.sequencer.submit(
                AdoptDirectOperation(
                    direct_op=6,
                    kind=1,
                    account=account(1),
                    subject=bytes(32),
                    word=bytes(32),
                    time_s=0,
                    block=1,
                    transaction=bytes(32),
                )
            )
        assert isinstance(caught.value.__cause__, CommandRefused)

    with pytest.raises(ExceptionGroup):
        asyncio.run(bench.run(scenario))
    Bench(tmp_path / "journal.log").journal.close()


def test_sequencer__queue_full__refuses_orders_and_lets_cancels_pass(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log", capacity=3)

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        waiting = [
            asyncio.ensure_future(bench.sequencer.submit(bench.order(1, "buy", 200, 9_900, lane=lane)))
            for lane in range(4)
        ]
        cancel = asyncio.ensure_future(
            bench.sequencer.submit(
                CancelAll(
                    account=account(1), min_seq_ms=0, expiry_s=bench.commands.time_s, nonce=0, r=bytes(32), vs=bytes(32)
                )
            )
        )
        answers = await asyncio.gather(*waiting, cancel, return_exceptions=True)

        assert isinstance(answers[3], Overloaded)
        assert answers[3].reason is RejectReason.OVERLOADED
        assert not any(isinstance(answer, BaseException) for answer in (*answers[:3], answers[4]))

    asyncio.run(bench.run(scenario))


def test_sequencer__number_beyond_the_journal__is_malformed_and_not_written(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        before = bench.journal.n_bytes

        with pytest.raises(Rejected) as caught:
            await bench.sequencer.submit(HaltMarket(market=1, reason="x" * (1 << 20)))

        assert caught.value.reason is RejectReason.MALFORMED_REQUEST
        assert bench.journal.n_bytes == before
        _, events = await bench.sequencer.submit(bench.order(1, "buy", 200, 9_900))
        assert isinstance(events[0], OrderAccepted)

    asyncio.run(bench.run(scenario))


def test_sequencer__field_beyond_its_signed_type__is_an_event_not_a_fault(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        order = msgspec.structs.replace(bench.order(1, "buy", 200, 9_900), size_lots=1 << 60, time_in_force=9)

        _, events = await bench.sequencer.submit(order)

        assert isinstance(events[0], OrderRejected)
        assert events[0].reason == "MALFORMED_REQUEST"

    asyncio.run(bench.run(scenario))


def test_sequencer__deposit_out_of_order__stops_before_writing_it(tmp_path: Path) -> None:
    """A frame that cannot be applied would stop every later start, so it is refused before the journal."""
    bench = Bench(tmp_path / "journal.log")
    before = 0

    async def scenario(bench: Bench) -> None:
        nonlocal before
        await open_market(bench)
        before = bench.journal.n_bytes
        with pytest.raises(SequencerStopped) as caught:
            await bench.sequencer.submit(deposit(4, direct_op=9))
        assert isinstance(caught.value.__cause__, CommandRefused)
        with pytest.raises(SequencerStopped):
            await bench.sequencer.submit(deposit(4, direct_op=5))

    with pytest.raises(ExceptionGroup) as group:
        asyncio.run(bench.run(scenario))

    assert group.group_contains(CommandRefused, match="deposit 5 must come next, found 9")
    assert isinstance(bench.sequencer.fault, CommandRefused)
    assert (tmp_path / "journal.log").stat().st_size == before
    Bench(tmp_path / "journal.log").journal.close()


def test_sequencer__sync_fails__nobody_is_acknowledged_and_it_stops(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        n_published = len(bench.recorder.frames)
        read_end, write_end = os.pipe()  # the kernel refuses to sync a pipe
        os.dup2(write_end, bench.journal._descriptor)

        answers = await asyncio.gather(
            *(bench.sequencer.submit(bench.order(1, "buy", 200, 9_900, lane=lane)) for lane in range(3)),
            return_exceptions=True,
        )

        assert all(isinstance(answer, SequencerStopped) for answer in answers)
        assert len(bench.recorder.frames) == n_published
        os.close(read_end)
        os.close(write_end)

    with pytest.raises(ExceptionGroup) as group:
        asyncio.run(bench.run(scenario))
    assert group.group_contains(JournalWriteFailed)


def test_sequencer__wall_clock_jumps_back__time_holds(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")

    async def scenario(bench: Bench) -> None:
        await open_market(bench)
        bench.wall.time_ms -= 60_000
        frame, _ = await bench.sequencer.submit(bench.order(1, "buy", 200, 9_900))
        assert frame.time_ms == START_MS

    asyncio.run(bench.run(scenario))


async def trade(bench: Bench) -> None:
    await open_market(bench)
    for number in range(20):
        await bench.sequencer.submit(bench.order(1, "sell", 100, 10_000 + number, lane=number))
    await bench.sequencer.submit(bench.order(2, "buy", 1_050, 10_020))
    bench.wall.time_ms += 6_000
    await bench.sequencer.submit(bench.prices(10_050))
    await bench.sequencer.submit(bench.order(3, "sell", 300, 9_950))
    await bench.sequencer.submit(SealBatch(journal_hash=b""))
    sealed = next(event for event in bench.recorder.events if isinstance(event, BatchSealed))
    _, events = await bench.sequencer.submit(
        ConfirmBatch(sequence=1, head=sealed.head, codes=sealed.codes, block=7, transaction=bytes(32), gas_used=100_000)
    )
    assert isinstance(events[0], BatchConfirmed)
    _, events = await bench.sequencer.submit(
        CancelAll(account=account(4), min_seq_ms=1, expiry_s=1, nonce=0, r=bytes(32), vs=bytes(32))
    )
    assert isinstance(events[0], CancelRejected)
    bench.commands.link_key(4, 81)
    await bench.sequencer.submit(bench.commands.frames[-1][2])
    await bench.sequencer.submit(bench.order(4, "buy", 200, 9_990, key=81, client_id="mine"))
    stop = {"trigger_kind": TriggerKind.INDEX_AT_OR_BELOW, "trigger_ticks": 9_900}
    await bench.sequencer.submit(bench.order(4, "sell", 200, 9_800, lane=3, **stop))
    await bench.sequencer.submit(
        bench.order(4, "sell", 300, 10_200, lane=3, seq=bench.commands.now_seq())  # an OCO with the stop
    )
    assert len(bench.sequencer.state.lane_orders[account(4) << 16 | 3]) == 2
    await bench.sequencer.submit(
        AdoptDirectOperation(
            direct_op=5,
            kind=1,
            account=account(2),
            subject=bytes(32),
            word=OverflowWord(pending_min_seq=1, pending_since_s=bench.commands.time_s).pack().to_bytes(32, "big"),
            time_s=bench.commands.time_s,
            block=9,
            transaction=bytes(32),
        )
    )
    await bench.sequencer.submit(bench.order(3, "sell", 150, 9_990, lane=2))  # leaves a batch open


def test_sequencer__restarted__has_the_same_state_events_and_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    bench = Bench(path)
    asyncio.run(bench.run(trade))
    expected = compute_state_hash(bench.sequencer.state)

    again = Bench(path)
    state = EngineState(CONFIG)
    events = [event for _, events in replay(again.journal, state) for event in events]

    assert compute_state_hash(again.sequencer.state) == expected
    assert compute_state_hash(state) == expected
    assert events == bench.recorder.events
    assert again.sequencer.last_time_ms == bench.sequencer.last_time_ms
    assert again.sequencer.state.has_open_batch
    again.journal.close()


def test_replay__other_hash_seed__gives_the_same_state_hash(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    bench = Bench(path)
    asyncio.run(bench.run(trade))
    expected = compute_state_hash(bench.sequencer.state).hex()
    program = (
        "import sys; from pathlib import Path\n"
        "from afterbell.adapters.file_journal import FileJournal\n"
        "from afterbell.engine.state import compute_state_hash\n"
        "from afterbell.sequencer.recovery import recover\n"
        "from tests.engine.support import CONFIG\n"
        "journal = FileJournal(Path(sys.argv[1]), chain_id=CONFIG.chain_id, clearinghouse=CONFIG.clearinghouse)\n"
        "print(compute_state_hash(recover(journal, CONFIG)[0]).hex())\n"
    )
    for seed in ("1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.strip() == expected


def test_sequencer__replies_after_stop__are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "journal.log")
    asyncio.run(bench.run(open_market))

    async def late() -> None:
        with pytest.raises(SequencerStopped):
            await bench.sequencer.submit(bench.order(1, "buy", 200, 9_900))

    asyncio.run(late())


@pytest.mark.parametrize("point", ["journal.appended:8", "order.applied:1", "journal.synced:8"])
def test_sequencer__killed_at_a_point__restarts_with_every_whole_frame(tmp_path: Path, point: str) -> None:
    """Frames 1 to 7 are genesis, four deposits and prices; the process dies with frame 8, an order nobody was told of.

    The kernel keeps what a killed process wrote, so the order is there: never acknowledged, and that is allowed.
    """
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.sequencer.test_sequencer import Bench, open_market\n"
        "async def scenario(bench):\n"
        "    await open_market(bench)\n"
        "    await bench.sequencer.submit(bench.order(1, 'buy', 200, 9_900))\n"
        "    print('acknowledged')\n"
        "bench = Bench(Path(sys.argv[1]))\n"
        "asyncio.run(bench.run(scenario))\n"
    )
    path = tmp_path / "journal.log"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "AFTERBELL_CRASH_AT": point, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == -9, done.stderr
    assert "acknowledged" not in done.stdout
    again = Bench(path)
    assert again.journal.next_sequence == 9
    assert len(again.sequencer.state.orders) == 1
    again.journal.close()


def test_failpoint__unknown_name__is_refused_at_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import afterbell.failpoints"],
        env={**os.environ, "AFTERBELL_CRASH_AT": "order.forgotten", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert "must name one of" in done.stderr
