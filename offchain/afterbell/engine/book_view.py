"""Fold events into aggregated books for streams: snapshot and per-event level changes, without the engine."""

from __future__ import annotations

from dataclasses import dataclass

from afterbell.domain.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChange:
    """A price level after a change; size_lots 0: the level is gone."""

    market: int
    is_bid: bool
    price_ticks: int
    size_lots: int
    n_orders: int


class BookView:
    """Aggregated books of all markets, kept by feeding every event in order."""

    def fold(self, event: Event) -> tuple[LevelChange, ...]:
        """Adopt one event and return the levels it changed, in order (at most one per resting order touched)."""
        raise NotImplementedError

    def sequence(self, market: int) -> int:
        """Count of level changes of a book so far: the stream's sequence number."""
        raise NotImplementedError

    def levels(self, market: int, *, is_bid: bool, depth: int) -> tuple[LevelChange, ...]:
        """Return the best `depth` levels of a side, best first."""
        raise NotImplementedError
