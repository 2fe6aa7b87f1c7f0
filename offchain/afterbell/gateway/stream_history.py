"""Keep the last messages of a channel, for clients that come back.

Must not: know what a message says.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """How much is kept. A channel keeps its last `n_messages`, and whatever is younger than `age_ms`."""

    n_messages: int = 1_024
    age_ms: int = 60_000
    """Also how long a channel nobody listens to remembers where its last listener was."""
    max_bytes: int = 64 << 20
    """Of all channels together; above it the older half of every history goes."""
    n_idle_channels: int = 4_096
    n_gathered: int = 1_024
    """Changes gathered for a channel nobody listens to; one with more is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    sequence: int
    previous_sequence: int
    sent_ms: int
    text: str


class MessageHistory:
    """The last deltas of one channel, without a gap among them."""

    __slots__ = ("_kept", "_limits", "n_bytes")

    def __init__(self, limits: HistoryLimits) -> None:
        self._limits = limits
        self._kept: deque[_Kept] = deque()
        self.n_bytes = 0

    def append(self, text: str, *, sequence: int, previous_sequence: int, now_ms: int) -> int:
        """Keep a delta that follows the last one; return by how many bytes the history grew."""
        before = self.n_bytes
        self._kept.append(
            _Kept(sequence=sequence, previous_sequence=previous_sequence, sent_ms=now_ms, text=text),
        )
        self.n_bytes += len(text)
        while len(self._kept) > self._limits.n_messages and self._kept[0].sent_ms < now_ms - self._limits.age_ms:
            self._drop_oldest()
        return self.n_bytes - before

    def read_after(self, sequence: int) -> tuple[str, ...] | None:
        """Return the deltas that follow the one numbered `sequence`, oldest first; None if not all are here.

        A number between two messages was never sent, so nothing follows it.
        """
        missed: list[str] = []
        for kept in reversed(self._kept):
            if kept.previous_sequence < sequence:
                return None
            missed.append(kept.text)
            if kept.previous_sequence == sequence:
                return tuple(reversed(missed))
        return None

    def halve(self) -> int:
        """Drop the older half, or the last one; return how many bytes went."""
        before = self.n_bytes
        for _ in range(len(self._kept) - len(self._kept) // 2):
            self._drop_oldest()
        return before - self.n_bytes

    def _drop_oldest(self) -> None:
        self.n_bytes -= len(self._kept.popleft().text)
