"""Order all commands: the single writer of journal and engine.

One group at a time, without a timer: whatever has arrived is stamped, appended and applied command by command, then
made durable with one sync; only then answers go out and sinks see the events. Nobody can look at the engine between
apply and sync, because nothing is awaited in between (D-104). Frames the venue needs for itself (SealBatch, when
engine.batching.needs_seal_before says so) are inserted here, so that the engine never has to.

    Rejected
    └── Overloaded            the queue is full, nothing was journalled
    AfterbellError
    └── SequencerStopped      faulted or stopped; nothing is taken any more

Must not: know HTTP, chain or SQL; judge a command.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog

from afterbell.domain.codes import RejectReason
from afterbell.domain.commands import Command, LinkKey, PlaceOrder, RequestTransfer, RequestWithdrawal, SealBatch
from afterbell.domain.errors import AfterbellError, Rejected
from afterbell.domain.events import Event
from afterbell.engine.apply import apply, validate_command
from afterbell.engine.batching import needs_seal_before
from afterbell.engine.state import EngineState
from afterbell.failpoints import reach
from afterbell.ports import Clock, EventSink, Frame, Journal

_log = structlog.get_logger(__name__)

_SHEDDABLE = (PlaceOrder, RequestWithdrawal, RequestTransfer, LinkKey)
"""What a full queue refuses. Cancels, revocations, prices, what was done on chain and seals lower risk or keep the
venue alive: they pass."""


class Overloaded(Rejected):
    """The queue is full; nothing was journalled (RejectReason.OVERLOADED)."""

    def __init__(self, capacity: int) -> None:
        super().__init__(RejectReason.OVERLOADED, f"{capacity} commands wait already; try again shortly")


class SequencerStopped(AfterbellError):
    """The sequencer does not take commands any more; the cause of the stop is chained."""


class _Waiting(NamedTuple):
    command: Command
    answer: asyncio.Future[tuple[Frame, list[Event]]]


class _Applied(NamedTuple):
    frame: Frame
    events: list[Event]
    answer: asyncio.Future[tuple[Frame, list[Event]]] | None


class Sequencer:
    """Run in one task (`await run()`); everybody else calls `submit` on the same event loop."""

    def __init__(
        self,
        *,
        state: EngineState,
        journal: Journal,
        clock: Clock,
        sinks: Sequence[EventSink] = (),
        last_time_ms: int = 0,
        capacity: int = 4096,
        max_group: int = 256,
    ) -> None:
        """last_time_ms: time of the journal's last frame; time never decreases across a restart."""
        self._state = state
        self._journal = journal
        self._clock = clock
        self._sinks = list(sinks)
        self._last_time_ms = last_time_ms
        self._capacity = capacity
        self._max_group = max_group
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._is_stopping = False
        self._fault: BaseException | None = None

    @property
    def state(self) -> EngineState:
        """The live state, to read through engine.queries on the event loop's thread."""
        return self._state

    @property
    def fault(self) -> BaseException | None:
        """What stopped the sequencer, if it faulted."""
        return self._fault

    @property
    def n_waiting(self) -> int:
        """Commands in the queue."""
        return len(self._queue)

    @property
    def last_time_ms(self) -> int:
        """Time of the last frame: venue time as the engine knows it."""
        return self._last_time_ms

    def add_sink(self, sink: EventSink) -> None:
        """Let `sink` see every frame applied from now on."""
        self._sinks.append(sink)

    async def submit(self, command: Command) -> tuple[Frame, list[Event]]:
        """Journal, apply and return the frame with its events, once durable.

        SealBatch: pass `journal_hash=b""`; the sequencer fills in the hash of the frame before it. A seal without an
        open batch is journalled and has no events. A caller that is cancelled while it waits does not take its
        command back. Raises: Overloaded (cancels and venue commands pass), SequencerStopped, Rejected
        (MALFORMED_REQUEST: a number the journal cannot hold).
        """
        if self._is_stopping:
            raise SequencerStopped("the sequencer is stopped; restart the exchange") from self._fault
        if len(self._queue) >= self._capacity and isinstance(command, _SHEDDABLE):
            raise Overloaded(self._capacity)
        answer: asyncio.Future[tuple[Frame, list[Event]]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(command, answer))
        self._arrived.set()
        return await answer

    def stop(self) -> None:
        """Finish what was submitted, then let `run` return."""
        self._is_stopping = True
        self._arrived.set()

    async def run(self) -> None:
        """Write until `stop`. Raises whatever faulted (journal, engine, sink); then nothing is accepted any more."""
        try:
            while True:
                while not self._queue:
                    if self._is_stopping:
                        return
                    self._arrived.clear()
                    await self._arrived.wait()
                n_group = min(len(self._queue), self._max_group)
                self._write_group([self._queue.popleft() for _ in range(n_group)])
                await asyncio.sleep(0)
        except BaseException as error:
            self._fault = error
            if not isinstance(error, asyncio.CancelledError):
                _log.error("sequencer.faulted", sequence=self._journal.next_sequence - 1, error=repr(error))
            raise
        finally:
            self._is_stopping = True
            while self._queue:
                self._refuse(self._queue.popleft())

    def _write_group(self, group: list[_Waiting]) -> None:
        applied: list[_Applied] = []
        try:
            for waiting in group:
                self._write_one(waiting, applied)
            if not applied:
                return
            self._journal.sync()
            reach("journal.synced")
        except BaseException as error:
            self._fault = error
            for waiting in group:
                self._refuse(waiting)
            raise
        for frame, events, answer in applied:
            # Waiters wake on the loop's next turn, so sinks have seen the events before a client hears of them.
            if answer is not None and not answer.done():
                answer.set_result((frame, events))
        for frame, events, _ in applied:
            _log.debug(
                "command.applied",
                sequence=frame.sequence,
                time_ms=frame.time_ms,
                command=type(frame.command).__name__,
                n_events=len(events),
            )
            for sink in self._sinks:
                sink.publish(frame, events)

    def _write_one(self, waiting: _Waiting, applied: list[_Applied]) -> None:
        command, answer = waiting
        while needs_seal_before(self._state, command):
            applied.append(self._append_and_apply(SealBatch(journal_hash=b""), None))
        try:
            applied.append(self._append_and_apply(command, answer))
        except _NotJournalled as error:
            if not answer.done():
                answer.set_exception(Rejected(RejectReason.MALFORMED_REQUEST, str(error)))

    def _append_and_apply(self, command: Command, answer: asyncio.Future[tuple[Frame, list[Event]]] | None) -> _Applied:
        previous_hash = self._journal.head_hash
        if isinstance(command, SealBatch):
            command = msgspec.structs.replace(command, journal_hash=previous_hash)
        time_ms = max(self._clock.now_ms(), self._last_time_ms)
        validate_command(self._state, command, time_ms=time_ms)  # before it is written: a bad frame cannot be unwritten
        try:
            (frame,) = self._journal.append([(time_ms, command)])
        except ValueError as error:
            raise _NotJournalled(str(error)) from error
        self._last_time_ms = time_ms
        reach("journal.appended")
        events = apply(self._state, command, time_ms=time_ms, previous_hash=previous_hash)
        if isinstance(command, PlaceOrder):
            reach("order.applied")
        return _Applied(frame, events, answer)

    def _refuse(self, waiting: _Waiting) -> None:
        if waiting.answer.done():
            return
        error = SequencerStopped("the sequencer stopped before this command was durable; look it up after the restart")
        error.__cause__ = self._fault
        waiting.answer.set_exception(error)


class _NotJournalled(Exception):
    """The journal cannot hold the command; nothing was written."""
