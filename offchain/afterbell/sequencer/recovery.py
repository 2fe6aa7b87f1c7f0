"""Rebuild the engine from the journal: state = fold(journal).

Replay runs the same apply as the live sequencer, with time and hashes from the frames. Must not: skip a frame or
tolerate a fault in one.
"""

from __future__ import annotations

from collections.abc import Iterator

from afterbell.domain.events import Event
from afterbell.engine.apply import apply
from afterbell.engine.state import EngineConfig, EngineState
from afterbell.ports import EventSink, Frame, Journal


def replay(journal: Journal, state: EngineState) -> Iterator[tuple[Frame, list[Event]]]:
    """Apply every frame to a fresh state, yielding each with its events, for projections.

    Raises: Faulted; whatever the journal raises on damage.
    """
    previous_hash = journal.genesis_hash
    for frame in journal.read():
        yield frame, apply(state, frame.command, time_ms=frame.time_ms, previous_hash=previous_hash)
        previous_hash = frame.hash


def recover(journal: Journal, config: EngineConfig, sink: EventSink | None = None) -> tuple[EngineState, int]:
    """Return (state after the whole journal, time_ms of the last frame); `sink` sees every frame again."""
    state = EngineState(config)
    last_time_ms = 0
    for frame, events in replay(journal, state):
        last_time_ms = frame.time_ms
        if sink is not None:
            sink.publish(frame, events)
    return state, last_time_ms
