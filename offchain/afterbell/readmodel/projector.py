"""Turn journal frames and what the chain did with batches into rows; one transaction per group of frames.

    publish (event loop, never blocks) → queue → run(): group → thread → fold → one transaction, cursor included

Idempotent: a frame at or below the journal cursor is skipped, a batch never goes back in its life. Rebuild: delete the
database and publish every frame again (`catch_up`), then tell it the chain again (`record_*`). Must not: be waited for
by the sequencer. Raises in run(): SQLAlchemy's errors; the process stops, the next start replays what is missing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import Connection, Engine, or_, select, update

from afterbell import failpoints
from afterbell.domain.events import Event
from afterbell.ports import Frame
from afterbell.readmodel.candles import CandleKeeper
from afterbell.readmodel.changes import Changes
from afterbell.readmodel.sql import upsert
from afterbell.readmodel.tables import BatchRow, BatchStatus, CursorRow, TransferKind, TransferRow

JOURNAL_CURSOR: Final = "journal"
CHAIN_CURSOR: Final = "chain"
_MAX_GROUP: Final = 512
_Published = tuple[Frame, Sequence[Event]]


class Projector:
    """Keep the read model a little behind the journal. Implements ports.EventSink."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="projector")
        self._waiting: deque[_Published] = deque()
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._stopping = False
        self._projected = read_cursor(engine, JOURNAL_CURSOR)
        self._candles = CandleKeeper()

    @property
    def projected_sequence(self) -> int:
        """Sequence of the last frame whose rows are committed."""
        return self._projected

    @property
    def n_waiting(self) -> int:
        """Frames published but not yet written."""
        return len(self._waiting)

    def publish(self, frame: Frame, events: Sequence[Event]) -> None:
        """Take a frame for later; called on the event loop, never blocks."""
        if frame.sequence > self._projected:
            self._waiting.append((frame, events))
            self._wake.set()

    def catch_up(self, frames: Iterable[_Published]) -> int:
        """Project frames of a replay, before `run`; return how many were new. Blocks."""
        n_new = 0
        group: list[_Published] = []
        for frame, events in frames:
            if frame.sequence <= self._projected:
                continue
            group.append((frame, events))
            n_new += 1
            if len(group) >= _MAX_GROUP:
                self._write(group)
                group = []
        if group:
            self._write(group)
        return n_new

    async def run(self) -> None:
        """Write what was published until `stop`."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))]
            await loop.run_in_executor(self._thread, self._write, group)
            async with self._settled:
                self._settled.notify_all()

    def stop(self) -> None:
        """Let `run` return after what was published is written."""
        self._stopping = True
        self._wake.set()

    async def wait_for(self, sequence: int) -> None:
        """Return when the frame `sequence` is written. Callers bring their own timeout."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._projected >= sequence)

    async def record_batch_submitted(self, sequence: int, transaction: bytes) -> None:
        """Note that a sealed batch is on its way, under this transaction (again, when it was replaced)."""
        await self._in_thread(self._set_submitted, sequence, transaction)

    async def record_final_block(self, block: int) -> None:
        """Note that everything up to `block` is final: mined batches become final, their withdrawals claimable."""
        await self._in_thread(self._set_final, block)

    async def record_claim_paid(self, recipient: bytes, transaction: bytes, block: int) -> None:
        """Note that the vault paid all claims of a recipient: withdrawals mined before `block` are paid by it."""
        await self._in_thread(self._set_paid, recipient, transaction, block)

    async def read_chain_cursor(self) -> int:
        """Return the last block whose logs were recorded, 0 if none: where the indexer goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, read_cursor, self._engine, CHAIN_CURSOR)

    async def record_chain_cursor(self, block: int, block_hash: bytes) -> None:
        """Note that the logs up to `block` are recorded."""
        await self._in_thread(self._set_chain_cursor, block, block_hash)

    async def _in_thread(self, function: Any, *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _write(self, group: Sequence[_Published]) -> None:
        new = [(frame, events) for frame, events in group if frame.sequence > self._projected]
        if not new:
            return
        last = new[-1][0]
        with self._engine.begin() as connection:
            changes = Changes(connection, self._candles)
            changes.fold_group(new)
            changes.write()
            _set_cursor(connection, JOURNAL_CURSOR, last.sequence, last.hash)
        self._projected = last.sequence
        failpoints.reach("readmodel.projected")

    def _set_submitted(self, sequence: int, transaction: bytes) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                update(BatchRow)
                .where(
                    BatchRow.sequence == sequence,
                    BatchRow.status.in_((BatchStatus.SEALED.value, BatchStatus.SUBMITTED.value)),
                )
                .values(status=BatchStatus.SUBMITTED.value, transaction=transaction)
            )

    def _set_final(self, block: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(
                update(BatchRow)
                .where(BatchRow.status == BatchStatus.MINED.value, BatchRow.block <= block)
                .values(status=BatchStatus.FINAL.value)
            )

    def _set_paid(self, recipient: bytes, transaction: bytes, block: int) -> None:
        mined = select(BatchRow.sequence).where(BatchRow.block <= block)
        with self._engine.begin() as connection:
            connection.execute(
                update(TransferRow)
                .where(
                    TransferRow.kind.in_((TransferKind.WITHDRAWAL.value, TransferKind.EXIT.value)),
                    TransferRow.counterparty == recipient,
                    TransferRow.code.is_(None),
                    TransferRow.paid_transaction.is_(None),
                    # A withdrawal is mined with its batch, one by Exits in a block of its own.
                    or_(TransferRow.sequence.in_(mined), TransferRow.block <= block),
                )
                .values(paid_transaction=transaction, paid_block=block)
            )

    def _set_chain_cursor(self, block: int, block_hash: bytes) -> None:
        with self._engine.begin() as connection:
            _set_cursor(connection, CHAIN_CURSOR, block, block_hash)


def read_cursor(engine: Engine, name: str) -> int:
    """Return a cursor's position, 0 if it was never set."""
    with engine.connect() as connection:
        position = connection.execute(select(CursorRow.position).where(CursorRow.name == name)).scalar()
    return 0 if position is None else int(position)


def _set_cursor(connection: Connection, name: str, position: int, digest: bytes) -> None:
    upsert(connection, CursorRow, [{"name": name, "position": position, "hash": digest}])
