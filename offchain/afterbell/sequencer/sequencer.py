"""Order all commands: the single writer of journal and engine."""

from __future__ import annotations

from collections.abc import Sequence

from afterbell.domain.commands import Command
from afterbell.domain.errors import AfterbellError, Rejected
from afterbell.domain.events import Event
from afterbell.engine.state import EngineState
from afterbell.ports import Clock, EventSink, Frame, Journal


class Overloaded(Rejected):
    """The queue is full; nothing was journalled (RejectReason.OVERLOADED)."""


class SequencerStopped(AfterbellError):
    """The sequencer does not take commands any more; the cause of the stop is chained."""


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
    ) -> None: ...

    @property
    def state(self) -> EngineState:
        """The live state, to read through engine.queries on the event loop's thread."""
        raise NotImplementedError

    def add_sink(self, sink: EventSink) -> None:
        """Let `sink` see every frame applied from now on."""

    async def run(self) -> None:
        """Write until `stop`. Raises whatever faulted (journal, engine, sink); then nothing is accepted any more."""

    async def submit(self, command: Command) -> tuple[Frame, list[Event]]:
        """Journal, apply and return the frame with its events, once durable.

        SealBatch: pass `journal_hash=b""`; the sequencer fills in the hash of the frame before it. A seal without an open
        batch is journalled and has no events. Raises: Overloaded (cancels and venue commands pass), SequencerStopped.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Finish what was submitted, then let `run` return."""
