"""Apply one command to the engine state: the only way it changes."""

from __future__ import annotations

from afterbell.domain.commands import Command
from afterbell.domain.events import Event
from afterbell.engine.state import EngineState


def apply(state: EngineState, command: Command, *, time_ms: int, previous_hash: bytes) -> list[Event]:
    """Change `state` by one journalled command and return what happened, in order.

    time_ms and previous_hash come from the journal frame (previous_hash: hash of the frame before it).
    Raises: Faulted: the journal holds what no correct sequencer writes; stop.
    """
    raise NotImplementedError
