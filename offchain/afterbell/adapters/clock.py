"""Tell venue time: the wall clock, or a clock that follows replayed history.

Both implement ports.Clock: milliseconds since the UNIX epoch that never decrease. Nothing else in the venue asks for
the time. Must not: sleep or schedule; who advances a step decides when.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_NS_PER_MS = 1_000_000


class SystemClock:
    """Wall time, held back from ever decreasing, never before `floor_ms` (the last journal frame)."""

    mode = "live"

    def __init__(self, *, floor_ms: int = 0, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._last_ms = floor_ms
        self._wall_ns = wall_ns

    def now_ms(self) -> int:
        """Return venue time in milliseconds."""
        self._last_ms = max(self._last_ms, self._wall_ns() // _NS_PER_MS)
        return self._last_ms


class ReplayClock:
    """History in steps: within a step wall speed from the step's time, always below the time of the next step.

    `advance_to` is called by the replay keeper and by nobody else. `next_step_ms` None means that no further step is
    known: the clock runs on at wall speed. The clock never decreases: a step or a restart before the last answer
    holds it until history catches up.
    """

    mode = "replay"

    def __init__(
        self,
        *,
        step_ms: int,
        next_step_ms: int | None = None,
        floor_ms: int = 0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._last_ms = floor_ms
        self._step_ms = step_ms
        self._next_step_ms = next_step_ms
        self._begun_ns = monotonic_ns()
        self._must_be_ahead(step_ms, next_step_ms)

    @property
    def step_ms(self) -> int:
        """Venue time of the current step."""
        return self._step_ms

    @property
    def next_step_ms(self) -> int | None:
        """Venue time of the next step, if known; the clock stays below it."""
        return self._next_step_ms

    def now_ms(self) -> int:
        """Return venue time in milliseconds."""
        now_ms = self._step_ms + (self._monotonic_ns() - self._begun_ns) // _NS_PER_MS
        if self._next_step_ms is not None:
            now_ms = min(now_ms, self._next_step_ms - 1)
        self._last_ms = max(self._last_ms, now_ms)
        return self._last_ms

    def advance_to(self, step_ms: int, next_step_ms: int | None) -> None:
        """Begin the step at `step_ms`, not before the current one. Raises: ValueError."""
        if step_ms < self._step_ms:
            raise ValueError(f"a step must not go back: at {self._step_ms} ms, asked for {step_ms} ms")
        self._must_be_ahead(step_ms, next_step_ms)
        self._step_ms = step_ms
        self._next_step_ms = next_step_ms
        self._begun_ns = self._monotonic_ns()

    @staticmethod
    def _must_be_ahead(step_ms: int, next_step_ms: int | None) -> None:
        if next_step_ms is not None and next_step_ms <= step_ms:
            raise ValueError(f"the next step must be later than {step_ms} ms, found {next_step_ms} ms")
