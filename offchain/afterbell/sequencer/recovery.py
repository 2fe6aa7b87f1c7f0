"""Rebuild the engine from the journal: state = fold(journal)."""

from __future__ import annotations

from collections.abc import Iterator

from afterbell.domain.events import Event
from afterbell.engine.state import EngineConfig, EngineState
from afterbell.ports import EventSink, Frame, Journal


def replay(journal: Journal, state: EngineState) -> Iterator[tuple[Frame, list[Event]]]:
    """Apply every frame to a fresh state, yielding each with its events, for projections."""
    raise NotImplementedError


def recover(journal: Journal, config: EngineConfig, sink: EventSink | None = None) -> tuple[EngineState, int]:
    """Return (state after the whole journal, time_ms of the last frame); `sink` sees every frame again."""
    raise NotImplementedError
